//! Filters with a listener: `seccomp(2)`, and the requests of `seccomp_unotify(2)`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// Puts `program` in force for the calling thread and whatever it executes, and gives the descriptor on which its notifications arrive.
/// A thread whose notification was received waits for its answer through every signal but SIGKILL.
///
/// # Errors
///
/// `EACCES` without CAP_SYS_ADMIN and without no-new-privileges, `EBUSY` when a filter in force has a listener already, `EINVAL` before
/// Linux 5.19, and whatever else `seccomp(2)` answers.
pub(crate) fn listen(program: &mut [libc::sock_filter]) -> Result<OwnedFd, Errno> {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the pointer is to a live header whose pointer and length are those of a live slice; the kernel copies both.
    let opened = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::c_long::from(libc::SECCOMP_SET_MODE_FILTER), flags, &raw const program)
    };
    let fd = RawFd::try_from(Errno::result(opened)?).expect("the kernel's descriptors are ints");
    // SAFETY: the call has just made this descriptor, so it is open and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next call that waits for an answer.
///
/// # Errors
///
/// `ENOENT` when its caller has died by now, `EINTR` on a signal.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> Result<libc::seccomp_notif, Errno> {
    let mut notification = libc::seccomp_notif {
        id: 0,
        pid: 0,
        flags: 0,
        data: libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] },
    };
    // SAFETY: the request writes one seccomp_notif where the pointer points; the kernel demands that it is zeroed, and it is.
    let answer = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notification) };
    Errno::result(answer).map(|_| notification)
}

/// Lets the call `id` take place, or makes it fail with `error`.
///
/// # Errors
///
/// `ENOENT` when its caller has died by now.
pub(crate) fn answer(listener: BorrowedFd<'_>, id: u64, error: Option<Errno>) -> Result<(), Errno> {
    let flags = if error.is_none() { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 };
    let response = libc::seccomp_notif_resp { id, val: 0, error: error.map_or(0, |errno| -(errno as i32)), flags };
    // SAFETY: the request reads one seccomp_notif_resp where the pointer points.
    let sent = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
    Errno::result(sent).map(drop)
}

/// Whether the call `id` still waits, so that what was read of its caller's memory and descriptors was its own.
pub(crate) fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the request reads one u64 where the pointer points.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
}

/// Asks the kernel to hand over between caller and listener without a detour through another core; kernels before 6.6 cannot.
pub(crate) fn hand_over_directly(listener: BorrowedFd<'_>) {
    const SYNC_WAKE_UP: u64 = 1;
    // SAFETY: the request takes one u64 by value. That it is refused by an older kernel costs time and nothing else.
    _ = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
}
