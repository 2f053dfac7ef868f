//! JUnit XML: one suite for the subject, one test case per check.

use std::{io::Write, time::Duration};

use anyhow::{Context as _, Result};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Event, Outcome, Renderer, Run, Summary, Theme, page, rerun};
use crate::{check::Verdict, history::Moment};

/// Writes the document.
pub(super) struct Junit {
    sink: Box<dyn Write>,
}

impl Junit {
    /// Into `sink`.
    pub(super) fn new(sink: Box<dyn Write>) -> Self {
        Self { sink }
    }
}

impl Renderer for Junit {
    fn handle(&mut self, run: &Run, event: &Event<'_>, _now: Moment) -> Result<()> {
        let Event::Over(summary) = event else { return Ok(()) };
        let text = report(run, summary).to_string().context("encode the junit report")?;
        self.sink.write_all(text.as_bytes()).and_then(|()| self.sink.flush()).context("write the junit report")
    }
}

fn report(run: &Run, summary: &Summary) -> Report {
    let subject = &run.subject;
    let mut suite = TestSuite::new(format!("{} with {}", subject.name(), subject.engine_name()));
    suite.set_time(summary.wall);
    suite.add_properties(
        [
            ("shim", subject.shim.display().to_string()),
            ("version", subject.version.clone().unwrap_or_default()),
            ("engine", subject.engine_argument()),
            ("seed", format!("{:#x}", run.seed)),
            ("profile", summary.claim.profile.clone()),
            ("result", summary.claim.conformity.to_string()),
        ]
        .map(|(name, value)| Property::new(name, value)),
    );
    suite.add_test_cases(summary.outcomes.iter().map(|outcome| case(run, outcome)));
    let mut report = Report::new("conformance");
    report.set_time(summary.wall);
    report.add_test_suite(suite);
    report
}

fn case(run: &Run, outcome: &Outcome) -> TestCase {
    let word = outcome.verdict.word().as_str();
    let mut status = match &outcome.verdict {
        Verdict::Held if outcome.unexpected.is_some() => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Held => TestCaseStatus::success(),
        Verdict::Violated { .. } => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Waived { .. } | Verdict::Skipped { .. } | Verdict::NotApplicable { .. } => TestCaseStatus::skipped(),
        // Neither may look green.
        Verdict::Inconclusive { .. } | Verdict::Error { .. } => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if let Some(reason) = outcome.reason() {
        status.set_message(format!("{word}: {reason}"));
        status.set_type(word);
    }
    let plain = outcome.verdict == Verdict::Held && outcome.unexpected.is_none();
    if !plain {
        let page = page(outcome, run, Theme::ASCII, false);
        status.set_description(anstream::adapter::strip_str(&page).to_string());
    }
    let clause = outcome.clause();
    let mut case = TestCase::new(outcome.check.id, status);
    case.set_classname(outcome.check.id.split('/').next().unwrap_or_default());
    case.set_time(Duration::from_secs_f64(outcome.ms() / 1000.0));
    case.add_properties(
        [
            ("clause", clause.id.to_owned()),
            ("level", clause.level.to_string()),
            ("tier", clause.tier.to_string()),
            ("rerun", rerun(run, outcome.check)),
        ]
        .map(|(name, value)| Property::new(name, value)),
    );
    case
}
