//! `conformance crash-points`.

use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    path::Path,
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use fault_injector::{catalogue, fault::Fault};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    args::{self, CrashPoints},
    choose_color, controlled, run, say,
};
use crate::{
    check::Need,
    clock,
    crash_points::{
        self, Scenario, Visit,
        progress::Progress,
        report::{self, Counts},
        sweep::{News, Outcome, Recorded, Sweep, Unrecorded, Visited},
    },
    exit_code::{self, Failure},
    history::Moment,
    report::{Theme, quote, timeline},
    runner::Control,
    subject::Subject,
    tenancy,
};

/// How often the bar is drawn although nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// How often somebody who sees no bar is told that it goes on.
const HEARTBEAT_MS: f64 = 10_000.0;

/// Records, visits and tells; the status says what came of it.
pub(super) fn crash_points(options: CrashPoints) -> Result<ExitCode, Failure> {
    choose_color(options.output.color);
    let begun = clock::now();
    let control = controlled()?;
    let profile = args::single(&options.subject.profile)?;
    let subject = Subject::resolve(&run::wish(&options.subject, profile, options.timeout_scale)?, &control)?;
    let job = subject.job(options.scenario.id(), None, None, tenancy::unique());
    if let Some(reason) = job.lacks(Need::SyscallFaults) {
        return Err(Failure::Host(reason));
    }
    let jobs = run::jobs_or_usual(options.jobs);
    let sweep = Sweep { subject: &subject, scenario: options.scenario, jobs };
    let mut progress = Progress::begin(&subject, options.scenario)?;
    if let Some(path) = &options.resume {
        progress = progress.resume(path)?;
    }
    let recorded = match progress.recorded.take().map_or_else(|| sweep.record(options.recordings.into(), &control), Ok)
    {
        Ok(recorded) => recorded,
        Err(Unrecorded::Interrupted) => return Err(Failure::Signalled(control.signal().unwrap_or(libc::SIGINT))),
        Err(Unrecorded::Error(reason)) => return Err(Failure::Suite(anyhow::Error::msg(reason))),
        Err(Unrecorded::Undecided(reason)) => return Err(Failure::Undecided(reason)),
        Err(Unrecorded::NoLife(reason)) => {
            say(&format!("{} is not lived to its end, and nobody had struck: {reason}\n", options.scenario.name))?;
            return Ok(ExitCode::from(exit_code::VIOLATED));
        }
    };
    progress.recorded = Some(recorded.clone());
    let visits = visits(&recorded, &options.action, &options.phase, options.point.as_ref());
    if visits.is_empty() {
        return Err(Failure::NothingSelected("no point of this life admits these actions".to_owned()));
    }
    let teller = Teller::new(&sweep, &visits, options.output.verbose, begun);
    teller.begin(&recorded, options.output.quiet)?;
    go_through(&teller, &recorded, &mut progress, options.resume.as_deref(), &control)?;
    let mut visited: Vec<Visited> = progress.visited.into_iter().filter(|one| visits.contains(&one.visit)).collect();
    visited.sort_by_key(|one| visits.iter().position(|visit| *visit == one.visit));
    if let Some(path) = &options.json {
        let document = document(&sweep, &recorded, &visited, begun);
        fs::write(path, format!("{document:#}\n"))
            .map_err(|e| Failure::Usage(format!("write {}: {e}", path.display())))?;
    }
    teller.end(&visited, &control)?;
    Ok(ExitCode::from(status(&visited, visits.len(), &control)))
}

/// Visits what is left to visit, and writes down each visit as it ends.
fn go_through(
    teller: &Teller<'_>,
    recorded: &Recorded,
    progress: &mut Progress,
    resume: Option<&Path>,
    control: &Control,
) -> Result<(), Failure> {
    let save = |progress: &Progress| resume.map_or(Ok(()), |path| progress.save(path));
    save(progress)?;
    let left: Vec<Visit> = teller.visits.iter().filter(|visit| !progress.has(visit)).cloned().collect();
    let (news, heard) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| teller.sweep.visit(&left, recorded, control, &news));
        let told = teller.hear(&heard, progress, save);
        if told.is_err() {
            // Without readers a sweep has no purpose.
            control.interrupt(0);
        }
        told
    })
}

