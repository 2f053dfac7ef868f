//! The judgement alone, frame by frame, with a vector for a socket.

use rstest::rstest;

use super::*;
use crate::fault::Corruption;

fn request(stream: u32, method: &str) -> Frame {
    Frame::unary(stream, "a.Service", method, b"a message")
}

fn response(stream: u32) -> Frame {
    Frame::response(stream, b"an answer".to_vec())
}

fn fault(direction: Direction, when: Trigger, tamper: Tamper) -> Fault {
    Fault {
        id: "test/any",
        summary: "",
        seam: Seam::TaskSocket,
        when,
        does: Action::Frame(direction, tamper),
        excuses: &[],
    }
}

/// Which of the streams 1, 3, 5, 7 are struck when Create, Start, Create and Wait are called and answered in reverse order.
fn struck(direction: Direction, when: Trigger) -> Vec<u32> {
    let gate = Gate::new(Seam::TaskSocket);
    let _guard = gate.inject(&fault(direction, when, Tamper::Hold)).unwrap();
    let conversation = gate.conversation();
    let calls = [(1, "Create"), (3, "Start"), (5, "Create"), (7, "Wait")];
    let mut struck = Vec::new();
    for (stream, method) in calls {
        if conversation.judge(Direction::Requests, &request(stream, method)).is_some() {
            struck.push(stream);
        }
    }
    for (stream, _) in calls.into_iter().rev() {
        if conversation.judge(Direction::Answers, &response(stream)).is_some() {
            struck.push(stream);
        }
    }
    struck
}

#[rstest]
#[case::now(Direction::Requests, Trigger::Now, &[1, 3, 5, 7])]
#[case::nth(Direction::Requests, Trigger::Nth(2), &[3])]
#[case::nth_answer(Direction::Answers, Trigger::Nth(2), &[5])]
#[case::before(Direction::Requests, Trigger::Before("Create"), &[1, 5])]
#[case::after(Direction::Answers, Trigger::After("Create"), &[5, 1])]
#[case::never(Direction::Requests, Trigger::Before("Delete"), &[])]
fn triggers(#[case] direction: Direction, #[case] when: Trigger, #[case] streams: &[u32]) {
    assert_eq!(struck(direction, when), streams);
}

#[test]
fn occasions_are_counted_over_all_conversations() {
    let gate = Gate::new(Seam::TaskSocket);
    let _guard = gate.inject(&fault(Direction::Requests, Trigger::Nth(2), Tamper::Hold)).unwrap();
    assert!(gate.conversation().judge(Direction::Requests, &request(1, "State")).is_none());
    assert!(gate.conversation().judge(Direction::Requests, &request(1, "State")).is_some());
    assert!(gate.conversation().judge(Direction::Requests, &request(1, "State")).is_none());
}

#[tokio::test]
async fn the_first_installed_rule_gets_the_frame_and_the_others_count_it() {
    let gate = Gate::new(Seam::TaskSocket);
    let split = gate.inject(&fault(Direction::Requests, Trigger::Nth(1), Tamper::Split)).unwrap();
    let second = gate.inject(&fault(Direction::Requests, Trigger::Nth(2), Tamper::Duplicate)).unwrap();
    let conversation = gate.conversation();
    let mut sent = Vec::new();
    for stream in [1, 3, 5] {
        let frame = request(stream, "State");
        match conversation.judge(Direction::Requests, &frame) {
            Some(strike) => assert!(matches!(strike.apply(frame, &mut sent).await.unwrap(), Aftermath::GoOn)),
            None => sent.extend(frame.to_bytes()),
        }
    }
    let expected: Vec<u8> = [1, 3, 3, 5].into_iter().flat_map(|stream| request(stream, "State").to_bytes()).collect();
    assert_eq!(sent, expected);
    assert_eq!((split.bites(), second.bites()), (1, 1));
}

#[tokio::test]
async fn a_closure_may_rewrite_what_no_fault_foresees() {
    let gate = Gate::new(Seam::TaskSocket);
    let guard = gate.rewrite("test/rewrite", Direction::Answers, Trigger::After("State"), |frame| {
        frame.payload.clear();
        frame.header.length = 0;
    });
    let conversation = gate.conversation();
    assert!(conversation.judge(Direction::Requests, &request(1, "State")).is_none());
    let strike = conversation.judge(Direction::Answers, &response(1)).unwrap();
    let mut sent = Vec::new();
    assert!(matches!(strike.apply(response(1), &mut sent).await.unwrap(), Aftermath::GoOn));
    assert_eq!(sent, Frame::response(1, Vec::new()).to_bytes());
    assert_eq!(guard.heal(), 1);
}

#[test]
fn a_healed_fault_strikes_no_more() {
    let gate = Gate::new(Seam::TaskSocket);
    let guard = gate.inject(&fault(Direction::Requests, Trigger::Now, Tamper::Split)).unwrap();
    let conversation = gate.conversation();
    assert!(conversation.judge(Direction::Requests, &request(1, "State")).is_some());
    drop(guard);
    assert!(conversation.judge(Direction::Requests, &request(3, "State")).is_none());
}

#[tokio::test]
async fn a_gate_that_is_gone_bites_no_more() {
    let gate = Gate::new(Seam::TaskSocket);
    let guard = gate.inject(&fault(Direction::Requests, Trigger::Now, Tamper::Split)).unwrap();
    drop(gate);
    let far = tokio::time::Instant::now() + std::time::Duration::from_secs(3600);
    assert!(guard.bitten(1, far).await.is_err());
}

#[rstest]
#[case::other_seam(Fault { seam: Seam::Events, ..fault(Direction::Requests, Trigger::Now, Tamper::Hold) })]
#[case::answer_before(fault(Direction::Answers, Trigger::Before("State"), Tamper::Hold))]
#[case::request_after(fault(Direction::Requests, Trigger::After("State"), Tamper::Corrupt(Corruption::Payload)))]
#[case::zeroth(fault(Direction::Requests, Trigger::Nth(0), Tamper::Hold))]
#[case::refused_task(Fault { does: Action::Refuse(Leftover::Path), ..fault(Direction::Requests, Trigger::Now, Tamper::Hold) })]
fn what_makes_no_sense_is_refused(#[case] fault: Fault) {
    assert!(Gate::new(Seam::TaskSocket).inject(&fault).is_err());
}
