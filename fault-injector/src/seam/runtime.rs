//! A path that a shim takes for its OCI runtime, and that misbehaves on request.
//!
//! The shim executes the path, so the fault happens in a process of the shim's own making. What that process does, and for how
//! long, it reads from the files of [`crate::engine::rules`] beside the path.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use procfs::ProcError;

use super::process::Identity;
use crate::engine::rules::{self, Files, LogLine, Nth, Rule, When};
use crate::fault::{Action, Fault, Misstep, Trigger, Unfit};
use crate::guard::Guard;

/// The subcommand of a rule whose fault has healed: none.
const NEVER: &str = "";

/// A runtime under rules. Its files stay when it is dropped; they belong to the directory. Clones govern the same rules.
#[derive(Debug, Clone)]
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
        symlink(engine, &path).map_err(|error| named("link", &path, &error))?;
        Self::adopt(path, wraps)
    }

    /// The same for a `path` that is a link to the engine already.
    ///
    /// # Errors
    ///
    /// When the files beside it cannot be made.
    pub fn adopt(path: impl Into<PathBuf>, wraps: Option<&Path>) -> io::Result<Self> {
        let path = path.into();
        let files = Files::beside(&path);
        if let Some(wraps) = wraps {
            write(&files.wraps, wraps.as_os_str().as_encoded_bytes())?;
        }
        write(&files.log, b"")?;
        Ok(Self(Arc::new(Inner { path, files, rules: Mutex::default() })))
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

    /// The processes that carry out `subcommand` now, as our `/proc` numbers them.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn at_work(&self, subcommand: &str) -> io::Result<BTreeSet<Identity>> {
        self.0.at_work(subcommand)
    }

    /// Puts a fault in force for every execution that begins from now on.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    pub fn inject(&self, fault: &Fault) -> Result<Guard, RuntimeError> {
        self.enforce(fault.id, |healed| occasion(fault, healed))
    }

    /// Makes every `subcommand` misbehave in ways that no [`Misstep`] foresees. `id` names the guard in messages.
    ///
    /// # Errors
    ///
    /// When the rules cannot be written.
    pub fn misbehave(
        &self,
        id: &'static str,
        subcommand: &'static str,
        when: When,
        action: rules::Action,
    ) -> Result<Guard, RuntimeError> {
        self.enforce(id, |_healed| Ok(Occasion { subcommand, when, action }))
    }

    /// `occasion` is told the path that will exist when the rule has healed.
    fn enforce(
        &self,
        id: &'static str,
        occasion: impl FnOnce(PathBuf) -> Result<Occasion, Unfit>,
    ) -> Result<Guard, RuntimeError> {
        let mut rules = self.0.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let at = rules.len();
        let Occasion { subcommand, when, action } = occasion(self.0.healed(at))?;
        let holds = matches!(action, rules::Action::Hold { .. });
        let rule = Rule { subcommand: subcommand.to_owned(), nth: Nth::Every, when, action };
        let with_rule: Vec<Rule> = rules.iter().cloned().chain([rule]).collect();
        self.0.write_rules(&with_rule)?;
        *rules = with_rule;
        drop(rules);

        // Whoever runs by now may have read the old rules. Looked at behind the writing, so that nobody is counted in error.
        let bystanders = self.0.at_work(subcommand).inspect_err(|_| self.0.heal(at))?;
        let evidence = Evidence { at, held: (holds && when == When::Before).then_some((subcommand, bystanders)) };
        let (seen, healed, most) = (Arc::clone(&self.0), Arc::clone(&self.0), AtomicU32::new(0));
        // Who was held is not seen any more when it is let go, and not logged yet. It was bitten all the same.
        let bites = move || {
            let now = seen.bites(&evidence);
            most.fetch_max(now, Ordering::Relaxed).max(now)
        };
        Ok(Guard::looking_up(id, bites, move || healed.heal(at)))
    }
}

