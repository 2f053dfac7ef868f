//! Descriptors that name a process and not a number.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// Opens the process that has this pid now. The descriptor is close-on-exec.
pub(crate) fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open(2) takes two integers and touches no memory of ours.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::result(opened)?;
    let fd = RawFd::try_from(fd).expect("the kernel's descriptors are ints");
    // SAFETY: the call has just made this descriptor, so it is open and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal, or with 0 only asks whether there is somebody to send it to.
pub(crate) fn send_signal(fd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the null pointer is what pidfd_send_signal(2) takes for "as kill(2) would fill it in"; the rest are integers.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, no_info, 0) };
    Errno::result(sent).map(drop)
}
