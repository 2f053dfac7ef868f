//! What the shim's process does: it lives, it reaps, it stays small, it goes.
#![expect(clippy::wildcard_enum_match_arm, reason = "each question is about a few of the many things that happen")]

use fault_injector::fault::Obligation;

use super::{Evidence, violation};
use crate::{
    check::Violation,
    history::{Exchange, Method, Moment, ShimFact, Target, Topic, What},
    lab::ExitPolicy,
};

/// A shim is gone only after a Shutdown that may have found it empty, after a signal of ours, under a fault that may end it, or, where that
/// is the policy, after its containers' exits were told.
pub(super) fn survives(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for (at, container, pid, fact) in evidence.shim_facts() {
        if *fact != ShimFact::Gone || evidence.excused(Obligation::ShimSurvives, pid, at, at) {
            continue;
        }
        let may_go = |s: &Exchange<'_>| Evidence::ends_sandbox(s) || evidence.may_be_empty(pid, s.invoked, at);
        if evidence.shutdowns(pid, at).any(may_go) {
            continue;
        }
        if evidence.terms.exit_policy == ExitPolicy::OnInitExit && exits_are_safe(evidence, pid) {
            continue;
        }
        if evidence.is_cleaned(pid, at) {
            continue;
        }
        let why = match evidence.shutdowns(pid, at).next() {
            Some(_) => "a Shutdown came while it held a container",
            None => "nobody had told it to leave",
        };
        return violation(
            format!("the shim of {container} died by itself"),
            "a shim that lives until a Shutdown finds it empty",
            format!("process {pid} is gone, and {why}"),
        );
    }
    Ok(())
}

/// Whether every container of the shim `pid` was told to have exited: by an event, or by the `delete` action.
fn exits_are_safe(evidence: &Evidence<'_>, pid: u32) -> bool {
    evidence.served_by(pid).iter().all(|container| {
        let told = evidence.events_of(Topic::Exit, &Target::init(container)).next().is_some();
        let cleaned =
            evidence.history.records.iter().any(
                |record| matches!(&record.what, What::Cleaned { container: c, exit: Some(_), .. } if c == container),
            );
        told || cleaned
    })
}

/// A shim that should have gone is gone. Whoever records that it stays has waited as long as is owed.
pub(super) fn exits(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for (at, container, pid, fact) in evidence.shim_facts() {
        let last = evidence.shutdowns(pid, at).last();
        let owed = last.is_some_and(|s| {
            s.reply().is_some()
                && (Evidence::ends_sandbox(s) || evidence.is_empty(pid, s.invoked))
                && !evidence.was_still(pid, s.invoked, at)
                && !evidence.excused(Obligation::LeavesNothing, pid, s.invoked, at)
        });
        let went = evidence.shim_facts().any(|(later, _, p, fact)| p == pid && later > at && *fact == ShimFact::Gone);
        if *fact == ShimFact::Stays && owed && !(went && evidence.had_outage()) {
            return violation(
                format!("the shim of {container} stays after Shutdown"),
                "gone within 3 s, or 20 s when events could not be delivered",
                format!("process {pid} is alive"),
            );
        }
    }
    Ok(())
}

/// No zombie is a shim's child at a quiet point.
pub(super) fn no_zombie(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for (at, container, pid, fact) in evidence.shim_facts() {
        if let ShimFact::Zombies(zombies) = fact
            && !zombies.is_empty()
            && !evidence.was_still(pid, at, at)
        {
            return violation(
                format!("the shim of {container} does not reap"),
                "no zombie a second after everything has ended",
                format!("children of {pid} that are zombies: {zombies:?}"),
            );
        }
    }
    Ok(())
}

/// What a shim may hold more than before and still be flat: lazily opened connections, a growing pool of threads, pages that an
/// allocator keeps, files that a collector has not closed yet. A leak in every cycle passes any bound, given enough cycles; the checks
/// that go through many cycles look for themselves.
const SPARE_FDS: usize = 32;
const SPARE_THREADS: usize = 24;
const SPARE_KB: u64 = 64 << 10;

