//! Signals by number.

use std::io;

/// Sends a signal by number, so that real-time signals can be sent as well; 0 only asks whether the process exists.
pub(crate) fn send_signal(pid: u32, signal: u32) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let pid = libc::pid_t::try_from(pid).map_err(invalid)?;
    let signal = libc::c_int::try_from(signal).map_err(invalid)?;
    if pid == 0 {
        // It would go to the shim's own group.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: kill has no memory effects.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
