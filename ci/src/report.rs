//! The JSON report of the suite, as far as the steps need it.
//!
//! Declared here and not shared with the suite: this crate meets it as any other reader of its reports would.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;

/// A whole run.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    /// The counts.
    pub(crate) summary: Summary,
    /// One entry for each check that was selected.
    pub(crate) checks: Vec<Check>,
}

/// How many checks ended in which verdict, and how long the run took.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Summary {
    /// The clause was kept.
    pub(crate) held: u64,
    /// The clause was broken, and no expectation says so.
    pub(crate) violated: u64,
    /// The clause was broken as expected.
    pub(crate) waived: u64,
    /// The check did not apply or was not possible here.
    pub(crate) skipped: u64,
    /// The containerd that was played does not ask for it.
    #[serde(default)]
    pub(crate) not_applicable: u64,
    /// The check could not tell.
    pub(crate) inconclusive: u64,
    /// The suite itself failed.
    pub(crate) error: u64,
    /// Wall time of the run, in milliseconds.
    pub(crate) wall_ms: u64,
}

/// One check's verdict.
#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    /// The check's id.
    pub(crate) id: String,
    /// `held`, `violated`, `waived`, `skipped`, `not_applicable`, `inconclusive` or `error`.
    pub(crate) verdict: String,
    /// Why, for all but `held`.
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// Reads the report at `path`.
pub(crate) fn read(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the report {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot understand the report {}", path.display()))
}
