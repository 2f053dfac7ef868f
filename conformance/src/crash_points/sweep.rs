//! Records a life, and visits every point of it: worlds in parallel, judged one by one.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::Sender,
    },
    thread,
};

use fault_injector::{
    fault::Fault,
    seam::syscall::{Point, Seen},
};
use serde::{Deserialize, Serialize};

use super::{Calls, Scenario, UNVISITED, Visit, strike_of};
use crate::{
    audit,
    check::Verdict,
    clock,
    history::History,
    lab::{Ending, Word},
    runner::{self, Control},
    subject::Subject,
    tenancy,
};

/// How often a point is visited until its call comes. What is violated on the way counts.
const ATTEMPTS: u32 = 3;

/// What a sweep is about.
#[derive(Debug)]
pub struct Sweep<'a> {
    /// The shim.
    pub subject: &'a Subject,
    /// The life.
    pub scenario: &'static Scenario,
    /// How many worlds there are at once.
    pub jobs: usize,
}

/// What is known of a life that nobody strikes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The union of the calls of all recordings, in the order of the first that saw each.
    pub calls: Vec<Seen>,
    /// Ids of the invariants that the shim breaks without any fault: no visit is blamed for them.
    pub broken: BTreeSet<String>,
}

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The shim was struck and kept its duties.
    Held,
    /// It did not.
    Violated,
    /// The call never came; nothing was shown.
    NotReached,
    /// The suite itself failed.
    Error,
}

/// What came of a visit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Visited {
    /// Where, and what was done there.
    pub visit: Visit,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it is not simply held.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// What a reader may want to know besides.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub remarks: Vec<String>,
    /// How long it took, all attempts together, milliseconds.
    pub ms: f64,
    /// What was observed, when it is not held.
    #[serde(skip)]
    pub history: History,
    /// The end of the shim's log, when it is not held.
    #[serde(skip)]
    pub log: String,
}

/// Something that happened in a sweep.
#[derive(Debug)]
pub enum News {
    /// A visit begins.
    Started(Visit),
    /// It has ended.
    Ended(Box<Visited>),
    /// Nothing more will come.
    Over,
}

/// Why nothing was recorded.
#[derive(Debug)]
pub enum Unrecorded {
    /// The life cannot be lived to its end: the shim breaks a duty though nobody struck.
    NoLife(String),
    /// The suite failed.
    Error(String),
    /// This host, or this shim, does not show it.
    Undecided(String),
    /// The run was interrupted.
    Interrupted,
}

impl Sweep<'_> {
    /// Lives the life `times` times without any fault.
    ///
    /// # Errors
    ///
    /// Why there is nothing to visit.
    pub fn record(&self, times: usize, control: &Control) -> Result<Recorded, Unrecorded> {
        let endings = Mutex::new(Vec::new());
        let left = AtomicUsize::new(times);
        thread::scope(|scope| {
            for _ in 0..self.jobs.min(times) {
                scope.spawn(|| {
                    let more = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                    while more().is_ok() && !control.is_draining() {
                        let lived = self.live(None, control);
                        endings.lock().unwrap_or_else(PoisonError::into_inner).push(lived);
                    }
                });
            }
        });
        if control.signal().is_some() {
            return Err(Unrecorded::Interrupted);
        }
        let mut recorded = Recorded { calls: Vec::new(), broken: BTreeSet::new() };
        for (ending, calls) in endings.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match ending.verdict {
                Verdict::Held => {}
                Verdict::Violated { .. } | Verdict::Waived { .. } => {
                    return Err(Unrecorded::NoLife(audit::told(&ending.verdict)));
                }
                Verdict::Error { reason } => return Err(Unrecorded::Error(reason)),
                Verdict::Skipped { reason } | Verdict::NotApplicable { reason } | Verdict::Inconclusive { reason } => {
                    return Err(Unrecorded::Undecided(reason));
                }
            }
            let Some(calls) = calls else { continue };
            recorded.broken.extend(calls.broken.into_iter().map(|(id, _)| id));
            recorded.add(calls.seen);
        }
        Ok(recorded)
    }

    /// Visits all of `visits`, telling what happens.
    pub fn visit(&self, visits: &[Visit], recorded: &Recorded, control: &Control, news: &Sender<News>) {
        let queue = Mutex::new(visits.iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next().cloned();
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                let (news, next) = (news.clone(), &next);
                scope.spawn(move || {
                    while !control.is_draining()
                        && let Some(visit) = next()
                    {
                        // Nobody listens any more when the renderer has failed; the worlds still end in order.
                        _ = news.send(News::Started(visit.clone()));
                        let visited = self.attempt(&visit, recorded, control);
                        if !control.is_draining() {
                            _ = news.send(News::Ended(Box::new(visited)));
                        }
                    }
                });
            }
        });
        _ = news.send(News::Over);
    }

    fn attempt(&self, visit: &Visit, recorded: &Recorded, control: &Control) -> Visited {
        let begun = clock::now();
        let mut attempts = 1;
        loop {
            let (ending, calls) = self.live(Some(visit), control);
            let calls = calls.unwrap_or_default();
            let bites = calls.bites;
            let (outcome, reason) = judge(&ending, &calls, recorded);
            if outcome == Outcome::NotReached && attempts < ATTEMPTS && !control.is_draining() {
                attempts += 1;
                continue;
            }
            let mut remarks = calls.remarks;
            if outcome == Outcome::Violated && bites == 0 {
                remarks.push("the shim was not struck: it does so by itself".to_owned());
            }
            let kept = outcome != Outcome::Held;
            let Ending { history, log, .. } = ending;
            return Visited {
                visit: visit.clone(),
                outcome,
                reason,
                remarks,
                ms: clock::now().ms_since(begun),
                history: if kept { history } else { History::default() },
                log: if kept { log } else { String::new() },
            };
        }
    }

    /// One life in a world of its own.
    fn live(&self, visit: Option<&Visit>, control: &Control) -> (Ending, Option<Calls>) {
        let mut job = self.subject.job(self.scenario.id(), None, None, tenancy::unique());
        job.visit = visit.cloned();
        let (ending, words) = runner::in_world_heard(&job, control);
        let calls = words.into_iter().find_map(|word| match word {
            Word::Supervised(calls) => Some(*calls),
            Word::Ended(_) | Word::Ready | Word::Probed(_) => None,
        });
        (ending, calls)
    }
}

