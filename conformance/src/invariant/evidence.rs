//! A history with the questions that several invariants ask of it.
#![expect(clippy::wildcard_enum_match_arm, reason = "each question is about a few of the many things that happen")]

use std::{collections::BTreeMap, time::Duration};

use fault_injector::fault::Obligation;

use crate::{
    history::{Answer, Event, Exchange, Exit, History, Loss, Method, Moment, ShimFact, Status, Target, Topic, What},
    lab::{ExitPolicy, REDELIVERY},
};

/// What was agreed before the world was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// When the shim is expected to leave.
    pub exit_policy: ExitPolicy,
    /// containerd's namespace.
    pub namespace: String,
}

/// A time in which something was not as it should be; open when it never ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) from: Moment,
    pub(super) to: Option<Moment>,
}

impl Interval {
    pub(super) fn touches(self, from: Moment, to: Moment) -> bool {
        self.from <= to && self.to.is_none_or(|end| end >= from)
    }

    /// The same, ending later.
    fn longer(self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self { to: self.to.map(|to| Moment(to.0.saturating_add(nanos))), ..self }
    }

    /// Whether no event is lost by it, whatever happened meanwhile.
    fn is_short(self) -> bool {
        self.to.is_some_and(|to| Duration::from_nanos(to.0.saturating_sub(self.from.0)) < SURVIVED_OUTAGE)
    }
}

/// A fault, while it lasted.
struct Spell<'a> {
    time: Interval,
    /// Whose connection, shim or process it struck; `None` for what all share.
    container: Option<&'a str>,
    excuses: &'a [Obligation],
}

/// How long an outage may last without costing events (contract EVT-13).
const SURVIVED_OUTAGE: Duration = Duration::from_secs(5);
/// How long a duty stays suspended when the fault that excused it has healed.
const fn recovery(duty: Obligation) -> Duration {
    match duty {
        // What was held back arrives, and so does what the shim had meanwhile resolved to send again.
        Obligation::EventsArriveOnce => REDELIVERY,
        Obligation::AnswersInTime
        | Obligation::CallsSucceed
        | Obligation::ConnectionLasts
        | Obligation::EventsArrive
        | Obligation::ProcessesSurvive
        | Obligation::ShimSurvives
        | Obligation::StdioArrives
        | Obligation::LeavesNothing => Duration::ZERO,
    }
}

/// How long the answer to an event may be under way; containerd gives it at once, the rest is for a busy host.
const UNHEARD_NANOS: u64 = 1_000_000_000;

/// A process that was started, from the answers that created and started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) target: Target,
    /// As Start told it, or for an init that was never started, as Create did.
    pub(super) pid: u32,
    pub(super) started: bool,
    /// When the call that created it was sent.
    pub(super) born: Moment,
    /// When the target's next life began.
    pub(super) next: Option<Moment>,
}

/// A history, its calls paired, and what was agreed.
pub struct Evidence<'a> {
    pub(super) history: &'a History,
    pub(super) terms: &'a Terms,
    pub(super) exchanges: Vec<Exchange<'a>>,
}

impl<'a> Evidence<'a> {
    /// Pairs the calls of `history`.
    pub fn new(history: &'a History, terms: &'a Terms) -> Self {
        Self { history, terms, exchanges: history.exchanges() }
    }

    /// The moment of the last record.
    pub(super) fn end(&self) -> Moment {
        self.history.records.last().map_or(Moment(0), |record| record.at)
    }

    /// Exits and deletions that calls have told and no event has: what a shim must be given time for before it has to leave.
    pub fn unannounced(&self) -> Vec<(Target, Topic)> {
        let exits = self
            .lives()
            .into_iter()
            .filter(|life| life.started && self.told_exit(life).is_some() && self.exit_events(life).is_empty())
            .map(|life| (life.target, Topic::Exit));
        let deletions = self
            .deleted()
            .filter(|(target, _)| self.events_of(Topic::Delete, target).count() < self.deleted_times(target))
            .map(|(target, _)| (target.clone(), Topic::Delete));
        exits.chain(deletions).collect()
    }

    /// Whether events may still be under way because nobody took them, or the shim could not send them.
    pub fn had_outage(&self) -> bool {
        let stopped = |fact: &ShimFact| *fact == ShimFact::Signalled(libc::SIGSTOP);
        !self.outages().is_empty() || self.shim_facts().any(|(_, _, _, fact)| stopped(fact))
    }

