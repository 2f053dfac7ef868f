//! The command line, as Go's `flag` package reads it: `-x v`, `-x=v`, `--x`, switches without a value, flags first.

use std::{ffi::OsString, path::PathBuf};

/// What the shim is executed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Delete,
    /// No action: the daemon itself.
    Serve,
    /// The daemon's own: to be the process of a sandbox.
    Pause,
    Version,
    Info,
}

/// The command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) action: Action,
    pub(crate) namespace: String,
    pub(crate) id: String,
    /// containerd's gRPC socket; part of the name of the shim's own.
    pub(crate) address: String,
    /// For `delete` alone.
    pub(crate) bundle: PathBuf,
    pub(crate) debug: bool,
}

/// The command line is wrong, and how.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(String);

impl Flags {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Usage> {
        let mut flags = Self {
            action: Action::Serve,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            bundle: PathBuf::new(),
            debug: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let argument = text(argument)?;
            let Some(flag) = argument.strip_prefix('-') else {
                flags.action = match argument.as_str() {
                    "start" => Action::Start,
                    "delete" => Action::Delete,
                    "pause" => Action::Pause,
                    other => return Err(Usage(format!("unknown action {other:?}"))),
                };
                return flags.checked();
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let mut value = || match inline.clone() {
                Some(value) => Ok(value),
                None => arguments.next().map_or_else(|| Err(Usage(format!("flag needs a value: -{name}"))), text),
            };
            match name {
                "namespace" => flags.namespace = value()?,
                "id" => flags.id = value()?,
                "address" => flags.address = value()?,
                "bundle" => flags.bundle = value()?.into(),
                // Events go to containerd's ttrpc socket, so there is nothing to publish them with.
                "publish-binary" => drop(value()?),
                "debug" => flags.debug = switch(name, inline.as_deref())?,
                "v" | "version" if switch(name, inline.as_deref())? => flags.action = Action::Version,
                "info" if switch(name, inline.as_deref())? => flags.action = Action::Info,
                "v" | "version" | "info" => {}
                other => return Err(Usage(format!("flag provided but not defined: -{other}"))),
            }
        }
        flags.checked()
    }

    fn checked(self) -> Result<Self, Usage> {
        match self.action {
            Action::Version | Action::Info => Ok(self),
            Action::Start | Action::Delete | Action::Serve | Action::Pause => {
                if self.namespace.is_empty() {
                    return Err(Usage("shim namespace cannot be empty".to_owned()));
                }
                if self.id.is_empty() {
                    return Err(Usage("shim id cannot be empty".to_owned()));
                }
                Ok(self)
            }
        }
    }
}

fn text(argument: OsString) -> Result<String, Usage> {
    argument.into_string().map_err(|argument| Usage(format!("argument is no UTF-8: {}", argument.display())))
}

/// The value of a switch, by the words of Go's `strconv.ParseBool`.
fn switch(name: &str, value: Option<&str>) -> Result<bool, Usage> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(Usage(format!("invalid boolean value {value:?} for -{name}"))),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(line: &str) -> Result<Flags, Usage> {
        Flags::parse(line.split_whitespace().map(OsString::from))
    }

    #[rstest]
    #[case("-namespace n -address /a -publish-binary /c -id i -debug start")]
    #[case("--namespace=n --address=/a --publish-binary=/c --id=i --debug=true start")]
    fn forms_of_a_flag(#[case] line: &str) {
        let flags = parse(line).unwrap();
        assert_eq!(flags.action, Action::Start);
        assert_eq!((flags.namespace.as_str(), flags.id.as_str(), flags.address.as_str()), ("n", "i", "/a"));
        assert!(flags.debug);
    }

    #[rstest]
    #[case("-v", Action::Version)]
    #[case("-info", Action::Info)]
    #[case("-namespace n -id i", Action::Serve)]
    #[case("-namespace n -id i -bundle /b delete", Action::Delete)]
    #[case("-namespace n -id i pause", Action::Pause)]
    fn actions(#[case] line: &str, #[case] action: Action) {
        assert_eq!(parse(line).unwrap().action, action);
    }

    #[rstest]
    #[case("-bogus")]
    #[case("-namespace")]
    #[case("-id i start")]
    #[case("-namespace n start")]
    #[case("-namespace n -id i sing")]
    #[case("-debug=perhaps -v")]
    fn errors(#[case] line: &str) {
        assert!(parse(line).is_err());
    }
}
