//! What `/proc/PID/stat` says about one process: enough to know that it is still the same, and whether it lives.

use nix::unistd::Pid;
use procfs::{
    FromRead as _, ProcError,
    process::{ProcState, Stat},
};

/// A glimpse of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// Clock ticks since boot; with the pid it names a process for ever.
    pub(super) start_time: u64,
    /// The name of the program that it runs, or what we called it before it had one.
    pub(super) comm: String,
    /// A zombie is not alive: it only waits to be reaped.
    pub(super) is_alive: bool,
}

impl ProcessStat {
    /// Looks at the process that has `pid` now; `None` when there is none.
    pub(super) fn of(pid: Pid) -> Result<Option<Self>, ProcError> {
        let stat = match Stat::from_file(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat,
            Err(ProcError::NotFound(_)) => return Ok(None),
            // The process ended between open and read: ESRCH.
            Err(ProcError::Io(error, _)) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        let state = stat.state()?;
        Ok(Some(Self {
            start_time: stat.starttime,
            comm: stat.comm,
            is_alive: !matches!(state, ProcState::Zombie | ProcState::Dead),
        }))
    }
}
