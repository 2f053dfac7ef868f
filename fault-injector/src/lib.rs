//! Faults as values, for shims that are only ever executed and never linked.
//!
//! Three sentences hold the crate together.
//!
//! 1. **A fault is data.** [`fault::Fault`] says where, when and what; [`catalogue::FAULTS`] lists all of them on one page, and
//!    help, filters and plans are derived from that list.
//! 2. **Injecting returns a guard.** [`guard::Guard`] keeps the fault in force, tells how often it bit, and heals when it is
//!    dropped. A verdict under a fault that never bit proves nothing.
//! 3. **Every choice comes from the seed.** [`dice::Dice`] fall in the same way for the same seed, so that what was drawn can be drawn
//!    again.
//!
//! The crate knows ttrpc frames and processes. It knows nothing of checks, verdicts or the Task API.

pub mod fault;

pub mod catalogue;

pub mod dice;

pub mod guard;

pub mod frame;

pub mod seam;

pub mod engine;

#[expect(
    unsafe_code,
    reason = "pidfds, filters with a listener and the engine's name spaces have no safe wrapper in `nix`"
)]
mod sys;
