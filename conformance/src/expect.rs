//! The expectations file: violations that are known, each with its reason, and stale rows that fail.

use std::{fs, ops::Range, path::Path};

use globset::{Glob, GlobMatcher};
use serde::Deserialize;
use toml::Spanned;

use crate::{check::Verdict, checks, contract, exit_code::Failure};

/// One row.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The check's id, or a glob.
    pub check: String,
    /// Whether it happens in each run.
    pub kind: Kind,
    /// Why.
    pub reason: String,
    /// The clause that is broken; any, when it is not said.
    pub clause: Option<String>,
    /// Where more is to be read.
    pub link: Option<String>,
    checks: GlobMatcher,
    engines: Option<GlobMatcher>,
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
    check: Spanned<String>,
    #[serde(rename = "verdict")]
    _verdict: Expected,
    kind: Kind,
    clause: Option<Spanned<String>>,
    engine: Option<Spanned<String>>,
    reason: Spanned<String>,
    link: Option<String>,
}

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

    fn parse(text: &str) -> Result<Self, (Range<usize>, String)> {
        let file: File = toml::from_str(text).map_err(|e| (e.span().unwrap_or_default(), e.message().to_owned()))?;
        let rows = file.expect.into_iter().map(|row| Expectation::new(row.into_inner())).collect::<Result<_, _>>()?;
        Ok(Self { rows })
    }

    /// What becomes of the verdict of `check` with `engine`: the first row that matches decides. A row that names a clause says nothing
    /// of violations of another one.
    pub fn judge(&self, check: &str, engine: &str, verdict: &Verdict) -> Judged {
        let broken = match verdict {
            Verdict::Violated { clause, .. } => Some(clause),
            Verdict::Held
            | Verdict::Waived { .. }
            | Verdict::Skipped { .. }
            | Verdict::Inconclusive { .. }
            | Verdict::Error { .. } => None,
        };
        let mut rows = self.rows.iter().filter(|row| row.is_about(check, engine));
        let row = rows.find(|row| match (&row.clause, broken) {
            (Some(expected), Some(broken)) => expected == broken,
            (None, _) | (_, None) => true,
        });
        match (row, verdict) {
            (Some(row), Verdict::Violated { .. }) => {
                Judged { verdict: Verdict::Waived { reason: row.reason.clone() }, unexpected: None }
            }
            (Some(row), Verdict::Held) if row.kind == Kind::Always => {
                Judged { verdict: Verdict::Held, unexpected: Some(row.reason.clone()) }
            }
            _ => Judged { verdict: verdict.clone(), unexpected: None },
        }
    }
}

impl Expectation {
    fn new(row: Row) -> Result<Self, (Range<usize>, String)> {
        let checks = glob(&row.check)?;
        if !checks::all().any(|check| checks.is_match(check.id)) {
            let reason = crate::select::unknown("check", row.check.get_ref(), checks::all().map(|check| check.id));
            return Err((row.check.span(), reason));
        }
        if row.reason.get_ref().trim().is_empty() {
            return Err((row.reason.span(), "a row must give its reason".to_owned()));
        }
        if let Some(clause) =
            row.clause.as_ref().filter(|clause| contract::all().all(|known| known.id != clause.get_ref().as_str()))
        {
            let reason = crate::select::unknown("clause", clause.get_ref(), contract::all().map(|clause| clause.id));
            return Err((clause.span(), reason));
        }
        Ok(Self {
            engines: row.engine.as_ref().map(glob).transpose()?,
            check: row.check.into_inner(),
            kind: row.kind,
            reason: row.reason.into_inner(),
            clause: row.clause.map(Spanned::into_inner),
            link: row.link,
            checks,
        })
    }

    fn is_about(&self, check: &str, engine: &str) -> bool {
        self.checks.is_match(check) && self.engines.as_ref().is_none_or(|engines| engines.is_match(engine))
    }
}

fn glob(pattern: &Spanned<String>) -> Result<GlobMatcher, (Range<usize>, String)> {
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
        let judged = expectations.judge("lifecycle/exit-code", engine, &verdict);
        assert_eq!(judged.verdict, expected);
        assert_eq!(judged.unexpected.is_some(), unexpected);
    }

    #[rstest]
    #[case::the_one_it_names("events/order", true)]
    #[case::another("life/no-leak", false)]
    fn a_row_with_a_clause_is_about_that_clause_only(#[case] broken: &str, #[case] known: bool) {
        let text = ALWAYS.replace("engine", "clause = 'events/order'\nengine");
        let Verdict::Violated { violation, .. } = violated() else { unreachable!() };
        let verdict = Verdict::Violated { clause: broken.to_owned(), violation };
        let judged = Expectations::parse(&text).unwrap().judge("lifecycle/exit-code", "runc", &verdict);
        assert_eq!(judged.verdict == waived(), known);
    }

    #[rstest]
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
