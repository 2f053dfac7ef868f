//! The only wait: for a condition, always bounded.

use std::time::Duration;

use tokio::time::Instant;

/// How often a condition that nobody announces is looked at again.
const INTERVAL: Duration = Duration::from_millis(2);

/// Waits until `condition` yields a value, at most `limit`; `None` when the limit passed first.
pub async fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
