//! Every state with every call, a row each; then the orders in which things are told.

use std::time::{Duration, UNIX_EPOCH};

use rstest::rstest;

use super::*;

const PID: u32 = 42;
const EXEC_PID: u32 = 43;

fn exit(status: u32) -> Exit {
    Exit { status, at: UNIX_EPOCH + Duration::from_secs(u64::from(status)) }
}

fn exec() -> Who {
    Who::Exec("e".to_owned())
}

/// A container whose init has been through these.
fn task(outcomes: &[Outcome]) -> Task {
    let mut task = Task::new(false);
    for outcome in outcomes {
        task.settle(&Who::Init, *outcome);
    }
    task
}

fn created() -> Task {
    task(&[Outcome::Created(PID)])
}

fn starting() -> Task {
    let mut task = created();
    task.request(&Who::Init, Request::Start).unwrap();
    task
}

fn running() -> Task {
    let mut task = starting();
    task.settle(&Who::Init, Outcome::Started(PID));
    task
}

fn pausing() -> Task {
    let mut task = running();
    task.request(&Who::Init, Request::Pause).unwrap();
    task
}

fn paused() -> Task {
    let mut task = pausing();
    task.settle(&Who::Init, Outcome::Paused(true));
    task
}

fn resuming() -> Task {
    let mut task = paused();
    task.request(&Who::Init, Request::Resume).unwrap();
    task
}

/// Its exec has not followed yet.
fn stopping() -> Task {
    let mut task = with_running_exec();
    task.settle(&Who::Init, Outcome::Exited(exit(1)));
    task
}

fn stopped() -> Task {
    let mut task = running();
    task.settle(&Who::Init, Outcome::Exited(exit(1)));
    task
}

fn discarding() -> Task {
    let mut task = created();
    task.request(&Who::Init, Request::Delete).unwrap();
    task
}

fn deleting() -> Task {
    let mut task = stopped();
    task.request(&Who::Init, Request::Delete).unwrap();
    task
}

fn with_running_exec() -> Task {
    let mut task = running();
    task.add_exec("e").unwrap();
    task.request(&exec(), Request::Start).unwrap();
    task.settle(&exec(), Outcome::Started(EXEC_PID));
    task
}

/// One letter for how a request goes on or is refused, so that a table fits the page.
fn letter(result: Result<Next, Refusal>) -> char {
    match result {
        Ok(Next::Answer) => 'a',
        Ok(Next::Run) => 'r',
        Ok(Next::Ended(_)) => 'e',
        Ok(Next::Park) => 'p',
        Ok(Next::KillFirst(_)) => 'k',
        Ok(Next::Forgotten) => 'f',
        Err(Refusal::NotFound(_)) => 'N',
        Err(Refusal::Precondition(_)) => 'P',
        Err(Refusal::Exists) => 'E',
    }
}

/// The columns of the tables below.
const REQUESTS: [Request; 15] = [
    Request::State,
    Request::Start,
    Request::Delete,
    Request::Kill { all: false },
    Request::Kill { all: true },
    Request::Pause,
    Request::Resume,
    Request::Checkpoint,
    Request::Exec,
    Request::ResizePty,
    Request::CloseIo,
    Request::Update,
    Request::Wait,
    Request::Stats,
    Request::Pids,
];

fn row(make: fn() -> Task, who: &Who) -> String {
    let ask = |request| letter(make().request(who, request));
    REQUESTS.into_iter().map(ask).collect()
}

#[rstest]
//                                       state, start, delete, kill, all, pause, resume, checkpoint, exec, ...
#[case::creating(|| Task::new(false),   "NNpNNNNNNNNNNNN")]
#[case::created(created, "rrkrrPPPrrrrprr")]
#[case::starting(starting, "rPPrrPPPrrrrprr")]
#[case::running(running, "rPPrrrPrrrrrprr")]
#[case::pausing(pausing, "rPPrrPPPPrrrprr")]
#[case::paused(paused, "rPPrrPrrPrrrprr")]
#[case::resuming(resuming, "rPPrrPPPPrrrprr")]
#[case::stopping(stopping, "rPPNaPPPPrrPprr")]
#[case::stopped(stopped, "rPrNaPPPPrrPerr")]
#[case::discarding(discarding, "rPpNaPPPPrrPprr")]
#[case::deleting(deleting, "rPpNaPPPPrrPerr")]
fn init_in_every_state(#[case] make: fn() -> Task, #[case] expected: &str) {
    assert_eq!(row(make, &Who::Init), expected);
}

