//! The claim at the end of a run, and the one rule that it follows.
//!
//! A shim is *conformant* to a profile when **every MUST that the profile asks for is held**. A MUST is
//!
//! - *violated* when a check or an invariant found it broken;
//! - *waived* when all such findings are known deviations: they count as broken, only not as news;
//! - *inconclusive* when a check of it could not be told, or failed for a reason of the suite's own;
//! - *skipped* when a check of it cannot be decided on this host;
//! - *undecided* when no check of it was selected, or one of them ended over the breach of another duty;
//! - *not asked* when it is asked of shims of another era: then it is none of this shim's;
//! - *excused* when the contract says why nobody can see it from outside: such a MUST is named, and does not stand in the way;
//! - *held* when all of its checks are held, and its invariants on every history.
//!
//! The first of these that fits is its state. One MUST that is violated or waived makes the shim *not conformant*; otherwise one that is
//! inconclusive, skipped or undecided leaves the claim *incomplete*. SHOULD and MAY are reported and decide nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    check::{Check, Verdict},
    contract::{self, Clause, Level, Release},
    coverage::{Judge, judges},
};

/// What may be said about the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conformity {
    /// Every MUST is held.
    Conformant,
    /// A MUST is broken, known or not.
    NotConformant,
    /// A MUST was not decided.
    Incomplete,
}

/// One check as it ended.
#[derive(Debug, Clone, Copy)]
pub struct Finding<'a> {
    /// The check.
    pub check: &'static Check,
    /// The clause that was broken, when one was: the check's own or that of an invariant.
    pub broken: Option<&'static Clause>,
    /// The verdict, with known violations waived.
    pub verdict: &'a Verdict,
}

/// The state of each MUST of a profile, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What is claimed.
    pub conformity: Conformity,
    /// To what.
    pub profile: String,
    /// MUSTs that are held.
    pub held: Vec<String>,
    /// MUSTs that are broken.
    pub violated: Vec<String>,
    /// MUSTs that are broken as the expectations file knows.
    pub waived: Vec<String>,
    /// MUSTs that could not be told.
    pub inconclusive: Vec<String>,
    /// MUSTs that cannot be decided on this host.
    pub skipped: Vec<String>,
    /// MUSTs that nothing was found out about.
    pub undecided: Vec<String>,
    /// MUSTs that nobody can see from outside.
    pub excused: Vec<String>,
}

/// The state of one MUST; the order is that in which they prevail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Violated,
    Waived,
    Inconclusive,
    Skipped,
    Undecided,
    Held,
    Excused,
    NotAsked,
}

