//! `conformance run`.

use std::{
    io::{IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

use anyhow::Context as _;

use super::{
    args::{self, Output, Pace, Run, Selection, Subject},
    choose_color, controlled, say,
};
use crate::{
    check::Check,
    clock, contract,
    exit_code::Failure,
    expect::Expectations,
    profile::Profile,
    report::{self, Column, Destination, Human, Renderer, Theme, Verbosity},
    runner::Control,
    select,
    session::Session,
    subject::{self, ProfileWish, Wish},
};

/// Worlds wait more than they work: so many for each core keep the cores busy.
const JOBS_PER_CORE: usize = 2;

/// Runs what is selected; the status tells what came of it.
pub(super) fn run(options: Run) -> Result<ExitCode, Failure> {
    choose_color(options.output.color);
    let expectations = match &options.expect {
        Some(path) => expectations(path)?,
        None => Expectations::default(),
    };
    let checks = select::select(&selection(options.selection.clone()))?;
    let wishes = args::wished(&options.subject.profile);
    let plan = Plan { options, checks, expectations };
    match wishes.as_slice() {
        [wish] => plan.once(*wish),
        several => plan.each(several),
    }
}

/// What is the same under every containerd.
struct Plan {
    options: Run,
    checks: Vec<&'static Check>,
    expectations: Expectations,
}

impl Plan {
    /// One containerd.
    fn once(&self, wish: ProfileWish) -> Result<ExitCode, Failure> {
        let mut renderers = renderers(&self.options.report, &self.options.output)?;
        let control = controlled()?;
        let subject = self.resolve(wish, &control)?;
        let session = self.session(subject, self.checks.clone(), seed(&self.options.pace));
        Ok(ExitCode::from(session.carry_out(&control, &mut renderers)?.exit_code()))
    }

    /// Several containerds, one after the other, and a table that compares them.
    fn each(&self, wishes: &[ProfileWish]) -> Result<ExitCode, Failure> {
        let (control, seed) = (controlled()?, seed(&self.options.pace));
        if self.options.report.iter().any(Destination::is_stdout) {
            return Err(Failure::Usage(
                "several profiles make several reports, and standard output takes one\n  name a file".to_owned(),
            ));
        }
        let mut columns = Vec::new();
        for &wish in wishes {
            columns.push(match self.resolve(wish, &control) {
                Ok(subject) => self.column(subject, seed, &control)?,
                // Another containerd may not be able to speak gRPC with it, and then there is something to judge.
                Err(Failure::Undecided(reason)) => Column::undecided(name(wish), reason),
                Err(failure) => return Err(failure),
            });
            if control.signal().is_some() {
                break;
            }
        }
        say(&report::table(&columns))?;
        Ok(ExitCode::from(report::exit_code(&columns)))
    }

    fn column(&self, subject: subject::Subject, seed: u64, control: &Control) -> Result<Column, Failure> {
        let profile = subject.profile;
        let usable = subject.answer.is_some();
        // What remains to be judged of a shim that this containerd cannot use is how it takes it.
        let judged = |check: &&Check| usable || check.clause == &contract::start::UNUSABLE;
        let checks: Vec<&Check> = self.checks.iter().copied().filter(judged).collect();
        if !usable && checks.is_empty() {
            return Ok(Column::not_usable(profile, None));
        }
        let reports: Vec<Destination> = self.options.report.iter().map(|report| report.of(profile)).collect();
        let mut renderers = renderers(&reports, &self.options.output)?;
        let summary = self.session(subject, checks, seed).carry_out(control, &mut renderers)?;
        Ok(if usable { Column::ran(profile, summary) } else { Column::not_usable(profile, Some(summary)) })
    }

    fn resolve(&self, wish: ProfileWish, control: &Control) -> Result<subject::Subject, Failure> {
        let Run { subject, pace, .. } = &self.options;
        subject::Subject::resolve(&self::wish(subject, wish, pace.timeout_scale)?, control)
    }

    fn session(&self, subject: subject::Subject, checks: Vec<&'static Check>, seed: u64) -> Session {
        let pace = &self.options.pace;
        Session {
            run: report::Run { subject, seed, jobs: jobs(pace), checks },
            cases: pace.cases,
            expectations: self.expectations.clone(),
            fail_fast: self.options.fail_fast,
        }
    }
}

fn name(wish: ProfileWish) -> String {
    match wish {
        ProfileWish::Auto => "auto".to_owned(),
        ProfileWish::Exactly(Profile { release, .. }) => release.to_string(),
    }
}

/// Reads the file, and says which of its rows have expired.
fn expectations(path: &Path) -> Result<Expectations, Failure> {
    let expectations = Expectations::read(path)?;
    for expired in expectations.expired(clock::today()) {
        writeln!(anstream::stderr(), "expectations file {}, {expired}", path.display())
            .context("write to standard error")?;
    }
    Ok(expectations)
}

pub(super) fn selection(options: Selection) -> select::Selection {
    select::Selection { patterns: options.patterns, level: options.level, tiers: options.tier }
}

pub(super) fn wish(options: &Subject, profile: ProfileWish, timeout_scale: f64) -> Result<Wish, Failure> {
    let shim: PathBuf =
        options.shim.clone().ok_or_else(|| Failure::Usage("no shim is named\n  say --shim PATH".to_owned()))?;
    Ok(Wish {
        shim,
        engine: options.engine.clone(),
        profile,
        exit_policy: options.exit_policy,
        isolation: options.isolation,
        timeout_scale,
        debug: options.debug_shim,
    })
}

pub(super) fn seed(pace: &Pace) -> u64 {
    pace.seed.map_or_else(clock::seed, |seed| seed.0)
}

pub(super) fn jobs(pace: &Pace) -> usize {
    jobs_or_usual(pace.jobs)
}

pub(super) fn jobs_or_usual(jobs: Option<u16>) -> usize {
    let usual = || thread::available_parallelism().map_or(1, usize::from) * JOBS_PER_CORE;
    jobs.map_or_else(usual, usize::from)
}

fn renderers(reports: &[Destination], output: &Output) -> Result<Vec<Box<dyn Renderer>>, Failure> {
    let verbosity = match (output.quiet, output.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, 0) => Verbosity::Usual,
        (false, 1) => Verbosity::Red,
        (false, _) => Verbosity::All,
    };
    // Standard output belongs to what was asked for.
    let to_stderr = reports.iter().any(Destination::is_stdout);
    let (out, is_terminal): (Box<dyn Write>, bool) = if to_stderr {
        (Box::new(anstream::stderr()), std::io::stderr().is_terminal())
    } else {
        (Box::new(anstream::stdout()), std::io::stdout().is_terminal())
    };
    let human = Human::new(out, is_terminal, Theme::of_environment(), verbosity, clock::now());
    let mut renderers: Vec<Box<dyn Renderer>> = vec![Box::new(human)];
    for report in reports {
        renderers.push(report.open().map_err(|e| Failure::Usage(format!("{e:#}")))?);
    }
    Ok(renderers)
}
