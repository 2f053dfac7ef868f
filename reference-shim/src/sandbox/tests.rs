//! Every state with every call, a row each; then how a sandbox ends.

use std::time::UNIX_EPOCH;

use rstest::rstest;

use super::*;

const PID: u32 = 42;
const EXIT: Exit = Exit { status: 137, at: UNIX_EPOCH };

fn created() -> Sandbox {
    Sandbox::new()
}

fn ready() -> Sandbox {
    let mut sandbox = created();
    sandbox.started(PID);
    sandbox
}

/// Asked to end while members live.
fn closing() -> Sandbox {
    let mut sandbox = ready();
    sandbox.request(Request::Stop).unwrap();
    sandbox
}

fn ending() -> Sandbox {
    let mut sandbox = closing();
    sandbox.advance(false, UNIX_EPOCH);
    sandbox
}

fn stopped() -> Sandbox {
    let mut sandbox = ending();
    sandbox.exited(EXIT);
    sandbox
}

/// Its process ended and nobody had wanted it to.
fn died() -> Sandbox {
    let mut sandbox = ready();
    sandbox.exited(EXIT);
    sandbox
}

/// One letter for how a request goes on or is refused, so that a table fits the page.
fn letter(result: Result<Next, Refusal>) -> char {
    match result {
        Ok(Next::Run) => 'r',
        Ok(Next::Park) => 'p',
        Ok(Next::Ended(_)) => 'e',
        Err(Refusal::Precondition(_)) => 'P',
        Err(Refusal::NotFound(_)) => 'N',
        Err(Refusal::Exists) => 'E',
    }
}

/// The columns of the table below.
const REQUESTS: [Request; 6] =
    [Request::Start, Request::Join, Request::Wait, Request::Ping, Request::Look, Request::Stop];

#[rstest]
//                           start, join, wait, ping, look, stop
#[case::created(created, "rPpPrp")]
#[case::ready(ready, "Prprrp")]
#[case::closing(closing, "PPpPrp")]
#[case::ending(ending, "PPpPrp")]
#[case::stopped(stopped, "PPePrp")]
#[case::died(died, "PPePrp")]
fn every_state(#[case] make: fn() -> Sandbox, #[case] expected: &str) {
    let row: String = REQUESTS.into_iter().map(|request| letter(make().request(request))).collect();
    assert_eq!(row, expected);
}

#[rstest]
#[case::created(created, 0, None)]
#[case::ready(ready, PID, None)]
#[case::ending(ending, PID, None)]
#[case::stopped(stopped, PID, Some(EXIT))]
fn what_is_seen(#[case] make: fn() -> Sandbox, #[case] pid: u32, #[case] exit: Option<Exit>) {
    assert_eq!((make().pid(), make().exit()), (pid, exit));
}

#[test]
fn it_ends_after_its_members() {
    let mut sandbox = closing();
    assert_eq!(sandbox.advance(true, UNIX_EPOCH), Step::Nothing);
    assert_eq!(sandbox.advance(false, UNIX_EPOCH), Step::Kill(PID));
    assert_eq!(sandbox.advance(false, UNIX_EPOCH), Step::Nothing, "its end is awaited");
    sandbox.exited(EXIT);
    assert_eq!(sandbox.advance(false, UNIX_EPOCH), Step::Over(EXIT));
}

#[test]
fn nobody_is_killed_in_one_that_is_not_to_end() {
    assert_eq!(ready().advance(false, UNIX_EPOCH), Step::Nothing);
    assert_eq!(died().advance(false, UNIX_EPOCH), Step::Nothing);
}

#[test]
fn one_that_was_never_started_ends_at_once() {
    let mut sandbox = created();
    sandbox.request(Request::Stop).unwrap();
    assert_eq!(sandbox.advance(false, UNIX_EPOCH), Step::Over(Exit { status: 0, at: UNIX_EPOCH }));
    assert_eq!(sandbox.pid(), 0);
}

#[test]
fn members_of_one_that_died_are_still_ended_by_a_stop() {
    let mut sandbox = died();
    sandbox.request(Request::Stop).unwrap();
    assert_eq!(sandbox.advance(true, UNIX_EPOCH), Step::Nothing);
    assert_eq!(sandbox.advance(false, UNIX_EPOCH), Step::Over(EXIT));
}
