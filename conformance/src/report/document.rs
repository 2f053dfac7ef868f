//! `conformance.result/1`: a run as one document, written by `--report json=PATH` and read again by `compare`.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Counts, Outcome, Run, Summary, rerun};
use crate::{
    check::{Verdict, Violation, Word},
    claim::{Claim, Conformity},
    contract::{Level, Tier},
    history::History,
};

/// The schema that this suite writes, and the only one that it reads.
pub const SCHEMA: &str = "conformance.result/1";

/// A run that has ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// What judged.
    pub suite: Tool,
    /// What was judged.
    pub shim: Shim,
    /// The OCI runtime that the shim was told to use, as the command line names it.
    pub engine: String,
    /// The containerd that was played.
    pub profile: String,
    /// Where every random choice came from.
    pub seed: u64,
    /// What may be said about the shim.
    pub result: Conformity,
    /// The state of each MUST.
    pub claim: Claim,
    /// The status that the run ended with.
    pub exit_code: u8,
    /// Counts and times.
    pub summary: Totals,
    /// Every selected check, in the order of the catalogue.
    pub checks: Vec<Row>,
}

/// The judge.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tool {
    /// This crate.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The binary under test.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shim {
    /// Where it lies.
    pub path: String,
    /// What it says of itself under `-v`.
    pub version: Option<String>,
    /// Of the executable, in hexadecimal.
    pub sha256: String,
}

/// What a run comes to in numbers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Totals {
    /// How many checks ended in which way.
    #[serde(flatten)]
    pub counts: Counts,
    /// How long the run took, milliseconds.
    pub wall_ms: u64,
    /// Part of the worlds' time that went into making them and taking them down.
    pub own_share: Option<f64>,
}

/// How one check ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// The check.
    pub id: String,
    /// The clause that was broken, or the check's own.
    pub clause: String,
    /// The clause's level.
    pub level: Level,
    /// The clause's tier.
    pub tier: Tier,
    /// The verdict.
    pub verdict: Word,
    /// Why it is not simply held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it was held although the expectations file says that it is always violated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unexpected: bool,
    /// Why a row of the expectations file that is about this check counts no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<String>,
    /// What was done wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violation: Option<Violation>,
    /// How long it took, milliseconds.
    pub ms: f64,
    /// The command line that runs it again.
    pub rerun: String,
    /// What the processes were doing when the check ran into its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<String>,
    /// The end of the shim's log, unless held.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
    /// Everything that was observed, unless held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
}

impl Document {
    /// The document of `run`, which came to `summary`.
    ///
    /// # Errors
    ///
    /// When the shim binary cannot be read.
    pub fn of(run: &Run, summary: &Summary) -> Result<Self> {
        let subject = &run.subject;
        Ok(Self {
            schema: SCHEMA.to_owned(),
            suite: Tool { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            shim: Shim {
                path: subject.shim.display().to_string(),
                version: subject.version.clone(),
                sha256: sha256(&subject.shim)?,
            },
            engine: subject.engine_argument(),
            profile: subject.profile.to_string(),
            seed: run.seed,
            result: summary.claim.conformity,
            claim: summary.claim.clone(),
            exit_code: summary.exit_code(),
            summary: Totals { counts: summary.counts(), wall_ms: summary.wall_ms(), own_share: summary.own_share() },
            checks: summary.outcomes.iter().map(|outcome| Row::of(run, outcome)).collect(),
        })
    }
}

fn sha256(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Row {
    /// Whether the duty was kept, and nobody says that it cannot be.
    pub fn is_simply_held(&self) -> bool {
        self.verdict == Word::Held && !self.unexpected
    }

    fn of(run: &Run, outcome: &Outcome) -> Self {
        let clause = outcome.clause();
        let held = outcome.verdict == Verdict::Held;
        let ending = &outcome.ending;
        Self {
            id: outcome.check.id.to_owned(),
            clause: clause.id.to_owned(),
            level: clause.level,
            tier: clause.tier,
            verdict: outcome.verdict.word(),
            reason: outcome.reason().map(str::to_owned),
            unexpected: outcome.unexpected.is_some(),
            expired: outcome.expired.clone(),
            violation: ending.verdict.violation().cloned(),
            ms: outcome.ms(),
            rerun: rerun(run, outcome.check),
            diagnosis: ending.diagnosis.clone(),
            log: if held { String::new() } else { ending.log.clone() },
            history: (!held && !ending.history.records.is_empty()).then(|| ending.history.clone()),
        }
    }
}

/// One check, and how it ended in each run; `None` where it was not selected.
#[derive(Debug)]
pub struct Line<'d> {
    /// The check.
    pub id: &'d str,
    /// A cell for each run.
    pub cells: Vec<Option<&'d Row>>,
}

/// Runs side by side: every check of any of them, in the order in which they are met.
pub fn side_by_side(documents: &[Document]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for (column, document) in documents.iter().enumerate() {
        for row in &document.checks {
            let place = *places.entry(row.id.as_str()).or_insert_with(|| {
                lines.push(Line { id: &row.id, cells: vec![None; documents.len()] });
                lines.len() - 1
            });
            lines[place].cells[column] = Some(row);
        }
    }
    lines
}

impl Line<'_> {
    /// Whether each run selected it and simply holds it.
    pub fn is_held_by_all(&self) -> bool {
        self.cells.iter().all(|cell| cell.is_some_and(Row::is_simply_held))
    }

    /// Whether it ended in one way here and in another there.
    pub fn differs(&self) -> bool {
        let ended = |cell: &Option<&Row>| cell.map(|row| (row.verdict, row.unexpected));
        self.cells.windows(2).any(|pair| ended(&pair[0]) != ended(&pair[1]))
    }
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
