//! Every check, in the order in which a shim lives. One file per subject; a file's table is its table of contents.

mod answers;
mod bootstrap;
mod bystander;
mod clients;
mod control;
mod crash;
mod delete;
mod ends;
mod events;
mod exec;
mod exec_spec;
mod fault;
mod kill;
mod life;
mod lifecycle;
mod log;
mod logger;
mod matrix;
mod mounts;
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
mod streams;
mod syscall;
mod task;
mod ttrpc;
mod ttrpc_peers;

use crate::check::Check;

/// The tables, one per subject.
const SUBJECTS: &[&[Check]] = &[
    start::CHECKS,
    bootstrap::CHECKS,
    task::CHECKS,
    answers::CHECKS,
    mounts::CHECKS,
    kill::CHECKS,
    control::CHECKS,
    refusal::CHECKS,
    matrix::CHECKS,
    exec::CHECKS,
    exec_spec::CHECKS,
    stdio::CHECKS,
    streams::CHECKS,
    logger::CHECKS,
    events::CHECKS,
    ends::CHECKS,
    reaping::CHECKS,
    shutdown::CHECKS,
    restart::CHECKS,
    crash::CHECKS,
    clients::CHECKS,
    log::CHECKS,
    runtime::CHECKS,
    life::CHECKS,
    fault::SHIM,
    fault::PROCESS,
    fault::RUNTIME_PROCESS,
    fault::CONTAINERD,
    fault::TASK_SOCKET,
    fault::EVENTS,
    fault::RUNTIME,
    fault::DESCRIPTORS,
    fault::PROCESSES,
    fault::MEMORY,
    fault::TIME,
    fault::DISK,
    syscall::CHECKS,
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
