//! Any fault of the catalogue, in force in this world.
//!
//! [`Lab::inject`] finds the seam that a fault belongs to and puts it in force there; what it returns heals when it is dropped, counts the
//! bites, and has the history say from when to when which duties were suspended.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use fault_injector::{
    fault::{self, Action, Fault, Obligation, Party, Seam},
    guard::Guard,
    seam::process::{self as seam, ProcessError},
};
use nix::sys::signal::Signal;

use super::{Container, Lab, deadline, process::Identity};
use crate::{
    check::Stop,
    history::{ShimFact, What},
};

/// How long a fault may take until it bites, and a process until it stands still.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whom a fault strikes.
#[derive(Clone, Copy)]
pub enum Upon<'a> {
    /// What a world has one of: containerd, its events service, the runtime.
    World,
    /// The shim of this container, or containerd's connection of it.
    Shim(&'a Container<'a>),
    /// A process of this container: its init, an exec, or the runtime that works for it.
    Process(&'a Container<'a>, Identity),
}

/// A fault in force. Dropping it heals.
#[must_use = "a fault that is dropped at once heals before it can bite"]
pub struct InForce<'l> {
    spell: Spell<'l>,
    guard: RefCell<Option<Guard>>,
    bites: Cell<u32>,
    /// The shim that stands still, and a container of it.
    still: Option<(String, u32)>,
}

/// The time in which duties are suspended, as the history tells it.
pub(super) struct Spell<'l> {
    lab: &'l Lab,
    number: u64,
    fault: &'static str,
}

impl Lab {
    /// Puts `fault` in force.
    ///
    /// # Errors
    ///
    /// Inconclusive when whom it is to strike is gone; an error when it cannot strike whom it is told to, or the check has not prepared
    /// the seam: [`Lab::front_events`] for events, [`Need::RuntimeRules`](crate::check::Need::RuntimeRules) for the runtime.
    pub async fn inject(&self, fault: &'static Fault, upon: Upon<'_>) -> Result<InForce<'_>, Stop> {
        fault.check().context("inject")?;
        let container = match upon {
            Upon::World => None,
            Upon::Shim(container) | Upon::Process(container, _) => Some(container),
        };
        // Made before the duties are suspended: who dials anew may wait for nothing.
        let gate = match (fault.seam, container) {
            (Seam::TaskSocket, Some(container)) => Some(self.task_gate(container).await?),
            (Seam::Events, _) => Some(self.events_gate()?),
            _ => None,
        };
        let spell = self.spell(fault.id, container.map(Container::id), fault.excuses);
        let mut still = None;
        let guard = match (fault.does, upon, gate) {
            (Action::Frame(..) | Action::Refuse(_), _, Some(gate)) => gate.inject(fault).context("inject")?,
            (Action::Runtime(_), Upon::World, _) => self.runtime()?.inject(fault).context("inject")?,
            (Action::Signal(Party::Containerd, signal), Upon::World, _) => {
                self.strike_containerd(fault, signal).await?
            }
            (Action::Signal(Party::Shim, signal), Upon::Shim(container), _) => {
                let shim = container.shim()?;
                let guard = self.strike(fault, shim)?;
                container.record_signal(number(signal))?;
                still = (signal == fault::Signal::Stop).then(|| (container.id().to_owned(), shim.pid));
                guard
            }
            (Action::Signal(Party::Init | Party::Exec | Party::Runtime, _), Upon::Process(_, process), _) => {
                self.strike(fault, process)?
            }
            (Action::Limit(limit), Upon::Shim(container), _) => self.deprive(fault, limit, container)?,
            (Action::Damage(damage), Upon::Shim(container), _) => self.damage(fault, damage, container)?,
            // Which call is struck must be said: by [`Lab::strike_calls`].
            _ => return Err(Stop::Error(format!("fault {} cannot strike whom it is told to", fault.id))),
        };
        Ok(InForce { spell, guard: RefCell::new(Some(guard)), bites: Cell::new(0), still })
    }

    /// Wraps a guard of the lab's own making into what the history knows.
    pub(super) fn in_force<'l>(spell: Spell<'l>, guard: Guard) -> InForce<'l> {
        InForce { spell, guard: RefCell::new(Some(guard)), bites: Cell::new(0), still: None }
    }

    /// From now on `excuses` are suspended, until [`Spell::over`].
    pub(super) fn spell(&self, fault: &'static str, container: Option<&str>, excuses: &[Obligation]) -> Spell<'_> {
        let number = self.faults.get() + 1;
        self.faults.set(number);
        self.recorder().record(What::FaultInjected {
            number,
            fault: fault.to_owned(),
            container: container.map(str::to_owned),
            excuses: excuses.to_vec(),
        });
        Spell { lab: self, number, fault }
    }

    fn strike(&self, fault: &Fault, whom: Identity) -> Result<Guard, Stop> {
        let struck = seam::Process::open(i32::try_from(whom.pid).context("a pid over 31 bits")?).and_then(|process| {
            // Asked between opening and signalling: by now the number may be somebody else's.
            let same = whom.is_alive();
            if same { Ok(process) } else { Err(ProcessError::Gone { pid: process.identity().pid }) }
        });
        self.struck(struck.and_then(|process| process.inject(fault, Instant::now() + self.scaled(PATIENCE))), fault)
    }

    async fn strike_containerd(&self, fault: &'static Fault, signal: fault::Signal) -> Result<Guard, Stop> {
        match signal {
            fault::Signal::Kill | fault::Signal::Terminate => {
                self.end_containerd(number(signal)).await?;
                let (guard, bites) = Guard::new(fault.id, || ());
                bites.count();
                Ok(guard)
            }
            fault::Signal::Stop => {
                let process = self.containerd()?.process()?;
                self.struck(process.inject(fault, Instant::now() + self.scaled(PATIENCE)), fault)
            }
        }
    }

    fn struck(&self, struck: Result<Guard, ProcessError>, fault: &Fault) -> Result<Guard, Stop> {
        struck.map_err(|error| match error {
            ProcessError::Gone { pid } => {
                Stop::Inconclusive(format!("fault {} finds nobody: process {pid} is gone", fault.id))
            }
            ProcessError::Deadline { .. }
            | ProcessError::System { .. }
            | ProcessError::Proc { .. }
            | ProcessError::Unfit(_) => anyhow::Error::new(error).context(format!("inject {}", fault.id)).into(),
        })
    }
}

