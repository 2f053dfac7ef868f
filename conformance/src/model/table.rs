//! The matrices of the contract: for each state and call the answers that are right, and what is true after each.
//!
//! The first row of an answer is what the contract names; the others are what races and freedoms of the contract add.

use super::{
    permitted::Outcome,
    state::{End, ExecPhase, InitPhase, State},
};
use crate::{
    history::{Code, Status},
    script::{Ask, Call, Signal, Who},
};

/// An answer, and what is true after it.
pub(super) type Transition = (Outcome, State);

/// containerd acts on it: what it asks about is not there.
const NOT_FOUND: Outcome = Outcome::Refused(&[Code::NotFound]);
/// containerd takes both for "there is nothing to signal" (client/task_opts.go, WithProcessKill).
const NOTHING_TO_SIGNAL: Outcome = Outcome::Refused(&[Code::NotFound, Code::FailedPrecondition]);
/// containerd's clients rely on it to find a name that is free.
const EXISTS: Outcome = Outcome::Refused(&[Code::AlreadyExists]);

/// Nobody minds.
const EITHER: &[Outcome] = &[Outcome::Done, Outcome::RefusedSomehow];

/// Every right answer to `call` in `state`.
pub(super) fn transitions(state: &State, call: Call) -> Vec<Transition> {
    match (call.who, state.init.phase) {
        (_, InitPhase::Absent | InitPhase::Deleted) => nobody(state, call),
        (Who::Init, phase) => init(state, phase, call.ask),
        (Who::Exec(exec), _) => exec_call(state, exec, call.ask),
    }
}

/// What may be true after a fault has made `call` fail in `state`: what was true before, and with `effect` also what the call would have
/// made of it. A container whose creation failed is not there (contract TASK-06), and whether its id can be used again is the shim's choice.
pub(super) fn failed(state: &State, call: Call, effect: bool) -> Vec<State> {
    let mut next = match (call.ask, call.who) {
        (Ask::Create, _) if matches!(state.init.phase, InitPhase::Absent | InitPhase::Deleted) => {
            return vec![state.deleted()];
        }
        (Ask::Start, Who::Exec(exec)) if state.execs[exec].phase == ExecPhase::Added => {
            vec![state.clone(), state.with_exec(exec, ExecPhase::Failed)]
        }
        // It had to be killed before it could be deleted.
        (Ask::Delete, Who::Init) if state.init.phase == InitPhase::Created => {
            vec![state.clone(), state.ending(Who::Init, End::Perhaps)]
        }
        _ => vec![state.clone()],
    };
    if effect {
        let done = transitions(state, call).into_iter().filter(|(outcome, _)| outcome.is_success());
        for (_, done) in done {
            // The shim may take back what it holds for a failure, and what it takes for not begun may end.
            next.extend([state.ending(call.who, End::Perhaps), done.ending(call.who, End::Perhaps), done]);
        }
    }
    next
}

/// The answer changes nothing.
fn stays(state: &State, outcomes: &[Outcome]) -> Vec<Transition> {
    outcomes.iter().map(|outcome| (*outcome, state.clone())).collect()
}

/// Calls about a container that is not there.
fn nobody(state: &State, call: Call) -> Vec<Transition> {
    match call.ask {
        Ask::Create if state.init.phase == InitPhase::Absent => {
            vec![(Outcome::Done, state.with_init(InitPhase::Created))]
        }
        // Whether an id can be used again in the same shim is the shim's choice (matrix, footnote b).
        Ask::Create => {
            let mut again = state.with_init(InitPhase::Created);
            again.init.end = End::Open;
            vec![(Outcome::Done, again), (Outcome::RefusedSomehow, state.clone())]
        }
        Ask::Connect | Ask::Shutdown => stays(state, &[Outcome::Done]),
        Ask::State | Ask::Kill(_) | Ask::Delete | Ask::Pids => stays(state, &[NOT_FOUND]),
        Ask::Start
        | Ask::Wait
        | Ask::Exec
        | Ask::Pause
        | Ask::Resume
        | Ask::CloseIo
        | Ask::ResizePty
        | Ask::Stats
        | Ask::Update => stays(state, &[Outcome::RefusedSomehow]),
    }
}

