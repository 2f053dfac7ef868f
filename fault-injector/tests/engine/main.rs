//! The engine as a shim sees it: a program that is executed, and processes that are there or not.
//!
//! These tests make containers, so they need root; without it they say that they were skipped. No image is needed: the
//! container's programs are the host's, shown by bind mounts.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, though clippy sees only the functions that carry the attribute"
)]

mod exec;
mod fixture;
mod life;
mod rules;
#[expect(unsafe_code, reason = "a received descriptor has no owner until somebody says so")]
mod sys;
mod terminal;
mod unprivileged;
