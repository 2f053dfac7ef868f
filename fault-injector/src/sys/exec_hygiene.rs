//! What a program inherits through `execve(2)`: descriptors and signal dispositions.

use std::{io, os::fd::RawFd};

/// Marks every descriptor from `first` on close-on-exec, whatever it was before.
///
/// # Errors
///
/// Whatever `close_range(2)` answers; `EINVAL` before Linux 5.11.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;
    // SAFETY: the call takes three integers; it closes nothing now, so no owner in this process loses its descriptor.
    let answer =
        unsafe { libc::syscall(libc::SYS_close_range, first.cast_unsigned(), libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives every signal its default disposition, so that the next program does not inherit what we ignore (Rust ignores SIGPIPE).
pub(crate) fn default_signal_dispositions() {
    for signal in 1..=libc::SIGRTMAX() {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        // SAFETY: SIG_DFL is a valid disposition for each signal number in range; the C library refuses the two numbers it
        // keeps to itself with EINVAL and changes nothing, which is right: nobody can have ignored those.
        let _previous = unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