/// Each action where it applies; a point that is named is visited even if no recording had it.
fn visits(recorded: &Recorded, actions: &[Action], phases: &[String], point: Option<&Point>) -> Vec<Visit> {
    let faults: Vec<&'static Fault> = actions.iter().map(|action| action.0).collect();
    match point {
        None => recorded.visits(&faults, phases),
        Some(point) => faults.iter().map(|fault| Visit { fault: fault.id.to_owned(), point: point.clone() }).collect(),
    }
}

/// An interrupted sweep is told from a whole one; what was not reached is never a pass.
fn status(visited: &[Visited], visits: usize, control: &Control) -> u8 {
    let counts = Counts::of(visited);
    match control.signal() {
        Some(signal) => exit_code::of_signal(signal),
        None if counts.violated > 0 => exit_code::VIOLATED,
        None if counts.error > 0 || visited.len() < visits => exit_code::SUITE_ERROR,
        None if counts.not_reached > 0 => exit_code::INCONCLUSIVE,
        None => exit_code::GREEN,
    }
}

pub(super) use fault_injector::seam::syscall::Point;

/// What is done at each point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Action(pub(super) &'static Fault);

impl std::str::FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = crash_points::actions().find(|fault| crash_points::action_name(fault).eq_ignore_ascii_case(text));
        let names = || crash_points::actions().map(crash_points::action_name).collect::<Vec<_>>().join(", ");
        named.map(Self).ok_or_else(|| format!("must be one of {}", names()))
    }
}

/// The scenario of this name.
pub(super) fn scenario(name: &str) -> Result<&'static Scenario, String> {
    let names = || crash_points::SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    Scenario::find(name).ok_or_else(|| format!("must be one of {}", names()))
}

/// Says what happens while it happens.
struct Teller<'a> {
    sweep: &'a Sweep<'a>,
    visits: &'a [Visit],
    verbose: u8,
    theme: Theme,
    begun: Moment,
    bar: Option<ProgressBar>,
}

impl<'a> Teller<'a> {
    fn new(sweep: &'a Sweep<'a>, visits: &'a [Visit], verbose: u8, begun: Moment) -> Self {
        let theme = Theme::of_environment();
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new(visits.len() as u64);
            // A template that is known to be right.
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed}  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { sweep, visits, verbose, theme, begun, bar }
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    fn begin(&self, recorded: &Recorded, quiet: bool) -> Result<(), Failure> {
        let Sweep { subject, scenario, jobs } = self.sweep;
        if !quiet {
            let version = subject.version.as_deref().map(|v| format!(" ({v})")).unwrap_or_default();
            self.say(&format!(
                "shim {}{version}  engine {}  profile {}\n{}: {} calls of the shim, {} visits, {jobs} at once\n",
                subject.shim.display(),
                subject.engine_argument(),
                subject.profile,
                scenario.name,
                recorded.calls.len(),
                self.visits.len(),
            ))?;
        }
        let known: Vec<&str> = recorded.broken.iter().map(String::as_str).collect();
        if known.is_empty() {
            return Ok(());
        }
        self.say(&format!("broken without any fault, and blamed on no visit: {}\n", known.join(", ")))
    }

    /// Hears the sweep to its end.
    fn hear(
        &self,
        heard: &mpsc::Receiver<News>,
        progress: &mut Progress,
        save: impl Fn(&Progress) -> anyhow::Result<()>,
    ) -> Result<(), Failure> {
        let mut running: Vec<Visit> = Vec::new();
        let mut beat = self.begun;
        if let Some(bar) = &self.bar {
            bar.set_position(progress.visited.len() as u64);
        }
        loop {
            match heard.recv_timeout(TICK) {
                Ok(News::Started(visit)) => running.push(visit),
                Ok(News::Ended(visited)) => {
                    running.retain(|visit| *visit != visited.visit);
                    self.tell(&visited)?;
                    progress.visited.push(*visited);
                    save(progress)?;
                }
                Ok(News::Over) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.tick(&running, progress.visited.len(), &mut beat);
        }
    }

    fn tick(&self, running: &[Visit], done: usize, beat: &mut Moment) {
        let names = || running.iter().map(|visit| visit.point.to_string()).collect::<Vec<_>>();
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(names().first().cloned().unwrap_or_default());
            return;
        }
        let now = clock::now();
        if now.ms_since(*beat) >= HEARTBEAT_MS {
            *beat = now;
            // To miss it harms nobody.
            _ = writeln!(std::io::stderr(), "{done} of {} visited; now {}", self.visits.len(), names().join(", "));
        }
    }

