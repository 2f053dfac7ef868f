//! The life of a task as the contract draws it: which answers are permitted, and what is true after them.
//!
//! Written from the matrices of the contract alone, and shared with no shim. It is pure, and it is a set of states rather than one: a
//! process that is about to exit may have been noticed or not, a call that was lost may have been carried out or not, and each of these
//! permits its own answers. An answer narrows the set; one that no state permits is a violation.

mod permitted;
mod state;
mod table;

use std::collections::BTreeSet;

pub use self::{
    permitted::{Excuse, Outcome, Permitted},
    state::{End, ExecPhase, ExecState, InitPhase, InitState, State},
};
use crate::{
    history::{Answer, Loss},
    script::{Call, Who},
};

/// Everything that may be true of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    states: BTreeSet<State>,
}

impl Default for Model {
    /// A shim that was never asked for anything.
    fn default() -> Self {
        Self::of([State::default()])
    }
}

impl Model {
    /// Exactly these states, and what becomes of them by themselves.
    pub fn of(states: impl IntoIterator<Item = State>) -> Self {
        let mut open: Vec<State> = states.into_iter().collect();
        let mut closed = BTreeSet::new();
        while let Some(state) = open.pop() {
            if closed.insert(state.clone()) {
                open.extend(state.by_itself());
            }
        }
        Self { states: closed }
    }

    /// The states that are possible.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.states.iter()
    }

    /// Which answers are right.
    pub fn permits(&self, call: Call) -> Permitted {
        let outcomes = self.states.iter().flat_map(|state| table::transitions(state, call)).map(|(outcome, _)| outcome);
        Permitted::new(outcomes)
    }

    /// What is possible after `answer`; `None` when no possible state permits it.
    pub fn after(&self, call: Call, answer: &Answer) -> Option<Self> {
        if matches!(answer, Answer::Lost(Loss::ContainerdDied)) {
            return Some(self.after_loss(call));
        }
        let next: Vec<State> = self
            .states
            .iter()
            .flat_map(|state| table::transitions(state, call))
            .filter(|(outcome, _)| outcome.admits(answer))
            .map(|(_, next)| next)
            .collect();
        (!next.is_empty()).then(|| Self::of(next))
    }

    /// What is possible after `answer`, which was given while a fault was in force that excuses as much as `excuse` says.
    pub fn after_excused(&self, call: Call, answer: &Answer, excuse: Excuse) -> Option<Self> {
        if excuse.loss && matches!(answer, Answer::Lost(Loss::Deadline | Loss::Disconnected)) {
            return Some(self.after_loss(call));
        }
        let mut next: Vec<State> =
            self.after(call, answer).into_iter().flat_map(|model| model.states.into_iter()).collect();
        if excuse.refusal && matches!(answer, Answer::Refused { .. }) {
            // On a connection that a fault strikes, a refusal may be that of another copy of the request.
            if excuse.loss {
                next.extend(self.after_loss(call).states);
            }
            next.extend(self.states.iter().flat_map(|state| table::failed(state, call, excuse.effect)));
        }
        (!next.is_empty()).then(|| Self::of(next))
    }

    /// The call may have been carried out, may never be, or may still be under way: its effect can come at any later time.
    fn after_loss(&self, call: Call) -> Self {
        Self::of(self.states.iter().map(|state| State { lost: Some(call), ..state.clone() }))
    }

    /// The program of `who` was told to exit: it does so as soon as it runs.
    #[must_use]
    pub fn told_to_exit(&self, who: Who) -> Self {
        Self::of(self.states.iter().map(|state| state.ending(who, End::Told)))
    }

    /// `who` got a SIGKILL.
    #[must_use]
    pub fn killed(&self, who: Who) -> Self {
        Self::of(self.states.iter().map(|state| state.ending(who, End::Killed)))
    }

    /// `who` got a signal that ends it unless its program minds it.
    #[must_use]
    pub fn terminated(&self, who: Who) -> Self {
        Self::of(self.states.iter().map(|state| state.ending(who, End::Perhaps)))
    }

    /// Whether `who` may be about to end.
    pub fn may_end(&self, who: Who) -> bool {
        self.states.iter().any(|state| match who {
            Who::Init => state.init.end != End::Open,
            Who::Exec(exec) => state.execs[exec].end != End::Open,
        })
    }

    /// Whether init is in one of `phases` for certain.
    pub fn is_in(&self, phases: &[InitPhase]) -> bool {
        self.states.iter().all(|state| phases.contains(&state.init.phase))
    }

    /// Whether the exec `exec` runs for certain.
    pub fn runs(&self, exec: usize) -> bool {
        let runs = |state: &State| state.execs[exec].phase == ExecPhase::Running;
        self.is_in(&[InitPhase::Running]) && self.states.iter().all(runs)
    }

    /// Whether Wait for `who` will be answered for certain without anything else being done.
    pub fn will_exit(&self, who: Who) -> bool {
        self.states.iter().all(|state| state.will_exit(who))
    }

    /// Whether `who` has exited for certain, and is still known.
    pub fn has_exited(&self, who: Who) -> bool {
        self.states.iter().all(|state| match who {
            Who::Init => state.init.phase == InitPhase::Stopped,
            Who::Exec(exec) => state.execs[exec].phase == ExecPhase::Stopped,
        })
    }

    /// Whether the shim may still know `who`.
    pub fn may_exist(&self, who: Who) -> bool {
        self.states.iter().any(|state| match who {
            Who::Init => !matches!(state.init.phase, InitPhase::Absent | InitPhase::Deleted),
            Who::Exec(exec) => state.execs[exec].phase != ExecPhase::Absent,
        })
    }

    /// Whether there is no exec `exec` for certain.
    pub fn is_absent(&self, exec: usize) -> bool {
        self.states.iter().all(|state| state.execs[exec].phase == ExecPhase::Absent)
    }

    /// Whether `call` can be made here without leaving what the contract describes: the second Create of an id that lives damages it
    /// (matrix, footnote a), Shutdown of an empty shim is the end of the story, and an exec whose start has failed is beyond every shim
    /// (EXEC-07: its Wait and its second Start are subjects of checks of their own).
    pub fn invites(&self, call: Call) -> bool {
        call.is_well_formed() && self.states.iter().all(|state| state.invites(call))
    }

    /// Whether any possible state has lost a call.
    pub fn has_lost(&self) -> bool {
        self.states.iter().any(|state| state.lost.is_some())
    }

    /// The model after the first thing that the contract names for `call`: what a generator expects to come of it.
    #[must_use]
    pub fn expecting(&self, call: Call) -> Self {
        let first = |state| table::transitions(state, call).into_iter().next();
        let all: Vec<_> = self.states.iter().filter_map(first).collect();
        // A Wait that is answered in some state is answered in the end.
        let answers = all.iter().any(|(outcome, _)| *outcome != Outcome::Blocks);
        let kept = all.into_iter().filter(|(outcome, _)| !answers || *outcome != Outcome::Blocks);
        Self::of(kept.map(|(_, next)| next))
    }

    /// Whether `call` is one that the contract lets succeed here.
    pub fn may_succeed(&self, call: Call) -> bool {
        self.permits(call).outcomes().any(|outcome| outcome.is_success())
    }
}