    /// Every init that was created and every exec that was started, when its pid is known.
    pub(super) fn lives(&self) -> Vec<Life> {
        let mut lives = Vec::new();
        for (birth, exchange) in self.exchanges.iter().enumerate() {
            let created = matches!(exchange.call.method, Method::Create | Method::Exec);
            let Some(reply) = exchange.reply().filter(|_| created) else {
                continue;
            };
            let target = &exchange.call.target;
            let later = || self.exchanges.iter().skip(birth + 1).filter(|e| e.call.target == *target);
            let next = later().find(|e| e.call.method == exchange.call.method && !refused(e)).map(|e| e.invoked);
            let start = later()
                .filter(|e| e.call.method == Method::Start && next.is_none_or(|next| e.invoked < next))
                .find_map(|e| e.reply());
            let pid = start.and_then(|start| start.pid).or(reply.pid).unwrap_or(0);
            if pid > 0 {
                lives.push(Life {
                    target: target.clone(),
                    pid,
                    started: start.is_some(),
                    born: exchange.invoked,
                    next,
                });
            }
        }
        lives
    }

    /// The first exit that a call told of this life, and which call.
    pub(super) fn told_exit(&self, life: &Life) -> Option<(Method, Exit)> {
        self.told_exits(life).into_iter().next()
    }