fn exec_created() -> Task {
    let mut task = running();
    task.add_exec("e").unwrap();
    task
}

fn exec_starting() -> Task {
    let mut task = exec_created();
    task.request(&exec(), Request::Start).unwrap();
    task
}

fn exec_failed() -> Task {
    let mut task = exec_starting();
    task.settle(&exec(), Outcome::StartFailed);
    task
}

fn exec_stopped() -> Task {
    let mut task = with_running_exec();
    task.settle(&exec(), Outcome::Exited(exit(2)));
    task
}

fn exec_deleting() -> Task {
    let mut task = exec_stopped();
    task.request(&exec(), Request::Delete).unwrap();
    task
}

fn exec_paused() -> Task {
    let mut task = paused();
    task.execs.insert("e".to_owned(), Exec { state: ExecState::Created, pid: 0 });
    task
}

fn exec_too_late() -> Task {
    let mut task = exec_created();
    task.settle(&Who::Init, Outcome::Exited(exit(1)));
    task
}

#[rstest]
//                                              state, start, delete, kill, all, pause, ..., wait
#[case::unknown(running, "NNNNNNNNNNNNNNN")]
#[case::created(exec_created, "rrfPPNNNNrrNpNN")]
#[case::starting(exec_starting, "rPPPPNNNNrrNpNN")]
#[case::running(with_running_exec, "rPPrrNNNNrrNpNN")]
#[case::failed(exec_failed, "rPfPPNNNNrrNPNN")]
#[case::stopped(exec_stopped, "rPrNNNNNNrrNeNN")]
#[case::deleting(exec_deleting, "rPpNNNNNNrrNeNN")]
#[case::created_in_a_paused_one(exec_paused, "rPfPPNNNNrrNpNN")]
#[case::created_in_a_dead_one(exec_too_late, "rPfPPNNNNrrNPNN")]
fn exec_in_every_state(#[case] make: fn() -> Task, #[case] expected: &str) {
    assert_eq!(row(make, &exec()), expected);
}

#[rstest]
#[case(created, Status::Created, 42, None)]
#[case(starting, Status::Created, 42, None)]
#[case(running, Status::Running, 42, None)]
#[case(pausing, Status::Pausing, 42, None)]
#[case(paused, Status::Paused, 42, None)]
#[case(resuming, Status::Paused, 42, None)]
#[case(stopping, Status::Running, 42, None)]
#[case(stopped, Status::Stopped, 42, Some(1))]
#[case(discarding, Status::Created, 42, None)]
#[case(deleting, Status::Stopped, 42, Some(1))]
fn what_state_shows(
    #[case] make: fn() -> Task,
    #[case] status: Status,
    #[case] pid: u32,
    #[case] status_code: Option<u32>,
) {
    let view = make().view(&Who::Init).unwrap();
    assert_eq!((view.status, view.pid, view.exit), (status, pid, status_code.map(exit)));
}

fn told_exit(who: Who, pid: u32, status: u32) -> Effect {
    Effect::Publish(Notice::Exit { who, pid, exit: exit(status) })
}

#[test]
fn an_exit_before_start_returned_is_told_after_the_start() {
    let mut task = starting();
    assert_eq!(task.settle(&Who::Init, Outcome::Exited(exit(3))), [Effect::AwaitStart]);
    assert_eq!(task.view(&Who::Init).unwrap().exit, None);
    assert_eq!(
        task.settle(&Who::Init, Outcome::Started(PID)),
        [
            Effect::Publish(Notice::Start { pid: PID }),
            told_exit(Who::Init, PID, 3),
            Effect::Release(Who::Init, Ok(exit(3))),
        ]
    );
}

#[test]
fn an_exit_during_a_start_that_fails_is_told_without_a_start() {
    let mut task = starting();
    task.settle(&Who::Init, Outcome::Exited(exit(3)));
    let told = task.settle(&Who::Init, Outcome::StartFailed);
    assert_eq!(told, [told_exit(Who::Init, PID, 3), Effect::Release(Who::Init, Ok(exit(3)))]);
}

#[test]
fn a_start_that_fails_can_be_tried_again() {
    let mut task = starting();
    assert!(task.settle(&Who::Init, Outcome::StartFailed).is_empty());
    assert_eq!(task.request(&Who::Init, Request::Start), Ok(Next::Run));
}

