//! Waiting for a condition that the kernel does not announce, always with an end.

use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};

/// Asks every millisecond whether `condition` holds and answers whether it did before `limit` had passed.
///
/// # Errors
///
/// The first error of `condition`.
pub(super) fn holds_within<E>(limit: Duration, mut condition: impl FnMut() -> Result<bool, E>) -> Result<bool, E> {
    let end = Instant::now() + limit;
    loop {
        if condition()? {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        pause(1);
    }
}

/// Gives the processor away for about `milliseconds`.
pub(super) fn pause(milliseconds: u16) {
    // Interrupted or not, the caller looks at its condition next.
    let _woken = poll(&mut [], PollTimeout::from(milliseconds));
}
