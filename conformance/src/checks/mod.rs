//! Every check, in the order in which a shim lives. One file per subject; a file's table is its table of contents.

mod bystander;
mod control;
mod crash;
mod delete;
mod events;
mod exec;
mod kill;
mod lifecycle;
mod reaping;
mod refusal;
mod restart;
mod restart_life;
mod runtime;
mod sandbox;
mod sandbox_members;
mod security;
mod shutdown;
mod start;
mod stdio;
mod task;
mod ttrpc;
mod ttrpc_peers;

use crate::check::Check;

/// The tables, one per subject.
const SUBJECTS: &[&[Check]] = &[
    start::CHECKS,
    task::CHECKS,
    kill::CHECKS,
    control::CHECKS,
    refusal::CHECKS,
    exec::CHECKS,
    stdio::CHECKS,
    events::CHECKS,
    reaping::CHECKS,
    shutdown::CHECKS,
    restart::CHECKS,
    crash::CHECKS,
    runtime::CHECKS,
    delete::CHECKS,
    sandbox::CHECKS,
    sandbox_members::CHECKS,
    security::CHECKS,
    ttrpc::CHECKS,
    ttrpc_peers::CHECKS,
    lifecycle::CHECKS,
];

/// Every check.
pub fn all() -> impl Iterator<Item = &'static Check> {
    SUBJECTS.iter().copied().flatten()
}

/// The check with this id.
pub fn named(id: &str) -> Option<&'static Check> {
    all().find(|check| check.id == id)
}
