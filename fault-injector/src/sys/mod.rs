//! The system calls that need `unsafe`: the only place in the crate that has any. Nothing here knows what a container or a fault is.

pub(crate) mod capability;
pub(crate) mod clone;
pub(crate) mod exec_hygiene;
pub(crate) mod loopback;
pub(crate) mod passed;
pub(crate) mod pidfd;
pub(crate) mod seccomp;
pub(crate) mod terminal;