/// Calls about a container that is there.
fn init(state: &State, phase: InitPhase, ask: Ask) -> Vec<Transition> {
    let dying = state.init.end != End::Open;
    match ask {
        Ask::State => stays(state, says(phase)),
        Ask::Create => stays(state, &[Outcome::RefusedSomehow]),
        Ask::Start => start(state, phase, dying),
        Ask::Wait => wait(state, phase == InitPhase::Stopped),
        Ask::Kill(signal) => kill(state, phase, signal, dying),
        Ask::Delete => match phase {
            InitPhase::Created | InitPhase::Stopped => vec![(Outcome::Done, state.deleted())],
            InitPhase::Running | InitPhase::Paused | InitPhase::Absent | InitPhase::Deleted => {
                stays(state, &[Outcome::RefusedSomehow])
            }
        },
        Ask::Pids => match phase {
            // Empty or absent, as the shim likes (contract TASK-28).
            InitPhase::Stopped => stays(state, &[Outcome::Done, NOT_FOUND]),
            InitPhase::Absent | InitPhase::Created | InitPhase::Running | InitPhase::Paused | InitPhase::Deleted => {
                stays(state, if dying { EITHER } else { &[Outcome::Done] })
            }
        },
        Ask::Pause => pause(state, phase, dying),
        Ask::Resume => match phase {
            InitPhase::Paused => {
                let mut done = vec![(Outcome::Done, state.with_init(InitPhase::Running))];
                // What the signal of a dying process has thawed cannot be resumed.
                if dying {
                    done.push((Outcome::RefusedSomehow, state.clone()));
                    done.push((Outcome::RefusedSomehow, state.with_init(InitPhase::Running)));
                }
                optional(done, state)
            }
            InitPhase::Absent | InitPhase::Created | InitPhase::Running | InitPhase::Stopped | InitPhase::Deleted => {
                stays(state, &[Outcome::RefusedSomehow])
            }
        },
        Ask::Connect | Ask::Shutdown => stays(state, &[Outcome::Done]),
        // Without a terminal there is nothing to resize, and containerd tolerates every answer to a stopped task's stdin (footnote g).
        Ask::ResizePty | Ask::CloseIo => stays(state, EITHER),
        Ask::Stats | Ask::Update => match phase {
            InitPhase::Stopped if ask == Ask::Update => stays(state, &[Outcome::RefusedSomehow]),
            InitPhase::Stopped => stays(state, EITHER),
            InitPhase::Absent | InitPhase::Created | InitPhase::Running | InitPhase::Paused | InitPhase::Deleted => {
                let outcomes: &[Outcome] = if dying { EITHER } else { &[Outcome::Done] };
                optional(stays(state, outcomes), state)
            }
        },
        // Without an exec id there is nothing to add; scripts do not say it.
        Ask::Exec => stays(state, &[Outcome::RefusedSomehow]),
    }
}

fn says(phase: InitPhase) -> &'static [Outcome] {
    match phase {
        InitPhase::Created => &[Outcome::Says(Status::Created)],
        InitPhase::Running => &[Outcome::Says(Status::Running)],
        InitPhase::Paused => &[Outcome::Says(Status::Paused), Outcome::Says(Status::Pausing)],
        InitPhase::Stopped => &[Outcome::Says(Status::Stopped)],
        InitPhase::Absent | InitPhase::Deleted => &[NOT_FOUND],
    }
}

/// With the freedom to lack a call: it then says so (contract TASK-42).
fn optional(mut transitions: Vec<Transition>, state: &State) -> Vec<Transition> {
    transitions.push((Outcome::Refused(&[Code::Unimplemented]), state.clone()));
    transitions
}

fn start(state: &State, phase: InitPhase, dying: bool) -> Vec<Transition> {
    match phase {
        InitPhase::Created => {
            let mut all = vec![(Outcome::Done, state.with_init(InitPhase::Running))];
            if dying && state.init.end != End::Told {
                all.push((Outcome::RefusedSomehow, state.clone()));
            }
            all
        }
        InitPhase::Absent | InitPhase::Running | InitPhase::Paused | InitPhase::Stopped | InitPhase::Deleted => {
            stays(state, &[Outcome::RefusedSomehow])
        }
    }
}

fn wait(state: &State, stopped: bool) -> Vec<Transition> {
    if stopped { stays(state, &[Outcome::Done]) } else { stays(state, &[Outcome::Blocks]) }
}

fn kill(state: &State, phase: InitPhase, signal: Signal, dying: bool) -> Vec<Transition> {
    if phase == InitPhase::Stopped {
        return stays(state, &[NOTHING_TO_SIGNAL]);
    }
    let mut all = vec![(Outcome::Done, state.ending(Who::Init, effect(signal)))];
    if phase == InitPhase::Paused {
        // The runtime may thaw what it kills (contract TASK-26).
        let thawed = state.ending(Who::Init, effect(signal)).with_init(InitPhase::Running);
        all.push((Outcome::Done, thawed));
    }
    if dying {
        all.push((NOTHING_TO_SIGNAL, state.clone()));
    }
    all
}

/// Whether a signal ends a process.
const fn effect(signal: Signal) -> End {
    match signal {
        Signal::Kill => End::Killed,
        Signal::Term => End::Perhaps,
    }
}

fn pause(state: &State, phase: InitPhase, dying: bool) -> Vec<Transition> {
    match phase {
        InitPhase::Running => {
            let mut all = vec![(Outcome::Done, state.with_init(InitPhase::Paused))];
            if dying {
                all.push((Outcome::RefusedSomehow, state.clone()));
            }
            optional(all, state)
        }
        InitPhase::Absent | InitPhase::Created | InitPhase::Paused | InitPhase::Stopped | InitPhase::Deleted => {
            stays(state, &[Outcome::RefusedSomehow])
        }
    }
}

