//! The model against itself: every state within small bounds is visited, without any shim.

use std::collections::{BTreeMap, BTreeSet};

use conformance::{
    history::{Answer, Code, Reply, Status},
    model::{ExecPhase, InitPhase, Model, Outcome, State},
    script::{Ask, Call, Signal, Who},
};

/// Every call about init and the first exec.
fn calls() -> impl Iterator<Item = Call> {
    Call::all().filter(|call| matches!(call.who, Who::Init | Who::Exec(0)))
}

/// Every kind of answer that a shim can give.
fn answers() -> Vec<Answer> {
    let says = |status| Answer::Done(Box::new(Reply { status: Some(status), ..Reply::default() }));
    let refused = |code| Answer::Refused { code, message: String::new() };
    let statuses = [Status::Created, Status::Running, Status::Paused, Status::Stopped];
    let codes = [Code::NotFound, Code::AlreadyExists, Code::FailedPrecondition, Code::Unimplemented, Code::Unknown];
    std::iter::once(Answer::Done(Box::default()))
        .chain(statuses.into_iter().map(says))
        .chain(codes.into_iter().map(refused))
        .collect()
}

/// Every single state that calls and exits reach, and how often each call succeeded and was refused on the way.
fn explore() -> (BTreeSet<State>, BTreeMap<Call, (usize, usize)>) {
    let mut open = vec![State::default()];
    let mut seen = BTreeSet::new();
    let mut tried: BTreeMap<Call, (usize, usize)> = BTreeMap::new();
    while let Some(state) = open.pop() {
        if !seen.insert(state.clone()) {
            continue;
        }
        let model = Model::of([state]);
        for who in [Who::Init, Who::Exec(0)] {
            open.extend(model.told_to_exit(who).states().cloned());
        }
        open.extend(model.killed(Who::Init).states().cloned());
        for call in calls() {
            for answer in answers() {
                let Some(next) = model.after(call, &answer) else {
                    continue;
                };
                let (accepted, refused) = tried.entry(call).or_default();
                match answer {
                    Answer::Done(_) => *accepted += 1,
                    Answer::Refused { .. } | Answer::Lost(_) => *refused += 1,
                }
                open.extend(next.states().cloned());
            }
        }
    }
    (seen, tried)
}

#[test]
fn the_number_of_states_is_known() {
    let (seen, _) = explore();
    // A change of this number is a change of the contract as the suite reads it.
    assert_eq!(seen.len(), STATES);
}

const STATES: usize = 196;

#[test]
fn every_phase_is_reached() {
    let (seen, _) = explore();
    for phase in [
        InitPhase::Absent,
        InitPhase::Created,
        InitPhase::Running,
        InitPhase::Paused,
        InitPhase::Stopped,
        InitPhase::Deleted,
    ] {
        assert!(seen.iter().any(|state| state.init.phase == phase), "{phase:?}");
    }
    for phase in [ExecPhase::Absent, ExecPhase::Added, ExecPhase::Failed, ExecPhase::Running, ExecPhase::Stopped] {
        assert!(seen.iter().any(|state| state.execs[0].phase == phase), "{phase:?}");
    }
}

#[test]
fn every_call_is_accepted_somewhere_and_refused_somewhere() {
    let (_, tried) = explore();
    for call in calls() {
        let (accepted, refused) = tried.get(&call).copied().unwrap_or_default();
        assert!(accepted > 0, "{call} never succeeds");
        let always_answered = matches!(call.ask, Ask::Connect | Ask::Shutdown);
        assert!(refused > 0 || always_answered, "{call} is never refused");
    }
}

#[test]
fn every_state_permits_some_answer_to_every_call() {
    for state in explore().0 {
        let model = Model::of([state.clone()]);
        for call in calls() {
            assert!(model.permits(call).outcomes().next().is_some(), "{call} in {state:?}");
        }
    }
}

#[test]
fn execs_do_not_outlive_their_container() {
    for state in explore().0 {
        if matches!(state.init.phase, InitPhase::Absent | InitPhase::Deleted) {
            assert_eq!(state.execs[0].phase, ExecPhase::Absent, "{state:?}");
        }
    }
}

#[test]
fn an_answer_narrows_what_is_possible() {
    let running = run(&[(Ask::Create, Status::Created), (Ask::Start, Status::Running)]);
    let dying = running.after(Call::init(Ask::Kill(Signal::Kill)), &done()).unwrap();
    assert!(dying.states().count() > 1, "the exit may have been noticed or not");
    let stopped = dying.after(Call::init(Ask::Wait), &done()).unwrap();
    assert_eq!(stopped.states().count(), 1);
    assert!(stopped.after(Call::init(Ask::State), &says(Status::Running)).is_none());
}

#[test]
fn a_lost_call_may_take_effect_at_any_later_time() {
    let created = run(&[(Ask::Create, Status::Created)]);
    let lost = Answer::Lost(conformance::history::Loss::ContainerdDied);
    let unknown = created.after(Call::init(Ask::Start), &lost).unwrap();
    let seen_created = unknown.after(Call::init(Ask::State), &says(Status::Created)).unwrap();
    assert!(seen_created.after(Call::init(Ask::State), &says(Status::Running)).is_some());
}

#[test]
fn a_wait_is_not_answered_before_the_exit() {
    let running = run(&[(Ask::Create, Status::Created), (Ask::Start, Status::Running)]);
    let wait = Call::init(Ask::Wait);
    assert!(running.permits(wait).may_block());
    assert!(running.after(wait, &done()).is_none());
    assert_eq!(running.permits(wait).outcomes().collect::<Vec<_>>(), [Outcome::Blocks]);
}

fn done() -> Answer {
    Answer::Done(Box::default())
}

fn says(status: Status) -> Answer {
    Answer::Done(Box::new(Reply { status: Some(status), ..Reply::default() }))
}

/// The model after these calls about init have succeeded, each checked by the State that follows.
fn run(calls: &[(Ask, Status)]) -> Model {
    calls.iter().fold(Model::default(), |model, (ask, status)| {
        let next = model.after(Call::init(*ask), &done()).expect("the call is legal");
        next.after(Call::init(Ask::State), &says(*status)).expect("the state is right")
    })
}
