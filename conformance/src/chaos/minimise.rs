//! Fewer containers, fewer faults, fewer calls: the smallest plan that still fails in the same way.

use super::{
    Signature,
    plan::{Act, Name, Plan, Strike},
};
use crate::{clock, history::Moment, lab::Ending, property};

/// How much a search may cost.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Worlds.
    pub worlds: u32,
    /// Time, milliseconds.
    pub ms: f64,
}

/// Counts what is spent of a budget.
#[derive(Debug)]
pub(super) struct Purse {
    budget: Budget,
    begun: Moment,
}

impl Purse {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, begun: clock::now() }
    }

    /// Takes one world out, if there is one and time is left.
    pub(super) fn pays(&mut self) -> bool {
        let pays = self.budget.worlds > 0 && clock::now().ms_since(self.begun) < self.budget.ms;
        self.budget.worlds = self.budget.worlds.saturating_sub(1);
        pays
    }
}

/// The smallest plan found that fails as `plan` did, and how it ended.
pub(super) fn smallest(
    plan: Plan,
    ending: Ending,
    purse: &mut Purse,
    play: &mut dyn FnMut(&Plan) -> Ending,
) -> (Plan, Ending) {
    let wanted = Signature::of(&ending.verdict);
    let mut fails = |plan: &Plan| Some(play(plan)).filter(|ending| Signature::of(&ending.verdict) == wanted);
    let mut best = (plan, ending);
    loop {
        let pieces = best.0.acts.len();
        best = without_whole_parts(best, purse, &mut fails);
        best = property::fewest(best, &mut || purse.pays(), &mut fails);
        best = simpler(best, purse, &mut fails);
        // What was in the way of a part may be gone by now.
        if best.0.acts.len() == pieces {
            return best;
        }
    }
}

type Fails<'a> = dyn FnMut(&Plan) -> Option<Ending> + 'a;

/// Leaves out containers with all that is told of them, then faults with their ends.
fn without_whole_parts(mut best: (Plan, Ending), purse: &mut Purse, fails: &mut Fails<'_>) -> (Plan, Ending) {
    let names: Vec<Name> = best.0.names();
    if names.len() > 1 {
        for name in names {
            best = try_out(best, purse, fails, |plan| plan.less(|act| act.about() == Some(name)));
        }
    }
    let strikes: Vec<Strike> = best.0.strikes().collect();
    for strike in strikes {
        best = try_out(best, purse, fails, |plan| {
            plan.less(|act| matches!(act, Act::Inject(other) | Act::Heal(other) if *other == strike))
        });
    }
    best
}

/// Every container on its own, and every call waited for, where that is enough.
fn simpler(mut best: (Plan, Ending), purse: &mut Purse, fails: &mut Fails<'_>) -> (Plan, Ending) {
    best = try_out(best, purse, fails, |plan| Plan { pod: Vec::new(), acts: plan.acts.clone() });
    for at in 0..best.0.acts.len() {
        best = try_out(best, purse, fails, |plan| {
            let mut awaited = plan.clone();
            if let Some(Act::Step { unawaited, .. }) = awaited.acts.get_mut(at) {
                *unawaited = false;
            }
            awaited
        });
    }
    best
}

/// The plan that `change` makes, if it is another one and fails.
fn try_out(
    best: (Plan, Ending),
    purse: &mut Purse,
    fails: &mut Fails<'_>,
    change: impl Fn(&Plan) -> Plan,
) -> (Plan, Ending) {
    let candidate = change(&best.0);
    if candidate == best.0 || !purse.pays() {
        return best;
    }
    match fails(&candidate) {
        Some(ending) => (candidate, ending),
        None => best,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{Verdict, Violation},
        history::History,
    };

    const PLENTY: Budget = Budget { worlds: 500, ms: 60_000.0 };

    fn ended(verdict: Verdict) -> Ending {
        Ending { verdict, history: History::default(), log: String::new(), diagnosis: None }
    }

    /// A shim that cannot bear a failing start followed by a kill of another container of its pod.
    fn fragile(plan: &Plan) -> Ending {
        let text = plan.to_string();
        let find = |part: &str| text.find(part);
        let fails = match (find("pod a b"), find("inject runtime/start-fails"), find("a: start"), find("b: kill KILL"))
        {
            (Some(_), Some(fault), Some(start), Some(kill)) => fault < start && start < kill,
            _ => false,
        };
        let violation = || Violation { happened: "it fell".to_owned(), expected: String::new(), actual: String::new() };
        ended(if fails { Verdict::Violated { clause: "a".to_owned(), violation: violation() } } else { Verdict::Held })
    }

    fn plan() -> Plan {
        "pod a b c\na: create\nc: create\nb: create &\ninject events/stalled\na: state\nb: start &\ninject runtime/start-fails\n\
         c: kill KILL\na: start &\nc: wait\nheal runtime/start-fails\nb: pids\nb: kill KILL &\nheal events/stalled\nb: wait"
            .parse()
            .unwrap()
    }

    #[test]
    fn containers_faults_and_calls_that_are_not_needed_are_left_out() {
        let plan = plan();
        let ending = fragile(&plan);
        let (small, _) = smallest(plan, ending, &mut Purse::new(PLENTY), &mut fragile);
        assert_eq!(small.to_string(), "pod a b\ninject runtime/start-fails\na: start\nb: kill KILL\n");
    }

    #[test]
    fn the_budget_is_kept() {
        let mut played = 0;
        let plan = plan();
        let ending = fragile(&plan);
        let mut purse = Purse::new(Budget { worlds: 5, ms: 60_000.0 });
        smallest(plan, ending, &mut purse, &mut |plan| {
            played += 1;
            fragile(plan)
        });
        assert_eq!(played, 5);
    }

    #[test]
    fn a_plan_that_fails_in_another_way_does_not_count() {
        let plan = plan();
        let ending = fragile(&plan);
        let mut otherwise = |plan: &Plan| {
            let mut ending = fragile(plan);
            if plan.acts.len() < 10
                && let Verdict::Violated { clause, .. } = &mut ending.verdict
            {
                "another".clone_into(clause);
            }
            ending
        };
        let (small, _) = smallest(plan, ending, &mut Purse::new(PLENTY), &mut otherwise);
        assert_eq!(small.acts.len(), 10);
    }
}
