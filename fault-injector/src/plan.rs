//! Which faults strike and when, all of it drawn from one number.
//!
//! A plan is the fault half of a run: it names spans of steps, and what a step is (usually one call) is for the runner to say. It
//! prints as one line and parses back, so a report needs no more than that line to be replayed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::fault::Fault;

/// Faults over the steps of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Plan {
    /// What it was drawn from. A plan made simpler keeps it, although the seed alone would draw the original again.
    pub seed: u64,
    /// In the order in which they begin.
    pub spans: Vec<Span>,
}

/// One fault and how long it is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// A row of the catalogue.
    pub fault: &'static Fault,
    /// Installed before this step, counted from zero.
    pub from: u32,
    /// Healed before this step; never less than one step later.
    pub until: u32,
}

/// What a plan may be made of.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The faults to choose from; there must be one.
    pub faults: &'a [&'static Fault],
    /// How many steps the run has; at least one.
    pub steps: u32,
    /// How many spans there may be; there is always one.
    pub spans_max: u32,
}

impl Plan {
    /// The plan of this seed within this scope, the same each time.
    ///
    /// # Panics
    ///
    /// When the scope leaves nothing to choose from.
    pub fn draw(seed: u64, scope: &Scope<'_>) -> Self {
        assert!(scope.steps > 0 && scope.spans_max > 0, "a plan without room for a fault: {scope:?}");
        let mut dice = Dice::new(seed);
        let mut spans: Vec<Span> = Vec::new();
        for _ in 0..=dice.below(scope.spans_max) {
            let fault = *dice.pick(scope.faults);
            let from = dice.below(scope.steps);
            // The lesser of two: most faults are short, some last to the end.
            let room = scope.steps - from;
            let until = from + 1 + dice.below(room).min(dice.below(room));
            let span = Span { fault, from, until };
            // A fault on top of itself is the same fault for longer.
            if !spans.iter().any(|other| other.collides(&span)) {
                spans.push(span);
            }
        }
        spans.sort_by_key(|span| (span.from, span.until, span.fault.id));
        Self { seed, spans }
    }

    /// The faults to be healed before `step`.
    pub fn ending(&self, step: u32) -> impl Iterator<Item = &'static Fault> {
        self.spans.iter().filter(move |span| span.until == step).map(|span| span.fault)
    }

    /// The faults to be installed before `step`, after healing the [`Plan::ending`] ones.
    pub fn beginning(&self, step: u32) -> impl Iterator<Item = &'static Fault> {
        self.spans.iter().filter(move |span| span.from == step).map(|span| span.fault)
    }

    /// Plans with a little less in them, the boldest first: one span fewer (from the back), then one span cut to a single step. Trying
    /// these again and again ends, and what is left needs all it has.
    pub fn simpler(&self) -> impl Iterator<Item = Self> {
        let fewer = (0..self.spans.len()).rev().map(|at| {
            let mut plan = self.clone();
            plan.spans.remove(at);
            plan
        });
        let shorter = self.spans.iter().enumerate().filter(|(_, span)| span.until - span.from > 1).map(|(at, span)| {
            let mut plan = self.clone();
            plan.spans[at].until = span.from + 1;
            plan
        });
        fewer.chain(shorter)
    }
}

impl Span {
    fn collides(&self, other: &Self) -> bool {
        self.fault.id == other.fault.id && self.from < other.until && other.from < self.until
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={}", self.seed)?;
        self.spans.iter().try_for_each(|span| write!(f, " {span}"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}..{}", self.fault.id, self.from, self.until)
    }
}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(line: &str) -> Result<Self, PlanError> {
        let mut words = line.split_whitespace();
        let seed = words.next().and_then(|word| word.strip_prefix("seed=")).and_then(|seed| seed.parse().ok());
        let seed = seed.ok_or_else(|| PlanError::Seed(line.to_owned()))?;
        let spans = words.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { seed, spans })
    }
}

impl FromStr for Span {
    type Err = PlanError;

    fn from_str(word: &str) -> Result<Self, PlanError> {
        let shape = || PlanError::Span(word.to_owned());
        let (id, steps) = word.split_once('@').ok_or_else(shape)?;
        let (from, until) = steps.split_once("..").ok_or_else(shape)?;
        let (from, until) = (from.parse().map_err(|_| shape())?, until.parse().map_err(|_| shape())?);
        if from >= until {
            return Err(shape());
        }
        let fault = catalogue::find(id).ok_or_else(|| PlanError::Fault(id.to_owned()))?;
        Ok(Self { fault, from, until })
    }
}

impl From<Plan> for String {
    fn from(plan: Plan) -> Self {
        plan.to_string()
    }
}

impl TryFrom<String> for Plan {
    type Error = PlanError;

    fn try_from(line: String) -> Result<Self, PlanError> {
        line.parse()
    }
}

/// Why a line is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It does not begin with its seed.
    #[error("plan {0:?} does not begin with seed=NUMBER")]
    Seed(String),
    /// A word is not of the form `fault@from..until` with `from` before `until`.
    #[error("span {0:?} is not fault@from..until")]
    Span(String),
    /// No fault has this id.
    #[error("fault {0:?} is not in the catalogue")]
    Fault(String),
}

/// Where every choice comes from: SplitMix64, which is short, needs no crate, and will be the same in ten years.
///
/// Sebastiano Vigna's constants, from "Fast splittable pseudorandom number generators" (Steele, Lea, Flood, 2014).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall in the same way for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which must not be zero; even enough for small limits.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    pub fn below(&mut self, limit: u32) -> u32 {
        assert!(limit > 0, "nothing is below zero");
        let high = (u128::from(self.roll()) * u128::from(limit)) >> 64;
        u32::try_from(high).expect("the product shifted by 64 bits is below the limit")
    }

    /// One of them.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let count = u32::try_from(from.len()).expect("fewer than 4 billion things to choose from");
        &from[self.below(count) as usize]
    }
}