#[test]
fn execs_are_told_before_init() {
    let mut task = with_running_exec();
    let sweep = Effect::Sweep { execs: vec![EXEC_PID], everything: false };
    assert_eq!(task.settle(&Who::Init, Outcome::Exited(exit(1))), [sweep, Effect::AwaitExecs]);
    assert_eq!(
        task.settle(&exec(), Outcome::Exited(exit(137))),
        [
            told_exit(exec(), EXEC_PID, 137),
            Effect::Release(exec(), Ok(exit(137))),
            told_exit(Who::Init, PID, 1),
            Effect::Release(Who::Init, Ok(exit(1))),
        ]
    );
}

#[test]
fn an_exec_that_cannot_be_killed_holds_init_back_for_a_moment_only() {
    let mut task = stopping();
    let told = task.settle(&Who::Init, Outcome::GraceOver);
    assert_eq!(told, [told_exit(Who::Init, PID, 1), Effect::Release(Who::Init, Ok(exit(1)))]);
    assert!(task.settle(&Who::Init, Outcome::GraceOver).is_empty());
}

#[test]
fn an_exec_that_starts_while_init_dies_is_killed() {
    let mut task = exec_starting();
    task.settle(&Who::Init, Outcome::Exited(exit(1)));
    assert_eq!(
        task.settle(&exec(), Outcome::Started(EXEC_PID)),
        [
            Effect::Publish(Notice::ExecStarted { exec: "e".to_owned(), pid: EXEC_PID }),
            Effect::Sweep { execs: vec![EXEC_PID], everything: false },
        ]
    );
}

#[test]
fn a_shared_pid_namespace_is_swept_first() {
    let mut task = Task::new(true);
    task.settle(&Who::Init, Outcome::Created(PID));
    task.request(&Who::Init, Request::Start).unwrap();
    task.settle(&Who::Init, Outcome::Started(PID));
    let sweep = Effect::Sweep { execs: vec![], everything: true };
    assert_eq!(task.settle(&Who::Init, Outcome::Exited(exit(1))), [sweep, Effect::AwaitExecs]);
    let told = task.settle(&Who::Init, Outcome::Swept);
    assert_eq!(told, [told_exit(Who::Init, PID, 1), Effect::Release(Who::Init, Ok(exit(1)))]);
}

#[test]
fn waiters_of_an_exec_that_can_never_start_are_let_go() {
    let mut task = exec_created();
    let told = task.settle(&Who::Init, Outcome::Exited(exit(1)));
    assert_eq!(told[0], Effect::Release(exec(), Err(NEVER_STARTED)));
    assert_eq!(told.len(), 3);
}

#[test]
fn a_discarded_container_exits_before_it_is_deleted() {
    let mut task = discarding();
    assert_eq!(
        task.settle(&Who::Init, Outcome::Exited(exit(137))),
        [told_exit(Who::Init, PID, 137), Effect::Release(Who::Init, Ok(exit(137))), Effect::Remove(Who::Init),]
    );
    let deleted = Notice::Delete { who: Who::Init, pid: PID, exit: exit(137) };
    assert_eq!(task.settle(&Who::Init, Outcome::Deleted(true)), [Effect::Publish(deleted)]);
}

#[test]
fn a_removal_that_fails_can_be_tried_again() {
    let mut task = deleting();
    assert!(task.settle(&Who::Init, Outcome::Deleted(false)).is_empty());
    assert_eq!(task.request(&Who::Init, Request::Delete), Ok(Next::Run));
}

#[test]
fn an_exit_while_pausing_is_told_and_the_pause_is_not() {
    let mut task = pausing();
    task.settle(&Who::Init, Outcome::Exited(exit(137)));
    assert!(task.settle(&Who::Init, Outcome::Paused(true)).is_empty());
    assert_eq!(task.view(&Who::Init).unwrap().status, Status::Stopped);
}

#[test]
fn one_exit_is_told_once() {
    let mut task = stopped();
    assert!(task.settle(&Who::Init, Outcome::Exited(exit(9))).is_empty());
    assert_eq!(task.view(&Who::Init).unwrap().exit, Some(exit(1)));
}

#[test]
fn an_exec_id_is_taken_until_it_is_deleted() {
    let mut task = exec_stopped();
    assert_eq!(task.add_exec("e"), Err(Refusal::Exists));
    task.request(&exec(), Request::Delete).unwrap();
    let deleted = Notice::Delete { who: exec(), pid: EXEC_PID, exit: exit(2) };
    assert_eq!(task.settle(&exec(), Outcome::Deleted(true)), [Effect::Publish(deleted)]);
    assert!(task.add_exec("e").is_ok());
}