/// An empty shim holds what it held when it was empty before.
pub(super) fn flat(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let empty = evidence.shim_facts().filter_map(|(at, container, pid, fact)| match fact {
        ShimFact::Footprint { fds, threads, rss_kb } if evidence.is_empty(pid, at) => {
            Some((container, pid, (*fds, *threads, *rss_kb)))
        }
        _ => None,
    });
    let mut bases: Vec<(u32, (usize, usize, u64))> = Vec::new();
    for (container, pid, now) in empty {
        let Some((_, base)) = bases.iter().find(|(p, _)| *p == pid) else {
            bases.push((pid, now));
            continue;
        };
        if now.0 > base.0 + SPARE_FDS || now.1 > base.1 + SPARE_THREADS || now.2 > base.2 + SPARE_KB {
            let tell =
                |(fds, threads, kb): (usize, usize, u64)| format!("{fds} descriptors, {threads} threads, {kb} kB");
            return violation(
                format!("the shim of {container} grows"),
                format!("about {}, as when it was empty before", tell(*base)),
                tell(now),
            );
        }
    }
    Ok(())
}

impl Evidence<'_> {
    /// Whether every container and sandbox that the shim `pid` ever served was removed, or never made, by `at`.
    fn is_empty(&self, pid: u32, at: Moment) -> bool {
        self.served_by(pid).iter().all(|id| {
            self.is_gone(id, Method::Create, Method::Delete, at)
                && self.is_gone(id, Method::CreateSandbox, Method::ShutdownSandbox, at)
        })
    }

    /// Whether `id` was removed, or never made, by `at`.
    fn is_gone(&self, id: &str, made: Method, removed: Method, at: Moment) -> bool {
        let init = Target::init(id);
        let last = self.exchanges.iter().rfind(|e| {
            let answered = e.returned.is_some_and(|(returned, _)| returned <= at);
            let counts = e.reply().is_some() && answered || e.call.method == made;
            let about = (e.call.method == made || e.call.method == removed) && e.call.target == init;
            about && counts && e.invoked <= at
        });
        last.is_none_or(|e| e.call.method == removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::Answer,
        invariant::sample::{Sample, exit, holds},
    };

    fn c() -> Target {
        Target::init("c")
    }

    fn stopped_and_deleted() -> Sample {
        let mut sample = Sample::running();
        sample.gives_exit(Method::Wait, &c(), exit(0)).gives_exit(Method::Delete, &c(), exit(0));
        sample
    }

    #[test]
    fn a_shim_may_go_after_a_shutdown_that_finds_it_empty() {
        let mut sample = stopped_and_deleted();
        sample.done(Method::Shutdown, &c()).shim("c", 9, ShimFact::Gone);
        assert!(holds(survives, &sample));
    }

    #[test]
    fn a_shim_may_not_go_by_itself_nor_on_a_shutdown_that_finds_a_container() {
        let mut sample = stopped_and_deleted();
        sample.shim("c", 9, ShimFact::Gone);
        assert!(!holds(survives, &sample), "between Delete and Shutdown");
        let mut sample = Sample::running();
        sample.done(Method::Shutdown, &c()).shim("c", 9, ShimFact::Gone);
        assert!(!holds(survives, &sample), "with a running container");
    }

    #[test]
    fn a_shim_that_holds_a_sandbox_goes_when_that_is_shut_down_and_not_before() {
        let mut sample = Sample::new();
        sample.serves("s", 9).done(Method::CreateSandbox, &Target::init("s"));
        sample.done(Method::Shutdown, &Target::init("s"));
        sample.shim("s", 9, ShimFact::Stays);
        assert!(holds(exits, &sample), "a Shutdown of tasks is no reason to go");
        sample.done(Method::ShutdownSandbox, &Target::init("s"));
        sample.shim("s", 9, ShimFact::Stays);
        assert!(!holds(exits, &sample));
        let mut sample = Sample::new();
        sample.serves("s", 9).done(Method::CreateSandbox, &Target::init("s"));
        sample.done(Method::Shutdown, &Target::init("s")).shim("s", 9, ShimFact::Gone);
        assert!(!holds(survives, &sample));
        let mut sample = Sample::running();
        sample.done(Method::ShutdownSandbox, &c()).shim("c", 9, ShimFact::Gone);
        assert!(holds(survives, &sample), "with members, too");
    }

    #[test]
    fn a_shim_may_die_of_a_signal_that_ends_but_not_of_sigpipe() {
        let mut sample = Sample::running();
        sample.shim("c", 9, ShimFact::Signalled(libc::SIGPIPE)).shim("c", 9, ShimFact::Gone);
        assert!(!holds(survives, &sample));
        let mut sample = Sample::running();
        sample.shim("c", 9, ShimFact::Signalled(libc::SIGKILL)).shim("c", 9, ShimFact::Gone);
        assert!(holds(survives, &sample));
    }

    #[test]
    fn a_shim_that_leaves_with_init_needs_a_told_exit() {
        let mut sample = Sample::running();
        sample.terms.exit_policy = ExitPolicy::OnInitExit;
        sample.shim("c", 9, ShimFact::Gone);
        assert!(!holds(survives, &sample));
        let mut sample = Sample::running();
        sample.terms.exit_policy = ExitPolicy::OnInitExit;
        sample.event(Topic::Exit, &c(), 33, Some(exit(0))).shim("c", 9, ShimFact::Gone);
        assert!(holds(survives, &sample));
    }

    #[test]
    fn a_shim_must_leave_only_when_it_is_empty() {
        let mut sample = stopped_and_deleted();
        sample.done(Method::Shutdown, &c()).shim("c", 9, ShimFact::Stays);
        assert!(!holds(exits, &sample));
        let mut sample = Sample::running();
        sample.done(Method::Shutdown, &c()).shim("c", 9, ShimFact::Stays);
        assert!(holds(exits, &sample));
    }

    #[test]
    fn a_stopped_shim_cannot_leave() {
        let mut sample = stopped_and_deleted();
        sample.shim("c", 9, ShimFact::Signalled(libc::SIGSTOP)).done(Method::Shutdown, &c()).shim(
            "c",
            9,
            ShimFact::Stays,
        );
        assert!(holds(exits, &sample));
    }

    #[test]
    fn zombies_are_seen() {
        let mut sample = Sample::running();
        sample.shim("c", 9, ShimFact::Zombies(Vec::new()));
        assert!(holds(no_zombie, &sample));
        sample.shim("c", 9, ShimFact::Zombies(vec![40]));
        assert!(!holds(no_zombie, &sample));
        let mut sample = Sample::running();
        sample.strikes(1, &[Obligation::AnswersInTime]).shim("c", 9, ShimFact::Zombies(vec![40]));
        assert!(!holds(no_zombie, &sample), "who waits reaps all the same");
        let mut sample = Sample::running();
        sample.shim("c", 9, ShimFact::Signalled(libc::SIGSTOP)).shim("c", 9, ShimFact::Zombies(vec![40]));
        assert!(holds(no_zombie, &sample), "who stands still cannot");
    }

    #[test]
    fn growth_is_judged_between_empty_points_only() {
        let footprint = |fds| ShimFact::Footprint { fds, threads: 5, rss_kb: 5000 };
        let mut sample = Sample::new();
        sample.serves("c", 9).shim("c", 9, footprint(10));
        sample.gives_pid(Method::Create, &c(), 33).shim("c", 9, footprint(90));
        assert!(holds(flat, &sample), "a container costs something");
        sample.call(Method::Delete, &c(), Answer::Done(Box::default())).shim("c", 9, footprint(12));
        assert!(holds(flat, &sample));
        sample.shim("c", 9, footprint(90));
        assert!(!holds(flat, &sample));
    }
}
