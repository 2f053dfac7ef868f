//! The shim's system calls: which phase of its life they belong to, and how they are struck.
//!
//! The supervisor lives in the driver's process, on a thread of its own, so it survives every death of the fake containerd, which executes
//! the shim through the launcher as long as the supervisor's socket is there.

use std::rc::Rc;

use anyhow::{Context as _, Result};
use fault_injector::{
    fault::Fault,
    guard::Guard,
    seam::syscall::{Aim, Role, Seen, Struck, Supervisor},
};

use super::{Lab, inject::InForce, residue};
use crate::{
    check::Stop,
    crash_points::{Calls, UNVISITED},
    history::{Call, Method},
    invariant,
};

/// What is being done when calls are made: the word for the calls of a helper, and for those of the daemon meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    helper: &'static str,
    daemon: &'static str,
}

/// `start` is executed; the daemon that it makes comes to serve.
pub const START: Phase = Phase { helper: "start", daemon: "serve" };
/// `delete` is executed.
pub const DELETE_ACTION: Phase = Phase { helper: "delete-action", daemon: "idle" };
/// A containerd starts again, and finds the shim.
pub const REATTACH: Phase = Phase::of_daemon("reattach");

impl Phase {
    const fn of_daemon(daemon: &'static str) -> Self {
        Self { helper: daemon, daemon }
    }
}

/// The phase that begins with this call; `None` for calls that only ask.
pub fn phase_of(call: &Call) -> Option<Phase> {
    let phase = match call.method {
        Method::Create => "create",
        Method::Start if call.target.is_init() => "start-task",
        Method::Start => "start-exec",
        Method::Exec => "exec",
        Method::Kill => "kill",
        Method::Delete if call.target.is_init() => "delete",
        Method::Delete => "delete-exec",
        Method::Shutdown => "shutdown",
        Method::Pause => "pause",
        Method::Resume => "resume",
        Method::Checkpoint => "checkpoint",
        Method::Update => "update",
        Method::ResizePty => "resize-pty",
        Method::CloseIo => "close-io",
        Method::CreateSandbox => "create-sandbox",
        Method::StartSandbox => "start-sandbox",
        Method::StopSandbox => "stop-sandbox",
        Method::ShutdownSandbox => "shutdown-sandbox",
        Method::State
        | Method::Pids
        | Method::Stats
        | Method::Connect
        | Method::Wait
        | Method::Platform
        | Method::WaitSandbox
        | Method::SandboxStatus
        | Method::PingSandbox
        | Method::SandboxMetrics => return None,
    };
    Some(Phase::of_daemon(phase))
}

impl Lab {
    /// Puts a supervisor in place; checks that need it say so before their first container.
    pub(super) fn supervise(&self) -> Result<()> {
        let unique = residue::cgroup_parent(&self.job.unique);
        let aliases = vec![(unique.trim_start_matches('/').to_owned(), "<world>")];
        let supervisor =
            Supervisor::listen(&self.setup.supervisor, &self.job.shim, aliases).context("supervise system calls")?;
        *self.supervisor.borrow_mut() = Some(Rc::new(supervisor));
        Ok(())
    }

    fn supervisor(&self) -> Result<Rc<Supervisor>> {
        let supervisor = self.supervisor.borrow().clone();
        supervisor.context("the check does not say that it strikes system calls")
    }

    /// From now on calls of the shim belong to `phase`, unless nobody asks any more.
    pub(super) fn enter(&self, phase: Phase) {
        if self.phases_over.get() {
            return;
        }
        if let Some(supervisor) = self.supervisor.borrow().as_ref() {
            supervisor.enter(phase.helper, phase.daemon);
        }
    }

    /// From now on and until further notice calls of the shim belong to no phase that anybody strikes at.
    pub fn leave_phases(&self) {
        self.enter(Phase::of_daemon(UNVISITED));
        self.phases_over.set(true);
    }

    /// Phases count again.
    pub fn resume_phases(&self) {
        self.phases_over.set(false);
    }

    /// Puts a fault in force for the calls aimed at.
    ///
    /// # Errors
    ///
    /// When the check has not said that it needs it, or the fault is none for system calls; the suite's fault.
    pub fn strike_calls(&self, fault: &Fault, aim: Aim) -> Result<InForce<'_>, Stop> {
        let guard = self.supervisor()?.inject(fault, aim).map_err(anyhow::Error::from)?;
        Ok(Self::in_force(self.spell(fault.id, None, fault.excuses), guard))
    }

    /// Puts a fault in force that suspends no duty and need not bite: what the shim does not ask for cannot be refused to it.
    ///
    /// # Errors
    ///
    /// As [`Self::strike_calls`].
    pub fn refuse_calls(&self, fault: &Fault, aim: Aim) -> Result<Guard, Stop> {
        Ok(self.supervisor()?.inject(fault, aim).map_err(anyhow::Error::from)?)
    }

    /// Every system call of a shim so far.
    pub fn calls_seen(&self) -> Vec<Seen> {
        self.supervisor.borrow().as_ref().map(|supervisor| supervisor.seen()).unwrap_or_default()
    }

    /// Every system call that was struck so far.
    pub fn calls_struck(&self) -> Vec<Struck> {
        self.supervisor.borrow().as_ref().map(|supervisor| supervisor.struck()).unwrap_or_default()
    }

    /// Whether a process of the shim was killed at a call.
    pub fn killed_at_a_call(&self) -> bool {
        let kills = |fault: &str| fault == "syscall/kill";
        self.job.visit.as_ref().is_some_and(|visit| kills(&visit.fault)) && !self.calls_struck().is_empty()
    }

    /// The numbers of the processes that serve or did, whether anybody was told of them or not.
    pub fn daemons(&self) -> Vec<u32> {
        let shims = self.supervisor.borrow().as_ref().map(|supervisor| supervisor.shims()).unwrap_or_default();
        let daemons = shims.into_iter().filter(|(_, role)| *role == Role::Daemon);
        daemons.filter_map(|(pid, _)| u32::try_from(pid).ok()).collect()
    }

    /// Adds something that a reader of this crash point may want to know.
    pub fn remark(&self, remark: &str) {
        self.remarks.borrow_mut().push(remark.to_owned());
    }

    /// Everything that the runner is told of a supervised life.
    pub fn supervised(&self) -> Calls {
        let broken = invariant::broken(&self.recorder.history(), &self.terms());
        Calls {
            seen: self.calls_seen(),
            bites: self.calls_struck().len(),
            remarks: self.remarks.borrow().clone(),
            broken: broken.into_iter().map(|(rule, how)| (rule.id.to_owned(), how.to_string())).collect(),
        }
    }

    /// What went wrong with the supervision is trouble of the suite's own.
    pub(super) fn tell_supervision(&self) {
        let troubles = self.supervisor.borrow().as_ref().map(|supervisor| supervisor.troubles()).unwrap_or_default();
        for trouble in troubles {
            self.recorder.trouble(format!("supervision of system calls: {trouble}"));
        }
    }
}
