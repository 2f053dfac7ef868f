//! `conformance run`.

use std::{
    io::{IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

use anyhow::Context as _;

use super::{
    args::{Output, Pace, Run, Selection, Subject},
    choose_color, controlled,
};
use crate::{
    clock,
    exit_code::Failure,
    expect::Expectations,
    report::{self, Destination, Human, Renderer, Theme, Verbosity},
    select,
    session::Session,
    subject::{self, Wish},
};

/// Worlds wait more than they work: so many for each core keep the cores busy.
const JOBS_PER_CORE: usize = 2;

/// Runs what is selected; the status tells what came of it.
pub(super) fn run(options: Run) -> Result<ExitCode, Failure> {
    choose_color(options.output.color);
    let checks = select::select(&selection(options.selection))?;
    let expectations = match &options.expect {
        Some(path) => expectations(path)?,
        None => Expectations::default(),
    };
    let mut renderers = renderers(&options.report, &options.output)?;
    let control = controlled()?;
    let wish = wish(options.subject, options.pace.timeout_scale)?;
    let subject = subject::Subject::resolve(&wish, &control)?;
    let session = Session {
        run: report::Run { subject, seed: seed(&options.pace), jobs: jobs(&options.pace), checks },
        cases: options.pace.cases,
        expectations,
        fail_fast: options.fail_fast,
    };
    let summary = session.carry_out(&control, &mut renderers)?;
    Ok(ExitCode::from(summary.exit_code()))
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

pub(super) fn wish(options: Subject, timeout_scale: f64) -> Result<Wish, Failure> {
    let shim: PathBuf = options.shim.ok_or_else(|| Failure::Usage("no shim is named\n  say --shim PATH".to_owned()))?;
    Ok(Wish {
        shim,
        engine: options.engine,
        daemon: options.daemon,
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
    let usual = || thread::available_parallelism().map_or(1, usize::from) * JOBS_PER_CORE;
    pace.jobs.map_or_else(usual, usize::from)
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
