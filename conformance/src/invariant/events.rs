//! What the shim publishes, against what it answers.
#![expect(clippy::wildcard_enum_match_arm, reason = "each question is about a few of the many things that happen")]

use super::{
    Evidence,
    evidence::{Life, unknown},
    violation,
};
use crate::{
    check::Violation,
    history::{Event, Exit, Method, Moment, Target, Topic, What},
    lab::REDELIVERY,
};

/// containerd accepts every event, and they belong to its namespace.
pub(super) fn accepted(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for record in &evidence.history.records {
        match &record.what {
            What::EventRefused(reason) => {
                return violation(
                    "containerd refuses an event",
                    "an envelope and a message that containerd takes",
                    reason.clone(),
                );
            }
            What::Event(event) if event.namespace != evidence.terms.namespace => {
                return violation(
                    format!("the event {event} belongs to another namespace"),
                    evidence.terms.namespace.clone(),
                    event.namespace.clone(),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// Events name the pids that Create and Start named, and no deletion is announced that nobody asked for.
pub(super) fn agree(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for (at, event) in evidence.history.events() {
        if let Some(pids) = known_pids(evidence, &event.target)
            && event.pid != 0
            && !pids.contains(&event.pid)
        {
            return violation(
                format!("the event {event} names another process"),
                format!("one of {pids:?}, as Create and Start named"),
                event.pid.to_string(),
            );
        }
        if event.topic == Topic::Delete && event.target.is_init() && !asked_for(evidence, event, at) {
            return violation(
                format!("the event {event} announces a deletion that nobody asked for"),
                "no event, or one with the id of the exec that was deleted",
                "a deletion of the whole container",
            );
        }
    }
    Ok(())
}

/// The pids that the shim gave for `target`; `None` when an answer is missing or a call failed, so that there may be others.
fn known_pids(evidence: &Evidence<'_>, target: &Target) -> Option<Vec<u32>> {
    let births = || {
        evidence
            .exchanges
            .iter()
            .filter(|e| e.call.target == *target && matches!(e.call.method, Method::Create | Method::Start))
    };
    if births().any(|e| e.reply().is_none()) {
        return None;
    }
    let pids: Vec<u32> = births().filter_map(|e| e.reply()?.pid).collect();
    (!pids.is_empty()).then_some(pids)
}

/// Whether anybody had asked for the deletion by `at`. A Create that failed is cleaned up by the shim itself, and may be told of.
fn asked_for(evidence: &Evidence<'_>, event: &Event, at: Moment) -> bool {
    let called = evidence
        .exchanges
        .iter()
        .filter(|e| e.call.target == event.target && e.invoked <= at)
        .any(|e| e.call.method == Method::Delete || e.call.method == Method::Create && e.reply().is_none());
    // The `delete` action may have a living shim do it.
    let is_it = |what: &What| matches!(what, What::Cleaning(container) if *container == event.target.container);
    called || evidence.history.records.iter().any(|record| record.at <= at && is_it(&record.what))
}

/// Every process that ran and whose exit was told has one exit event, and everybody tells the same exit.
pub(super) fn one_exit(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for life in evidence.lives().iter().filter(|life| life.started) {
        let told = evidence.told_exits(life);
        let events = evidence.exit_events(life);
        let announced = events.iter().map(|exit| ("the exit event".to_owned(), *exit));
        let all: Vec<(String, Exit)> =
            told.iter().map(|(method, exit)| (method.to_string(), *exit)).chain(announced).collect();
        if let Some((first, rest)) = all.split_first()
            && let Some(other) = rest.iter().find(|other| other.1 != first.1)
        {
            return violation(
                format!("two exits are told of process {} of {}", life.pid, life.target),
                format!("{} as told by {}", tell(first.1), first.0),
                format!("{} as told by {}", tell(other.1), other.0),
            );
        }
        count(evidence, life, !told.is_empty())?;
    }
    Ok(())
}

/// One event; several are allowed where the shim cannot know whether the first arrived (contract EVT-22), none where the suite killed the
/// shim or kept the service away for too long.
fn count(evidence: &Evidence<'_>, life: &Life, has_exited: bool) -> Result<(), Violation> {
    let Some(shim) = evidence.shim_of(&life.target.container, life.born) else {
        return Ok(());
    };
    let end = evidence.end();
    let arrivals: Vec<Moment> = evidence
        .events_of(Topic::Exit, &life.target)
        .filter(|(_, event)| event.pid == life.pid)
        .map(|(at, _)| at)
        .collect();
    let right = match arrivals.as_slice() {
        [] => {
            let lost = evidence.was_killed(shim, end) || evidence.was_still(shim, end, end);
            !has_exited || lost || !evidence.outages_are_short()
        }
        [_] => true,
        [first, .., last] => evidence.may_repeat(shim, *first, *last),
    };
    if right {
        return Ok(());
    }
    let events = arrivals.len();
    violation(format!("process {} of {} has {events} exit events", life.pid, life.target), "one", events.to_string())
}

fn tell(exit: Exit) -> String {
    format!("status {} at {}.{:09}", exit.status, exit.at.seconds, exit.at.nanos)
}

/// The events of a life arrive in its order. After an outage they may not, for those that were told while it lasted (contract EVT-13);
/// and Delete of a task that was never started is announced before or after the exit that it causes (contract EVT-15).
pub(super) fn order(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for life in evidence.lives() {
        let events: Vec<(Moment, Topic)> = evidence
            .history
            .events()
            .filter(|(at, event)| event.target == life.target && belongs(&life, *at, event))
            .filter(|(_, event)| !is_of_nameless_exec(event))
            .map(|(at, event)| (at, event.topic))
            .collect();
        for (place, (at, topic)) in events.iter().enumerate() {
            let early = events.iter().skip(place + 1).find(|(later, after)| {
                precedes(*after, *topic, life.started) && in_order(evidence, &life, *at, *later)
            });
            if let Some((_, missed)) = early {
                return violation(
                    format!("{topic} of {} arrived before {missed}", life.target),
                    format!("{missed} < {topic}"),
                    format!("{topic} < {missed}"),
                );
            }
        }
    }
    Ok(())
}

/// An exec without an id is added under the name of init, and is none of init's business.
fn is_of_nameless_exec(event: &Event) -> bool {
    event.target.is_init() && matches!(event.topic, Topic::ExecAdded | Topic::ExecStarted)
}

/// Whether an event is of this life: by its pid, or where it has none, by time.
fn belongs(life: &Life, at: Moment, event: &Event) -> bool {
    if event.pid == 0 { at >= life.born && life.next.is_none_or(|next| at < next) } else { event.pid == life.pid }
}

/// Whether `a` must come before `b`.
fn precedes(a: Topic, b: Topic, started: bool) -> bool {
    let stage = |topic| match topic {
        Topic::Create | Topic::ExecAdded => Some(0),
        Topic::Start | Topic::ExecStarted => Some(1),
        Topic::Exit => Some(2),
        Topic::Delete => Some(3),
        Topic::Oom | Topic::Paused | Topic::Resumed | Topic::Checkpointed => None,
    };
    match (stage(a), stage(b)) {
        (Some(2), Some(3)) if !started => false,
        (Some(a), Some(b)) => a < b,
        (Some(_) | None, None) | (None, Some(_)) => false,
    }
}

/// Whether the order of two events that arrived at `first` and `second` is the shim's own: no outage lies before them, or the life began
/// after the last one.
fn in_order(evidence: &Evidence<'_>, life: &Life, first: Moment, second: Moment) -> bool {
    let outages = evidence.outages();
    let before = outages.iter().all(|outage| outage.from > first && outage.from > second);
    let after = outages.iter().all(|outage| outage.to.is_some_and(|end| end < life.born));
    before || after
}

/// How long a shim has to publish a deletion before it may be told to leave. containerd tells it at once, and containerd-shim-runc-v2
/// 2.0 and later then loses the event now and then (contract EVT-14): that race is the subject of a check, not of every history.
const DELETE_GRACE_MS: f64 = 300.0;

/// A deletion that succeeded is announced.
pub(super) fn delete_told(evidence: &Evidence<'_>) -> Result<(), Violation> {
    if !evidence.outages_are_short() {
        return Ok(());
    }
    for (target, deleted) in evidence.deleted() {
        let Some(shim) = evidence.shim_of(&target.container, deleted) else {
            continue;
        };
        let end = evidence.end();
        let (since, grace) = match evidence.last_silence(shim, deleted) {
            Some(over) => (over, REDELIVERY.as_secs_f64() * 1e3),
            None => (deleted, DELETE_GRACE_MS),
        };
        let hurried = evidence.shutdowns(shim, end).any(|s| s.invoked > deleted && s.invoked.ms_since(since) < grace);
        let brief = end.ms_since(since) < grace;
        let arrived = evidence.events_of(Topic::Delete, target).count();
        if arrived < evidence.deleted_times(target)
            && !hurried
            && !brief
            && !evidence.was_still(shim, end, end)
            && !evidence
                .exchanges
                .iter()
                .any(|e| e.call.method == Method::Delete && e.call.target == *target && unknown(e))
        {
            return violation(
                format!("the deletion of {target} was not announced"),
                format!("{} of {target}", Topic::Delete),
                "none",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fault_injector::fault::Obligation;

    use super::*;
    use crate::{
        history::{Answer, Loss, ShimFact, WallTime},
        invariant::sample::{Sample, exit, holds},
    };

    fn c() -> Target {
        Target::init("c")
    }

    fn exited() -> Sample {
        let mut sample = Sample::running();
        sample.gives_exit(Method::Wait, &c(), exit(7));
        sample
    }

    #[test]
    fn refused_events_and_foreign_namespaces_are_violations() {
        let mut sample = Sample::running();
        assert!(holds(accepted, &sample));
        "other".clone_into(&mut sample.terms.namespace);
        assert!(!holds(accepted, &sample));
        let mut sample = Sample::running();
        sample.then(What::EventRefused("no topic".to_owned()));
        assert!(!holds(accepted, &sample));
    }

    #[test]
    fn events_name_the_pids_that_calls_named() {
        let mut sample = exited();
        assert!(holds(agree, &sample));
        sample.event(Topic::Exit, &c(), 34, Some(exit(7)));
        assert!(!holds(agree, &sample));
    }

    #[test]
    fn a_pid_is_not_judged_when_an_answer_was_lost() {
        let mut sample = Sample::new();
        sample.serves("c", 9).gives_pid(Method::Create, &c(), 33);
        sample.call(Method::Start, &c(), Answer::Lost(Loss::ContainerdDied));
        sample.event(Topic::Start, &c(), 34, None);
        assert!(holds(agree, &sample));
    }

    #[test]
    fn the_deletion_of_an_exec_is_not_that_of_its_container() {
        let exec = Target::exec("c", "e");
        let mut sample = Sample::running();
        sample.gives_exit(Method::Delete, &exec, exit(0));
        sample.event(Topic::Delete, &exec, 40, Some(exit(0)));
        assert!(holds(agree, &sample));
        sample.event(Topic::Delete, &c(), 33, Some(exit(0)));
        assert!(!holds(agree, &sample));
    }

    #[test]
    fn an_exit_is_announced_once_with_the_exit_that_calls_tell() {
        assert!(!holds(one_exit, &exited()), "none");
        let mut sample = exited();
        sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
        assert!(holds(one_exit, &sample));
        sample.gives_exit(Method::State, &c(), exit(7));
        assert!(holds(one_exit, &sample));
        sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
        assert!(!holds(one_exit, &sample), "two");
    }

    #[test]
    fn exits_that_differ_are_never_right() {
        let late = Exit { at: WallTime { seconds: 1001, nanos: 1 }, ..exit(7) };
        for other in [exit(8), late] {
            let mut sample = exited();
            sample.event(Topic::Exit, &c(), 33, Some(other));
            assert!(!holds(one_exit, &sample));
            let mut sample = exited();
            sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
            sample.gives_exit(Method::Delete, &c(), other);
            assert!(!holds(one_exit, &sample));
        }
    }

    #[test]
    fn an_outage_excuses_no_second_event_but_a_long_one_a_missing_one() {
        let mut sample = exited();
        sample.then(What::EventsAway).later(100).then(What::EventsBack);
        assert!(!holds(one_exit, &sample), "a short one loses nothing");
        sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
        assert!(holds(one_exit, &sample));
        sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
        assert!(!holds(one_exit, &sample), "the first was taken when the service was back");
        let mut sample = exited();
        sample.then(What::EventsAway).later(6000).then(What::EventsBack);
        assert!(holds(one_exit, &sample));
    }

    #[test]
    fn a_fault_suspends_arrival_and_uniqueness_apart() {
        let twice = |excuses: &[Obligation]| {
            let mut sample = Sample::running();
            sample.strikes(1, excuses).gives_exit(Method::Wait, &c(), exit(7)).heals(1);
            sample.event(Topic::Exit, &c(), 33, Some(exit(7))).event(Topic::Exit, &c(), 33, Some(exit(7)));
            sample
        };
        assert!(!holds(one_exit, &twice(&[Obligation::EventsArrive])), "late is not twice");
        assert!(holds(one_exit, &twice(&[Obligation::EventsArrive, Obligation::EventsArriveOnce])));
        assert!(!holds(one_exit, &twice(&[Obligation::AnswersInTime])), "an excuse for something else");

        let missing = |excuses: &[Obligation], lasts| {
            let mut sample = exited();
            sample.strikes(1, excuses).later(lasts).heals(1);
            sample
        };
        assert!(!holds(one_exit, &missing(&[Obligation::EventsArrive], 100)), "a short fault loses nothing");
        assert!(holds(one_exit, &missing(&[Obligation::EventsArrive], 6000)));
        assert!(!holds(one_exit, &missing(&[Obligation::CallsSucceed], 6000)));
    }

    #[test]
    fn an_event_that_was_under_way_when_the_service_went_may_come_twice() {
        let mut sample = exited();
        sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
        sample.then(What::EventsAway).then(What::EventsBack);
        sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
        assert!(holds(one_exit, &sample));
        let mut sample = exited();
        sample.event(Topic::Exit, &c(), 33, Some(exit(7))).later(2000);
        sample.then(What::EventsAway).then(What::EventsBack);
        sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
        assert!(!holds(one_exit, &sample), "it had been acknowledged long before");
    }

    #[test]
    fn a_stop_excuses_no_second_event_and_no_missing_one() {
        let mut sample = exited();
        sample.shim("c", 9, ShimFact::Signalled(libc::SIGSTOP));
        assert!(holds(one_exit, &sample), "it stands still");
        sample.later(100).shim("c", 9, ShimFact::Signalled(libc::SIGCONT));
        sample.then(What::Note("later".to_owned()));
        assert!(!holds(one_exit, &sample), "it goes on");
        sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
        assert!(holds(one_exit, &sample));
        sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
        assert!(!holds(one_exit, &sample));
    }

    #[test]
    fn a_killed_shim_owes_no_events() {
        let mut sample = exited();
        sample.shim("c", 9, ShimFact::Signalled(libc::SIGKILL));
        assert!(holds(one_exit, &sample));
    }

    #[test]
    fn the_same_id_may_live_twice() {
        let mut sample = exited();
        sample.event(Topic::Exit, &c(), 33, Some(exit(7)));
        sample.gives_exit(Method::Delete, &c(), exit(7));
        sample.event(Topic::Delete, &c(), 33, Some(exit(7)));
        sample.gives_pid(Method::Create, &c(), 50);
        sample.event(Topic::Create, &c(), 50, None);
        sample.gives_pid(Method::Start, &c(), 50);
        sample.event(Topic::Start, &c(), 50, None);
        sample.event(Topic::Exit, &c(), 50, Some(exit(9)));
        sample.gives_exit(Method::Wait, &c(), exit(9));
        assert!(holds(one_exit, &sample));
        assert!(holds(order, &sample));
        assert!(holds(agree, &sample));
    }

    #[test]
    fn events_come_in_the_order_of_a_life() {
        let mut sample = Sample::new();
        sample.serves("c", 9).gives_pid(Method::Create, &c(), 33);
        sample.gives_pid(Method::Start, &c(), 33);
        sample.event(Topic::Create, &c(), 33, None);
        sample.event(Topic::Exit, &c(), 33, Some(exit(0)));
        assert!(holds(order, &sample));
        sample.event(Topic::Start, &c(), 33, None);
        assert!(!holds(order, &sample));
    }

    #[test]
    fn the_order_over_an_outage_is_not_judged() {
        let mut sample = Sample::running();
        sample.then(What::EventsAway).then(What::EventsBack);
        sample.event(Topic::Delete, &c(), 33, Some(exit(0)));
        sample.event(Topic::Exit, &c(), 33, Some(exit(0)));
        assert!(holds(order, &sample));
    }

    #[test]
    fn a_task_that_never_started_may_be_deleted_before_it_exits() {
        let mut sample = Sample::new();
        sample.serves("c", 9).gives_pid(Method::Create, &c(), 33);
        sample.event(Topic::Create, &c(), 33, None);
        sample.event(Topic::Delete, &c(), 33, Some(exit(137)));
        sample.event(Topic::Exit, &c(), 33, Some(exit(137)));
        assert!(holds(order, &sample));
        let mut started = Sample::running();
        started.event(Topic::Delete, &c(), 33, Some(exit(137)));
        started.event(Topic::Exit, &c(), 33, Some(exit(137)));
        assert!(!holds(order, &started));
    }

    #[test]
    fn execs_have_an_order_of_their_own() {
        let exec = Target::exec("c", "e");
        let mut sample = Sample::running();
        sample.done(Method::Exec, &exec);
        sample.gives_pid(Method::Start, &exec, 40);
        sample.event(Topic::ExecStarted, &exec, 40, None);
        assert!(holds(order, &sample));
        sample.event(Topic::ExecAdded, &exec, 0, None);
        assert!(!holds(order, &sample));
    }

    #[test]
    fn a_deletion_is_announced_unless_the_shim_was_hurried() {
        let deleted = || {
            let mut sample = exited();
            sample.gives_exit(Method::Delete, &c(), exit(7));
            sample
        };
        let mut sample = deleted();
        sample.later(300).done(Method::Shutdown, &c());
        assert!(!holds(delete_told, &sample));
        let mut sample = deleted();
        sample.done(Method::Shutdown, &c()).later(300).then(What::Note("end".to_owned()));
        assert!(holds(delete_told, &sample), "hurried");
        let mut sample = deleted();
        sample.event(Topic::Delete, &c(), 33, Some(exit(7)));
        sample.later(300).done(Method::Shutdown, &c());
        assert!(holds(delete_told, &sample));
    }
}
