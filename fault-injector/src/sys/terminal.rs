//! The terminal requests that nix has no functions for.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

/// Opens the other end of a pseudo-terminal through its master, so that no path in any mount namespace is trusted.
///
/// # Errors
///
/// Whatever `ioctl_tty(2)` TIOCGPTPEER answers.
pub(crate) fn peer(master: impl AsFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value and gives a new descriptor.
    let fd = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets the other end be opened; a new master refuses.
///
/// # Errors
///
/// Whatever `ioctl_tty(2)` TIOCSPTLCK answers.
pub(crate) fn unlock(master: impl AsFd) -> io::Result<()> {
    let locked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int where the pointer points.
    check(unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) })
}

/// The number of the pseudo-terminal, as in `/dev/pts/NUMBER`.
///
/// # Errors
///
/// Whatever `ioctl_tty(2)` TIOCGPTN answers.
pub(crate) fn number(master: impl AsFd) -> io::Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN writes one unsigned int where the pointer points.
    let answer = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    check(answer).map(|()| number)
}

/// Makes `terminal` the controlling terminal of this session leader.
///
/// # Errors
///
/// `EPERM` when this process leads no session or has a terminal.
pub(crate) fn take_control(terminal: impl AsFd) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) })
}

/// Sets the size in characters.
///
/// # Errors
///
/// Whatever `ioctl_tty(2)` TIOCSWINSZ answers.
pub(crate) fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize where the pointer points.
    check(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