    fn tell(&self, visited: &Visited) -> Result<(), Failure> {
        let bad = matches!(visited.outcome, Outcome::Violated | Outcome::Error);
        if bad {
            self.say(&self.page(visited))?;
        }
        if self.verbose > 0 && (bad || self.verbose > 1) {
            self.say(&timeline(&visited.history, &visited.log, self.theme, true))?;
        }
        Ok(())
    }

    /// What happened at one point, and how to see it again.
    fn page(&self, visited: &Visited) -> String {
        let Visited { visit, outcome, reason, remarks, .. } = visited;
        let word = match outcome {
            Outcome::Held => "held",
            Outcome::Violated => "VIOLATED",
            Outcome::NotReached => "not reached",
            Outcome::Error => "ERROR",
        };
        let remarks: String = remarks.iter().map(|remark| format!("    {remark}\n")).collect();
        format!(
            "{} {word}  {}  {}\n    {reason}\n{remarks}    rerun  {}\n",
            self.theme.bad(),
            action_of(visit),
            visit.point,
            rerun(self.sweep, visit)
        )
    }

    fn end(&self, visited: &[Visited], control: &Control) -> Result<(), Failure> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let mut text = format!("\n{}", report::table(visited));
        let of = |outcome: Outcome| visited.iter().filter(move |one| one.outcome == outcome);
        for one in of(Outcome::NotReached) {
            text.push_str(&format!("not reached: {} {}\n", action_of(&one.visit), one.visit.point));
        }
        let mut remarks: Vec<(&str, usize)> = Vec::new();
        for remark in of(Outcome::Held).flat_map(|one| &one.remarks) {
            match remarks.iter_mut().find(|(known, _)| *known == remark.as_str()) {
                Some((_, count)) => *count += 1,
                None => remarks.push((remark, 1)),
            }
        }
        for (remark, count) in remarks {
            text.push_str(&format!("held, but {remark}: {count}\n"));
        }
        let Counts { held, violated, not_reached, error } = Counts::of(visited);
        let interrupted = control.signal().map(|_| "  interrupted").unwrap_or_default();
        text.push_str(&format!(
            "result: points {}  held {held}  violated {violated}  not reached {not_reached}  error {error}{interrupted}  {:.1}s\n",
            visited.len(),
            clock::now().ms_since(self.begun) / 1000.0
        ));
        say(&text)
    }
}

fn action_of(visit: &Visit) -> &'static str {
    catalogue::find(&visit.fault).map_or("?", crash_points::action_name)
}

/// The command line that visits this point again.
fn rerun(sweep: &Sweep<'_>, visit: &Visit) -> String {
    let subject = sweep.subject;
    let mut words = vec![
        "conformance crash-points --shim".to_owned(),
        quote(&subject.shim.display().to_string()),
        "--engine".to_owned(),
        quote(&subject.engine_argument()),
        "--profile".to_owned(),
        subject.profile.to_string(),
    ];
    words.extend(subject.unusual_arguments());
    words.extend(["--scenario".to_owned(), sweep.scenario.name.to_owned()]);
    words.extend(["--action".to_owned(), action_of(visit).to_owned()]);
    words.extend(["--point".to_owned(), quote(&visit.point.to_string())]);
    words.join(" ")
}

fn document(sweep: &Sweep<'_>, recorded: &Recorded, visited: &[Visited], begun: Moment) -> serde_json::Value {
    let subject = sweep.subject;
    let points = visited.iter().map(|one| {
        json!({
            "action": action_of(&one.visit),
            "point": one.visit.point,
            "outcome": one.outcome,
            "reason": one.reason,
            "remarks": one.remarks,
            "ms": one.ms,
            "rerun": rerun(sweep, &one.visit),
            "history": (!one.history.records.is_empty()).then_some(&one.history),
        })
    });
    json!({
        "schema": "conformance.crash-points-result/1",
        "shim": { "path": subject.shim, "version": subject.version },
        "engine": subject.engine_argument(),
        "profile": subject.profile.to_string(),
        "scenario": sweep.scenario.name,
        "calls": recorded.calls.len(),
        "broken_without_fault": recorded.broken,
        "summary": Counts::of(visited),
        "wall_ms": clock::now().ms_since(begun),
        "points": points.collect::<serde_json::Value>(),
    })
}
