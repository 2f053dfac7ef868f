//! The rules at work: finds the files beside the executable, counts the call, bites before and after it, and keeps the log.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, raise},
    time::{ClockId, clock_gettime},
    unistd::{Pid, pause},
};

use super::{
    call::Call,
    cli::LogFormat,
    deadline,
    log::{Log, answer, complain, printable},
    pid_file,
    rules::{Action, Files, LogLine, Rule, WRONG_PID, When, biting},
};

/// How often a held call looks at its path.
const HOLD_INTERVAL_MS: u16 = 5;

/// What callers cannot parse, be it as JSON or as a line of text.
const GARBAGE: &str = "\u{fffd}{\"garbage\": [\n";

/// An invocation under rules.
#[derive(Debug)]
pub(super) struct Stage {
    arguments: Vec<OsString>,
    call: Call,
    rules: Vec<Rule>,
    /// Positions of the rules that bite this call.
    bites: Vec<usize>,
    /// The real runtime that does the work.
    wraps: Option<PathBuf>,
    log: Option<File>,
    start_ns: u64,
}

/// Whether the call goes on after a bite.
enum Bitten {
    GoesOn,
    Ends(u8),
}

impl Stage {
    /// Reads the files; `None` when there are none and the engine is to be honest.
    pub(super) fn set(arguments: &[OsString]) -> Result<Option<Self>> {
        let start_ns = now_ns()?;
        let files = Files::beside(&invoked_as(arguments.first().map(OsString::as_os_str)));
        let log = match OpenOptions::new().append(true).open(&files.log) {
            Ok(log) => Some(log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot open {}", files.log.display())),
        };
        let wraps = read(&files.wraps)?.map(|path| PathBuf::from(path.trim()));
        let rules = read(&files.rules)?;
        if log.is_none() && wraps.is_none() && rules.is_none() {
            return Ok(None);
        }
        let call = Call::scan(arguments.get(1..).unwrap_or_default());
        let rules: Vec<Rule> = match rules {
            None => Vec::new(),
            Some(text) => {
                serde_json::from_str(&text).with_context(|| format!("malformed {}", files.rules.display()))?
            }
        };
        let bites = if rules.is_empty() {
            Vec::new()
        } else {
            biting(&rules, &call.subcommand, count(&files.counts, &call.subcommand)?)
        };
        Ok(Some(Self { arguments: arguments.to_owned(), call, rules, bites, wraps, log, start_ns }))
    }

    /// Bites, has the work done by `honest` or by the wrapped runtime, bites again, and logs.
    pub(super) fn play(&self, honest: impl FnOnce(&[OsString]) -> u8) -> Result<u8> {
        let code = self.perform(honest)?;
        self.note(Some(code))?;
        Ok(code)
    }

    fn perform(&self, honest: impl FnOnce(&[OsString]) -> u8) -> Result<u8> {
        if let Bitten::Ends(code) = self.bite(When::Before, 0)? {
            return Ok(code);
        }
        let code = match &self.wraps {
            None => honest(&self.arguments),
            Some(runtime) => self.run_wrapped(runtime)?,
        };
        match self.bite(When::After, code)? {
            Bitten::GoesOn => Ok(code),
            Bitten::Ends(code) => Ok(code),
        }
    }

    fn bite(&self, moment: When, code: u8) -> Result<Bitten> {
        let biting = self.bites.iter().filter_map(|&position| self.rules.get(position));
        for rule in biting.filter(|rule| rule.moment() == moment) {
            if let Bitten::Ends(code) = self.strike(&rule.action, code)? {
                return Ok(Bitten::Ends(code));
            }
        }
        Ok(Bitten::GoesOn)
    }

    fn strike(&self, action: &Action, code: u8) -> Result<Bitten> {
        match action {
            Action::DelayMs(milliseconds) => delay(*milliseconds),
            Action::Exit { code, message } => {
                complain(message);
                self.runtime_log()?.error(message);
                return Ok(Bitten::Ends(*code));
            }
            Action::KillSelf => {
                self.note(None)?;
                raise(Signal::SIGKILL).context("cannot kill myself")?;
            }
            Action::Hang => {
                self.note(None)?;
                loop {
                    pause();
                }
            }
            Action::Hold { until_path_exists } => {
                while !until_path_exists.exists() {
                    deadline::pause(HOLD_INTERVAL_MS);
                }
            }
            Action::GarbageStdout => answer(GARBAGE)?,
            Action::GarbageLog => self.write_garbage_log()?,
            Action::NoPidFile => self.remove_pid_file()?,
            Action::WrongPidFile => {
                if let Some(path) = &self.call.pid_file {
                    pid_file::write(path, Pid::from_raw(WRONG_PID))?;
                }
            }
            Action::SucceedThenExit { code: lie } => {
                if code == 0 {
                    return Ok(Bitten::Ends(*lie));
                }
            }
        }
        Ok(Bitten::GoesOn)
    }

    /// Becomes the real runtime, unless there is something to do after it.
    fn run_wrapped(&self, runtime: &Path) -> Result<u8> {
        let mut command = Command::new(runtime);
        command.args(self.arguments.iter().skip(1));
        let biting = self.bites.iter().filter_map(|&position| self.rules.get(position));
        if self.log.is_none() && biting.filter(|rule| rule.moment() == When::After).count() == 0 {
            let error = command.exec();
            return Err(error).with_context(|| format!("cannot execute {}", runtime.display()));
        }
        let status = command.status().with_context(|| format!("cannot execute {}", runtime.display()))?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    }

    fn runtime_log(&self) -> Result<Log> {
        let format = if self.call.is_json_log { LogFormat::Json } else { LogFormat::Text };
        Log::open(self.call.log.as_deref(), format, false)
    }

    fn write_garbage_log(&self) -> Result<()> {
        let Some(path) = &self.call.log else {
            return Ok(());
        };
        let opened = OpenOptions::new().append(true).create(true).open(path);
        let written = opened.and_then(|mut file| file.write_all(GARBAGE.as_bytes()));
        written.with_context(|| format!("cannot write garbage to {}", path.display()))
    }

    fn remove_pid_file(&self) -> Result<()> {
        let Some(path) = &self.call.pid_file else {
            return Ok(());
        };
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("cannot remove {}", path.display())),
        }
    }

    /// Appends the line of this invocation, in one write.
    fn note(&self, exit_code: Option<u8>) -> Result<()> {
        let Some(mut log) = self.log.as_ref() else {
            return Ok(());
        };
        let line = LogLine {
            argv: printable(&self.arguments),
            pid: std::process::id(),
            start_ns: self.start_ns,
            end_ns: now_ns()?,
            exit_code,
            rules: self.bites.clone(),
        };
        let text = serde_json::to_string(&line).context("cannot encode the log line")? + "\n";
        log.write_all(text.as_bytes()).context("cannot append to the invocation log")
    }
}

