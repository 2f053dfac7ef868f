//! `conformance.result/1`: one document at the end of a run.

use std::{fs, io::Write, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Counts, Event, Outcome, Renderer, Run, Summary, rerun};
use crate::{
    check::{Verdict, Violation},
    claim::{Claim, Conformity},
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
    suite: Suite,
    shim: Shim<'a>,
    engine: String,
    daemon: String,
    seed: u64,
    result: Conformity,
    claim: &'a Claim,
    exit_code: u8,
    summary: Totals,
    checks: Vec<Row<'a>>,
}

/// What judged.
#[derive(Serialize)]
struct Suite {
    name: &'static str,
    version: &'static str,
}

/// What was judged.
#[derive(Serialize)]
struct Shim<'a> {
    path: String,
    version: Option<&'a str>,
    /// Of the executable, in hexadecimal.
    sha256: String,
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
    expired: Option<&'a str>,
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
        expired: outcome.expired.as_deref(),
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
            suite: Suite { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
            shim: Shim {
                path: run.subject.shim.display().to_string(),
                version: run.subject.version.as_deref(),
                sha256: sha256(&run.subject.shim)?,
            },
            engine: run.subject.engine_argument(),
            daemon: run.subject.daemon.to_string(),
            seed: run.seed,
            result: summary.claim.conformity,
            claim: &summary.claim,
            exit_code: summary.exit_code(),
            summary: totals(summary),
            checks: summary.outcomes.iter().map(|outcome| row(run, outcome)).collect(),
        };
        serde_json::to_writer_pretty(&mut self.sink, &document).context("write the json report")?;
        self.sink.write_all(b"\n").and_then(|()| self.sink.flush()).context("write the json report")
    }
}

fn sha256(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn totals(summary: &Summary) -> Totals {
    Totals { counts: summary.counts(), wall_ms: summary.wall_ms(), own_share: summary.own_share() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shim");
        fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), expected);
        assert!(sha256(&directory.path().join("none")).is_err());
    }
}
