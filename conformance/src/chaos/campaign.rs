//! A run of chaos: workers play plans until there are enough of them, and make smaller what fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    Budget, Signature,
    capture::Capture,
    draw,
    minimise::{self, Purse},
    plan::Plan,
    play,
    results::{Finding, Reproduction, Results, Run, Shard},
};
use crate::{check::Verdict, clock, history::Moment, lab::Ending, runner::Control, subject::Subject};

/// What the search for a smaller plan may cost.
const SEARCH: Budget = Budget { worlds: 120, ms: 60_000.0 };
/// How long a smallest plan may be played again and again.
const REPEATING_MS: f64 = 60_000.0;
/// How often time passes for whoever is told.
const TICK: Duration = Duration::from_millis(100);

/// When a run has played enough plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// So many, over all shards.
    Plans(u64),
    /// As many as begin in this time.
    For(Duration),
}

/// A run that is about to begin.
#[derive(Debug)]
pub struct Campaign {
    /// What is tested.
    pub subject: Subject,
    /// What decides which plans there are.
    pub run: Run,
    /// Which of them are played.
    pub shard: Shard,
    /// How many.
    pub extent: Extent,
    /// How many worlds there are at once.
    pub jobs: usize,
    /// How often the smallest plan of a finding is played to see how often it fails.
    pub repeat: u32,
    /// Where captures go.
    pub directory: PathBuf,
}

/// What somebody may want to know while a run lasts.
#[derive(Debug)]
pub enum Told<'a> {
    /// Plans have ended, or time has passed.
    Progress(&'a Results),
    /// A plan failed in a way that no plan before it had: it is made smaller now.
    New(u64, &'a Signature),
    /// That is done.
    Found(&'a Finding, &'a Ending),
}

/// What workers say.
enum News {
    Played { number: u64, ending: Box<Ending> },
    Found(Box<Found>),
}

/// A failure that was made smaller.
struct Found {
    number: u64,
    plan: Plan,
    smallest: Plan,
    ending: Ending,
    reproduces: Reproduction,
}

impl Campaign {
    /// Plays until there are enough plans or `control` says otherwise, and tells what happens meanwhile.
    ///
    /// # Errors
    ///
    /// When a capture cannot be written, or what is told cannot be said.
    pub fn carry_out(&self, control: &Control, tell: &mut dyn FnMut(Told<'_>) -> Result<()>) -> Result<Results> {
        let begun = clock::now();
        let numbers = Mutex::new(self.shard.numbers());
        let known = Mutex::new(BTreeSet::new());
        let (news, heard) = mpsc::channel();
        let mut results = Results::new(self.run.clone(), self.shard);
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                let (news, numbers, known) = (news.clone(), &numbers, &known);
                let next = move || self.next(begun, &mut *numbers.lock().unwrap_or_else(PoisonError::into_inner));
                scope.spawn(move || self.work(control, next, known, &news));
            }
            drop(news);
            let told = self.hear(begun, &heard, &mut results, tell);
            if told.is_err() {
                // Without anybody to tell a run has no purpose.
                control.interrupt(0);
            }
            told
        })?;
        results.complete = control.signal().is_none();
        results.ms = elapsed(begun);
        results.findings.sort_by_key(|finding| finding.number);
        Ok(results)
    }

    /// The number of the next plan, unless there are enough.
    fn next(&self, begun: Moment, numbers: &mut dyn Iterator<Item = u64>) -> Option<u64> {
        match self.extent {
            Extent::Plans(plans) => numbers.next().filter(|number| *number < plans),
            Extent::For(time) => numbers.next().filter(|_| u128::from(elapsed(begun)) < time.as_millis()),
        }
    }

    fn work(
        &self,
        control: &Control,
        next: impl Fn() -> Option<u64>,
        known: &Mutex<BTreeSet<Signature>>,
        news: &Sender<News>,
    ) {
        while !control.is_draining()
            && let Some(number) = next()
        {
            let plan = draw(self.run.seed, number);
            let ending = play(&self.subject, &plan, control);
            if control.is_draining() && !matches!(ending.verdict, Verdict::Held | Verdict::Violated { .. }) {
                // It was ended before it could come to anything.
                return;
            }
            let signature = Signature::of(&ending.verdict);
            // Nobody listens any more when telling has failed; the worlds still end in order.
            _ = news.send(News::Played { number, ending: Box::new(ending.clone()) });
            let is_new = |signature| known.lock().unwrap_or_else(PoisonError::into_inner).insert(signature);
            if signature.is_some_and(is_new) {
                _ = news.send(News::Found(Box::new(self.make_smaller(number, plan, ending, control))));
            }
        }
    }

    fn make_smaller(&self, number: u64, plan: Plan, ending: Ending, control: &Control) -> Found {
        let mut play = |plan: &Plan| play(&self.subject, plan, control);
        let wanted = Signature::of(&ending.verdict);
        let (smallest, ending) = minimise::smallest(plan.clone(), ending, &mut Purse::new(SEARCH), &mut play);
        let mut reproduces = Reproduction::default();
        let mut purse = Purse::new(Budget { worlds: self.repeat, ms: REPEATING_MS });
        while !control.is_draining() && purse.pays() {
            reproduces.of += 1;
            reproduces.violated += u32::from(Signature::of(&play(&smallest).verdict) == wanted);
        }
        Found { number, plan, smallest, ending, reproduces }
    }

    fn hear(
        &self,
        begun: Moment,
        heard: &mpsc::Receiver<News>,
        results: &mut Results,
        tell: &mut dyn FnMut(Told<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut seen: BTreeMap<Signature, u64> = BTreeMap::new();
        loop {
            match heard.recv_timeout(TICK) {
                Ok(News::Played { number, ending }) => {
                    results.count(&ending);
                    if let Some(signature) = Signature::of(&ending.verdict) {
                        let times = seen.entry(signature.clone()).or_default();
                        *times += 1;
                        if *times == 1 {
                            tell(Told::New(number, &signature))?;
                        }
                    }
                }
                Ok(News::Found(found)) => self.keep(*found, results, tell)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            results.ms = elapsed(begun);
            tell(Told::Progress(results))?;
        }
        for finding in &mut results.findings {
            let signature = Signature::new(&finding.clause, &finding.violation);
            finding.seen = seen.get(&signature).copied().unwrap_or(1);
        }
        Ok(())
    }

    /// Writes the capture of what was found, and notes it.
    fn keep(&self, found: Found, results: &mut Results, tell: &mut dyn FnMut(Told<'_>) -> Result<()>) -> Result<()> {
        let Found { number, plan, smallest, ending, reproduces } = found;
        let Verdict::Violated { clause, violation } = &ending.verdict else { return Ok(()) };
        let (clause, violation) = (clause.clone(), violation.clone());
        let mut finding = Finding { clause, violation, number, seen: 1, plan, smallest, reproduces, capture: None };
        let capture = Capture::new(&self.run, &finding, &ending.history)?;
        let name = capture.file_name();
        capture.write(&self.directory.join(&name)).context("keep a failure")?;
        finding.capture = Some(name);
        tell(Told::Found(&finding, &ending))?;
        results.findings.push(finding);
        Ok(())
    }

    /// Where the results of this run are to be written.
    pub fn file(&self, results: &Results) -> PathBuf {
        Path::new(&self.directory).join(results.file_name())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "time passes, and in less than 584 million years"
)]
fn elapsed(begun: Moment) -> u64 {
    clock::now().ms_since(begun) as u64
}
