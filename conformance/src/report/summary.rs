//! What a run comes to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::{
    check::{Body, Verdict},
    claim::Claim,
    exit_code,
    history::{Moment, What},
};

/// How many checks ended in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Duties that were kept.
    pub held: usize,
    /// Duties that were broken.
    pub violated: usize,
    /// Broken, as the expectations file knows.
    pub waived: usize,
    /// Cannot be decided here.
    pub skipped: usize,
    /// Not asked for by the containerd that is played, or not of this shim.
    pub not_applicable: usize,
    /// Could not be told.
    pub inconclusive: usize,
    /// The suite failed.
    pub error: usize,
    /// Held, though the expectations file says that they are always violated.
    pub unexpected: usize,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Summary {
    /// Every selected check, in the order of the catalogue, those that never ran included.
    pub outcomes: Vec<Outcome>,
    /// How long it took.
    pub wall: Duration,
    /// The number of the signal that interrupted it.
    pub signal: Option<i32>,
    /// What may be said about the shim.
    pub claim: Claim,
}

impl Summary {
    /// How long it took, milliseconds.
    pub fn wall_ms(&self) -> u64 {
        u64::try_from(self.wall.as_millis()).unwrap_or(u64::MAX)
    }

    /// How many checks ended in which way.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in &self.outcomes {
            counts.unexpected += usize::from(outcome.unexpected.is_some());
            *match outcome.verdict {
                Verdict::Held => &mut counts.held,
                Verdict::Violated { .. } => &mut counts.violated,
                Verdict::Waived { .. } => &mut counts.waived,
                Verdict::Skipped { .. } => &mut counts.skipped,
                Verdict::NotApplicable { .. } => &mut counts.not_applicable,
                Verdict::Inconclusive { .. } => &mut counts.inconclusive,
                Verdict::Error { .. } => &mut counts.error,
            } += 1;
        }
        counts
    }

    /// The status to end with; an accusation comes first, because trouble of the suite's own does not take it back.
    pub fn exit_code(&self) -> u8 {
        let counts = self.counts();
        if let Some(signal) = self.signal {
            return exit_code::of_signal(signal);
        }
        if counts.violated + counts.unexpected > 0 {
            return exit_code::VIOLATED;
        }
        if counts.error > 0 {
            return exit_code::SUITE_ERROR;
        }
        if counts.inconclusive > 0 {
            return exit_code::INCONCLUSIVE;
        }
        if counts.not_applicable == self.outcomes.len() {
            return exit_code::NOTHING_SELECTED;
        }
        if counts.skipped + counts.not_applicable == self.outcomes.len() {
            return exit_code::HOST;
        }
        exit_code::GREEN
    }

    /// Which part of the worlds' time went into making them and taking them down, before the first and after the last thing that was
    /// observed; between 0 and 1, `None` when nothing was. Properties are left out: of their many worlds only the last is known.
    pub fn own_share(&self) -> Option<f64> {
        let (mut own, mut all) = (0.0, 0.0);
        let examples = |outcome: &&Outcome| matches!(outcome.check.body, Body::Example(_));
        for outcome in self.outcomes.iter().filter(examples) {
            let records = &outcome.ending.history.records;
            let up = records.iter().find(|record| matches!(record.what, What::ContainerdUp(_)));
            let (Some(up), Some(last)) = (up, records.last()) else {
                continue;
            };
            own += up.at.ms_since(outcome.begun) + outcome.ended.ms_since(last.at);
            all += outcome.ms();
        }
        (all > 0.0).then_some(own / all)
    }
}

/// The seconds since `begun`, for people.
pub(super) fn seconds(now: Moment, begun: Moment) -> String {
    format!("{:.1}s", now.ms_since(begun) / 1000.0)
}
