//! The places where faults are applied to an unmodified shim.
//!
//! Signals go to a [`process`]. A [`runtime`] misbehaves by rules which lie beside it. Sockets are disturbed through a [`gate`], which decides frame by frame and does no IO of its own; it stands
//! in a proxy before the shim's [`socket`], or in the service that takes its [`events`], behind a [`listener`] that can go away and come
//! back. The shim's own [system calls](syscall) are seen, and struck, before they take effect. What the kernel grants is a [`resource`], and
//! files lie on a [`disk`]. To speak to a shim in frames, lawful or not, there is a [`wire`].

pub mod process;

pub mod runtime;

pub mod gate;

pub mod listener;

pub mod socket;

pub mod events;

pub mod wire;

pub mod syscall;

pub mod resource;

pub mod disk;
