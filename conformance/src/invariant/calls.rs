//! What the shim answers.
#![expect(clippy::wildcard_enum_match_arm, reason = "each question is about a few of the many things that happen")]

use fault_injector::fault::Obligation;

use super::{Evidence, violation};
use crate::{
    check::Violation,
    history::{Answer, Code, Exchange, Loss, Method, Moment, What},
};

/// A shim that runs answers. Wait may wait; Shutdown may be answered by the end of the connection (contract LIFE-04).
pub(super) fn answers(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for exchange in &evidence.exchanges {
        let Some((at, Answer::Lost(loss))) = exchange.returned else {
            continue;
        };
        let (container, invoked) = (&exchange.call.target.container, exchange.invoked);
        let Some(shim) = evidence.shim_of(container, invoked) else {
            continue;
        };
        let excused = match loss {
            Loss::ContainerdDied => true,
            Loss::Deadline => {
                matches!(exchange.call.method, Method::Wait | Method::WaitSandbox)
                    || evidence.excused(Obligation::AnswersInTime, shim, invoked, at)
                    || evidence.was_still(shim, invoked, at)
            }
            Loss::Disconnected => {
                exchange.call.method == Method::Shutdown
                    || hung_up(evidence, container, invoked, at)
                    || evidence.connection_is_excused(container, invoked, at)
                    || evidence.was_killed(shim, at)
                    || evidence.is_cleaned(shim, at)
            }
        };
        let leaving = evidence.shutdowns(shim, at).next().is_some();
        if !excused && !leaving {
            let actual = exchange.returned.map_or_else(String::new, |(_, answer)| answer.to_string());
            return violation(
                format!("{} was not answered", exchange.call),
                "an answer of a shim that nobody had killed, stopped or told to leave",
                actual,
            );
        }
    }
    Ok(())
}

/// Whether the suite itself ended the connection of `container` in this time.
fn hung_up(evidence: &Evidence<'_>, container: &str, from: Moment, to: Moment) -> bool {
    evidence.history.records.iter().any(|record| {
        let within = (from..=to).contains(&record.at);
        within && matches!(&record.what, What::Redialled(c) if c == container)
    })
}

/// The codes that containerd takes for success are right wherever they are owed.
pub(super) fn codes(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for exchange in &evidence.exchanges {
        let Some((_, Answer::Refused { code, message })) = exchange.returned else {
            continue;
        };
        let owed: &[Code] = match exchange.call.method {
            Method::Kill | Method::Delete | Method::Pids | Method::State if is_deleted(evidence, exchange) => {
                &[Code::NotFound]
            }
            Method::Kill if has_exited(evidence, exchange) => &[Code::NotFound, Code::FailedPrecondition],
            _ => continue,
        };
        if !owed.contains(code) {
            let expected = owed.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            return violation(
                format!("{} was refused with the wrong code", exchange.call),
                expected,
                format!("{code}: {message}"),
            );
        }
    }
    Ok(())
}

/// Whether the call's container was deleted before the call, and nobody created it again.
fn is_deleted(evidence: &Evidence<'_>, call: &Exchange<'_>) -> bool {
    let container = &call.call.target.container;
    let mut last =
        evidence.exchanges.iter().filter(|e| e.call.target.container == *container && e.call.target.is_init()).filter(
            |e| match e.call.method {
                Method::Create => call.returned.is_some_and(|(at, _)| e.invoked < at),
                Method::Delete => e.reply().is_some() && e.returned.is_some_and(|(at, _)| at < call.invoked),
                _ => false,
            },
        );
    last.next_back().is_some_and(|e| e.call.method == Method::Delete)
}

