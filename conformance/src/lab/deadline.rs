//! The only waits: for a condition or for the end of a process, always bounded.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use tokio::{task::spawn_blocking, time::Instant};

/// How often a condition that nobody announces is looked at again.
pub const INTERVAL: Duration = Duration::from_millis(2);

/// Waits until `condition` yields a value, at most `limit`; `None` when the limit passed first.
pub async fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    until_tried(limit, async || condition()).await
}

/// The same for a condition that can only be awaited; what it does must end by itself.
pub async fn until_tried<T>(limit: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let end = after(limit);
    loop {
        if let Some(value) = condition().await {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// As [`until`] where nothing else waits to be done: for a thread.
pub fn until_blocking<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = after(limit);
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        // Nothing is watched, and a signal is as good as the interval's end.
        _ = poll(&mut [], PollTimeout::try_from(INTERVAL).unwrap_or(PollTimeout::ZERO));
    }
}

/// The moment at which `limit` will have passed.
pub fn after(limit: Duration) -> Instant {
    Instant::now() + limit
}

/// Waits until the process of this pidfd has ended, at most `limit`; whether it has.
///
/// # Errors
///
/// When it cannot be watched.
pub async fn ended(process: OwnedFd, limit: Duration) -> Result<bool> {
    // tokio watches descriptors of this kind by unsafe code alone.
    let wait = spawn_blocking(move || poll_until(&process, after(limit)));
    wait.await.context("wait in a thread")?.context("poll a pidfd")
}

fn poll_until(process: &OwnedFd, end: Instant) -> nix::Result<bool> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Err(Errno::EINTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}
