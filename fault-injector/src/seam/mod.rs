//! The places where faults are applied to an unmodified shim.

pub mod process;
