//! The burial of children.

use std::{io, mem};

/// A child that died and has been reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) pid: u32,
    /// The exit code, or 128 plus the signal's number.
    pub(crate) status: u32,
}

/// Reaps one dead child if there is one.
///
/// `waitid` directly and not through a wrapper: wrappers know only the named signals, and would lose the death of a
/// process killed by a real-time signal after having reaped it.
pub(crate) fn reap_one() -> io::Result<Option<Death>> {
    wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG)
}

/// Whether this process is a child of ours that has not been reaped, dead or alive.
pub(crate) fn is_child(pid: u32) -> bool {
    wait(libc::P_PID, pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).is_ok()
}

/// Whether this child of ours runs: it has neither been reaped nor waits to be.
pub(crate) fn is_running(pid: u32) -> bool {
    matches!(wait(libc::P_PID, pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT), Ok(None))
}

fn wait(kind: libc::idtype_t, id: libc::id_t, flags: libc::c_int) -> io::Result<Option<Death>> {
    loop {
        // SAFETY: siginfo_t is a C structure of integers, for which all zeroes is a value.
        let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
        // SAFETY: the pointer is to a siginfo_t of ours that outlives the call.
        let code = unsafe { libc::waitid(kind, id, &raw mut info, flags) };
        if code == 0 {
            return Ok(death(&info));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) if kind == libc::P_ALL => return Ok(None),
            _ => return Err(error),
        }
    }
}

fn death(info: &libc::siginfo_t) -> Option<Death> {
    // SAFETY: waitid succeeded, so the fields of SIGCHLD are the ones in use (all zero when nobody had died).
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let base = if info.si_code == libc::CLD_EXITED { 0 } else { 128 };
    let pid = u32::try_from(pid).ok().filter(|pid| *pid != 0)?;
    Some(Death { pid, status: base + u32::try_from(status).unwrap_or_default() })
}
