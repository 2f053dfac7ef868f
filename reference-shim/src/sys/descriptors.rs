//! Descriptors: what is passed on, received, watched and closed.

use std::{
    io::{self, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use nix::{
    cmsg_space,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Above everything that a small process has open, so that duplicates and targets cannot collide.
const HIGH: RawFd = 100;

/// Closes everything but stdin, stdout and stderr: what a careless ancestor left open shall not stay open in a daemon,
/// nor get into containers. To be called before anything is opened.
pub(crate) fn close_inherited() -> io::Result<()> {
    // SAFETY: nobody in this process owns a descriptor above 2 yet.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives a command descriptors 3, 4 and 5.
pub(crate) fn pass_descriptors(command: &mut Command, descriptors: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    // Duplicates out of the way first: a source may have one of the numbers 3 to 5 itself.
    let mut sources = Vec::with_capacity(descriptors.len());
    for descriptor in descriptors {
        let duplicate = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(HIGH))?;
        // SAFETY: fcntl has just made this descriptor, and nobody else knows it.
        sources.push(unsafe { OwnedFd::from_raw_fd(duplicate) });
    }
    let place = move || {
        for (target, source) in (3..).zip(&sources) {
            // SAFETY: dup2 only changes this process's descriptor table.
            if unsafe { libc::dup2(source.as_raw_fd(), target) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure runs in the child between fork and exec and only calls dup2, which is async-signal-safe.
    unsafe { command.pre_exec(place) };
    Ok(())
}

/// Receives one descriptor over a socket.
pub(crate) fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut text = [0; 4096];
    let mut buffers = [IoSliceMut::new(&mut text)];
    let mut space = cmsg_space!([RawFd; 1]);
    let fd = socket.as_fd().as_raw_fd();
    let message = recvmsg::<()>(fd, &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control
            && let Some(fd) = received.first()
        {
            // SAFETY: the kernel has just installed this descriptor for us, and nobody else knows it.
            return Ok(unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "message without a descriptor"))
}

/// Makes reads and writes on an open file return instead of wait.
pub(crate) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Watches a descriptor for something to read.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the result, which never gives it away, so it stays open and the same.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
