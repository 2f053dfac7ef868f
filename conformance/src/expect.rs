//! The expectations file: violations that are known, each with its reason, and stale rows that fail.

use std::{fs, ops::Range, path::Path};

use globset::{Glob, GlobMatcher};
use jiff::civil::Date;
use serde::Deserialize;
use toml::{Spanned, value::Datetime};

use crate::{
    check::{Check, Verdict},
    checks, contract,
    exit_code::Failure,
};

/// One row.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Where it begins, from 1.
    pub line: usize,
    /// The check's id, or a glob; any check, when only the clause is said.
    pub check: Option<String>,
    /// Whether it happens in each run.
    pub kind: Kind,
    /// Why.
    pub reason: String,
    /// The clause that is broken; any, when it is not said.
    pub clause: Option<String>,
    /// Where more is to be read.
    pub link: Option<String>,
    /// The last day on which it waives anything; for ever, when it is not said.
    pub expires: Option<Date>,
    checks: Option<GlobMatcher>,
    engines: Option<GlobMatcher>,
    shims: Option<GlobMatcher>,
    profiles: Option<GlobMatcher>,
}

/// Whom a verdict is about, and when it was reached.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The check.
    pub check: &'a Check,
    /// The short name of the OCI runtime.
    pub engine: &'a str,
    /// The file name of the shim.
    pub shim: &'a str,
    /// The name of the containerd that is played.
    pub profile: &'a str,
    /// The day.
    pub today: Date,
}

/// How often something expected happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Each time.
    Always,
    /// When a race goes one way.
    Sometimes,
}

/// All rows of a file.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    rows: Vec<Expectation>,
}

/// What expectations make of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The verdict, with known violations waived.
    pub verdict: Verdict,
    /// A row says that this is always violated, and it was held: the row's reason.
    pub unexpected: Option<String>,
    /// A row would have waived it and has expired: when, and the row's reason.
    pub expired: Option<String>,
}

impl Judged {
    fn as_it_is(verdict: &Verdict) -> Self {
        Self { verdict: verdict.clone(), unexpected: None, expired: None }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    expect: Vec<Spanned<Row>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    check: Option<Spanned<String>>,
    #[serde(rename = "verdict")]
    _verdict: Expected,
    kind: Kind,
    clause: Option<Spanned<String>>,
    engine: Option<Spanned<String>>,
    shim: Option<Spanned<String>>,
    profile: Option<Spanned<String>>,
    reason: Spanned<String>,
    link: Option<String>,
    expires: Option<Spanned<Datetime>>,
}

/// What is wrong with a file, and where.
type Wrong = (Range<usize>, String);

/// The only verdict that can be expected.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Violated,
}

impl Expectations {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// With path, line and column of what is wrong.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path)
            .map_err(|e| Failure::Usage(format!("expectations file {}: {e}", path.display())))?;
        Self::parse(&text).map_err(|(span, reason)| {
            let (line, column) = position(&text, span.start);
            Failure::Usage(format!("expectations file {}:{line}:{column}: {reason}", path.display()))
        })
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let file: File = toml::from_str(text).map_err(|e| (e.span().unwrap_or_default(), e.message().to_owned()))?;
        let rows = file.expect.into_iter().map(|row| {
            let span = row.span();
            let (line, _) = position(text, span.start);
            Expectation::new(row.into_inner(), line, span)
        });
        Ok(Self { rows: rows.collect::<Result<_, _>>()? })
    }

    /// Every row that has expired by `today`, in words.
    pub fn expired(&self, today: Date) -> Vec<String> {
        let rows = self.rows.iter().filter_map(|row| {
            let expired = row.expired(today)?;
            let about = row.check.as_deref().or(row.clause.as_deref()).unwrap_or_default();
            Some(format!("line {}, {about}: {expired}", row.line))
        });
        rows.collect()
    }

    /// What becomes of the verdict of `case`: the first row that matches and has not expired decides. A row that names a clause says
    /// nothing of violations of another one.
    pub fn judge(&self, case: Case<'_>, verdict: &Verdict) -> Judged {
        let broken = match verdict {
            Verdict::Violated { clause, .. } => Some(clause.as_str()),
            Verdict::Held
            | Verdict::Waived { .. }
            | Verdict::Skipped { .. }
            | Verdict::NotApplicable { .. }
            | Verdict::Inconclusive { .. }
            | Verdict::Error { .. } => None,
        };
        let rows = || self.rows.iter().filter(|row| row.is_about(case, broken));
        let row = rows().find(|row| row.expired(case.today).is_none());
        match (row, verdict) {
            (Some(row), Verdict::Violated { .. }) => {
                Judged { verdict: Verdict::Waived { reason: row.reason.clone() }, unexpected: None, expired: None }
            }
            (None, Verdict::Violated { .. }) => {
                Judged { expired: rows().find_map(|row| row.expired(case.today)), ..Judged::as_it_is(verdict) }
            }
            (Some(row), Verdict::Held) if row.kind == Kind::Always => {
                Judged { unexpected: Some(row.reason.clone()), ..Judged::as_it_is(verdict) }
            }
            _ => Judged::as_it_is(verdict),
        }
    }
}

