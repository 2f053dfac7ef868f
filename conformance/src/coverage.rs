//! How much of the contract is judged: clauses with a check or an invariant, of all clauses.

use serde::Serialize;

use crate::{
    checks,
    contract::{self, Clause, Tier},
    invariant,
};

/// Every tier, in the order in which tiers weigh.
pub const TIERS: [Tier; 5] = [Tier::Spec, Tier::Proto, Tier::Client, Tier::Defacto, Tier::Hygiene];

/// What judges a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// The check with this id.
    Check(&'static str),
    /// The invariant with this id, on the history of every check.
    Invariant(&'static str),
}

/// What judges `clause`: its checks first.
pub fn judges(clause: &Clause) -> Vec<Judge> {
    let checks = checks::all().filter(|check| check.clause.id == clause.id).map(|check| Judge::Check(check.id));
    let invariants = invariant::INVARIANTS.iter().filter(|invariant| invariant.clause.id == clause.id);
    checks.chain(invariants.map(|invariant| Judge::Invariant(invariant.id))).collect()
}

/// A coverage figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Figure {
    /// All clauses.
    pub clauses: usize,
    /// Those with a check or an invariant.
    pub judged: usize,
    /// Those that say why there can be none.
    pub excused: usize,
}

impl Figure {
    /// Of these clauses.
    pub fn of<'a>(clauses: impl Iterator<Item = &'a Clause>) -> Self {
        let mut figure = Self::default();
        for clause in clauses {
            figure.clauses += 1;
            figure.judged += usize::from(!judges(clause).is_empty());
            figure.excused += usize::from(clause.untestable.is_some());
        }
        figure
    }

    /// Of the clauses of one tier.
    pub fn of_tier(tier: Tier) -> Self {
        Self::of(contract::all().filter(|clause| clause.tier == tier))
    }

    /// Judged clauses of a hundred, rounded down: only all of them are 100.
    pub const fn percent(self) -> usize {
        match self.clauses {
            0 => 100,
            clauses => self.judged * 100 / clauses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_add_up_to_the_whole() {
        let whole = Figure::of(contract::all());
        let sum = TIERS.into_iter().map(Figure::of_tier).fold(Figure::default(), |sum, tier| Figure {
            clauses: sum.clauses + tier.clauses,
            judged: sum.judged + tier.judged,
            excused: sum.excused + tier.excused,
        });
        assert_eq!(sum, whole);
        assert!(whole.judged + whole.excused <= whole.clauses);
    }

    #[test]
    fn only_all_is_a_hundred() {
        assert_eq!(Figure { clauses: 200, judged: 199, excused: 1 }.percent(), 99);
        assert_eq!(Figure { clauses: 200, judged: 200, excused: 0 }.percent(), 100);
        assert_eq!(Figure::default().percent(), 100);
    }

    #[test]
    fn an_invariant_judges_as_a_check_does() {
        let judges = judges(&contract::life::NO_LEAK);
        assert!(judges.contains(&Judge::Invariant("no-leak")), "{judges:?}");
    }
}
