//! The runtime under the suite's rules: held, failing, or gone at a chosen step.
//!
//! Rules lie beside the path under which the shim executes the runtime ([`fault_injector::seam::runtime`]). With our engine they are its own;
//! any other runtime is wrapped by it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fault_injector::{
    engine::rules::{Action, When},
    fault::{self, Fault, Misstep, Obligation, Seam, Trigger},
    seam::runtime::Runtime,
};

use super::{
    Engine, InForce, Lab, deadline,
    process::{Identity, identify},
};
use crate::check::Stop;

/// How long a shim may take until it has executed the runtime that a check waits for.
const REACHED: Duration = Duration::from_secs(5);

/// What a runtime that is held suspends: the call that waits for it takes as long.
const HELD: &[Obligation] = &[Obligation::AnswersInTime];
/// What a runtime that misbehaves suspends: the call may fail.
const FAILING: &[Obligation] = &[Obligation::CallsSucceed];

/// Rules in force. Dropping them makes the runtime honest again; a runtime that is held goes on.
#[must_use = "the rules are in force as long as this lives"]
pub struct Rules<'l> {
    lab: &'l Lab,
    fault: InForce<'l>,
}

impl Lab {
    /// Puts the rules' executable in front of the runtime; checks that need it say so before their first container.
    pub(super) fn put_rules_in_front(&self) -> Result<()> {
        let wraps = match &self.job().engine {
            Engine::Path(runtime) => Some(runtime.as_path()),
            Engine::Ours | Engine::ShimDefault => None,
        };
        let runtime = Runtime::adopt(&self.places().engine, wraps).context("put rules in front of the runtime")?;
        *self.runtime.borrow_mut() = Some(runtime);
        Ok(())
    }

    /// The runtime under rules.
    pub(super) fn runtime(&self) -> Result<Runtime> {
        self.runtime.borrow().clone().context("the check does not say that it needs rules for the runtime")
    }

    /// Holds each `subcommand` of the runtime before its work, until the rules are dropped or [`Rules::open`]ed.
    ///
    /// # Errors
    ///
    /// When the check has not said that it needs rules.
    pub fn hold(&self, subcommand: &'static str) -> Result<Rules<'_>> {
        let fault = Fault {
            id: "runtime/held",
            summary: "the runtime waits",
            seam: Seam::Runtime,
            when: Trigger::Before(subcommand),
            does: fault::Action::Runtime(Misstep::Hang),
            excuses: HELD,
        };
        let runtime = self.runtime()?;
        self.note(format!("the runtime is held before each {subcommand}"));
        let spell = self.spell(fault.id, None, fault.excuses);
        let guard = runtime.inject(&fault).context("hold the runtime")?;
        Ok(Rules { lab: self, fault: Self::in_force(spell, guard) })
    }

    /// Makes every `subcommand` of the runtime misbehave.
    ///
    /// # Errors
    ///
    /// When the check has not said that it needs rules.
    pub fn misbehave(&self, subcommand: &'static str, when: When, action: Action) -> Result<Rules<'_>> {
        let runtime = self.runtime()?;
        self.note(format!("the runtime misbehaves {} each {subcommand}: {action:?}", word(when)));
        let spell = self.spell("runtime/misbehaves", None, FAILING);
        let guard = runtime.misbehave("runtime/misbehaves", subcommand, when, action).context("mislead the runtime")?;
        Ok(Rules { lab: self, fault: Self::in_force(spell, guard) })
    }

    /// Waits until a `subcommand` of the runtime is under way, and returns its process.
    ///
    /// # Errors
    ///
    /// Inconclusive when none comes.
    pub async fn runtime_at_work(&self, subcommand: &str) -> Result<Identity, Stop> {
        let runtime = self.runtime()?;
        let found = deadline::until(self.scaled(REACHED), || match runtime.at_work(subcommand) {
            Ok(found) => found.iter().find_map(|found| identify(u32::try_from(found.pid).ok()?)).map(Ok),
            Err(e) => Some(Err(e)),
        });
        match found.await {
            Some(found) => Ok(found?),
            None => Err(Stop::Inconclusive(format!("the shim never executed the runtime's {subcommand}"))),
        }
    }
}

fn word(when: When) -> &'static str {
    match when {
        When::Before => "before",
        When::After => "after",
    }
}

impl Rules<'_> {
    /// Waits until the rule holds a `subcommand` of the runtime, and returns its process.
    ///
    /// # Errors
    ///
    /// Inconclusive when none comes.
    pub async fn reached(&self, subcommand: &str) -> Result<Identity, Stop> {
        // Counted now: who is killed while it is held leaves no trace.
        self.fault.bitten(1).await?;
        self.lab.runtime_at_work(subcommand).await
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

    /// Lets whatever is held go on, and makes the runtime honest again.
    pub fn open(&self) {
        self.fault.heal();
    }

    /// How often the rule has bitten so far.
    pub fn bites(&self) -> u32 {
        self.fault.bites()
    }
}