impl Expectation {
    fn new(row: Row, line: usize, span: Range<usize>) -> Result<Self, Wrong> {
        if row.check.is_none() && row.clause.is_none() {
            return Err((span, "a row names a check, a clause, or both".to_owned()));
        }
        let checks = row.check.as_ref().map(known_checks).transpose()?;
        if let Some(clause) = &row.clause {
            known_clause(clause)?;
        }
        if row.reason.get_ref().trim().is_empty() {
            return Err((row.reason.span(), "a row must give its reason".to_owned()));
        }
        Ok(Self {
            line,
            engines: row.engine.as_ref().map(glob).transpose()?,
            shims: row.shim.as_ref().map(glob).transpose()?,
            profiles: row.profile.as_ref().map(glob).transpose()?,
            expires: row.expires.as_ref().map(date).transpose()?,
            check: row.check.map(Spanned::into_inner),
            kind: row.kind,
            reason: row.reason.into_inner(),
            clause: row.clause.map(Spanned::into_inner),
            link: row.link,
            checks,
        })
    }

    /// Whether it speaks of `case`, where `broken` was broken, if anything was.
    fn is_about(&self, case: Case<'_>, broken: Option<&str>) -> bool {
        let is_of = |wanted: &Option<GlobMatcher>, actual: &str| wanted.as_ref().is_none_or(|w| w.is_match(actual));
        let is_clause = match (self.clause.as_deref(), broken) {
            (None, _) => true,
            (Some(expected), Some(broken)) => expected == broken,
            // A check that is held breaks nothing. A row that says how it is broken each time is about it; one that only may happen, or
            // names the clause alone, is when the check tests that clause.
            (Some(expected), None) => {
                expected == case.check.clause.id || self.checks.is_some() && self.kind == Kind::Always
            }
        };
        is_clause
            && is_of(&self.checks, case.check.id)
            && is_of(&self.engines, case.engine)
            && is_of(&self.shims, case.shim)
            && is_of(&self.profiles, case.profile)
    }

    /// When it expired, and what it was about; `None` while it is in force.
    fn expired(&self, today: Date) -> Option<String> {
        let day = self.expires.filter(|&day| day < today)?;
        Some(format!("expired on {day} and waives nothing any more: {}", self.reason))
    }
}

fn known_checks(pattern: &Spanned<String>) -> Result<GlobMatcher, Wrong> {
    let matcher = glob(pattern)?;
    if checks::all().any(|check| matcher.is_match(check.id)) {
        return Ok(matcher);
    }
    let reason = crate::select::unknown("check", pattern.get_ref(), checks::all().map(|check| check.id));
    Err((pattern.span(), reason))
}

fn known_clause(clause: &Spanned<String>) -> Result<(), Wrong> {
    if contract::all().any(|known| known.id == clause.get_ref().as_str()) {
        return Ok(());
    }
    let reason = crate::select::unknown("clause", clause.get_ref(), contract::all().map(|clause| clause.id));
    Err((clause.span(), reason))
}

