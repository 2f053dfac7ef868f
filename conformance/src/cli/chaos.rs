//! `conformance chaos`, and how its results are told.

use std::{
    fmt::Write as _,
    fs,
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use super::{
    args::{self, Chaos},
    choose_color, controlled, run, say,
};
use crate::{
    chaos::{
        campaign::{Campaign, Extent, Told},
        results::{Finding, Results, Run, Shard},
    },
    clock,
    exit_code::{self, Failure},
    history::Moment,
    report::{Theme, observed, quote},
    subject::Subject,
};

/// How often a run that writes to no terminal says how far it is, milliseconds.
const HEARTBEAT_MS: f64 = 30_000.0;
/// How often a line on a terminal is written over, milliseconds.
const REDRAW_MS: f64 = 200.0;

/// Plays plans and tells what they found; success unless they found something.
pub(super) fn chaos(options: Chaos) -> Result<ExitCode, Failure> {
    choose_color(options.output.color);
    let control = controlled()?;
    let profile = args::single(&options.subject.profile)?;
    let subject = Subject::resolve(&run::wish(&options.subject, profile, options.timeout_scale)?, &control)?;
    let seed = options.seed.map_or_else(clock::seed, |seed| seed.0);
    let directory = options.out;
    fs::create_dir_all(&directory)
        .map_err(|e| Failure::Usage(format!("directory {} cannot be made: {e}", directory.display())))?;
    let extent = options.plans.map_or(Extent::For(options.time), Extent::Plans);
    let campaign = Campaign {
        run: Run::new(seed, options.plans, &subject)?,
        subject,
        shard: options.shard,
        extent,
        jobs: run::jobs_or_usual(options.jobs),
        repeat: options.reproduce,
        directory,
    };
    let (quiet, verbose) = (options.output.quiet, options.output.verbose > 0);
    if !quiet {
        say(&headline(&campaign.run, campaign.shard))?;
    }
    let mut progress = Progress::new(quiet);
    let results = campaign.carry_out(&control, &mut |told| progress.tell(&told, verbose))?;
    progress.clear();
    let file = campaign.file(&results);
    results.write(&file)?;
    say(&summary(&results))?;
    say(&format!("results: {}\n", file.display()))?;
    Ok(ExitCode::from(control.signal().map_or_else(|| status(&results), exit_code::of_signal)))
}

/// The status with which a run of these results ends.
pub(super) fn status(results: &Results) -> u8 {
    let plans = results.plans;
    match (plans.violated, plans.error, plans.held) {
        (1.., ..) => exit_code::VIOLATED,
        (0, 1.., _) => exit_code::SUITE_ERROR,
        (0, 0, 0) => exit_code::INCONCLUSIVE,
        (0, 0, 1..) => exit_code::GREEN,
    }
}

/// What is run.
pub(super) fn headline(run: &Run, shard: Shard) -> String {
    let version = run.shim.version.as_deref().unwrap_or("of unknown version");
    let digits = run.shim.sha256.get(..12).unwrap_or(&run.shim.sha256);
    let part = if shard == Shard::WHOLE { String::new() } else { format!(", shard {shard}") };
    format!(
        "chaos: seed {:#x}{part}; {}, {version}, sha256 {digits}; engine {}, profile {}\n",
        run.seed, run.shim.path, run.engine, run.profile
    )
}

/// Everything that was counted, and what was found.
pub(super) fn summary(results: &Results) -> String {
    let mut text = String::from("\n");
    // Writing to a string cannot fail.
    _ = writeln!(text, "{:32} {:>8} {:>8}", "fault", "injected", "bitten");
    for (fault, bites) in &results.faults {
        _ = writeln!(text, "{fault:32} {:>8} {:>8}", bites.injected, bites.bitten);
    }
    let calls: Vec<String> = results.calls.iter().map(|(method, count)| format!("{method} {count}")).collect();
    _ = writeln!(text, "\ncalls: {}", calls.join(", "));
    for (reason, count) in &results.troubles {
        _ = writeln!(text, "{count} {reason}");
    }
    for finding in &results.findings {
        text.push('\n');
        text.push_str(&told(finding));
    }
    let plans = results.plans;
    let partial = if results.complete { "" } else { "interrupted, so this is partial: " };
    let found = match results.findings.len() {
        0 => "nothing found".to_owned(),
        1 => "1 finding".to_owned(),
        many => format!("{many} findings"),
    };
    _ = writeln!(
        text,
        "\nresult: {partial}{found}; {} plans in {:.1} s, {:.2} a second: {} held, {} violated, {} inconclusive, {} errors; {} faults bitten",
        plans.run(),
        std::time::Duration::from_millis(results.ms).as_secs_f64(),
        results.pace(),
        plans.held,
        plans.violated,
        plans.inconclusive,
        plans.error,
        results.bitten(),
    );
    text
}

/// A finding with its plan.
fn told(finding: &Finding) -> String {
    let Finding { clause, violation, number, seen, smallest, plan, reproduces, capture } = finding;
    let mut text = format!("{} {clause}: {}\n", Theme::of_environment().bad(), violation.happened);
    _ = writeln!(text, "  expected  {}\n  actual    {}", violation.expected, violation.actual);
    let (from, to) = (plan.acts.len(), smallest.acts.len());
    _ = writeln!(text, "  plan {number}, {from} acts made {to}; fails {reproduces}; seen in {seen} plans");
    for line in smallest.to_string().lines() {
        _ = writeln!(text, "    {line}");
    }
    if let Some(capture) = capture {
        _ = writeln!(text, "  again: conformance replay {}", quote(capture));
    }
    text
}

/// One line on a terminal that is written over, a line now and then elsewhere.
struct Progress {
    quiet: bool,
    is_terminal: bool,
    last: Moment,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        Self { quiet, is_terminal: std::io::stderr().is_terminal(), last: clock::now() }
    }

    fn tell(&mut self, told: &Told<'_>, verbose: bool) -> Result<()> {
        match told {
            Told::Progress(results) => {
                self.step(results);
                Ok(())
            }
            Told::New(number, signature) => {
                self.line(&format!("plan {number} fails, {signature}: making it smaller\n"))
            }
            Told::Found(finding, ending) => {
                let seen = if verbose { observed(ending, Theme::of_environment(), true) } else { String::new() };
                self.line(&format!("{}{seen}", self::told(finding)))
            }
        }
    }

    fn step(&mut self, results: &Results) {
        let pause = if self.is_terminal { REDRAW_MS } else { HEARTBEAT_MS };
        let now = clock::now();
        if self.quiet || now.ms_since(self.last) < pause {
            return;
        }
        self.last = now;
        let text = format!(
            "{} plans, {:.2} a second, {} faults bitten, {} plans violated, {} findings",
            results.plans.run(),
            results.pace(),
            results.bitten(),
            results.plans.violated,
            results.findings.len()
        );
        let (begin, end) = if self.is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // To miss it harms nobody.
        _ = write!(std::io::stderr(), "{begin}{text}{end}");
    }

    fn line(&self, text: &str) -> Result<()> {
        self.clear();
        if self.quiet {
            return Ok(());
        }
        let mut out = anstream::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to standard output")
    }

    fn clear(&self) {
        if self.is_terminal && !self.quiet {
            _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
