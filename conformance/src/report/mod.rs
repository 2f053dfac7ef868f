//! What a run tells, and to whom: one enum of events, one trait of renderers.

mod document;
mod html;
mod human;
mod json;
mod junit;
mod page;
mod style;
mod summary;
mod table;

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    str::FromStr,
};

use anyhow::{Context as _, Result};

pub use self::{
    document::{Document, Line, Row, SCHEMA, Shim, Tool, Totals, side_by_side},
    html::html,
    human::{Human, Verbosity},
    page::{observed, page, timeline_of as timeline},
    style::Theme,
    summary::{Counts, Summary},
    table::{Column, exit_code, table},
};
use crate::{
    check::{Check, Verdict},
    claim::Finding,
    clock,
    contract::{self, Clause},
    expect::{Case, Expectations, Judged},
    history::Moment,
    lab::Ending,
    profile::Profile,
    runner::Done,
    subject::Subject,
};

/// A run as it was planned.
#[derive(Debug)]
pub struct Run {
    /// What is tested.
    pub subject: Subject,
    /// Where every random choice comes from.
    pub seed: u64,
    /// How many checks run at once.
    pub jobs: usize,
    /// What runs.
    pub checks: Vec<&'static Check>,
}

/// How one check ended, after the expectations file was asked.
#[derive(Debug)]
pub struct Outcome {
    /// The check.
    pub check: &'static Check,
    /// The verdict, with known violations waived.
    pub verdict: Verdict,
    /// The expectations file says that it is always violated, for this reason, and it was held.
    pub unexpected: Option<String>,
    /// A row of the expectations file would have waived it and has expired.
    pub expired: Option<String>,
    /// How it ended before the expectations file was asked.
    pub ending: Ending,
    /// When it was begun; equal to the end when it never was.
    pub begun: Moment,
    /// When it ended.
    pub ended: Moment,
}

impl Outcome {
    /// What expectations make of what was done.
    pub fn judged(check: &'static Check, done: Done, expectations: &Expectations, subject: &Subject) -> Self {
        let Done { ending, begun, ended } = done;
        let (engine, shim) = (subject.engine_name(), subject.name());
        let case = Case { check, engine: &engine, shim: &shim, profile: subject.profile.name, today: clock::today() };
        let Judged { verdict, unexpected, expired } = expectations.judge(case, &ending.verdict);
        Self { check, verdict, unexpected, expired, ending, begun, ended }
    }

    /// What it tells about the contract.
    pub fn finding(&self) -> Finding<'_> {
        let broken = self.ending.verdict.violation().map(|_| self.clause());
        Finding { check: self.check, broken, verdict: &self.verdict }
    }

    /// How long it took, milliseconds.
    pub fn ms(&self) -> f64 {
        self.ended.ms_since(self.begun)
    }

    /// Whether it makes the run red.
    pub fn is_red(&self) -> bool {
        self.unexpected.is_some() || matches!(self.verdict, Verdict::Violated { .. } | Verdict::Error { .. })
    }

    /// The clause that was broken: that of an invariant, or the check's own.
    pub fn clause(&self) -> &'static Clause {
        let Verdict::Violated { clause, .. } = &self.ending.verdict else {
            return self.check.clause;
        };
        contract::all().find(|known| known.id == clause).unwrap_or(self.check.clause)
    }

    /// Why it is not simply held.
    pub fn reason(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Held => self.unexpected.as_deref(),
            Verdict::Violated { violation, .. } => Some(&violation.happened),
            Verdict::Waived { reason }
            | Verdict::Skipped { reason }
            | Verdict::NotApplicable { reason }
            | Verdict::Inconclusive { reason }
            | Verdict::Error { reason } => Some(reason),
        }
    }
}

/// Something that a reader may want to know.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run begins.
    Began,
    /// A check begins.
    Started(&'static Check),
    /// A check has ended.
    Ended(&'a Outcome),
    /// Time passes.
    Tick,
    /// The run was interrupted by the signal of this number, and ends what it has begun.
    Interrupted(i32),
    /// The run has ended.
    Over(&'a Summary),
}

/// Tells what happens.
pub trait Renderer {
    /// Takes notice of `event` at the moment `now`.
    ///
    /// # Errors
    ///
    /// When it cannot be written down.
    fn handle(&mut self, run: &Run, event: &Event<'_>, now: Moment) -> Result<()>;
}

/// The command line that runs this check again.
pub fn rerun(run: &Run, check: &Check) -> String {
    let subject = &run.subject;
    let mut words = vec![
        "conformance".to_owned(),
        "run".to_owned(),
        "--shim".to_owned(),
        quote(&subject.shim.display().to_string()),
        "--engine".to_owned(),
        quote(&subject.engine_argument()),
        "--profile".to_owned(),
        subject.profile.to_string(),
        "--seed".to_owned(),
        format!("{:#x}", run.seed),
    ];
    words.extend(subject.unusual_arguments());
    words.push(quote(check.id));
    words.join(" ")
}

/// For a shell.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A report that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    format: ReportFormat,
    path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReportFormat {
    Html,
    Json,
    Junit,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, path) = text.split_once('=').ok_or("must be html=PATH, json=PATH or junit=PATH")?;
        let format = match format {
            "html" => ReportFormat::Html,
            "json" => ReportFormat::Json,
            "junit" => ReportFormat::Junit,
            other => return Err(format!("format {other:?} is none of html, json and junit")),
        };
        if path.is_empty() {
            return Err("the path is empty".to_owned());
        }
        Ok(Self { format, path: path.into() })
    }
}

impl Destination {
    /// Whether it is standard output, which then belongs to the report alone.
    pub fn is_stdout(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// The same for the run under one of several containerds: its name is put before the extension.
    #[must_use]
    pub fn of(&self, profile: Profile) -> Self {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let extension = self.path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
        let name = format!("{stem}.{profile}{}", extension.unwrap_or_default());
        Self { format: self.format, path: self.path.with_file_name(name) }
    }

    /// Opens it, before anything runs.
    ///
    /// # Errors
    ///
    /// With the path that cannot be written.
    pub fn open(&self) -> Result<Box<dyn Renderer>> {
        let sink: Box<dyn Write> = if self.is_stdout() {
            Box::new(io::stdout())
        } else {
            Box::new(File::create(&self.path).with_context(|| format!("create report {}", self.path.display()))?)
        };
        Ok(match self.format {
            ReportFormat::Html => Box::new(html::Html::new(sink)),
            ReportFormat::Json => Box::new(json::Json::new(sink)),
            ReportFormat::Junit => Box::new(junit::Junit::new(sink)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quote("/usr/bin/shim-v2"), "/usr/bin/shim-v2");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn destinations_are_parsed() {
        assert!("json=-".parse::<Destination>().unwrap().is_stdout());
        assert!("junit=a/b.xml".parse::<Destination>().is_ok());
        for wrong in ["json", "xml=a", "json="] {
            assert!(wrong.parse::<Destination>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_profile_has_reports_of_its_own() {
        let report: Destination = "json=out/r.json".parse().unwrap();
        assert_eq!(Ok(report.of(crate::profile::V1_6)), "json=out/r.containerd-1.6.json".parse());
        let report: Destination = "junit=r".parse().unwrap();
        assert_eq!(Ok(report.of(crate::profile::V2_3)), "junit=r.containerd-2.3".parse());
    }
}