/// Whether Wait had told of the target's exit before the call, with no new life of it since.
fn has_exited(evidence: &Evidence<'_>, call: &Exchange<'_>) -> bool {
    let mut told = evidence.exchanges.iter().filter(|e| e.call.target == call.call.target).filter(|e| {
        let before = e.reply().is_some() && e.returned.is_some_and(|(at, _)| at < call.invoked);
        match e.call.method {
            Method::Wait => before,
            Method::Create | Method::Exec => true,
            _ => false,
        }
    });
    told.next_back().is_some_and(|e| e.call.method == Method::Wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{Ran, ShimFact, Target},
        invariant::sample::{Sample, exit, holds},
    };

    fn c() -> Target {
        Target::init("c")
    }

    #[test]
    fn a_lost_answer_is_the_fault_of_a_shim_that_nobody_disturbed() {
        let mut sample = Sample::running();
        sample.call(Method::State, &c(), Answer::Lost(Loss::ContainerdDied));
        assert!(holds(answers, &sample));
        sample.call(Method::State, &c(), Answer::Lost(Loss::Deadline));
        assert!(!holds(answers, &sample));
        let mut sample = Sample::running();
        sample.call(Method::Pause, &c(), Answer::Lost(Loss::Disconnected));
        assert!(!holds(answers, &sample));
    }

    #[test]
    fn a_stop_excuses_while_it_lasts() {
        let mut sample = Sample::running();
        sample.shim("c", 9, ShimFact::Signalled(libc::SIGSTOP));
        sample.call(Method::State, &c(), Answer::Lost(Loss::Deadline));
        sample.shim("c", 9, ShimFact::Signalled(libc::SIGCONT));
        assert!(holds(answers, &sample));
        sample.call(Method::State, &c(), Answer::Lost(Loss::Deadline));
        assert!(!holds(answers, &sample));
    }

    #[test]
    fn a_fault_suspends_the_duties_that_it_names_and_no_others() {
        let mut sample = Sample::running();
        sample.strikes(1, &[Obligation::AnswersInTime]);
        let late = sample.invoke(Method::State, &c());
        sample.heals(1).answer(late, Answer::Lost(Loss::Deadline));
        assert!(holds(answers, &sample), "sent while it lasted");
        sample.call(Method::State, &c(), Answer::Lost(Loss::Deadline));
        assert!(!holds(answers, &sample), "sent behind it");

        for (excuses, loss) in
            [(Obligation::EventsArrive, Loss::Deadline), (Obligation::AnswersInTime, Loss::Disconnected)]
        {
            let mut sample = Sample::running();
            sample.strikes(1, &[excuses]).call(Method::State, &c(), Answer::Lost(loss));
            assert!(!holds(answers, &sample), "{excuses} excuses {loss:?}");
        }
    }

    #[test]
    fn a_connection_that_a_fault_broke_is_broken_until_it_is_made_anew() {
        let mut sample = Sample::running();
        sample.strikes(1, &[Obligation::ConnectionLasts]).heals(1);
        sample.call(Method::State, &c(), Answer::Lost(Loss::Disconnected));
        assert!(holds(answers, &sample));
        sample.then(What::Redialled("c".to_owned())).later(1);
        assert!(holds(answers, &sample));
        sample.call(Method::State, &c(), Answer::Lost(Loss::Disconnected));
        assert!(!holds(answers, &sample), "on a new connection");

        let other = Target::init("d");
        let mut sample = Sample::running();
        sample.serves("d", 9).strikes(1, &[Obligation::ConnectionLasts]);
        sample.call(Method::State, &other, Answer::Lost(Loss::Disconnected));
        assert!(!holds(answers, &sample), "the connection of another container");
    }

    #[test]
    fn hanging_up_and_leaving_excuse() {
        let mut sample = Sample::running();
        let wait = sample.invoke(Method::Wait, &c());
        sample.then(What::Redialled("c".to_owned()));
        sample.answer(wait, Answer::Lost(Loss::Disconnected));
        sample.done(Method::Shutdown, &c());
        sample.call(Method::State, &c(), Answer::Lost(Loss::Disconnected));
        assert!(holds(answers, &sample));
    }

    #[test]
    fn a_shim_whose_containers_delete_has_cleaned_may_leave() {
        let mut sample = Sample::running();
        let ran = |code| Ran { code, pid: 40, stdout: String::new(), stderr: String::new(), held_open: false };
        let cleaned = |code| What::Cleaned { container: "c".to_owned(), ran: ran(code), exit: None };
        sample.then(cleaned(Some(1)));
        sample.call(Method::State, &c(), Answer::Lost(Loss::Disconnected));
        assert!(!holds(answers, &sample));
        let mut sample = Sample::running();
        sample.then(cleaned(Some(0)));
        sample.call(Method::State, &c(), Answer::Lost(Loss::Disconnected));
        assert!(holds(answers, &sample));
        let mut sample = Sample::running();
        sample.then(cleaned(Some(0)));
        sample.serves("c", 9);
        sample.call(Method::State, &c(), Answer::Lost(Loss::Disconnected));
        assert!(!holds(answers, &sample), "it serves again");
    }

    #[test]
    fn what_was_deleted_is_not_found() {
        let mut sample = Sample::running();
        sample.gives_exit(Method::Delete, &c(), exit(0));
        sample.refused(Method::Delete, &c(), Code::NotFound);
        assert!(holds(codes, &sample));
        sample.refused(Method::Delete, &c(), Code::Unknown);
        assert!(!holds(codes, &sample));
    }

    #[test]
    fn what_has_exited_cannot_be_killed() {
        let mut sample = Sample::running();
        sample.gives_exit(Method::Wait, &c(), exit(0));
        sample.refused(Method::Kill, &c(), Code::FailedPrecondition);
        assert!(holds(codes, &sample));
        sample.refused(Method::Kill, &c(), Code::Unknown);
        assert!(!holds(codes, &sample));
    }
}
