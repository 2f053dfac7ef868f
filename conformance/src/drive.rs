//! Inside a world: runs one check to its verdict.
#![expect(clippy::wildcard_enum_match_arm, reason = "a verdict asks for a few of the many things that happen")]

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::task::LocalSet;

use crate::{
    bench, chaos,
    check::{Body, Check, Stop, Verdict},
    checks, crash_points,
    history::{History, VIOLATION_SEEN, What},
    invariant::{self, Terms},
    lab::{Ending, Job, Lab, Word, diagnosis, play, world},
};

/// How long taking down a world may last beyond the check's limit.
pub const TEARDOWN: Duration = Duration::from_secs(60);

/// Carries out `job` and tells the runner how it ended.
///
/// # Errors
///
/// When there is no verdict; the suite's fault.
pub fn main(job: Job) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    let ending = LocalSet::new().block_on(&runtime, run(job))?;
    world::tell(&Word::Ended(Box::new(ending)))
}

async fn run(job: Job) -> Result<Ending> {
    let unlisted =
        || bench::named(&job.check).or_else(|| chaos::named(&job.check)).or_else(|| crash_points::named(&job.check));
    let Some(check) = checks::named(&job.check).or_else(unlisted) else { bail!("there is no check {}", job.check) };
    let limit = Duration::from_millis(job.limit_ms);
    let lab = Lab::open(job).await?;
    let mut diagnosis = None;
    let story = match tokio::time::timeout(limit, story(check, &lab)).await {
        Ok(story) => story,
        Err(_) => {
            diagnosis = Some(diagnosis::take());
            let expected = format!("an end within {} ms", limit.as_millis());
            Err(Stop::violated("the check ran into its limit", expected, "something hangs; see the diagnosis"))
        }
    };
    if matches!(story, Err(Stop::Violated(_))) {
        lab.note(VIOLATION_SEEN);
    }
    let cleared = tokio::time::timeout(lab.scaled(TEARDOWN), lab.clear_away()).await;
    let cleared = cleared.context("taking down the world ran into its limit").flatten();
    let history = lab.recorder().history();
    let terms = lab.terms();
    // What a benchmark's life leaves to be desired is for the checks to tell; it was lived all the same.
    // And what a struck life breaks is told from what every life of the shim breaks, which is not known here.
    let is_judged = bench::named(check.id).is_none() && crash_points::named(check.id).is_none();
    let judged = is_judged.then_some((&history, &terms));
    let verdict = judge(check, story, cleared, judged, &lab.recorder().troubles());
    if crash_points::named(check.id).is_some() {
        world::tell(&Word::Supervised(Box::new(lab.supervised())))?;
    }
    Ok(Ending { verdict, history, log: lab.recorder().log_tail(), diagnosis })
}

async fn story(check: &Check, lab: &Lab) -> Result<(), Stop> {
    for &need in check.needs {
        lab.need(need)?;
    }
    match check.body {
        Body::Example(body) => body(lab).await,
        Body::Property(_) => match &lab.job().script {
            Some(script) => play::play(lab, script).await,
            None => Err(Stop::Error(format!("{} has no script to play", check.id))),
        },
    }
}

/// The verdict: what the story says first, then what every history that is `judged` must obey.
fn judge(
    check: &Check,
    story: Result<(), Stop>,
    cleared: Result<()>,
    judged: Option<(&History, &Terms)>,
    troubles: &[String],
) -> Verdict {
    match story {
        Err(Stop::Violated(violation)) => {
            return Verdict::Violated { clause: check.clause.id.to_owned(), violation };
        }
        Err(Stop::Error(reason)) => return Verdict::Error { reason },
        Err(Stop::Skipped(reason)) => return Verdict::Skipped { reason },
        Err(Stop::NotApplicable(reason)) => return Verdict::NotApplicable { reason },
        Ok(()) | Err(Stop::Inconclusive(_)) => {}
    }
    if let Err(e) = cleared {
        return Verdict::Error { reason: format!("{e:#}") };
    }
    if !troubles.is_empty() {
        return Verdict::Error { reason: troubles.join("; ") };
    }
    if let Some((history, terms)) = judged
        && let Some((invariant, violation)) = invariant::judge(history, terms)
    {
        return Verdict::Violated { clause: invariant.clause.id.to_owned(), violation };
    }
    let may_miss = chaos::named(check.id).is_some();
    match (story, judged.filter(|_| !may_miss).and_then(|(history, _)| never_bit(history))) {
        (Err(Stop::Inconclusive(reason)), _) => Verdict::Inconclusive { reason },
        (_, Some(fault)) => Verdict::Inconclusive { reason: format!("fault {fault} never bit, so nothing is shown") },
        (_, None) => Verdict::Held,
    }
}

/// The first fault that ended without having taken effect: what was observed says nothing about it.
fn never_bit(history: &History) -> Option<&str> {
    history.records.iter().find_map(|record| match &record.what {
        What::FaultHealed { fault, bites: 0, number: _ } => Some(fault.as_str()),
        _ => None,
    })
}
