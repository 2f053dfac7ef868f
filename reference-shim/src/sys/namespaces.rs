//! Namespaces for a process that is about to be made.

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

/// Gives a command IPC and UTS namespaces of its own, puts it into a network namespace if there is one, and lets it
/// die with this process.
pub(crate) fn keep_namespaces(command: &mut Command, network: Option<OwnedFd>) {
    let enter = move || {
        let check = |result| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: changes only the calling process.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        if let Some(network) = &network {
            // SAFETY: changes only the calling process, and the descriptor is open.
            check(unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) })?;
        }
        // SAFETY: changes only the calling process.
        check(unsafe { libc::unshare(libc::CLONE_NEWIPC | libc::CLONE_NEWUTS) })
    };
    // SAFETY: the closure runs in the child between fork and exec and only makes system calls, which are
    // async-signal-safe, as is reading errno.
    unsafe { command.pre_exec(enter) };
}
