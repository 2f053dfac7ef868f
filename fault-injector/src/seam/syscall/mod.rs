//! The system calls of an unmodified shim, seen and struck before they take effect.
//!
//! ```text
//! whoever plays containerd ─▶ launcher ─▶ (filter, listener to the supervisor, execve) the shim ─▶ daemon ─▶ runtime ─▶ container
//!                                              supervisor ◀─ every call in the table, of all of them
//! ```
//!
//! [`launch()`] puts a seccomp filter in force that asks a listener about each call of the table `calls`, hands the listener over and executes
//! the shim. A [`Supervisor`] answers: go on, fail with this error, or die. It tells the shim's own calls from those of its children, which
//! inherit the filter, and names each by a [`Point`].
//!
//! What to mind: there can be one listener in a chain of filters, so a container whose own profile wants one does not start; a container
//! sees the filter in its `/proc/self/status`.

mod caller;
mod calls;
mod filter;
mod identity;
mod launch;
mod point;
mod supervisor;

pub use caller::THREAD;
pub use identity::Role;
pub use launch::{available, launch};
pub use point::{NoPoint, Point, normalised};
pub use supervisor::{Aim, Seen, Struck, Supervisor};
