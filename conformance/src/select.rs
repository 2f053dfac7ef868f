//! Which checks are meant.

use globset::{Glob, GlobMatcher};

use crate::{
    check::Check,
    checks,
    contract::{self, Clause, Level, Tier},
    exit_code::Failure,
};

/// How many near matches are named.
const NEAR: usize = 3;
/// How alike a near match must be (Jaro-Winkler, 1 is equal).
const ALIKE: f64 = 0.8;
/// How much less alike than the best one a second one may be.
const TIED: f64 = 0.05;

/// Wanted checks: all dimensions must agree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Ids and globs; empty for all.
    pub patterns: Vec<String>,
    /// This level and stronger; `None` for all.
    pub level: Option<Level>,
    /// These tiers; empty for all.
    pub tiers: Vec<Tier>,
}

/// The selected checks, in the order of the catalogue.
///
/// # Errors
///
/// When a pattern matches nothing, or nothing is left.
pub fn select(selection: &Selection) -> Result<Vec<&'static Check>, Failure> {
    let ids = || checks::all().map(|check| check.id);
    let matchers = selection.patterns.iter().map(|p| matcher("check", p, ids())).collect::<Result<Vec<_>, _>>()?;
    let selected: Vec<_> = checks::all()
        .filter(|check| matchers.is_empty() || matchers.iter().any(|matcher| matcher.is_match(check.id)))
        .filter(|check| selection.level.is_none_or(|level| check.clause.level <= level))
        .filter(|check| selection.tiers.is_empty() || selection.tiers.contains(&check.clause.tier))
        .collect();
    if selected.is_empty() {
        return Err(Failure::NothingSelected(
            "no check was selected\n  --level and --tier leave nothing; `conformance list` shows both".to_owned(),
        ));
    }
    Ok(selected)
}

/// The selected clauses, in the order of the contract; the patterns are those of clauses.
///
/// # Errors
///
/// As [`select`].
pub fn clauses(selection: &Selection) -> Result<Vec<&'static Clause>, Failure> {
    let ids = || contract::all().map(|clause| clause.id);
    let matchers = selection.patterns.iter().map(|p| matcher("clause", p, ids())).collect::<Result<Vec<_>, _>>()?;
    let selected: Vec<_> = contract::all()
        .filter(|clause| matchers.is_empty() || matchers.iter().any(|matcher| matcher.is_match(clause.id)))
        .filter(|clause| selection.level.is_none_or(|level| clause.level <= level))
        .filter(|clause| selection.tiers.is_empty() || selection.tiers.contains(&clause.tier))
        .collect();
    if selected.is_empty() {
        return Err(Failure::NothingSelected("no clause was selected\n  --level and --tier leave nothing".to_owned()));
    }
    Ok(selected)
}

/// Matches what a person wrote, an id or a glob, which must match one of `known`.
fn matcher<'a>(kind: &str, pattern: &str, known: impl Iterator<Item = &'a str>) -> Result<GlobMatcher, Failure> {
    let matcher =
        Glob::new(pattern).map_err(|e| Failure::Usage(format!("pattern {pattern:?}: {}", e.kind())))?.compile_matcher();
    let known: Vec<&str> = known.collect();
    if known.iter().any(|id| matcher.is_match(id)) {
        return Ok(matcher);
    }
    Err(Failure::Usage(unknown(kind, pattern, known.into_iter())))
}

/// The message for a name that nothing has.
pub fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = near(name, known);
    match near.split_last() {
        None => format!("no {kind} matches {name:?}\n  `conformance list` shows what there is"),
        Some((only, [])) => format!("no {kind} matches {name:?}\n  did you mean {only}?"),
        Some((last, rest)) => format!("no {kind} matches {name:?}\n  did you mean {} or {last}?", rest.join(", ")),
    }
}

/// Those of `known` that are most like `name`, or contain it.
fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.trim_matches('*');
    let mut alike: Vec<(f64, &str)> = known
        .map(|id| {
            let contains = !wanted.is_empty() && id.contains(wanted);
            let score = if contains { 1.0 } else { strsim::jaro_winkler(wanted, id) };
            (score, id)
        })
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    alike.dedup_by_key(|(_, id)| *id);
    let best = alike.first().map_or(0.0, |(score, _)| *score);
    alike.retain(|(score, _)| *score >= best - TIED);
    alike.into_iter().take(NEAR).map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(patterns: &[&str]) -> Selection {
        Selection { patterns: patterns.iter().map(|&p| p.to_owned()).collect(), ..Selection::default() }
    }

    #[test]
    fn everything_is_selected_by_nothing() {
        assert_eq!(select(&Selection::default()).unwrap().len(), checks::all().count());
    }

    #[test]
    fn an_id_selects_itself() {
        let ids: Vec<_> = select(&patterns(&["lifecycle/exit-code"])).unwrap().iter().map(|c| c.id).collect();
        assert_eq!(ids, ["lifecycle/exit-code"]);
    }

    #[test]
    fn a_glob_selects_a_subject() {
        let selected = select(&patterns(&["lifecycle/*"])).unwrap();
        assert!(!selected.is_empty() && selected.iter().all(|c| c.id.starts_with("lifecycle/")));
    }

    #[test]
    fn a_typo_is_an_error_that_names_the_near_match() {
        let failure = select(&patterns(&["lifecycle/exit-cod"])).unwrap_err();
        assert!(matches!(&failure, Failure::Usage(text) if text.contains("lifecycle/exit-code")), "{failure}");
    }

    #[test]
    fn clauses_are_selected_by_their_own_ids() {
        let selection = Selection { level: Some(Level::Must), ..patterns(&["stdio/*"]) };
        let selected = clauses(&selection).unwrap();
        assert!(selected.iter().any(|clause| clause.id == "stdio/complete"));
        assert!(selected.iter().all(|clause| clause.id.starts_with("stdio/") && clause.level == Level::Must));
        // A check, and no clause.
        assert!(matches!(clauses(&patterns(&["refusal/code"])).unwrap_err(), Failure::Usage(_)));
    }

    #[test]
    fn one_bad_pattern_among_good_ones_is_an_error() {
        let failure = select(&patterns(&["lifecycle/*", "nothing-like-this/*"])).unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)));
    }
}
