//! One thing that may be true of a task.

use super::table;
use crate::script::{Ask, Call, EXECS, Who};

/// How far a container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub enum InitPhase {
    /// Never created.
    #[default]
    Absent,
    Created,
    Running,
    Paused,
    /// Exited, and the shim has noticed.
    Stopped,
    Deleted,
}

/// How far an exec has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum ExecPhase {
    /// Never added, or deleted.
    #[default]
    Absent,
    /// Added and not started.
    Added,
    /// Its start was refused; it is still known.
    Failed,
    /// Started.
    Running,
    /// Exited, and the shim has noticed.
    Stopped,
}

/// Whether a process is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum End {
    /// It lives until something is done.
    #[default]
    Open,
    /// A signal was sent that may or may not end it.
    Perhaps,
    /// Its program exits as soon as it runs.
    Told,
    /// Its program exits as soon as it runs, if the signal that was sent as well does not end it before.
    ToldPerhaps,
    /// It got a SIGKILL.
    Killed,
}

impl End {
    /// What is true after both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Perhaps, Self::Told) | (Self::Told, Self::Perhaps) => Self::ToldPerhaps,
            _ => self.max(other),
        }
    }
}

/// A container's init.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[expect(missing_docs, reason = "the types say it")]
pub struct InitState {
    pub phase: InitPhase,
    pub end: End,
}

/// An exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[expect(missing_docs, reason = "the types say it")]
pub struct ExecState {
    pub phase: ExecPhase,
    pub end: End,
}

/// A container with its execs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct State {
    /// Its init.
    pub init: InitState,
    /// `e0` and so on.
    pub execs: [ExecState; EXECS],
    /// A call whose answer was lost: its effect may still come.
    pub lost: Option<Call>,
}

impl State {
    /// What may become of this state without another call: what is about to exit is noticed, and what was lost is carried out.
    pub(super) fn by_itself(&self) -> Vec<Self> {
        let mut next = Vec::new();
        if self.may_exit(Who::Init) {
            next.push(self.after_exit());
        }
        for exec in 0..EXECS {
            if self.may_exit(Who::Exec(exec)) {
                next.push(self.with_exec(exec, ExecPhase::Stopped));
            }
        }
        if let Some(call) = self.lost {
            let done = Self { lost: None, ..self.clone() };
            next.extend(table::transitions(&done, call).into_iter().map(|(_, next)| next));
            // A deletion takes its time, and begins with the end of a container that never started.
            let deletes = Call { ask: Ask::Delete, who: Who::Init };
            if call == deletes && self.init.phase == InitPhase::Created {
                next.push(self.after_exit());
            }
        }
        next
    }

    /// Whether `who` may exit now. What is paused may have exited just before; and a SIGKILL ends it at once or when it is resumed, as
    /// the kernel's freezer has it.
    fn may_exit(&self, who: Who) -> bool {
        match who {
            Who::Init => match (self.init.phase, self.init.end) {
                (InitPhase::Running | InitPhase::Paused, End::Perhaps | End::Told | End::ToldPerhaps | End::Killed)
                | (InitPhase::Created, End::Perhaps | End::ToldPerhaps | End::Killed) => true,
                (
                    InitPhase::Absent
                    | InitPhase::Created
                    | InitPhase::Running
                    | InitPhase::Paused
                    | InitPhase::Stopped
                    | InitPhase::Deleted,
                    _,
                ) => false,
            },
            Who::Exec(exec) => self.execs[exec].phase == ExecPhase::Running && self.execs[exec].end != End::Open,
        }
    }

    /// Whether Wait for `who` will be answered without anything else being done.
    pub(super) fn will_exit(&self, who: Who) -> bool {
        match who {
            Who::Init => match self.init.phase {
                InitPhase::Absent | InitPhase::Stopped | InitPhase::Deleted => true,
                InitPhase::Running => matches!(self.init.end, End::Told | End::ToldPerhaps | End::Killed),
                InitPhase::Created => self.init.end == End::Killed,
                InitPhase::Paused => false,
            },
            Who::Exec(exec) => match self.execs[exec].phase {
                ExecPhase::Absent | ExecPhase::Stopped => true,
                ExecPhase::Running => {
                    self.init.phase != InitPhase::Paused
                        && matches!(self.execs[exec].end, End::Told | End::ToldPerhaps | End::Killed)
                }
                ExecPhase::Added | ExecPhase::Failed => false,
            },
        }
    }

    /// Init has exited: everything that ran in its PID namespace dies with it (contract REAP-05).
    fn after_exit(&self) -> Self {
        let mut next = self.clone();
        next.init.phase = InitPhase::Stopped;
        for exec in next.execs.iter_mut().filter(|exec| exec.phase == ExecPhase::Running) {
            exec.end = End::Killed;
        }
        next
    }

    pub(super) fn with_init(&self, phase: InitPhase) -> Self {
        let mut next = self.clone();
        next.init.phase = phase;
        next
    }

    pub(super) fn with_exec(&self, exec: usize, phase: ExecPhase) -> Self {
        let mut next = self.clone();
        next.execs[exec].phase = phase;
        if matches!(phase, ExecPhase::Absent | ExecPhase::Stopped) {
            next.execs[exec].end = End::Open;
        }
        next
    }

    /// The task is deleted, and its execs with it (contract TASK-38).
    pub(super) fn deleted(&self) -> Self {
        Self {
            init: InitState { phase: InitPhase::Deleted, end: End::Open },
            execs: Default::default(),
            lost: self.lost,
        }
    }

    /// `who` is about to end, if there is a process that can.
    pub(super) fn ending(&self, who: Who, end: End) -> Self {
        let mut next = self.clone();
        match who {
            Who::Init => {
                let alive = matches!(self.init.phase, InitPhase::Created | InitPhase::Running | InitPhase::Paused);
                // A program can be told before there is one.
                if alive || end == End::Told && self.init.phase == InitPhase::Absent {
                    next.init.end = next.init.end.and(end);
                }
            }
            Who::Exec(exec) => {
                let alive = self.execs[exec].phase == ExecPhase::Running;
                if alive || end == End::Told && self.execs[exec].phase == ExecPhase::Added {
                    next.execs[exec].end = next.execs[exec].end.and(end);
                }
            }
        }
        next
    }

    pub(super) fn invites(&self, call: Call) -> bool {
        let exec_phase = match call.who {
            Who::Init => None,
            Who::Exec(exec) => Some(self.execs[exec].phase),
        };
        let held = !matches!(self.init.phase, InitPhase::Absent | InitPhase::Deleted);
        match (call.ask, exec_phase) {
            (Ask::Create, _) => self.init.phase == InitPhase::Absent && self.lost.is_none(),
            (Ask::Shutdown, _) => held && self.lost.is_none(),
            (Ask::Start, Some(phase)) => phase != ExecPhase::Failed && self.init.phase != InitPhase::Paused,
            (Ask::Wait, Some(phase)) => phase != ExecPhase::Failed,
            _ => true,
        }
    }
}
