//! What must hold of every history, whatever the check was.

use crate::{
    check::Violation,
    contract::{self, Clause},
    history::{History, Residue, What},
};

/// One invariant.
#[derive(Debug)]
pub struct Invariant {
    /// Stable for ever.
    pub id: &'static str,
    /// The duty that it judges.
    pub clause: &'static Clause,
    /// Judges a finished history.
    pub holds: fn(&History) -> Result<(), Violation>,
}

/// All of them.
pub const INVARIANTS: &[Invariant] = &[Invariant {
    id: "no-leak",
    clause: &contract::life::NO_LEAK,
    holds: no_leak,
}];

/// The first invariant that `history` breaks.
pub fn judge(history: &History) -> Option<(&'static Invariant, Violation)> {
    INVARIANTS
        .iter()
        .find_map(|invariant| (invariant.holds)(history).err().map(|violation| (invariant, violation)))
}

fn no_leak(history: &History) -> Result<(), Violation> {
    for record in &history.records {
        let What::Left(residue) = &record.what else { continue };
        if *residue != Residue::default() {
            return Err(Violation {
                happened: "something is left after every life has ended".to_owned(),
                expected: "nothing".to_owned(),
                actual: residue.to_string(),
            });
        }
    }
    Ok(())
}
