//! The system calls that no safe wrapper covers. Nothing here knows what a task is.

mod descriptors;
mod namespaces;
mod reap;
mod signal;
mod terminal;

pub(crate) use descriptors::{close_inherited, pass_descriptors, receive_descriptor, set_nonblocking, watch};
pub(crate) use namespaces::keep_namespaces;
pub(crate) use reap::{Death, is_child, is_running, reap_one};
pub(crate) use signal::send_signal;
pub(crate) use terminal::resize;