    /// Every exit that a call told of this life.
    pub(super) fn told_exits(&self, life: &Life) -> Vec<(Method, Exit)> {
        let within = |e: &&Exchange<'_>| {
            let returned = e.returned.map(|(at, _)| at);
            e.call.target == life.target
                && e.invoked > life.born
                && returned.is_some_and(|at| life.next.is_none_or(|next| at < next))
        };
        self.exchanges
            .iter()
            .filter(within)
            .filter_map(|e| {
                let reply = e.reply()?;
                let told = match e.call.method {
                    Method::Wait | Method::Delete => reply.exit,
                    Method::State if reply.status == Some(Status::Stopped) => reply.exit,
                    _ => None,
                };
                told.map(|exit| (e.call.method, exit))
            })
            .collect()
    }

    /// Exit events of this life, by its pid.
    pub(super) fn exit_events(&self, life: &Life) -> Vec<Exit> {
        self.events_of(Topic::Exit, &life.target)
            .filter(|(_, event)| event.pid == life.pid)
            .filter_map(|(_, event)| event.exit)
            .collect()
    }

    /// Events of `topic` about `target`.
    pub(super) fn events_of(&self, topic: Topic, target: &Target) -> impl Iterator<Item = (Moment, &'a Event)> {
        self.history.events().filter(move |(_, event)| event.topic == topic && event.target == *target)
    }

    /// Containers whose Delete succeeded, and when it was answered.
    pub(super) fn deleted(&self) -> impl Iterator<Item = (&'a Target, Moment)> {
        self.exchanges
            .iter()
            .filter(|e| e.call.method == Method::Delete && e.call.target.is_init() && e.reply().is_some())
            .filter_map(|e| e.returned.map(|(at, _)| (&e.call.target, at)))
    }

    /// How often Delete of `target` succeeded.
    pub(super) fn deleted_times(&self, target: &Target) -> usize {
        self.deleted().filter(|(deleted, _)| *deleted == target).count()
    }

    /// The process that served `container` at `at`.
    pub(super) fn shim_of(&self, container: &str, at: Moment) -> Option<u32> {
        let served =
            self.shim_facts().filter(|(when, c, _, fact)| *when <= at && *c == container && **fact == ShimFact::Serves);
        served.last().map(|(_, _, pid, _)| pid)
    }

    /// Whether the `delete` action had succeeded for every container of the shim `pid` by `at`, and since it served it: the action may ask
    /// a living shim to do its work, and to leave then, since containerd forgets it.
    pub(super) fn is_cleaned(&self, pid: u32, at: Moment) -> bool {
        let served =
            self.shim_facts().filter(|(when, _, p, fact)| *p == pid && *when <= at && **fact == ShimFact::Serves);
        let mut last: BTreeMap<&str, Moment> = BTreeMap::new();
        last.extend(served.map(|(when, container, _, _)| (container, when)));
        let cleaned = |(container, served): (&&str, &Moment)| {
            self.history.records.iter().any(|record| {
                record.at > *served
                    && record.at <= at
                    && matches!(&record.what, What::Cleaned { container: c, ran, .. } if c == container && ran.code == Some(0))
            })
        };
        !last.is_empty() && last.iter().all(cleaned)
    }

    /// The containers that the process `pid` served.
    pub(super) fn served_by(&self, pid: u32) -> Vec<&'a str> {
        self.shim_facts()
            .filter(|(_, _, p, fact)| *p == pid && **fact == ShimFact::Serves)
            .map(|(_, container, _, _)| container)
            .collect()
    }

    /// What was seen of shims: when, of which container, which process, what.
    pub(super) fn shim_facts(&self) -> impl Iterator<Item = (Moment, &'a str, u32, &'a ShimFact)> {
        self.history.records.iter().filter_map(|record| match &record.what {
            What::Shim { container, pid, fact } => Some((record.at, container.as_str(), *pid, fact)),
            _ => None,
        })
    }

    /// Whether the suite had sent a signal that ends a process to the shim `pid` by `at`.
    pub(super) fn was_killed(&self, pid: u32, at: Moment) -> bool {
        self.shim_facts()
            .any(|(when, _, p, fact)| p == pid && when <= at && matches!(fact, ShimFact::Signalled(s) if ends(*s)))
    }

    /// Whether `duty` was suspended at any time from `from` to `to`: by a fault that excuses it, or because the shim `pid` was dead.
    pub(super) fn excused(&self, duty: Obligation, pid: u32, from: Moment, to: Moment) -> bool {
        let mut faults = self.faults();
        // Another shim owes what it owed before.
        let concerns = |fault: &Spell<'_>| fault.container.is_none_or(|struck| self.served_by(pid).contains(&struck));
        faults.retain(|fault| fault.excuses.contains(&duty) && concerns(fault));
        self.was_killed(pid, to) || faults.iter().any(|fault| fault.time.longer(recovery(duty)).touches(from, to))
    }

    /// Whether the suite kept the shim `pid` from running at any time from `from` to `to`.
    pub(super) fn was_still(&self, pid: u32, from: Moment, to: Moment) -> bool {
        self.was_killed(pid, to) || self.stops(pid).iter().any(|stop| stop.touches(from, to))
    }

    /// Whether containerd's connection of `container` may be broken between `from` and `to` by a fault: while it lasts, and behind it
    /// until the connection is made anew.
    pub(super) fn connection_is_excused(&self, container: &str, from: Moment, to: Moment) -> bool {
        let strikes = |fault: &Spell<'_>| {
            fault.excuses.contains(&Obligation::ConnectionLasts)
                && fault.container.is_none_or(|struck| struck == container)
        };
        let mut faults = self.faults();
        faults.retain(strikes);
        faults.into_iter().any(|fault| {
            let begun = fault.time.from;
            let ended = fault.time.to.and_then(|healed| {
                let anew = self.dialled(container, begun);
                anew.map(|anew| anew.max(healed))
            });
            Interval { from: begun, to: ended }.touches(from, to)
        })
    }

    /// The first time after `after` at which `container` was dialled again.
    fn dialled(&self, container: &str, after: Moment) -> Option<Moment> {
        self.history.records.iter().find_map(|record| match &record.what {
            What::Redialled(c) if c == container && record.at > after => Some(record.at),
            What::ContainerdUp(_) if record.at > after => Some(record.at),
            _ => None,
        })
    }

    /// Whether a second event of the same kind is excused when the first one arrived at `first` and the last one at `last`: by a fault that
    /// says so, because the service went away before the shim could know of the first one's arrival, or because the shim stood still for
    /// so long that its own deadline passed.
    pub(super) fn may_repeat(&self, pid: u32, first: Moment, last: Moment) -> bool {
        let unheard = Moment(first.0 + UNHEARD_NANOS);
        self.excused(Obligation::EventsArriveOnce, pid, first, last)
            || self.outages().iter().any(|outage| (first..=unheard).contains(&outage.from))
            || self.stops(pid).iter().any(|stop| stop.touches(first, last) && !stop.is_short())
    }

    /// The times in which the shim `pid` was stopped.
    fn stops(&self, pid: u32) -> Vec<Interval> {
        let facts = self.shim_facts().filter(|(_, _, p, _)| *p == pid);
        intervals(facts.filter_map(|(at, _, _, fact)| match fact {
            ShimFact::Signalled(libc::SIGSTOP) => Some((at, true)),
            ShimFact::Signalled(libc::SIGCONT) => Some((at, false)),
            _ => None,
        }))
    }

    /// Every fault there was.
    fn faults(&self) -> Vec<Spell<'a>> {
        let healed = |wanted: u64| {
            self.history.records.iter().find_map(|record| match record.what {
                What::FaultHealed { number, .. } if number == wanted => Some(record.at),
                _ => None,
            })
        };
        let faults = self.history.records.iter().filter_map(|record| match &record.what {
            What::FaultInjected { number, fault: _, container, excuses } => Some(Spell {
                time: Interval { from: record.at, to: healed(*number) },
                container: container.as_deref(),
                excuses,
            }),
            _ => None,
        });
        faults.collect()
    }

    /// The times in which events could not arrive: no events service answered, or a fault excused it. A death is recorded when it is
    /// certain, so its outage begins with the record before.
    pub(super) fn outages(&self) -> Vec<Interval> {
        let (mut before, mut deaths, mut silences) = (Moment(0), Vec::new(), Vec::new());
        for record in &self.history.records {
            match record.what {
                What::ContainerdKilled(_) => deaths.push((before, true)),
                What::ContainerdUp(_) => {
                    deaths.push((record.at, false));
                    silences.push((record.at, false));
                }
                What::EventsAway => silences.push((record.at, true)),
                What::EventsBack => silences.push((record.at, false)),
                _ => {}
            }
            before = record.at;
        }
        let faults = self.faults().into_iter().filter(|fault| fault.excuses.contains(&Obligation::EventsArrive));
        let mut outages = intervals(deaths.into_iter());
        outages.extend(intervals(silences.into_iter()));
        outages.extend(faults.map(|fault| fault.time));
        merged(outages)
    }

    /// The end of the last time after `after` in which the shim `pid` could not send events, or nobody took them.
    pub(super) fn last_silence(&self, pid: u32, after: Moment) -> Option<Moment> {
        let silences = self.outages().into_iter().chain(self.stops(pid));
        silences.filter_map(|silence| silence.to).filter(|over| *over >= after).max()
    }

    /// Whether every outage was short enough to be survived by all events.
    pub(super) fn outages_are_short(&self) -> bool {
        self.outages().into_iter().all(Interval::is_short)
    }

    /// Whether the containers, and the sandbox, of the shim `pid` that exist for certain, at any time from `from` to `to`, leave it empty.
    pub(super) fn may_be_empty(&self, pid: u32, from: Moment, to: Moment) -> bool {
        self.served_by(pid).iter().all(|container| {
            !self.is_held(container, Method::Create, Method::Delete, from, to)
                && !self.is_held(container, Method::CreateSandbox, Method::ShutdownSandbox, from, to)
        })
    }

    /// Whether `id` was made before `from`, and nobody had asked for its removal by `to`.
    fn is_held(&self, id: &str, made: Method, removed: Method, from: Moment, to: Moment) -> bool {
        let init = Target::init(id);
        let of = |method: Method| {
            let init = &init;
            self.exchanges.iter().filter(move |e| e.call.method == method && e.call.target == *init)
        };
        let made = of(made)
            .filter(|e| e.reply().is_some())
            .filter_map(|e| e.returned.map(|(at, _)| at))
            .rfind(|at| *at < from);
        made.is_some_and(|made| !of(removed).any(|e| e.invoked > made && e.invoked <= to))
    }

    /// Whether this call ends a shim, whatever it holds, when it is of the sandbox that it holds.
    pub(super) fn ends_sandbox(exchange: &Exchange<'_>) -> bool {
        exchange.call.method == Method::ShutdownSandbox
    }

    /// Shutdowns, of tasks and of sandboxes, that were sent to the shim `pid` by `at`.
    pub(super) fn shutdowns(&self, pid: u32, at: Moment) -> impl Iterator<Item = &Exchange<'a>> {
        self.exchanges.iter().filter(move |e| {
            matches!(e.call.method, Method::Shutdown | Method::ShutdownSandbox)
                && e.invoked <= at
                && self.shim_of(&e.call.target.container, e.invoked) == Some(pid)
        })
    }
}

