//! Refusals whose wording shims look into.
//!
//! A runtime tells a shim why it failed only in prose. containerd's shims search it for fragments (go-runc and
//! `checkKillError` in containerd's `process/utils.go`; `check_kill_error` in the Rust runc shim), so these sentences are
//! an interface and stand in one place. Everything else fails with an `anyhow` chain that is only meant to be read.

use super::state::Status;

/// Why a command cannot be obeyed by this container.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// No state under the root; shims look for "does not exist".
    #[error("container does not exist: {id:?}")]
    Unknown {
        /// The id asked for.
        id: String,
    },
    /// State of that id is there; shims look for "already exists".
    #[error("container with given ID already exists: {id:?}")]
    Exists {
        /// The id asked for.
        id: String,
    },
    /// The first process has ended; shims look for "container not running".
    #[error("container not running: {id:?}")]
    NotRunning {
        /// The id asked for.
        id: String,
    },
    /// The command is for containers in another state.
    #[error("cannot {verb} container {id:?} that is {status}")]
    State {
        /// What was asked.
        verb: &'static str,
        /// Of which container.
        id: String,
        /// And how it is.
        status: Status,
    },
    /// The program is not in any directory of PATH.
    #[error("exec: {program:?}: executable file not found in $PATH")]
    NotInPath {
        /// As asked for.
        program: String,
    },
    /// The program has a slash in it and cannot be executed.
    #[error("exec: {program:?}: {reason}")]
    NotExecutable {
        /// As asked for.
        program: String,
        /// In the words of C, such as "no such file or directory".
        reason: String,
    },
}