/// Calls about an exec of a container that is there.
fn exec_call(state: &State, exec: usize, ask: Ask) -> Vec<Transition> {
    let phase = state.execs[exec].phase;
    let dying = state.init.end != End::Open || state.execs[exec].end != End::Open;
    match ask {
        Ask::Exec => add(state, exec),
        Ask::State => {
            let mut all = stays(state, exec_says(phase));
            // Whether an exec of a paused container is called paused is the shim's choice.
            if state.init.phase == InitPhase::Paused && phase != ExecPhase::Absent {
                all.extend(stays(state, says(InitPhase::Paused)));
            }
            all
        }
        Ask::Start => exec_start(state, exec),
        Ask::Wait => match phase {
            ExecPhase::Absent => stays(state, &[Outcome::RefusedSomehow]),
            // What Wait says of an exec that could not be started is nobody's duty (contract EXEC-07).
            ExecPhase::Failed => stays(state, &[Outcome::Blocks, Outcome::Done, Outcome::RefusedSomehow]),
            ExecPhase::Added | ExecPhase::Running | ExecPhase::Stopped => wait(state, phase == ExecPhase::Stopped),
        },
        Ask::Kill(signal) => match phase {
            ExecPhase::Absent => stays(state, &[NOT_FOUND]),
            ExecPhase::Added | ExecPhase::Failed | ExecPhase::Stopped => stays(state, &[NOTHING_TO_SIGNAL]),
            ExecPhase::Running => {
                let mut all = vec![(Outcome::Done, state.ending(Who::Exec(exec), effect(signal)))];
                if dying {
                    all.push((NOTHING_TO_SIGNAL, state.clone()));
                }
                all
            }
        },
        Ask::Delete => match phase {
            ExecPhase::Absent => stays(state, &[NOT_FOUND]),
            ExecPhase::Running => stays(state, &[Outcome::RefusedSomehow]),
            ExecPhase::Added | ExecPhase::Failed | ExecPhase::Stopped => {
                vec![(Outcome::Done, state.with_exec(exec, ExecPhase::Absent))]
            }
        },
        Ask::ResizePty | Ask::CloseIo => match phase {
            ExecPhase::Absent => stays(state, &[Outcome::RefusedSomehow]),
            ExecPhase::Added | ExecPhase::Failed | ExecPhase::Running | ExecPhase::Stopped => stays(state, EITHER),
        },
        Ask::Create
        | Ask::Pids
        | Ask::Pause
        | Ask::Resume
        | Ask::Connect
        | Ask::Stats
        | Ask::Update
        | Ask::Shutdown => stays(state, &[Outcome::RefusedSomehow]),
    }
}

fn exec_says(phase: ExecPhase) -> &'static [Outcome] {
    match phase {
        ExecPhase::Absent => &[NOT_FOUND],
        ExecPhase::Added => &[Outcome::Says(Status::Created)],
        ExecPhase::Failed => &[Outcome::Says(Status::Created), Outcome::Says(Status::Stopped)],
        ExecPhase::Running => &[Outcome::Says(Status::Running)],
        ExecPhase::Stopped => &[Outcome::Says(Status::Stopped)],
    }
}

fn add(state: &State, exec: usize) -> Vec<Transition> {
    let takes_execs = matches!(state.init.phase, InitPhase::Created | InitPhase::Running);
    let dying = state.init.end != End::Open;
    match (state.execs[exec].phase, takes_execs) {
        (ExecPhase::Absent, true) => {
            let mut all = vec![(Outcome::Done, state.with_exec(exec, ExecPhase::Added))];
            if dying {
                all.push((Outcome::RefusedSomehow, state.clone()));
            }
            all
        }
        (ExecPhase::Absent, false) => stays(state, &[Outcome::RefusedSomehow]),
        (_, true) if !dying => stays(state, &[EXISTS]),
        (_, true | false) => stays(state, &[Outcome::RefusedSomehow]),
    }
}

fn exec_start(state: &State, exec: usize) -> Vec<Transition> {
    let refused = |phase| (Outcome::RefusedSomehow, state.with_exec(exec, phase));
    let runs = (Outcome::Done, state.with_exec(exec, ExecPhase::Running));
    match (state.execs[exec].phase, state.init.phase) {
        (ExecPhase::Added, InitPhase::Running) if state.init.end == End::Open => vec![runs],
        // A shim may refuse before init has started (contract EXEC-04), and a container that is about to exit has no place for it.
        (ExecPhase::Added, InitPhase::Running | InitPhase::Created) => {
            vec![runs, refused(ExecPhase::Added), refused(ExecPhase::Failed)]
        }
        (ExecPhase::Added, _) => vec![refused(ExecPhase::Added), refused(ExecPhase::Failed)],
        (ExecPhase::Absent | ExecPhase::Failed | ExecPhase::Running | ExecPhase::Stopped, _) => {
            stays(state, &[Outcome::RefusedSomehow])
        }
    }
}
