//! For people: pages and the summary on standard output, progress on standard error.

use std::io::{IsTerminal as _, Write};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Event, Outcome, Renderer, Run, Summary, Theme, page, style, summary::seconds};
use crate::{
    check::{Check, Verdict, Word},
    claim::{Claim, Conformity},
    history::Moment,
};

/// How often a run without a progress bar says that it is still there, milliseconds.
const HEARTBEAT_MS: f64 = 30_000.0;
/// How many running checks are named at once.
const NAMED: usize = 8;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Violations and the summary.
    Quiet,
    /// What is usual.
    Usual,
    /// Whole pages of what is red.
    Red,
    /// Whole pages of everything.
    All,
}

/// The renderer for people.
pub struct Human {
    out: Box<dyn Write>,
    theme: Theme,
    verbosity: Verbosity,
    /// One line per finished check.
    lines: bool,
    bar: Option<ProgressBar>,
    begun: Moment,
    beat: Moment,
    finished: usize,
    running: Vec<(&'static Check, Moment)>,
}

impl Human {
    /// Writes to `out`. Lines per check are written where they are not redrawn: when `out` is no terminal.
    pub fn new(out: Box<dyn Write>, is_terminal: bool, theme: Theme, verbosity: Verbosity, now: Moment) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let bar = std::io::stderr().is_terminal() && !dumb && verbosity > Verbosity::Quiet;
        Self {
            out,
            theme,
            verbosity,
            lines: verbosity > Verbosity::Quiet && (!is_terminal || !bar),
            bar: bar.then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())),
            begun: now,
            beat: now,
            finished: 0,
            running: Vec::new(),
        }
    }

    /// Prints whole text; the bar is away meanwhile.
    fn print(&mut self, text: &str) -> Result<()> {
        let out = &mut self.out;
        let mut write =
            || out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to standard output");
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn began(&mut self, run: &Run) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.set_length(run.checks.len() as u64);
            let style =
                ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}").context("style the progress bar")?;
            bar.set_style(style.progress_chars(self.theme.pick("█▌░", "=>-")));
        }
        if self.verbosity == Verbosity::Quiet {
            return Ok(());
        }
        let subject = &run.subject;
        let version = subject.version.as_deref().map(|v| format!(" ({v})")).unwrap_or_default();
        let text = format!(
            "shim {}{version}  engine {}  profile {}{}  {} checks, {} at once  seed {:#x}\n",
            style::bold(&subject.shim.display().to_string()),
            subject.engine_argument(),
            subject.profile,
            if subject.is_profile_found { " (by its answer)" } else { "" },
            run.checks.len(),
            run.jobs,
            run.seed
        );
        self.print(&text)
    }

    fn ended(&mut self, run: &Run, outcome: &Outcome) -> Result<()> {
        self.finished += 1;
        self.running.retain(|(check, _)| check.id != outcome.check.id);
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        let waived = matches!(outcome.verdict, Verdict::Waived { .. });
        let full = self.verbosity == Verbosity::All || self.verbosity == Verbosity::Red && outcome.is_red();
        if outcome.is_red() || full {
            let page = page(outcome, run, self.theme, full);
            return self.print(&format!("\n{page}\n"));
        }
        if self.lines || (waived && self.verbosity > Verbosity::Quiet) {
            let line = self.line(outcome);
            return self.print(&line);
        }
        Ok(())
    }

    fn line(&self, outcome: &Outcome) -> String {
        let reason = outcome.reason().map(|reason| format!("  {reason}")).unwrap_or_default();
        format!(
            "{} {:12} {:7.0} ms  {}{reason}\n",
            self.theme.painted(outcome.verdict.word()),
            outcome.verdict.word(),
            outcome.ms(),
            outcome.check.id
        )
    }

    fn tick(&mut self, run: &Run, now: Moment) -> Result<()> {
        if let Some(bar) = &self.bar {
            let mut message = seconds(now, self.begun);
            for (check, since) in self.running.iter().take(NAMED) {
                message.push_str(&format!("\n  {:>6}  {}", seconds(now, *since), check.id));
            }
            bar.set_message(message);
            return Ok(());
        }
        if self.verbosity > Verbosity::Quiet && now.ms_since(self.beat) >= HEARTBEAT_MS {
            self.beat = now;
            let running: Vec<String> =
                self.running.iter().map(|(check, since)| format!("{} ({})", check.id, seconds(now, *since))).collect();
            let mut err = std::io::stderr();
            writeln!(
                err,
                "still running after {}: {} of {} done; {}",
                seconds(now, self.begun),
                self.finished,
                run.checks.len(),
                running.join(", ")
            )
            .context("write to standard error")?;
        }
        Ok(())
    }

    fn over(&mut self, run: &Run, summary: &Summary) -> Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let mut text = String::new();
        let red: Vec<&Outcome> = summary.outcomes.iter().filter(|outcome| outcome.is_red()).collect();
        if !red.is_empty() {
            text.push('\n');
            for outcome in red {
                text.push_str(&page::headline(outcome, self.theme));
                text.push_str(&format!(
                    "\n  {}\n  {}\n",
                    outcome.reason().unwrap_or_default(),
                    super::rerun(run, outcome.check)
                ));
            }
        }
        text.push_str(&undecided(summary));
        text.push_str(&claim(&summary.claim));
        text.push_str(&result(run, summary));
        if self.verbosity > Verbosity::Quiet
            && let Some(share) = summary.own_share()
        {
            text.push_str(&style::dim(&format!(
                "time: {:.0} % of the worlds' time went into making them and taking them down, the rest into the checks themselves",
                share * 100.0
            )));
            text.push('\n');
        }
        self.print(&text)
    }
}

