//! A path that a shim takes for its OCI runtime, and that misbehaves on request.
//!
//! The shim executes the path, so the fault happens in a process of the shim's own making. What that process does, and for how
//! long, it reads from the files of [`crate::engine::rules`] beside the path.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::rules::{self, Files, LogLine, Nth, Rule, When};
use crate::fault::{Action, Fault, Misstep, Trigger, Unfit};
use crate::guard::Guard;

/// The subcommand of a rule whose fault has healed: none.
const NEVER: &str = "";

/// A runtime under rules. Its files stay when it is dropped; they belong to the directory.
#[derive(Debug)]
pub struct Runtime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    files: Files,
    /// What the rules file says. A rule is silenced and never removed, because the log names rules by position.
    rules: Mutex<Vec<Rule>>,
}

impl Runtime {
    /// Makes `path` a runtime: a link to `engine`, which does the work itself or has it done by the real runtime that it `wraps`.
    ///
    /// # Errors
    ///
    /// When the link or the files beside it cannot be made.
    pub fn link(path: impl Into<PathBuf>, engine: &Path, wraps: Option<&Path>) -> io::Result<Self> {
        let path = path.into();
        let files = Files::beside(&path);
        symlink(engine, &path).map_err(|error| named("link", &path, &error))?;
        if let Some(wraps) = wraps {
            write(&files.wraps, wraps.as_os_str().as_encoded_bytes())?;
        }
        write(&files.log, b"")?;
        Ok(Self(Arc::new(Inner {
            path,
            files,
            rules: Mutex::default(),
        })))
    }

    /// What to give to the shim.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Every execution so far that has come to an end: which calls the shim made of its runtime, in which order.
    ///
    /// # Errors
    ///
    /// When the log cannot be read, or makes no sense.
    pub fn calls(&self) -> io::Result<Vec<LogLine>> {
        self.0.calls()
    }

    /// Puts a fault in force for every execution that begins from now on.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    pub fn inject(&self, fault: &Fault) -> Result<Guard, RuntimeError> {
        fault.check()?;
        let Action::Runtime(misstep) = fault.does else {
            return Err(Unfit {
                id: fault.id,
                because: "a runtime knows no such misstep",
            }
            .into());
        };
        let (subcommand, when) = match fault.when {
            Trigger::Before(subcommand) => (subcommand, When::Before),
            Trigger::After(subcommand) => (subcommand, When::After),
            Trigger::Now | Trigger::Nth(_) => {
                return Err(Unfit {
                    id: fault.id,
                    because: "the runtime is told apart by subcommand",
                }
                .into());
            }
        };

        let mut rules = self.0.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let at = rules.len();
        let healed = self.0.healed(at);
        let action = match misstep {
            Misstep::Delay { ms } => rules::Action::DelayMs(ms.into()),
            Misstep::Fail { status } => rules::Action::Exit {
                code: status,
                message: format!("{} is injected", fault.id),
            },
            Misstep::Hang => rules::Action::Hold {
                until_path_exists: healed,
            },
            Misstep::Die => rules::Action::KillSelf,
        };
        rules.push(Rule {
            subcommand: subcommand.to_owned(),
            nth: Nth::Every,
            when,
            action,
        });
        self.0.write_rules(&rules)?;
        drop(rules);

        let (log, runtime) = (Arc::clone(&self.0), Arc::clone(&self.0));
        Ok(Guard::looking_up(
            fault.id,
            move || log.bites(at),
            move || runtime.heal(at),
        ))
    }
}

impl Inner {
    fn calls(&self) -> io::Result<Vec<LogLine>> {
        let text = std::fs::read_to_string(&self.files.log).map_err(|error| named("read", &self.files.log, &error))?;
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(|error| named("read", &self.files.log, &error.into())))
            .collect()
    }

    /// How often the rule in this place has bitten. An execution may have more than one line.
    ///
    /// # Panics
    ///
    /// When the log is broken or out of reach while its directory is there: whatever was counted would be a guess.
    fn bites(&self, at: usize) -> u32 {
        let lines = match self.calls() {
            Ok(lines) => lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("{error}"),
        };
        let mut executions: Vec<_> = lines
            .into_iter()
            .filter(|line| line.rules.contains(&at))
            .map(|line| (line.pid, line.start_ns))
            .collect();
        executions.sort_unstable();
        executions.dedup();
        u32::try_from(executions.len()).expect("fewer than 4 billion executions")
    }

    /// Silences the rule in this place, and lets go whom it holds.
    ///
    /// # Panics
    ///
    /// When it cannot while the directory is there: the fault would go on unnoticed.
    fn heal(&self, at: usize) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        NEVER.clone_into(&mut rules[at].subcommand);
        match self.write_rules(&rules).and_then(|()| write(&self.healed(at), b"")) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // Nobody can be executed at a path that is gone.
            Err(error) if std::thread::panicking() => eprintln!("while unwinding: {error}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// In one step, so that an execution sees the old rules or the new ones.
    fn write_rules(&self, rules: &[Rule]) -> io::Result<()> {
        let draft = self.beside(".rules.new");
        write(&draft, &serde_json::to_vec(rules)?)?;
        std::fs::rename(&draft, &self.files.rules).map_err(|error| named("replace", &self.files.rules, &error))
    }

    /// The path whose existence lets go whom the rule in this place holds.
    fn healed(&self, at: usize) -> PathBuf {
        self.beside(&format!(".healed-{at}"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

/// Why a runtime could not be made to misbehave.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The fault is none for a runtime.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The rules could not be written.
    #[error(transparent)]
    Rules(#[from] io::Error),
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::write(path, bytes).map_err(|error| named("write", path, &error))
}

fn named(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}
