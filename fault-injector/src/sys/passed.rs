//! Descriptors that arrive over a socket.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// Receives at most `text.len()` bytes, and a descriptor when one came with them.
///
/// # Errors
///
/// Whatever `recvmsg(2)` answers.
pub(crate) fn receive(socket: BorrowedFd<'_>, text: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = cmsg_space!([i32; 1]);
    let mut buffers = [IoSliceMut::new(text)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut passed = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for fd in fds {
                // SAFETY: the kernel has just made this descriptor for us, and tells of it once.
                passed = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    Ok((message.bytes, passed))
}
