//! The system calls that need `unsafe`: the only place in the crate that has any. Nothing here knows what a container or a fault is.

pub(crate) mod pidfd;