fn number(signal: fault::Signal) -> Signal {
    match signal {
        fault::Signal::Kill => Signal::SIGKILL,
        fault::Signal::Stop => Signal::SIGSTOP,
        fault::Signal::Terminate => Signal::SIGTERM,
    }
}

impl Spell<'_> {
    /// The fault has ended, having taken effect so many times.
    pub(super) fn over(&self, bites: u32) {
        let fault = self.fault.to_owned();
        self.lab.recorder().record(What::FaultHealed { number: self.number, fault, bites });
    }
}

impl InForce<'_> {
    /// The fault's id.
    pub fn id(&self) -> &'static str {
        self.spell.fault
    }

    /// How often it has taken effect so far.
    pub fn bites(&self) -> u32 {
        self.guard.borrow().as_ref().map_or_else(|| self.bites.get(), Guard::bites)
    }

    /// Waits until it has taken effect `times` times: behind this, a check knows where the shim is.
    ///
    /// # Errors
    ///
    /// Inconclusive when it does not.
    pub async fn bitten(&self, times: u32) -> Result<(), Stop> {
        let lab = self.spell.lab;
        let bitten = deadline::until(lab.scaled(PATIENCE), || (self.bites() >= times).then_some(())).await;
        bitten.ok_or_else(|| {
            Stop::Inconclusive(format!("fault {} bit {} times instead of {times}", self.id(), self.bites()))
        })
    }

    /// Heals now, and says how often it took effect; again does nothing more. Who died of it stays dead.
    pub fn heal(&self) -> u32 {
        let Some(guard) = self.guard.borrow_mut().take() else {
            return self.bites.get();
        };
        self.bites.set(guard.heal());
        if let Some((container, pid)) = &self.still {
            let (container, fact) = (container.clone(), ShimFact::Signalled(libc::SIGCONT));
            self.spell.lab.recorder().record(What::Shim { container, pid: *pid, fact });
        }
        self.spell.over(self.bites.get());
        let lab = self.spell.lab;
        lab.healed.set(lab.healed.get().or_else(|| Some(lab.calls.get())));
        self.bites.get()
    }
}

impl Drop for InForce<'_> {
    fn drop(&mut self) {
        self.heal();
    }
}
