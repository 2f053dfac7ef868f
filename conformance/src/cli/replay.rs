//! `conformance replay`.

use std::{fs, path::Path, process::ExitCode};

use anyhow::Context as _;

use super::{
    args::{self, Replay},
    choose_color, controlled, say,
};
use crate::{
    audit,
    chaos::{
        self, Signature,
        capture::Capture,
        plan::Plan,
        results::{Reproduction, ShimFacts},
    },
    check::Verdict,
    contract,
    exit_code::{self, Failure},
    report::{Theme, observed},
    subject::{EngineWish, ProfileWish, Subject, Wish},
};

/// What is played again: a capture, or a plan that somebody wrote.
struct Story {
    plan: Plan,
    capture: Option<Capture>,
}

/// Plays it as often as asked for; success when it was held each time.
pub(super) fn replay(options: Replay) -> Result<ExitCode, Failure> {
    choose_color(options.output.color);
    let Story { plan, capture } = read(&options.file, options.original)?;
    let control = controlled()?;
    let subject = Subject::resolve(&wish(&options, capture.as_ref())?, &control)?;
    let run = capture.as_ref().map(|capture| &capture.run);
    if let Some(run) =
        run.filter(|run| options.shim.is_none() && ShimFacts::of(&subject).is_ok_and(|now| now != run.shim))
    {
        say(&format!("{} is not the binary that failed, whose sha256 was {}\n", run.shim.path, run.shim.sha256))?;
    }
    if let Some(capture) = &capture {
        say(&expected(capture))?;
    }
    let wanted = capture.as_ref().map(Capture::signature);
    let (mut same, mut plays) = (Reproduction::default(), Plays::default());
    let verbose = options.output.verbose > 0;
    for time in 1..=options.times {
        let ending = chaos::play(&subject, &plan, &control);
        if control.signal().is_some() {
            break;
        }
        let signature = Signature::of(&ending.verdict);
        same.of += 1;
        same.violated += u32::from(signature.is_some() && signature == wanted);
        plays.count(&ending.verdict);
        if !options.output.quiet {
            say(&format!("{time} of {}: {}\n", options.times, audit::told(&ending.verdict)))?;
            if verbose {
                say(&observed(&ending, Theme::of_environment(), true))?;
            }
        }
    }
    say(&summary(&plays, same, wanted.as_ref()))?;
    Ok(ExitCode::from(control.signal().map_or_else(|| plays.status(), exit_code::of_signal)))
}

fn read(path: &Path, original: bool) -> Result<Story, Failure> {
    let reading = || format!("read {}", path.display());
    let usage = |e: anyhow::Error| Failure::Usage(format!("{e:#}"));
    if path.extension().is_some_and(|extension| extension == "toml") {
        let capture = Capture::read(path).map_err(usage)?;
        let plan = if original { capture.plan.clone() } else { capture.smallest.clone() };
        return Ok(Story { plan, capture: Some(capture) });
    }
    let text = fs::read_to_string(path).with_context(reading).map_err(usage)?;
    let plan = text.parse::<Plan>().with_context(reading).map_err(usage)?;
    Ok(Story { plan, capture: None })
}

/// What was tested then, where nothing else is asked for.
fn wish(options: &Replay, capture: Option<&Capture>) -> Result<Wish, Failure> {
    let run = capture.map(|capture| &capture.run);
    let shim = options.shim.clone().or_else(|| Some(run?.shim.path.clone().into()));
    let shim = shim.ok_or_else(|| Failure::Usage("a plan names no shim\n  say --shim PATH".to_owned()))?;
    let engine = options.engine.clone().or_else(|| run?.engine.parse().ok()).unwrap_or(EngineWish::Auto);
    // Another shim may speak to another containerd.
    let then = || run.filter(|_| options.shim.is_none())?.profile.parse().ok().map(ProfileWish::Exactly);
    let asked = options.profile.map(|profile| args::single(&[profile])).transpose()?;
    let profile = asked.or_else(then).unwrap_or(ProfileWish::Auto);
    let mut wish = Wish { engine, profile, timeout_scale: options.timeout_scale, ..Wish::new(shim) };
    if let Some(run) = run {
        (wish.exit_policy, wish.isolation, wish.debug) = (run.exit_policy, run.isolation, run.debug);
    }
    Ok(wish)
}

fn expected(capture: &Capture) -> String {
    let Capture { clause, violation, reproduces, number, .. } = capture;
    let says =
        contract::all().find(|known| known.id == clause).map_or("a duty that this suite does not know", |c| c.says);
    format!("expected: {clause}, “{says}”\n  {violation}\n  plan {number} failed {reproduces}\n")
}

/// How the plays ended.
#[derive(Default)]
struct Plays {
    held: u32,
    violated: u32,
    inconclusive: u32,
    error: u32,
}

impl Plays {
    fn count(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Held | Verdict::Waived { .. } => &mut self.held,
            Verdict::Violated { .. } => &mut self.violated,
            Verdict::NotApplicable { .. } | Verdict::Skipped { .. } | Verdict::Inconclusive { .. } => {
                &mut self.inconclusive
            }
            Verdict::Error { .. } => &mut self.error,
        } += 1;
    }

    fn status(&self) -> u8 {
        match self {
            Self { violated: 1.., .. } => exit_code::VIOLATED,
            Self { error: 1.., .. } => exit_code::SUITE_ERROR,
            Self { inconclusive: 1.., .. } => exit_code::INCONCLUSIVE,
            Self { .. } => exit_code::GREEN,
        }
    }
}

fn summary(plays: &Plays, same: Reproduction, wanted: Option<&Signature>) -> String {
    let Plays { held, violated, inconclusive, error } = plays;
    let total = same.of;
    let mut text = format!("result: violated {violated} of {total}");
    if let Some(wanted) = wanted {
        text.push_str(&format!(", {same} as captured ({})", wanted.clause));
    }
    for (word, count) in [("held", held), ("inconclusive", inconclusive), ("error", error)] {
        if *count > 0 {
            text.push_str(&format!(", {word} {count}"));
        }
    }
    text.push('\n');
    text
}
