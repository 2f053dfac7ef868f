//! What a rule must know of a command line, found without understanding the rest of it, since the rest may be meant for
//! another runtime. Pure.

use std::{ffi::OsString, path::PathBuf};

/// Global flags of runc and crun that take the next argument as their value.
const GLOBALS_WITH_VALUE: [&str; 6] = ["--root", "--log", "--log-format", "--criu", "--rootless", "--cgroup-manager"];

/// The parts of a command line that rules are about.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// Empty when there is none, as in `--version`.
    pub(super) subcommand: String,
    pub(super) log: Option<PathBuf>,
    pub(super) is_json_log: bool,
    pub(super) pid_file: Option<PathBuf>,
}

impl Call {
    /// Reads the arguments behind the program name.
    pub(super) fn scan(arguments: &[OsString]) -> Self {
        let mut call = Self::default();
        let mut rest = arguments.iter().map(|argument| argument.to_string_lossy());
        while let Some(argument) = rest.next() {
            if !argument.starts_with('-') {
                call.subcommand = argument.into_owned();
                break;
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None if GLOBALS_WITH_VALUE.contains(&argument.as_ref()) => {
                    (argument.to_string(), rest.next().map(|value| value.into_owned()))
                }
                None => (argument.into_owned(), None),
            };
            match name.as_str() {
                "--log" => call.log = value.map(PathBuf::from),
                "--log-format" => call.is_json_log = value.as_deref() == Some("json"),
                _ => {}
            }
        }
        while let Some(argument) = rest.next() {
            if argument == "--pid-file" {
                call.pid_file = rest.next().map(|value| PathBuf::from(value.as_ref()));
            } else if let Some(value) = argument.strip_prefix("--pid-file=") {
                call.pid_file = Some(PathBuf::from(value));
            }
        }
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(line: &str) -> Call {
        Call::scan(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn reads_what_containerd_shims_write() {
        let call = scan("--root /r --log /b/log.json --log-format json create --bundle /b --pid-file /b/init.pid c1");
        let expected = Call {
            subcommand: "create".to_owned(),
            log: Some(PathBuf::from("/b/log.json")),
            is_json_log: true,
            pid_file: Some(PathBuf::from("/b/init.pid")),
        };
        assert_eq!(call, expected);
    }

    #[test]
    fn reads_flags_with_equal_signs() {
        let call = scan("--log=/l --systemd-cgroup --rootless auto exec --pid-file=/p c1 true");
        assert_eq!(call.subcommand, "exec");
        assert_eq!(call.log, Some(PathBuf::from("/l")));
        assert_eq!(call.pid_file, Some(PathBuf::from("/p")));
        assert!(!call.is_json_log);
    }

    #[test]
    fn a_value_is_no_subcommand() {
        assert_eq!(scan("--root create state c1").subcommand, "state");
        assert_eq!(scan("--version").subcommand, "");
    }
}
