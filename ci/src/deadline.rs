//! The only wait for a condition in this crate: always bounded, and named when it does not come true.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long to rest between two looks at a condition that the kernel has no event for.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `condition` answers something, for at most `limit`; `what` completes the message "no … within 5s".
pub(crate) fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = condition()? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("no {what} within {limit:?}");
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_is_taken() {
        let mut looks = 0;
        let answer = until("third look", Duration::from_secs(60), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn the_condition_is_named_when_it_stays_away() {
        let error = until("answer", Duration::ZERO, || Ok(None::<()>)).unwrap_err();
        assert_eq!(error.to_string(), "no answer within 0ns");
    }
}
