//! Every status with which the command ends.

use std::{fmt, process::ExitCode};

/// Every selected check was decided and nothing is red; what was skipped has a reason and is counted.
pub const GREEN: u8 = 0;
/// Something is violated, or a row of the expectations file expected what no longer happens.
pub const VIOLATED: u8 = 1;
/// The command line, a pattern, the shim's path or an input file is wrong.
pub const USAGE: u8 = 2;
/// Nothing is violated, but a check, or with a shim that speaks gRPC all of them, could not be told one way or the other.
pub const INCONCLUSIVE: u8 = 3;
/// No check was selected, or none that was applies.
pub const NOTHING_SELECTED: u8 = 4;
/// The suite itself failed (sysexits: `EX_SOFTWARE`).
pub const SUITE_ERROR: u8 = 70;
/// This host can decide nothing.
pub const HOST: u8 = 77;
/// Interrupted by SIGINT; the reports tell what was done until then.
pub const INTERRUPTED: u8 = 130;
/// Ended by SIGTERM; the reports tell what was done until then.
pub const TERMINATED: u8 = 143;

/// All of them, for the help text.
pub const ALL: &[(u8, &str)] = &[
    (GREEN, "every selected check was decided and nothing is red"),
    (VIOLATED, "something is violated, or an expected violation no longer happens"),
    (USAGE, "the command line, a pattern, the shim's path or an input file is wrong"),
    (INCONCLUSIVE, "nothing is violated, but a check was inconclusive, or the shim speaks gRPC"),
    (NOTHING_SELECTED, "no check was selected, or none that was applies"),
    (SUITE_ERROR, "the suite itself failed"),
    (HOST, "this host can decide nothing"),
    (INTERRUPTED, "interrupted by SIGINT; reports are partial"),
    (TERMINATED, "ended by SIGTERM; reports are partial"),
];

/// Why a command cannot do what it was asked to do.
#[derive(Debug)]
pub enum Failure {
    /// It was asked for the wrong thing.
    Usage(String),
    /// It was asked for nothing.
    NothingSelected(String),
    /// It was asked about something that it cannot judge.
    Undecided(String),
    /// It was asked on the wrong host.
    Host(String),
    /// It was interrupted by the signal of this number before anything could be reported.
    Signalled(i32),
    /// It is broken.
    Suite(anyhow::Error),
}

impl Failure {
    /// The status to end with.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::NothingSelected(_) => NOTHING_SELECTED,
            Self::Undecided(_) => INCONCLUSIVE,
            Self::Host(_) => HOST,
            Self::Signalled(signal) => of_signal(*signal),
            Self::Suite(_) => SUITE_ERROR,
        }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.code())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Suite(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(reason) | Self::NothingSelected(reason) | Self::Undecided(reason) | Self::Host(reason) => {
                f.write_str(reason)
            }
            Self::Signalled(signal) => write!(f, "ended by signal {signal}"),
            Self::Suite(error) => write!(f, "the suite failed: {error:#}"),
        }
    }
}

/// What a shell makes of an end by `signal`.
pub fn of_signal(signal: i32) -> u8 {
    u8::try_from(signal).map_or(SUITE_ERROR, |signal| 128 + (signal & 0x7f))
}