fn refused(exchange: &Exchange<'_>) -> bool {
    matches!(exchange.returned, Some((_, Answer::Refused { .. })))
}

/// Whether a call may or may not have been carried out.
pub(super) fn unknown(exchange: &Exchange<'_>) -> bool {
    match exchange.returned {
        None | Some((_, Answer::Lost(Loss::Deadline | Loss::Disconnected | Loss::ContainerdDied))) => true,
        Some((_, Answer::Done(_) | Answer::Refused { .. })) => false,
    }
}

/// Whether this signal may end a process that does not handle it; SIGPIPE must be ignored (contract LIFE-10).
const fn ends(signal: i32) -> bool {
    !matches!(
        signal,
        libc::SIGPIPE | libc::SIGCHLD | libc::SIGCONT | libc::SIGSTOP | libc::SIGTSTP | libc::SIGURG | libc::SIGWINCH
    )
}

/// Turns beginnings (`true`) and ends (`false`) in order into intervals.
fn intervals(turns: impl Iterator<Item = (Moment, bool)>) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = Vec::new();
    for (at, begins) in turns {
        let open = intervals.last_mut().filter(|last| last.to.is_none());
        match (open, begins) {
            (None, true) => intervals.push(Interval { from: at, to: None }),
            (Some(open), false) => open.to = Some(at),
            (Some(_), true) | (None, false) => {}
        }
    }
    intervals
}

/// Makes one of those that overlap, in the order of their beginnings.
fn merged(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_by_key(|interval| interval.from);
    let mut merged: Vec<Interval> = Vec::new();
    for next in intervals {
        match merged.last_mut().filter(|last| last.touches(next.from, next.from)) {
            Some(last) => last.to = last.to.zip(next.to).map(|(one, other)| one.max(other)),
            None => merged.push(next),
        }
    }
    merged
}
