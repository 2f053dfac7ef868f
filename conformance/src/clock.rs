//! The one place that reads clocks.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use nix::time::{ClockId, clock_gettime};

use crate::history::{Moment, WallTime};

/// Now, on the clock of histories.
pub fn now() -> Moment {
    // CLOCK_MONOTONIC always exists on Linux; a failure would mean a broken kernel, and zero keeps the order of records.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec());
    Moment(u64::try_from(now).unwrap_or(0))
}

/// Now, as a shim would write it.
pub fn wall() -> WallTime {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or_else(
        |_| WallTime::default(),
        |t| WallTime { seconds: t.tv_sec(), nanos: i32::try_from(t.tv_nsec()).unwrap_or(0) },
    )
}

/// The day, in UTC.
pub fn today() -> Date {
    TimeZone::UTC.to_datetime(Timestamp::now()).date()
}

/// A number that differs from run to run; small enough to be typed.
pub fn seed() -> u64 {
    now().0 & 0xffff_ffff
}
