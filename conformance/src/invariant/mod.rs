//! What must hold of every history, whatever the check was.
//!
//! Each invariant is a pure function of the evidence, so a history that was saved can be judged again. None accuses on a guess: where the
//! history does not say in which order two things happened, or an outage or a signal of the suite's own may explain what is missing, it
//! holds.

mod calls;
mod events;
mod evidence;
mod remains;
#[cfg(test)]
mod sample;
mod shim;

pub use self::evidence::{Evidence, Terms};
use crate::{
    check::Violation,
    contract::{self, Clause},
    history::History,
};

/// One invariant.
#[derive(Debug)]
pub struct Invariant {
    /// Stable for ever.
    pub id: &'static str,
    /// The duty that it judges.
    pub clause: &'static Clause,
    /// Judges a finished history.
    pub holds: fn(&Evidence<'_>) -> Result<(), Violation>,
}

/// All of them; causes before their effects, so that a dead shim is not reported as a call without an answer.
pub const INVARIANTS: &[Invariant] = &[
    Invariant { id: "shim-survives", clause: &contract::always::SHIM_SURVIVES, holds: shim::survives },
    Invariant { id: "answers", clause: &contract::always::ANSWERED, holds: calls::answers },
    Invariant { id: "codes", clause: &contract::always::CODES, holds: calls::codes },
    Invariant { id: "events-accepted", clause: &contract::events::ENVELOPE, holds: events::accepted },
    Invariant { id: "events-agree", clause: &contract::events::AGREE, holds: events::agree },
    Invariant { id: "one-exit", clause: &contract::events::ONE_EXIT, holds: events::one_exit },
    Invariant { id: "order", clause: &contract::events::ORDER, holds: events::order },
    Invariant { id: "delete-told", clause: &contract::events::DELETE_TOLD, holds: events::delete_told },
    Invariant { id: "shim-exits", clause: &contract::always::SHIM_EXITS, holds: shim::exits },
    Invariant { id: "no-zombie", clause: &contract::always::NO_ZOMBIE, holds: shim::no_zombie },
    Invariant { id: "no-leak", clause: &contract::life::NO_LEAK, holds: remains::no_leak },
    Invariant { id: "flat", clause: &contract::always::FLAT, holds: shim::flat },
];

/// The first invariant that `history` breaks, if any.
pub fn judge(history: &History, terms: &Terms) -> Option<(&'static Invariant, Violation)> {
    broken(history, terms).into_iter().next()
}

/// Every invariant that `history` breaks.
pub fn broken(history: &History, terms: &Terms) -> Vec<(&'static Invariant, Violation)> {
    let evidence = Evidence::new(history, terms);
    let broken = |invariant: &'static Invariant| Some((invariant, (invariant.holds)(&evidence).err()?));
    INVARIANTS.iter().filter_map(broken).collect()
}

/// A violation, shorter to write.
fn violation(
    happened: impl Into<String>,
    expected: impl Into<String>,
    actual: impl Into<String>,
) -> Result<(), Violation> {
    Err(Violation { happened: happened.into(), expected: expected.into(), actual: actual.into() })
}