/// A day as TOML writes it: `2027-01-31`.
fn date(datetime: &Spanned<Datetime>) -> Result<Date, Wrong> {
    let wrong = || (datetime.span(), format!("{} is no date like 2027-01-31", datetime.get_ref()));
    let Datetime { date: Some(date), time: None, offset: None } = *datetime.get_ref() else {
        return Err(wrong());
    };
    let number = |number: u8| i8::try_from(number).map_err(|_| wrong());
    let year = i16::try_from(date.year).map_err(|_| wrong())?;
    Date::new(year, number(date.month)?, number(date.day)?).map_err(|_| wrong())
}

fn glob(pattern: &Spanned<String>) -> Result<GlobMatcher, Wrong> {
    Glob::new(pattern.get_ref())
        .map(|glob| glob.compile_matcher())
        .map_err(|e| (pattern.span(), format!("pattern {:?}: {}", pattern.get_ref(), e.kind())))
}

/// Line and column, both from 1, of a byte.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::check::Violation;

    const ALWAYS: &str = "[[expect]]\ncheck = 'lifecycle/*'\nverdict = 'violated'\nkind = 'always'\n\
                          engine = 'r*'\nreason = 'known'\n";

    fn violated() -> Verdict {
        Verdict::Violated {
            clause: String::new(),
            violation: Violation { happened: String::new(), expected: String::new(), actual: String::new() },
        }
    }

    fn waived() -> Verdict {
        Verdict::Waived { reason: "known".to_owned() }
    }

    fn case(engine: &str) -> Case<'_> {
        let check = checks::named("lifecycle/exit-code").unwrap();
        let today = Date::constant(2027, 2, 1);
        Case { check, engine, shim: "containerd-shim-mine-v1", profile: "containerd-2.1", today }
    }

    #[rstest]
    #[case::known("always", "runc", violated(), waived(), false)]
    #[case::stale("always", "runc", Verdict::Held, Verdict::Held, true)]
    #[case::race_won("sometimes", "runc", Verdict::Held, Verdict::Held, false)]
    #[case::race_lost("sometimes", "runc", violated(), waived(), false)]
    #[case::another_engine("always", "ours", violated(), violated(), false)]
    #[case::an_error_is_never_expected(
        "always", "runc", Verdict::Error { reason: String::new() }, Verdict::Error { reason: String::new() }, false
    )]
    fn rows_judge(
        #[case] kind: &str,
        #[case] engine: &str,
        #[case] verdict: Verdict,
        #[case] expected: Verdict,
        #[case] unexpected: bool,
    ) {
        let expectations = Expectations::parse(&ALWAYS.replace("always", kind)).unwrap();
        let judged = expectations.judge(case(engine), &verdict);
        assert_eq!(judged.verdict, expected);
        assert_eq!(judged.unexpected.is_some(), unexpected);
    }

    #[test]
    fn a_row_of_what_may_happen_hides_no_row_of_what_always_does() {
        let maybe = "[[expect]]\ncheck = '*'\nverdict = 'violated'\nkind = 'sometimes'\nclause = 'events/order'\nreason = 'r'\n";
        let expectations = Expectations::parse(&format!("{maybe}{ALWAYS}")).unwrap();
        assert!(expectations.judge(case("runc"), &Verdict::Held).unexpected.is_some());
    }

    #[rstest]
    #[case::the_one_it_names("events/order", true)]
    #[case::another("life/no-leak", false)]
    fn a_row_with_a_clause_is_about_that_clause_only(#[case] broken: &str, #[case] known: bool) {
        let text = ALWAYS.replace("engine", "clause = 'events/order'\nengine");
        let Verdict::Violated { violation, .. } = violated() else { unreachable!() };
        let verdict = Verdict::Violated { clause: broken.to_owned(), violation };
        let judged = Expectations::parse(&text).unwrap().judge(case("runc"), &verdict);
        assert_eq!(judged.verdict == waived(), known);
    }

    #[test]
    fn a_row_may_be_about_some_containerds() {
        let text = ALWAYS.replace("engine", "profile = 'containerd-1.*'\nengine");
        let expectations = Expectations::parse(&text).unwrap();
        let judged = |profile| expectations.judge(Case { profile, ..case("runc") }, &violated()).verdict;
        assert_eq!(judged("containerd-1.7"), waived());
        assert_eq!(judged("containerd-2.0"), violated());
    }

    #[rstest]
    #[case::its_own("task/exit-status", "task/exit-status", true)]
    #[case::of_an_invariant("events/order", "events/order", true)]
    #[case::another("life/no-leak", "events/order", false)]
    fn a_row_may_name_the_clause_alone(#[case] clause: &str, #[case] broken: &str, #[case] known: bool) {
        let text = ALWAYS.replace("check = 'lifecycle/*'", &format!("clause = '{clause}'"));
        let Verdict::Violated { violation, .. } = violated() else { unreachable!() };
        let verdict = Verdict::Violated { clause: broken.to_owned(), violation };
        let expectations = Expectations::parse(&text).unwrap();
        assert_eq!(expectations.judge(case("runc"), &verdict).verdict == waived(), known);
        // Held where the clause is always broken is news, elsewhere it is not.
        let held = expectations.judge(case("runc"), &Verdict::Held);
        assert_eq!(held.unexpected.is_some(), clause == case("runc").check.clause.id);
    }

    #[rstest]
    #[case::of_this_shim("containerd-shim-mine-*", true)]
    #[case::of_another("containerd-shim-runc-v2", false)]
    fn a_row_may_name_the_shim(#[case] shim: &str, #[case] known: bool) {
        let text = ALWAYS.replace("engine = 'r*'", &format!("shim = '{shim}'"));
        let judged = Expectations::parse(&text).unwrap().judge(case("runc"), &violated());
        assert_eq!(judged.verdict == waived(), known);
    }

    #[rstest]
    #[case::the_day_before("2027-02-02", true)]
    #[case::the_day_itself("2027-02-01", true)]
    #[case::the_day_after("2027-01-31", false)]
    fn an_expired_row_waives_nothing_and_says_so(#[case] expires: &str, #[case] known: bool) {
        let text = ALWAYS.replace("engine = 'r*'", &format!("expires = {expires}"));
        let expectations = Expectations::parse(&text).unwrap();
        let judged = expectations.judge(case("runc"), &violated());
        assert_eq!(judged.verdict == waived(), known);
        assert_eq!(judged.expired.is_some(), !known);
        assert_eq!(expectations.expired(case("runc").today).is_empty(), known);
        // It expects nothing either.
        assert_eq!(expectations.judge(case("runc"), &Verdict::Held).unexpected.is_some(), known);
    }

    #[rstest]
    #[case::neither_check_nor_clause("check = 'lifecycle/*'\n", "", 1, 1)]
    #[case::no_date("engine = 'r*'", "expires = 12:00:00", 5, 11)]
    #[case::no_such_day("engine = 'r*'", "expires = '2027-01-01'", 5, 11)]
    #[case::bad_shim("engine = 'r*'", "shim = 'r{'", 5, 8)]
    #[case::unknown_clause("engine = 'r*'", "clause = 'no/such'", 5, 10)]
    #[case::unknown_field("kind = 'always'", "knid = 'always'", 4, 1)]
    #[case::unknown_kind("'always'", "'often'", 4, 8)]
    #[case::unknown_check("lifecycle/*", "nothing-like-this", 2, 9)]
    #[case::other_verdict("'violated'", "'error'", 3, 11)]
    #[case::no_reason("'known'", "' '", 6, 10)]
    #[case::bad_glob("'r*'", "'r{'", 5, 10)]
    fn what_is_wrong_is_pointed_at(
        #[case] right: &str,
        #[case] wrong: &str,
        #[case] line: usize,
        #[case] column: usize,
    ) {
        let text = ALWAYS.replace(right, wrong);
        let (span, reason) = Expectations::parse(&text).unwrap_err();
        assert_eq!(position(&text, span.start), (line, column), "{reason}");
    }
}