/// Every verdict that is neither held nor red, by reason.
fn undecided(summary: &Summary) -> String {
    let mut reasons: Vec<(Word, &str, Vec<&str>)> = Vec::new();
    for outcome in &summary.outcomes {
        let (Verdict::Waived { reason }
        | Verdict::Skipped { reason }
        | Verdict::NotApplicable { reason }
        | Verdict::Inconclusive { reason }) = &outcome.verdict
        else {
            continue;
        };
        let word = outcome.verdict.word();
        match reasons.iter_mut().find(|(w, r, _)| *w == word && r == reason) {
            Some((.., ids)) => ids.push(outcome.check.id),
            None => reasons.push((word, reason, vec![outcome.check.id])),
        }
    }
    let mut text = String::new();
    for (word, reason, ids) in reasons {
        text.push_str(&format!("{}: {reason}\n  {}\n", style::yellow(word.as_str()), ids.join(" ")));
    }
    text
}

/// How many MUSTs are named for each reason; the JSON report names all.
const MUSTS_NAMED: usize = 6;

/// What may be said about the shim, and every MUST that is not simply held.
fn claim(claim: &Claim) -> String {
    let word = match claim.conformity {
        Conformity::Conformant => style::green("yes"),
        Conformity::NotConformant => style::red("no"),
        Conformity::Incomplete => style::yellow("not decided"),
    };
    let named = claim.named().into_iter().filter(|(_, ids)| !ids.is_empty());
    let counts: String = named.clone().map(|(state, ids)| format!(", {} {state}", ids.len())).collect();
    let mut text = format!("conformant to {}: {word}  (MUSTs: {} held{counts})\n", claim.profile, claim.held.len());
    for (state, ids) in named {
        let more = ids.len().saturating_sub(MUSTS_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!("  {state:12}  {}{more}\n", ids[..ids.len().min(MUSTS_NAMED)].join(" ")));
    }
    text
}

/// The line that scripts may look for.
fn result(run: &Run, summary: &Summary) -> String {
    let counts = summary.counts();
    let conformity = summary.claim.conformity;
    let claimed = match conformity {
        Conformity::Conformant => style::green(&conformity.to_string()),
        Conformity::NotConformant => style::red(&conformity.to_string()),
        Conformity::Incomplete => style::yellow(&conformity.to_string()),
    };
    let unexpected = match counts.unexpected {
        0 => String::new(),
        count => format!("  unexpected {count}"),
    };
    let interrupted = summary.signal.map(|_| "  interrupted").unwrap_or_default();
    format!(
        "result: {claimed}  held {}  violated {}  waived {}  skipped {}  not applicable {}  inconclusive {}  error \
         {}{unexpected}{interrupted}  seed {:#x}  {:.1}s\n",
        counts.held,
        counts.violated,
        counts.waived,
        counts.skipped,
        counts.not_applicable,
        counts.inconclusive,
        counts.error,
        run.seed,
        summary.wall.as_secs_f64()
    )
}

impl Renderer for Human {
    fn handle(&mut self, run: &Run, event: &Event<'_>, now: Moment) -> Result<()> {
        match event {
            Event::Began => self.began(run),
            Event::Started(check) => {
                self.running.push((check, now));
                Ok(())
            }
            Event::Ended(outcome) => self.ended(run, outcome),
            Event::Tick => self.tick(run, now),
            Event::Interrupted(_) => self.print("interrupted: ending the worlds under way\n"),
            Event::Over(summary) => self.over(run, summary),
        }
    }
}
