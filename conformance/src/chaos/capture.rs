//! A failure in a file: the plan, who failed and how, and everything that was observed.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{
    Signature,
    plan::Plan,
    results::{Finding, Reproduction, Run, write_whole},
};
use crate::{check::Violation, history::History};

/// The form of the file; grows with every change that a reader must know of.
const SCHEMA: u32 = 2;

/// One failure. The file is TOML, for the plan to be read and edited as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    schema: u32,
    /// The clause that was broken.
    pub clause: String,
    /// The plan's number in its run.
    pub number: u64,
    /// The smallest plan found that fails in this way.
    pub smallest: Plan,
    /// As it was drawn.
    pub plan: Plan,
    /// How.
    pub violation: Violation,
    /// How often the smallest plan failed.
    pub reproduces: Reproduction,
    /// The run in which it was found.
    pub run: Run,
    /// What was observed under the smallest plan: a record of the history as JSON on each line.
    pub history: String,
}

impl Capture {
    /// What is to be kept of `finding`.
    ///
    /// # Errors
    ///
    /// When the history cannot be encoded.
    pub fn new(run: &Run, finding: &Finding, history: &History) -> Result<Self> {
        let lines: Result<Vec<String>, _> = history.records.iter().map(serde_json::to_string).collect();
        Ok(Self {
            schema: SCHEMA,
            clause: finding.clause.clone(),
            number: finding.number,
            smallest: finding.smallest.clone(),
            plan: finding.plan.clone(),
            violation: finding.violation.clone(),
            reproduces: finding.reproduces,
            run: run.clone(),
            history: lines.context("encode a history")?.join("\n") + "\n",
        })
    }

    /// What makes another failure the same one.
    pub fn signature(&self) -> Signature {
        Signature::new(&self.clause, &self.violation)
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("chaos-{:#x}-plan{}.toml", self.run.seed, self.number)
    }

    /// Writes the file `path`, whole or not at all.
    ///
    /// # Errors
    ///
    /// With the path that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string_pretty(self).context("encode a capture")?;
        write_whole(path, text.as_bytes())
    }

    /// Reads a file that was written so.
    ///
    /// # Errors
    ///
    /// When it is of another form, or none at all.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let capture: Self = toml::from_str(&text).with_context(|| format!("{} is no capture", path.display()))?;
        let schema = capture.schema;
        anyhow::ensure!(schema == SCHEMA, "{} has schema {schema}, this suite reads {SCHEMA}", path.display());
        Ok(capture)
    }

    /// The history that was captured.
    ///
    /// # Errors
    ///
    /// When a line of it is none.
    pub fn history(&self) -> Result<History> {
        let records: Result<_, _> = self.history.lines().map(serde_json::from_str).collect();
        Ok(History { records: records.context("read a captured history")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chaos::results::tests::results,
        history::{Moment, Record, What},
    };

    #[test]
    fn a_capture_is_read_as_it_was_written_and_shows_its_plan_as_text() {
        let record = |at, text: &str| Record { at: Moment(at), what: What::Note(text.to_owned()) };
        let history = History { records: vec![record(1, "one"), record(2, "\"two\"\n")] };
        let violation =
            Violation { happened: "a: it fell".to_owned(), expected: "\"\"\"".to_owned(), actual: String::new() };
        let finding = Finding {
            clause: "a/b".to_owned(),
            violation,
            number: 4,
            seen: 1,
            plan: "a: create\nb: create".parse().unwrap(),
            smallest: "b: create &".parse().unwrap(),
            reproduces: Reproduction { violated: 7, of: 50 },
            capture: None,
        };
        let capture = Capture::new(&results("1/1").run, &finding, &history).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(capture.file_name());
        capture.write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("plan = \"\"\"\na: create\nb: create\n\"\"\""), "{text}");
        let again = Capture::read(&path).unwrap();
        assert_eq!(again, capture);
        assert_eq!(again.history().unwrap(), history);
    }
}
