//! One run, from the selected checks to the last report: workers send news, this thread alone folds and tells it.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::Result;

use crate::{
    check::{Check, Verdict},
    claim::Claim,
    clock,
    expect::Expectations,
    history::{History, Moment},
    lab::Ending,
    report::{Event, Outcome, Renderer, Run, Summary},
    runner::{self, Choices, Control, News, Task},
};

/// How often time passes for renderers.
const TICK: Duration = Duration::from_millis(100);

/// A run that is about to begin.
#[derive(Debug)]
pub struct Session {
    /// What is known of it.
    pub run: Run,
    /// How many cases each property tries.
    pub cases: u32,
    /// Known violations.
    pub expectations: Expectations,
    /// Whether the first violation is the last.
    pub fail_fast: bool,
}

impl Session {
    /// Runs every check and tells `renderers` about it.
    ///
    /// # Errors
    ///
    /// When a report cannot be written; the run is ended then.
    pub fn carry_out(&self, control: &Control, renderers: &mut [Box<dyn Renderer>]) -> Result<Summary> {
        let begun = clock::now();
        let tasks: Vec<Task> = self.run.checks.iter().map(|&check| Task { check, lie: None }).collect();
        let choices = Choices { jobs: self.run.jobs, seed: self.run.seed, cases: self.cases };
        let (sender, receiver) = mpsc::channel();
        let outcomes = thread::scope(|scope| {
            scope.spawn(|| runner::run(&self.run.subject, &tasks, choices, control, &sender));
            let told = self.hear(&receiver, control, renderers);
            if told.is_err() {
                // Without readers a run has no purpose.
                control.interrupt(0);
            }
            told
        })?;
        let outcomes = self.complete(outcomes, control);
        let findings: Vec<_> = outcomes.iter().map(Outcome::finding).collect();
        let claim = Claim::of(self.run.subject.profile.release, &findings);
        let summary = Summary {
            outcomes,
            claim,
            wall: Duration::from_secs_f64(clock::now().ms_since(begun) / 1000.0),
            signal: control.signal(),
        };
        tell(renderers, &self.run, &Event::Over(&summary))?;
        Ok(summary)
    }

    fn hear(
        &self,
        receiver: &mpsc::Receiver<News>,
        control: &Control,
        renderers: &mut [Box<dyn Renderer>],
    ) -> Result<Vec<Option<Outcome>>> {
        let checks = &self.run.checks;
        let mut outcomes: Vec<Option<Outcome>> = checks.iter().map(|_| None).collect();
        let mut interrupted = false;
        tell(renderers, &self.run, &Event::Began)?;
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(News::Started { index }) => tell(renderers, &self.run, &Event::Started(checks[index]))?,
                Ok(News::Ended { index, done }) => {
                    let outcome = Outcome::judged(checks[index], *done, &self.expectations, &self.run.subject);
                    tell(renderers, &self.run, &Event::Ended(&outcome))?;
                    if self.fail_fast && outcome.is_red() {
                        control.drain();
                    }
                    outcomes[index] = Some(outcome);
                }
                Err(RecvTimeoutError::Timeout) => tell(renderers, &self.run, &Event::Tick)?,
                Ok(News::Over) | Err(RecvTimeoutError::Disconnected) => return Ok(outcomes),
            }
            if let (Some(signal), false) = (control.signal(), interrupted) {
                interrupted = true;
                tell(renderers, &self.run, &Event::Interrupted(signal))?;
            }
        }
    }

    /// Nothing that was selected is left out: what never ran says so.
    fn complete(&self, outcomes: Vec<Option<Outcome>>, control: &Control) -> Vec<Outcome> {
        let reason = if control.signal().is_some() {
            "never ran: the run was interrupted"
        } else {
            "never ran: something before it was red, and --fail-fast was asked for"
        };
        let now = clock::now();
        self.run
            .checks
            .iter()
            .zip(outcomes)
            .map(|(&check, outcome)| outcome.unwrap_or_else(|| never_ran(check, reason, now)))
            .collect()
    }
}

fn never_ran(check: &'static Check, reason: &str, now: Moment) -> Outcome {
    let verdict = Verdict::Skipped { reason: reason.to_owned() };
    Outcome {
        check,
        verdict: verdict.clone(),
        unexpected: None,
        expired: None,
        ending: Ending { verdict, history: History::default(), log: String::new(), diagnosis: None },
        begun: now,
        ended: now,
    }
}

fn tell(renderers: &mut [Box<dyn Renderer>], run: &Run, event: &Event<'_>) -> Result<()> {
    let now = clock::now();
    renderers.iter_mut().try_for_each(|renderer| renderer.handle(run, event, now))
}