fn delay(mut milliseconds: u64) {
    while milliseconds > 0 {
        let step = u16::try_from(milliseconds).unwrap_or(u16::MAX).min(30_000);
        deadline::pause(step);
        milliseconds -= u64::from(step);
    }
}

fn now_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("cannot read the clock")?;
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec())?, u64::try_from(now.tv_nsec())?);
    Ok(seconds * 1_000_000_000 + nanoseconds)
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The path by which this process was executed, its directory resolved and its own name not. A bare name was found by the
/// caller in PATH, so it is looked up there too.
fn invoked_as(argv0: Option<&OsStr>) -> PathBuf {
    let given = Path::new(argv0.unwrap_or_default());
    let is_bare = given.components().count() == 1 && !given.is_absolute();
    let found = if is_bare { in_path(given) } else { None };
    let path = found.unwrap_or_else(|| given.to_owned());
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let resolved = fs::canonicalize(directory.unwrap_or_else(|| Path::new(".")));
    match (resolved, path.file_name()) {
        (Ok(directory), Some(name)) => directory.join(name),
        (Ok(_) | Err(_), _) => path,
    }
}

fn in_path(name: &Path) -> Option<PathBuf> {
    let search = env::var_os("PATH")?;
    env::split_paths(&search).map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// Counts one more call of `subcommand` and answers with its ordinal, from 1. The lock makes parallel calls take turns.
fn count(path: &Path, subcommand: &str) -> Result<u32> {
    let context = || format!("cannot count in {}", path.display());
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let locked = Flock::lock(opened.with_context(context)?, FlockArg::LockExclusive);
    let mut file = locked.map_err(|(_, error)| error).with_context(context)?;
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(context)?;
    let mut counts: BTreeMap<String, u32> = match text.as_str() {
        "" => BTreeMap::new(),
        text => serde_json::from_str(text).with_context(context)?,
    };
    let ordinal = counts.entry(subcommand.to_owned()).or_default();
    *ordinal += 1;
    let ordinal = *ordinal;
    let text = serde_json::to_string(&counts).with_context(context)?;
    // Counts only grow, so the new text is never shorter than the old.
    file.rewind().with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)?;
    Ok(ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_subcommand() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine.counts");
        let counted = ["create", "kill", "create"].map(|subcommand| count(&path, subcommand).unwrap());
        assert_eq!(counted, [1, 1, 2]);
    }

    #[test]
    fn the_link_is_the_name_and_its_directory_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir(real.join("deep")).unwrap();
        std::os::unix::fs::symlink("deep", real.join("way")).unwrap();
        std::os::unix::fs::symlink("/bin/true", real.join("deep/engine")).unwrap();
        let invoked = invoked_as(Some(real.join("way/engine").as_os_str()));
        assert_eq!(invoked, real.join("deep/engine"));
    }

    #[test]
    fn a_bare_name_is_the_one_in_path() {
        let invoked = invoked_as(Some(OsStr::new("sh")));
        assert!(invoked.is_absolute() && invoked.ends_with("sh"), "{}", invoked.display());
    }
}