/// What a visit shows.
fn judge(ending: &Ending, calls: &Calls, recorded: &Recorded) -> (Outcome, String) {
    let told = || audit::told(&ending.verdict);
    let reached = calls.bites > 0;
    match &ending.verdict {
        Verdict::Violated { violation, .. } => (Outcome::Violated, violation.to_string()),
        Verdict::Inconclusive { .. } if !reached => (Outcome::NotReached, told()),
        Verdict::Error { .. }
        | Verdict::Skipped { .. }
        | Verdict::NotApplicable { .. }
        | Verdict::Waived { .. }
        | Verdict::Inconclusive { .. } => (Outcome::Error, told()),
        Verdict::Held => match calls.broken.iter().find(|(id, _)| !recorded.broken.contains(id)) {
            Some((id, how)) => (Outcome::Violated, format!("{id}: {how}")),
            None if reached => (Outcome::Held, String::new()),
            None => (Outcome::NotReached, String::new()),
        },
    }
}

impl Recorded {
    fn add(&mut self, calls: Vec<Seen>) {
        let known: HashSet<Point> = self.calls.iter().map(|seen| seen.point.clone()).collect();
        let unvisited = |seen: &Seen| seen.point.phase == UNVISITED || seen.point.phase.is_empty();
        self.calls.extend(calls.into_iter().filter(|seen| !unvisited(seen) && !known.contains(&seen.point)));
    }

    /// Everything there is to visit: each of `actions` at each point that admits it, in the `phases` asked for, all when none is.
    pub fn visits(&self, actions: &[&'static Fault], phases: &[String]) -> Vec<Visit> {
        let wanted = |seen: &&Seen| phases.is_empty() || phases.contains(&seen.point.phase);
        let at = |fault: &'static Fault| {
            self.calls
                .iter()
                .filter(wanted)
                .filter(move |seen| strike_of(fault).is_some_and(|strike| seen.admits(strike)))
                .map(move |seen| Visit { fault: fault.id.to_owned(), point: seen.point.clone() })
        };
        actions.iter().flat_map(|&fault| at(fault)).collect()
    }
}

#[cfg(test)]
mod tests {
    use fault_injector::{catalogue, fault::Errno};

    use super::*;

    fn seen(point: &str, errnos: &[Errno], crash: bool) -> Seen {
        Seen { point: point.parse().unwrap(), errnos: errnos.to_vec(), crash }
    }

    #[test]
    fn recordings_are_united_and_calls_after_the_life_are_no_points() {
        let mut recorded = Recorded { calls: Vec::new(), broken: BTreeSet::new() };
        recorded.add(vec![seen("start listen #1", &[], true), seen("unvisited listen #1", &[], true)]);
        recorded.add(vec![seen("start listen #1", &[], true), seen("serve accept4 #1", &[Errno::Emfile], false)]);
        let points: Vec<String> = recorded.calls.iter().map(|seen| seen.point.to_string()).collect();
        assert_eq!(points, ["start listen #1", "serve accept4 #1"]);
    }

    #[test]
    fn a_point_is_visited_by_what_it_admits() {
        let mut recorded = Recorded { calls: Vec::new(), broken: BTreeSet::new() };
        recorded.add(vec![seen("start listen #1", &[], true), seen("serve accept4 #1", &[Errno::Emfile], false)]);
        let actions = ["syscall/kill", "syscall/emfile", "syscall/eio"].map(|id| catalogue::find(id).unwrap());
        let told = |phases: &[String]| -> Vec<String> {
            let visits = recorded.visits(&actions, phases);
            visits.iter().map(|visit| format!("{} {}", visit.fault, visit.point)).collect()
        };
        assert_eq!(told(&[]), ["syscall/kill start listen #1", "syscall/emfile serve accept4 #1"]);
        assert_eq!(told(&["serve".to_owned()]), ["syscall/emfile serve accept4 #1"]);
    }
}
