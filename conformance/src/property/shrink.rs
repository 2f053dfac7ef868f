//! The smallest script that still fails: steps are left out, many at first, then single ones.

use std::ops::Range;

use crate::{check::Verdict, lab::Ending, script::Script};

/// A story of which a part can be left out, and the rest is still one.
pub trait Divisible {
    /// How many pieces it has.
    fn pieces(&self) -> usize;
    /// What is left without these.
    #[must_use]
    fn without(&self, pieces: Range<usize>) -> Self;
}

impl Divisible for Script {
    fn pieces(&self) -> usize {
        self.steps.len()
    }

    fn without(&self, pieces: Range<usize>) -> Self {
        let mut steps = self.steps.clone();
        steps.drain(pieces);
        Self { steps }
    }
}

/// The smallest story found for which `fails` still says why it fails, and that reason; it is asked only when `may_go_on` says so.
pub fn fewest<S: Divisible, R>(
    failing: (S, R),
    may_go_on: &mut dyn FnMut() -> bool,
    fails: &mut dyn FnMut(&S) -> Option<R>,
) -> (S, R) {
    let mut best = failing;
    let mut chunk = best.0.pieces().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < best.0.pieces() {
            if !may_go_on() {
                return best;
            }
            let candidate = best.0.without(at..(at + chunk).min(best.0.pieces()));
            match fails(&candidate) {
                Some(reason) => best = (candidate, reason),
                None => at += chunk,
            }
        }
        chunk /= 2;
    }
    best
}

/// The smallest script found that breaks the same duty as `script` did, and how it ended; each is played only when `may_go_on` says so.
pub(super) fn smallest(
    script: Script,
    ending: Ending,
    may_go_on: &mut dyn FnMut() -> bool,
    play: &mut dyn FnMut(&Script) -> Ending,
) -> (Script, Ending) {
    let Some(broken) = broken(&ending).map(str::to_owned) else {
        return (script, ending);
    };
    fewest((script, ending), may_go_on, &mut |candidate| {
        let ending = play(candidate);
        (self::broken(&ending) == Some(&broken)).then_some(ending)
    })
}

/// The clause that was broken.
fn broken(ending: &Ending) -> Option<&str> {
    match &ending.verdict {
        Verdict::Violated { clause, .. } => Some(clause),
        Verdict::Held
        | Verdict::Waived { .. }
        | Verdict::Skipped { .. }
        | Verdict::NotApplicable { .. }
        | Verdict::Inconclusive { .. }
        | Verdict::Error { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::Violation, history::History};

    fn ended(verdict: Verdict) -> Ending {
        Ending { verdict, history: History::default(), log: String::new(), diagnosis: None }
    }

    fn violated(clause: &str) -> Ending {
        ended(Verdict::Violated {
            clause: clause.to_owned(),
            violation: Violation { happened: String::new(), expected: String::new(), actual: String::new() },
        })
    }

    /// A shim that cannot bear a pause followed by a kill.
    fn fragile(script: &Script) -> Ending {
        let text = script.to_string();
        match (text.find("pause"), text.find("kill")) {
            (Some(pause), Some(kill)) if pause < kill => violated("a"),
            (Some(_), None) => violated("another"),
            _ => ended(Verdict::Held),
        }
    }

    #[test]
    fn what_is_not_needed_is_left_out() {
        let script: Script = "create\nstart\nstate\npause\nstate\npids\nkill KILL\nwait\ndelete".parse().unwrap();
        let (small, ending) = smallest(script.clone(), fragile(&script), &mut || true, &mut fragile);
        assert_eq!(small.to_string(), "pause\nkill KILL\n");
        assert_eq!(broken(&ending), Some("a"));
    }

    #[test]
    fn the_budget_is_kept() {
        let script: Script = "create\nstart\nstate\npause\nstate\npids\nkill KILL\nwait\ndelete".parse().unwrap();
        let mut played = 0;
        let mut play = |script: &Script| {
            played += 1;
            fragile(script)
        };
        let mut left = 3;
        let mut may_go_on = || {
            left -= 1;
            left >= 0
        };
        smallest(script, violated("a"), &mut may_go_on, &mut play);
        assert_eq!(played, 3);
    }
}
