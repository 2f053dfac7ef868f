//! The system calls that change something outside the caller's memory, on one page: what tells one from another of its name, which errors
//! its manual page knows, and whether a crash right before it is a crash at another place.
//!
//! Left out are calls whose effect ends with the process (`close`, `dup`, `chdir`, reads), those that cannot be told from looking
//! (`wait4` with `WNOHANG` mostly reaps nobody), and `tgkill`, with which runtimes signal their own threads.

use crate::fault::Errno;
use crate::fault::Errno::{Eagain, Eintr, Eio, Emfile, Enomem, Enospc};

/// One system call.
#[derive(Debug)]
pub(super) struct Call {
    /// Its number on this machine.
    pub(super) number: libc::c_long,
    /// Its name.
    pub(super) name: &'static str,
    /// Which of its uses are looked at.
    pub(super) when: When,
    /// What it is about.
    pub(super) about: About,
    /// The errors of ours that its manual page knows; what it is about may rule some of them out.
    pub(super) errnos: &'static [Errno],
    /// Whether dying before it may leave the world otherwise than dying before the one after it.
    pub(super) crash: bool,
}

/// A condition on the low halves of the arguments, for the kernel to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// None.
    Always,
    /// One of these bits is set in the argument of this place.
    Any(usize, u32),
    /// The argument of this place is this.
    Is(usize, u32),
}

/// Where a call says what it is about; numbers are places of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Nowhere.
    Nothing,
    /// A path.
    Path(usize),
    /// A directory's descriptor, and a path from there.
    PathAt(usize, usize),
    /// A directory's descriptor, a path from there, and flags by which the file may be created.
    OpenAt(usize, usize, usize),
    /// A path, and flags by which the file may be created.
    Open(usize, usize),
    /// A descriptor that is changed.
    Descriptor(usize),
    /// A descriptor that is written to.
    Written(usize),
    /// A socket address.
    Address(usize),
    /// A signal's number.
    Signal(usize),
    /// Flags that tell a thread from a process.
    Clone(usize),
    /// The address of a structure that begins with such flags.
    Clone3(usize),
    /// The program that is executed: a path.
    Program(usize),
    /// The same, from a directory's descriptor.
    ProgramAt(usize, usize),
}

const WRITING: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32;

const fn row(number: libc::c_long, name: &'static str, about: About, errnos: &'static [Errno], crash: bool) -> Call {
    Call { number, name, when: When::Always, about, errnos, crash }
}

const fn only(when: When, call: Call) -> Call {
    Call { when, ..call }
}

const CRASH: bool = true;
/// What it makes dies with the process.
const INNER: bool = false;

