//! The one unsafe operation of these tests.

use std::{
    fs::File,
    os::fd::{FromRawFd as _, RawFd},
};

/// Takes over a descriptor that has just come out of `recvmsg(2)`.
pub(crate) fn own(fd: RawFd) -> File {
    // SAFETY: the only caller passes a number that the kernel has just given it and keeps no copy.
    unsafe { File::from_raw_fd(fd) }
}
