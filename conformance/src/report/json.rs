//! `conformance.result/1`: one document at the end of a run.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{Claim, Counts, Event, Outcome, Renderer, Run, Summary, rerun};
use crate::{
    check::{Verdict, Violation},
    contract::{Level, Tier},
    history::{History, Moment},
};

/// Writes the document.
pub(super) struct Json {
    sink: Box<dyn Write>,
}

impl Json {
    /// Into `sink`.
    pub(super) fn new(sink: Box<dyn Write>) -> Self {
        Self { sink }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    shim: Shim<'a>,
    engine: String,
    daemon: String,
    seed: u64,
    result: Claim,
    exit_code: u8,
    summary: Totals,
    checks: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Shim<'a> {
    path: String,
    version: Option<&'a str>,
}

#[derive(Serialize)]
struct Totals {
    #[serde(flatten)]
    counts: Counts,
    wall_ms: u64,
    /// Part of the worlds' time that went into making them and taking them down.
    own_share: Option<f64>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    clause: &'a str,
    level: Level,
    tier: Tier,
    verdict: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unexpected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    violation: Option<&'a Violation>,
    ms: f64,
    rerun: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnosis: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    log: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<&'a History>,
}

fn row<'a>(run: &Run, outcome: &'a Outcome) -> Row<'a> {
    let clause = outcome.clause();
    let held = outcome.verdict == Verdict::Held;
    let ending = &outcome.ending;
    Row {
        id: outcome.check.id,
        clause: clause.id,
        level: clause.level,
        tier: clause.tier,
        verdict: outcome.verdict.word(),
        reason: outcome.reason(),
        unexpected: outcome.unexpected.is_some(),
        violation: ending.verdict.violation(),
        ms: outcome.ms(),
        rerun: rerun(run, outcome.check),
        diagnosis: ending.diagnosis.as_deref(),
        log: if held { "" } else { &ending.log },
        history: (!held && !ending.history.records.is_empty()).then_some(&ending.history),
    }
}

impl Renderer for Json {
    fn handle(&mut self, run: &Run, event: &Event<'_>, _now: Moment) -> Result<()> {
        let Event::Over(summary) = event else { return Ok(()) };
        let document = Document {
            schema: "conformance.result/1",
            shim: Shim { path: run.subject.shim.display().to_string(), version: run.subject.version.as_deref() },
            engine: run.subject.engine_argument(),
            daemon: run.subject.daemon.to_string(),
            seed: run.seed,
            result: summary.claim(),
            exit_code: summary.exit_code(),
            summary: totals(summary),
            checks: summary.outcomes.iter().map(|outcome| row(run, outcome)).collect(),
        };
        serde_json::to_writer_pretty(&mut self.sink, &document).context("write the json report")?;
        self.sink.write_all(b"\n").and_then(|()| self.sink.flush()).context("write the json report")
    }
}

fn totals(summary: &Summary) -> Totals {
    Totals { counts: summary.counts(), wall_ms: summary.wall_ms(), own_share: summary.own_share() }
}