/// What shows that a rule has bitten.
struct Evidence {
    /// The place of the rule, by which the log names it.
    at: usize,
    /// For a rule that holds, the subcommand to be found at work, apart from those that were before. Nobody gets past such a
    /// rule, so it is enough to be there; and the log, which is written at the end, is too late for it.
    held: Option<(&'static str, BTreeSet<Identity>)>,
}

/// A fault in the engine's words.
struct Occasion {
    subcommand: &'static str,
    when: When,
    action: rules::Action,
}

/// `healed` is the path that will exist when the fault has healed.
fn occasion(fault: &Fault, healed: PathBuf) -> Result<Occasion, Unfit> {
    fault.check()?;
    let Action::Runtime(misstep) = fault.does else {
        return Err(Unfit::new(fault, "a runtime knows no such misstep"));
    };
    let (subcommand, when) = match fault.when {
        Trigger::Before(subcommand) => (subcommand, When::Before),
        Trigger::After(subcommand) => (subcommand, When::After),
        Trigger::Now | Trigger::Nth(_) => return Err(Unfit::new(fault, "the runtime is told apart by subcommand")),
    };
    let action = match misstep {
        Misstep::Delay { ms } => rules::Action::DelayMs(ms.into()),
        Misstep::Fail { status } => rules::Action::Exit { code: status, message: format!("{} is injected", fault.id) },
        Misstep::Hang => rules::Action::Hold { until_path_exists: healed },
        Misstep::Die => rules::Action::KillSelf,
    };
    Ok(Occasion { subcommand, when, action })
}

impl Inner {
    fn calls(&self) -> io::Result<Vec<LogLine>> {
        let text = std::fs::read_to_string(&self.files.log).map_err(|error| named("read", &self.files.log, &error))?;
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(|error| named("read", &self.files.log, &error.into())))
            .collect()
    }

    /// How often a rule has bitten: executions that the log names, and those that are held.
    ///
    /// # Panics
    ///
    /// When the log or `/proc` is broken or out of reach while the directory is there: whatever was counted would be a guess.
    fn bites(&self, evidence: &Evidence) -> u32 {
        // In this order, so that one that ends in between is seen twice and not missed.
        let counted = self.held(evidence).and_then(|held| Ok((held, self.calls()?)));
        let (held, calls) = match counted {
            Ok(counted) => counted,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return 0,
            Err(error) => panic!("{error}"),
        };
        // An execution may have more than one line.
        let bitten = calls.iter().filter(|line| line.rules.contains(&evidence.at));
        let logged: BTreeSet<_> = bitten.map(|line| (line.pid, line.start_ns)).collect();
        let unlogged = held.iter().filter(|process| !logged.iter().any(|(pid, _)| pid.cast_signed() == process.pid));
        u32::try_from(logged.len() + unlogged.count()).expect("fewer than 4 billion executions")
    }

    fn held(&self, evidence: &Evidence) -> io::Result<BTreeSet<Identity>> {
        let Some((subcommand, bystanders)) = &evidence.held else {
            return Ok(BTreeSet::new());
        };
        let held = &self.at_work(subcommand)? - bystanders;
        // Once let go they have children, which cannot be told from them until they execute something else.
        let let_go = self.healed(evidence.at).exists();
        Ok(if let_go { BTreeSet::new() } else { held })
    }

    /// The processes that execute this path for `subcommand` now, as our `/proc` numbers them.
    fn at_work(&self, subcommand: &str) -> io::Result<BTreeSet<Identity>> {
        let broken = |error: ProcError| io::Error::other(format!("read /proc: {error}"));
        let mut found = BTreeSet::new();
        for process in procfs::process::all_processes().map_err(broken)? {
            let facts = process.and_then(|process| Ok((process.cmdline()?, process.stat()?)));
            let (argv, stat) = match facts {
                Ok(facts) => facts,
                Err(ProcError::NotFound(_)) => continue, // Gone while we looked.
                Err(error) => return Err(broken(error)),
            };
            let ours = argv.first().is_some_and(|name| Path::new(name) == self.path);
            if ours && argv.iter().any(|word| word == subcommand) {
                found.insert(Identity { pid: stat.pid, start_ticks: stat.starttime });
            }
        }
        Ok(found)
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
