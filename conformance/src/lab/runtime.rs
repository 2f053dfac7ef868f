//! The runtime under the suite's rules: held at a gate, failing, or gone at a chosen step.
//!
//! Rules lie beside the path under which the shim executes the runtime ([`fault_injector::engine::rules`]). With our engine the rules are its
//! own; any other runtime is wrapped by it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use fault_injector::engine::rules::{Action, Files, LogLine, Nth, Rule, When};

use super::{
    Engine, Lab, deadline,
    process::{Identity, identify},
};
use crate::{check::Stop, history::What};

/// How long a shim may take until it has executed the runtime that a check waits for.
const REACHED: Duration = Duration::from_secs(5);

/// Rules in force. Dropping them makes the runtime honest again; a runtime that is held goes on.
#[must_use = "the rules are in force as long as this lives"]
pub struct Rules<'l> {
    lab: &'l Lab,
    files: Files,
    gate: PathBuf,
}

impl Lab {
    /// Puts the rules' executable in front of the runtime; checks that need it say so before their first container.
    pub(super) fn put_rules_in_front(&self) -> Result<()> {
        let files = Files::beside(&self.places().engine);
        fs::write(&files.log, "").context("begin the runtime's log")?;
        if let Engine::Path(runtime) = &self.job().engine {
            fs::write(&files.wraps, runtime.as_os_str().as_encoded_bytes()).context("wrap the runtime")?;
        }
        self.ruled.set(true);
        Ok(())
    }

    /// Holds the next `subcommand` of the runtime, before or after its work, until the rules are dropped or [`Rules::open`]ed.
    ///
    /// # Errors
    ///
    /// When the check has not said that it needs rules.
    pub fn hold(&self, subcommand: &str, when: When) -> Result<Rules<'_>> {
        let gate = self.gate_path();
        let action = Action::Hold { until_path_exists: gate.clone() };
        self.enforce(&[Rule { subcommand: subcommand.to_owned(), nth: Nth::Every, when, action }], gate)
    }

    /// Makes every `subcommand` of the runtime misbehave.
    ///
    /// # Errors
    ///
    /// When the check has not said that it needs rules.
    pub fn misbehave(&self, subcommand: &str, when: When, action: Action) -> Result<Rules<'_>> {
        self.enforce(&[Rule { subcommand: subcommand.to_owned(), nth: Nth::Every, when, action }], self.gate_path())
    }

    fn gate_path(&self) -> PathBuf {
        self.places().base.join(format!("gate-{}", self.recorder().history().records.len()))
    }

    fn enforce(&self, rules: &[Rule], gate: PathBuf) -> Result<Rules<'_>> {
        ensure!(self.ruled.get(), "the check does not say that it needs rules for the runtime");
        let files = Files::beside(&self.places().engine);
        // Renamed into place, so that no runtime ever reads half of it.
        let draft = files.rules.with_extension("draft");
        fs::write(&draft, serde_json::to_vec(rules).context("encode the rules")?).context("write the rules")?;
        fs::rename(&draft, &files.rules).context("put the rules into force")?;
        for Rule { subcommand, when, action, .. } in rules {
            self.note(format!("the runtime misbehaves {when:?} each {subcommand}: {action:?}"));
        }
        self.recorder().record(What::FaultInjected("runtime".to_owned()));
        Ok(Rules { lab: self, files, gate })
    }
}

impl Rules<'_> {
    /// Waits until a `subcommand` of the runtime is under way, and returns its process.
    ///
    /// # Errors
    ///
    /// Inconclusive when none comes.
    pub async fn reached(&self, subcommand: &str) -> Result<Identity, Stop> {
        let engine = self.lab.places().engine.clone();
        let found = deadline::until(self.lab.scaled(REACHED), || running(&engine, subcommand)).await;
        found.ok_or_else(|| Stop::Inconclusive(format!("the shim never executed the runtime's {subcommand}")))
    }

    /// Waits until `runtime` has ended, as it does when it is no longer held.
    ///
    /// # Errors
    ///
    /// Inconclusive when it does not.
    pub async fn ended(&self, runtime: Identity) -> Result<(), Stop> {
        let ended = deadline::until(self.lab.scaled(REACHED), || (!runtime.is_alive()).then_some(())).await;
        ended.ok_or_else(|| Stop::Inconclusive(format!("the runtime, process {}, does not end", runtime.pid)))
    }

    /// Lets whatever is held go on.
    ///
    /// # Errors
    ///
    /// When the gate cannot be made.
    pub fn open(&self) -> Result<()> {
        fs::write(&self.gate, "").with_context(|| format!("open {}", self.gate.display()))
    }

    /// How often a rule has bitten so far.
    ///
    /// # Errors
    ///
    /// When the runtime's log cannot be read.
    pub fn bites(&self) -> Result<u64> {
        let log = fs::read_to_string(&self.files.log).context("read the runtime's log")?;
        let lines = log.lines().filter_map(|line| serde_json::from_str::<LogLine>(line).ok());
        Ok(lines.map(|line| line.rules.len() as u64).sum())
    }
}

impl Drop for Rules<'_> {
    fn drop(&mut self) {
        let healed = self.open().and_then(|()| fs::remove_file(&self.files.rules).context("remove the rules"));
        if let Err(e) = healed {
            self.lab.recorder().trouble(format!("{e:#}"));
        }
        match self.bites() {
            Ok(bites) => self.lab.recorder().record(What::FaultHealed("runtime".to_owned(), bites)),
            Err(e) => self.lab.recorder().trouble(format!("{e:#}")),
        }
    }
}

/// The process of the world that executes `engine` with this subcommand.
fn running(engine: &Path, subcommand: &str) -> Option<Identity> {
    let processes = procfs::process::all_processes().into_iter().flatten().flatten();
    let found = processes.into_iter().find(|process| {
        let line = process.cmdline().unwrap_or_default();
        line.first().is_some_and(|name| Path::new(name) == engine) && line.iter().any(|argument| argument == subcommand)
    });
    identify(u32::try_from(found?.pid).ok()?)
}
