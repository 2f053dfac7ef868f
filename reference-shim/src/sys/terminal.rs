//! Terminals.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Sets the size of a terminal, in characters; the foreground process gets SIGWINCH.
pub(crate) fn resize(terminal: impl AsFd, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is borrowed and open, and TIOCSWINSZ reads one winsize through the pointer.
    let code = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
