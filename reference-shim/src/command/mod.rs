//! One file for each thing that containerd executes the shim for.

pub(crate) mod bootstrap;
pub(crate) mod delete;
pub(crate) mod flags;
pub(crate) mod info;
pub(crate) mod pause;
pub(crate) mod serve;
pub(crate) mod start;
