//! One file for each step.

pub(crate) mod chaos;
pub(crate) mod check;
pub(crate) mod conform;
pub(crate) mod daemons;
pub(crate) mod deny;
pub(crate) mod kills;
pub(crate) mod peer_run;
pub(crate) mod peers;
pub(crate) mod soak;
pub(crate) mod test;

use std::process::{ExitCode, ExitStatus};

/// Passes on how a command ended; a death by signal is 128 and the signal, as in a shell.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
