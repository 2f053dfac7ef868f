//! Chaos: plans that nobody wrote, over many containers and every seam, all of it drawn from one number.
//!
//! A [`plan::Plan`] is a script for several containers with faults between its steps. [`draw()`] makes it out of a run's seed and its own
//! number, a world plays it, the model and the invariants judge. What fails is made smaller (`minimise`), counted how often it happens
//! again, and kept as a [`capture::Capture`] that can be replayed on any shim. A run can be cut into shards; [`merge`] puts the results
//! together again and notices what is missing.

pub mod campaign;
pub mod capture;
mod draw;
mod excuse;
pub mod merge;
mod minimise;
pub mod plan;
pub mod results;
pub mod scene;
mod signature;

use self::plan::Plan;
pub use self::{draw::draw, minimise::Budget, signature::Signature};
use crate::{
    check::{Body, Check, Stop},
    contract,
    lab::{Ending, Job, Lab, chaos},
    runner::{self, Control},
    subject::Subject,
    tenancy,
};

/// What a world of a plan is told to play: a check that stands in no table, because its plan is not its own.
static WORLD: Check = Check {
    id: "chaos/world",
    clause: &contract::always::MATRIX,
    needs: &[],
    notices: &[],
    body: Body::Example(|lab| Box::pin(world(lab))),
};

/// How much longer a plan may take than a check: it has as many containers.
const PATIENCE: u64 = 3;

/// The check of this id, when it is that of a plan's world. A fault of a plan need not bite.
pub fn named(id: &str) -> Option<&'static Check> {
    (id == WORLD.id).then_some(&WORLD)
}

async fn world(lab: &Lab) -> Result<(), Stop> {
    match &lab.job().plan {
        Some(plan) => chaos::play(lab, plan).await,
        None => Err(Stop::Error(format!("{} has no plan to play", WORLD.id))),
    }
}

/// Plays `plan` against `subject` in a world of its own.
pub fn play(subject: &Subject, plan: &Plan, control: &Control) -> Ending {
    let job = subject.job(WORLD.id, None, None, tenancy::unique());
    let limit_ms = job.limit_ms.saturating_mul(PATIENCE);
    runner::in_world(&Job { plan: Some(plan.clone()), limit_ms, ..job }, control)
}
