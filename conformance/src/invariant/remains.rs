//! What a finished life leaves.

use fault_injector::fault::Obligation;

use super::{Evidence, violation};
use crate::{
    check::Violation,
    history::{Residue, ShimFact, What},
};

/// Nothing is left. A socket of a shim that was killed may be (contract, part 4, I5): nobody was there to remove it, and the next `start`
/// replaces it.
pub(super) fn no_leak(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let killed = evidence.shim_facts().any(|(at, _, pid, fact)| {
        matches!(fact, ShimFact::Signalled(_)) && evidence.was_killed(pid, at)
            || *fact == ShimFact::Gone && evidence.excused(Obligation::ShimSurvives, pid, at, at)
    });
    for record in &evidence.history.records {
        let What::Left(residue) = &record.what else { continue };
        let mut residue = residue.clone();
        if killed {
            residue.sockets.clear();
        }
        if residue != Residue::default() {
            return violation("something is left after every life has ended", "nothing", residue.to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::sample::{Sample, holds};

    fn left(sample: &mut Sample, residue: Residue) {
        sample.then(What::Left(residue));
    }

    fn socket() -> Residue {
        Residue { sockets: vec!["/run/s".to_owned()], ..Residue::default() }
    }

    #[test]
    fn nothing_left_holds_and_something_left_does_not() {
        let mut sample = Sample::new();
        sample.serves("c", 9);
        left(&mut sample, Residue::default());
        assert!(holds(no_leak, &sample));
        left(&mut sample, socket());
        assert!(!holds(no_leak, &sample));
    }

    #[test]
    fn the_socket_of_a_killed_shim_is_excused_and_its_mounts_are_not() {
        let mut sample = Sample::new();
        sample.serves("c", 9).shim("c", 9, ShimFact::Signalled(libc::SIGKILL));
        left(&mut sample, socket());
        assert!(holds(no_leak, &sample));
        left(&mut sample, Residue { mounts: vec!["/run/m".to_owned()], ..Residue::default() });
        assert!(!holds(no_leak, &sample));
    }
}