impl Claim {
    /// What `findings` come to under the contract of this release.
    pub fn of(release: Release, findings: &[Finding<'_>]) -> Self {
        let musts = contract::all().filter(|clause| clause.level == Level::Must && clause.is_asked_by(release));
        Self::from_states(release, musts.map(|must| (must.id, state(must, findings))).collect())
    }

    fn from_states(release: Release, states: Vec<(&'static str, State)>) -> Self {
        let those = |wanted: State| {
            states.iter().filter(|(_, state)| *state == wanted).map(|(id, _)| (*id).to_owned()).collect()
        };
        let has = |unwanted: &[State]| states.iter().any(|(_, state)| unwanted.contains(state));
        let conformity = if has(&[State::Violated, State::Waived]) {
            Conformity::NotConformant
        } else if has(&[State::Inconclusive, State::Skipped, State::Undecided]) {
            Conformity::Incomplete
        } else {
            Conformity::Conformant
        };
        Self {
            conformity,
            profile: format!("containerd-{release}"),
            held: those(State::Held),
            violated: those(State::Violated),
            waived: those(State::Waived),
            inconclusive: those(State::Inconclusive),
            skipped: those(State::Skipped),
            undecided: those(State::Undecided),
            excused: those(State::Excused),
        }
    }

    /// Every state that stands in the way of the claim or must be named beside it, with its word.
    pub fn named(&self) -> [(&'static str, &[String]); 6] {
        [
            ("violated", &self.violated),
            ("waived", &self.waived),
            ("inconclusive", &self.inconclusive),
            ("skipped", &self.skipped),
            ("undecided", &self.undecided),
            ("excused", &self.excused),
        ]
    }
}

fn state(must: &Clause, findings: &[Finding<'_>]) -> State {
    if must.untestable.is_some() {
        return State::Excused;
    }
    let of_findings = findings.iter().filter_map(|finding| told_by(must, finding)).min();
    let unseen = |judge: &Judge| match judge {
        Judge::Check(id) => findings.iter().all(|finding| finding.check.id != *id),
        // An invariant is judged on every history that its check did not find fault with.
        Judge::Invariant(_) => findings.iter().all(|finding| *finding.verdict != Verdict::Held),
    };
    let judges = judges(must);
    let unseen = (judges.is_empty() || judges.iter().any(unseen)).then_some(State::Undecided);
    // A duty that only invariants judge is held unless one of them said otherwise.
    of_findings.into_iter().chain(unseen).min().unwrap_or(State::Held)
}

/// What one check tells about `must`; nothing when it is about other duties.
fn told_by(must: &Clause, finding: &Finding<'_>) -> Option<State> {
    let Finding { check, broken, verdict } = finding;
    let is_broken = broken.is_some_and(|clause| clause.id == must.id);
    let is_about = check.clause.id == must.id;
    match verdict {
        Verdict::Violated { .. } if is_broken => Some(State::Violated),
        Verdict::Waived { .. } if is_broken => Some(State::Waived),
        _ if !is_about => None,
        Verdict::Held => Some(State::Held),
        // It ended over the breach of another duty.
        Verdict::Violated { .. } | Verdict::Waived { .. } => Some(State::Undecided),
        Verdict::Skipped { .. } => Some(State::Skipped),
        Verdict::NotApplicable { .. } => Some(State::NotAsked),
        Verdict::Inconclusive { .. } | Verdict::Error { .. } => Some(State::Inconclusive),
    }
}

impl fmt::Display for Conformity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conformant => "CONFORMANT",
            Self::NotConformant => "NOT CONFORMANT",
            Self::Incomplete => "INCOMPLETE",
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        check::Violation,
        checks,
        contract::{events, task},
    };

    fn violated() -> Verdict {
        let violation = Violation { happened: String::new(), expected: String::new(), actual: String::new() };
        Verdict::Violated { clause: String::new(), violation }
    }

    fn because(make: fn(String) -> Verdict) -> Verdict {
        make("reason".to_owned())
    }

    fn all_held() -> Vec<Finding<'static>> {
        checks::all().map(|check| Finding { check, broken: None, verdict: &Verdict::Held }).collect()
    }

    fn position(findings: &[Finding<'_>], id: &str) -> usize {
        findings.iter().position(|finding| finding.check.id == id).unwrap()
    }

    #[rstest]
    #[case::violated(violated(), true, State::Violated, Conformity::NotConformant)]
    #[case::waived(because(|reason| Verdict::Waived { reason }), true, State::Waived, Conformity::NotConformant)]
    #[case::over_another_duty(violated(), false, State::Undecided, Conformity::Incomplete)]
    #[case::inconclusive(because(|reason| Verdict::Inconclusive { reason }), false, State::Inconclusive, Conformity::Incomplete)]
    #[case::error(because(|reason| Verdict::Error { reason }), false, State::Inconclusive, Conformity::Incomplete)]
    #[case::skipped(because(|reason| Verdict::Skipped { reason }), false, State::Skipped, Conformity::Incomplete)]
    #[case::held(Verdict::Held, false, State::Held, Conformity::Conformant)]
    fn one_finding_decides(
        #[case] verdict: Verdict,
        #[case] is_broken: bool,
        #[case] expected: State,
        #[case] conformity: Conformity,
    ) {
        let mut findings = all_held();
        let at = position(&findings, "task/delete-twice");
        findings[at].verdict = &verdict;
        findings[at].broken = is_broken.then_some(&task::DELETE_UNKNOWN);
        assert_eq!(state(&task::DELETE_UNKNOWN, &findings), expected);
        assert_eq!(
            Claim::from_states(Release::V2_1, vec![("a/b", expected), ("c/d", State::Held)]).conformity,
            conformity
        );
    }

    #[test]
    fn what_an_invariant_finds_counts_for_its_own_duty() {
        let verdict = violated();
        let mut findings = all_held();
        let at = position(&findings, "task/delete-twice");
        findings[at] = Finding { broken: Some(&events::AGREE), verdict: &verdict, ..findings[at] };
        assert_eq!(state(&events::AGREE, &findings), State::Violated);
    }

    #[test]
    fn what_was_not_selected_is_undecided() {
        let mut findings = all_held();
        findings.remove(position(&findings, "task/delete-twice"));
        assert_eq!(state(&task::DELETE_UNKNOWN, &findings), State::Undecided);
        let claim = Claim::of(Release::V2_1, &findings);
        assert_eq!(claim.conformity, Conformity::Incomplete);
        assert!(claim.undecided.iter().any(|id| id == "task/delete-unknown"));
    }

    #[test]
    fn an_excused_must_is_named_and_does_not_stand_in_the_way() {
        let claim = Claim::from_states(Release::V1_6, vec![("a/b", State::Excused), ("c/d", State::Held)]);
        assert_eq!(claim.conformity, Conformity::Conformant);
        assert_eq!(claim.excused, ["a/b"]);
        assert_eq!(claim.profile, "containerd-1.6");
    }

    #[test]
    fn a_profile_asks_only_for_what_its_release_does() {
        let of = |release| Claim::of(release, &all_held());
        let names = |claim: &Claim| claim.held.iter().chain(&claim.undecided).any(|id| *id == "start/bootstrap-params");
        assert!(!names(&of(Release::V2_1)) && names(&of(Release::V2_3)));
    }
}