/// Every call that is looked at. Errors are those of the Linux manual pages, section 2.
#[rustfmt::skip] // A table: one row, one line.
pub(super) const CALLS: &[Call] = &[
    // Files.
    only(When::Any(2, WRITING), row(libc::SYS_openat, "openat", About::OpenAt(0, 1, 2), &[Eintr, Emfile, Enomem, Enospc], CRASH)),
    row(libc::SYS_mkdirat, "mkdirat", About::PathAt(0, 1), &[Enomem, Enospc], CRASH),
    row(libc::SYS_unlinkat, "unlinkat", About::PathAt(0, 1), &[Eio, Enomem], CRASH),
    row(libc::SYS_renameat2, "renameat2", About::PathAt(2, 3), &[Enomem, Enospc], CRASH),
    row(libc::SYS_renameat, "renameat", About::PathAt(2, 3), &[Enomem, Enospc], CRASH),
    row(libc::SYS_linkat, "linkat", About::PathAt(2, 3), &[Eio, Enomem, Enospc], CRASH),
    row(libc::SYS_symlinkat, "symlinkat", About::PathAt(1, 2), &[Eio, Enomem, Enospc], CRASH),
    row(libc::SYS_mknodat, "mknodat", About::PathAt(0, 1), &[Enomem, Enospc], CRASH),
    row(libc::SYS_fchmodat, "fchmodat", About::PathAt(0, 1), &[Eio, Enomem], CRASH),
    row(libc::SYS_fchmod, "fchmod", About::Descriptor(0), &[Eio], CRASH),
    row(libc::SYS_fchownat, "fchownat", About::PathAt(0, 1), &[Eio, Enomem], CRASH),
    row(libc::SYS_fchown, "fchown", About::Descriptor(0), &[Eio], CRASH),
    row(libc::SYS_truncate, "truncate", About::Path(0), &[Eintr, Eio], CRASH),
    row(libc::SYS_ftruncate, "ftruncate", About::Descriptor(0), &[Eintr, Eio], CRASH),
    row(libc::SYS_write, "write", About::Written(0), &[Eintr, Eio, Enospc], CRASH),
    row(libc::SYS_pwrite64, "pwrite64", About::Written(0), &[Eintr, Eio, Enospc], CRASH),
    row(libc::SYS_writev, "writev", About::Written(0), &[Eintr, Eio, Enospc], CRASH),
    row(libc::SYS_mount, "mount", About::Path(1), &[Enomem], CRASH),
    row(libc::SYS_umount2, "umount2", About::Path(0), &[Enomem], CRASH),
    row(libc::SYS_move_mount, "move_mount", About::PathAt(2, 3), &[], CRASH),

    // Sockets.
    row(libc::SYS_socket, "socket", About::Nothing, &[Emfile, Enomem], INNER),
    row(libc::SYS_socketpair, "socketpair", About::Nothing, &[Emfile], INNER),
    row(libc::SYS_bind, "bind", About::Address(1), &[Enomem], CRASH),
    row(libc::SYS_listen, "listen", About::Nothing, &[], CRASH),
    row(libc::SYS_connect, "connect", About::Address(1), &[Eintr], CRASH),
    row(libc::SYS_accept4, "accept4", About::Nothing, &[Eintr, Emfile, Enomem], INNER),
    row(libc::SYS_sendto, "sendto", About::Written(0), &[Eintr, Enomem], CRASH),
    row(libc::SYS_sendmsg, "sendmsg", About::Written(0), &[Eintr, Enomem], CRASH),

    // Other descriptors.
    row(libc::SYS_pipe2, "pipe2", About::Nothing, &[Emfile], INNER),
    row(libc::SYS_eventfd2, "eventfd2", About::Nothing, &[Emfile, Enomem], INNER),
    row(libc::SYS_epoll_create1, "epoll_create1", About::Nothing, &[Emfile, Enomem], INNER),
    row(libc::SYS_inotify_init1, "inotify_init1", About::Nothing, &[Emfile, Enomem], INNER),
    row(libc::SYS_inotify_add_watch, "inotify_add_watch", About::Path(1), &[Enomem, Enospc], INNER),
    row(libc::SYS_signalfd4, "signalfd4", About::Nothing, &[Emfile, Enomem], INNER),
    row(libc::SYS_timerfd_create, "timerfd_create", About::Nothing, &[Emfile, Enomem], INNER),
    row(libc::SYS_memfd_create, "memfd_create", About::Nothing, &[Emfile, Enomem], INNER),
    row(libc::SYS_pidfd_open, "pidfd_open", About::Nothing, &[Emfile, Enomem], INNER),

    // Processes.
    row(libc::SYS_clone, "clone", About::Clone(0), &[Eagain, Enomem], CRASH),
    row(libc::SYS_clone3, "clone3", About::Clone3(0), &[Eagain, Enomem], CRASH),
    row(libc::SYS_kill, "kill", About::Signal(1), &[], CRASH),
    row(libc::SYS_pidfd_send_signal, "pidfd_send_signal", About::Signal(1), &[], CRASH),
    row(libc::SYS_setsid, "setsid", About::Nothing, &[], CRASH),
    only(When::Is(0, libc::PR_SET_CHILD_SUBREAPER as u32), row(libc::SYS_prctl, "prctl", About::Nothing, &[], CRASH)),
    row(libc::SYS_unshare, "unshare", About::Nothing, &[Enomem], CRASH),
    row(libc::SYS_setns, "setns", About::Nothing, &[Enomem], CRASH),
    row(libc::SYS_execve, "execve", About::Program(0), &[], INNER),
    row(libc::SYS_execveat, "execveat", About::ProgramAt(0, 1), &[], INNER),

    // The same under the names that only old machines have.
    #[cfg(target_arch = "x86_64")]
    only(When::Any(1, WRITING), row(libc::SYS_open, "open", About::Open(0, 1), &[Eintr, Emfile, Enomem, Enospc], CRASH)),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_creat, "creat", About::Path(0), &[Eintr, Emfile, Enomem, Enospc], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_mkdir, "mkdir", About::Path(0), &[Enomem, Enospc], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_rmdir, "rmdir", About::Path(0), &[Enomem], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_unlink, "unlink", About::Path(0), &[Eio, Enomem], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_rename, "rename", About::Path(1), &[Enomem, Enospc], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_link, "link", About::Path(1), &[Eio, Enomem, Enospc], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_symlink, "symlink", About::Path(1), &[Eio, Enomem, Enospc], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_mknod, "mknod", About::Path(0), &[Enomem, Enospc], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_chmod, "chmod", About::Path(0), &[Eio, Enomem], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_chown, "chown", About::Path(0), &[Eio, Enomem], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_accept, "accept", About::Nothing, &[Eintr, Emfile, Enomem], INNER),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_pipe, "pipe", About::Nothing, &[Emfile], INNER),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_fork, "fork", About::Nothing, &[Eagain, Enomem], CRASH),
    #[cfg(target_arch = "x86_64")]
    row(libc::SYS_vfork, "vfork", About::Nothing, &[Eagain, Enomem], CRASH),
];

/// The row of this number.
pub(super) fn numbered(number: libc::c_int) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.number == libc::c_long::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_call_has_one_row() {
        let numbers: BTreeSet<_> = CALLS.iter().map(|call| call.number).collect();
        let names: BTreeSet<_> = CALLS.iter().map(|call| call.name).collect();
        assert_eq!((numbers.len(), names.len()), (CALLS.len(), CALLS.len()));
    }

    #[test]
    fn every_error_has_a_call() {
        let known: BTreeSet<_> = CALLS.iter().flat_map(|call| call.errnos).collect();
        assert_eq!(known, BTreeSet::from([&Eagain, &Eintr, &Eio, &Emfile, &Enomem, &Enospc]));
    }

    #[test]
    fn a_call_is_found_by_its_number() {
        let number = libc::c_int::try_from(libc::SYS_mkdirat).unwrap();
        assert_eq!(numbered(number).map(|call| call.name), Some("mkdirat"));
        assert!(numbered(libc::c_int::MAX).is_none());
    }
}
