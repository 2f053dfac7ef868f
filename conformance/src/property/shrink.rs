//! The smallest script that still fails: steps are left out, many at first, then single ones.

use crate::{check::Verdict, lab::Ending, script::Script};

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
    let mut best = (script, ending);
    let mut chunk = best.0.steps.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < best.0.steps.len() {
            if !may_go_on() {
                return best;
            }
            let mut steps = best.0.steps.clone();
            steps.drain(at..(at + chunk).min(best.0.steps.len()));
            let candidate = Script { steps };
            let ending = play(&candidate);
            if self::broken(&ending) == Some(&broken) {
                best = (candidate, ending);
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    best
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
