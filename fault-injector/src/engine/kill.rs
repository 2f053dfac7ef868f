//! `kill`: a signal to the first process, or to all.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use nix::{errno::Errno, unistd::Pid};

use super::{
    Engine,
    cgroup::Cgroup,
    cli, processes,
    refusal::Refusal,
    signal,
    state::{Record, StateDirectory},
};
use crate::sys;

/// Sends the signal.
pub(super) fn kill(engine: &Engine, arguments: &cli::Kill) -> Result<()> {
    let signal = signal::parse(&arguments.signal)?;
    let record = StateDirectory::new(&engine.root, &arguments.id)?.load()?;
    if arguments.all {
        return all(&record, signal);
    }
    first(&record, signal)
}

/// Signals the first process only.
pub(super) fn first(record: &Record, signal: i32) -> Result<()> {
    let process = record.open_process()?;
    match sys::pidfd::send_signal(process.as_fd(), signal) {
        Err(Errno::ESRCH) => {
            return Err(Refusal::NotRunning { id: record.id.clone() }.into());
        }
        sent => sent.with_context(|| format!("cannot send signal {signal} to process {}", record.pid))?,
    }
    wake_for(record, signal)
}

/// Signals whatever is there; nothing being there is fine. Repeats for a fatal signal until no new process turns up,
/// since a process may fork while its siblings are signalled.
pub(super) fn all(record: &Record, signal: i32) -> Result<()> {
    let mut signalled = std::collections::BTreeSet::new();
    loop {
        let fresh: Vec<_> = processes::of(record)?.difference(&signalled).copied().collect();
        for &pid in &fresh {
            send(pid, signal).with_context(|| format!("cannot send signal {signal} to process {pid}"))?;
        }
        wake_for(record, signal)?;
        if fresh.is_empty() || signal != libc::SIGKILL {
            return Ok(());
        }
        signalled.extend(fresh);
    }
}

fn send(pid: Pid, signal: i32) -> nix::Result<()> {
    let sent = sys::pidfd::open(pid.as_raw()).and_then(|process| sys::pidfd::send_signal(process.as_fd(), signal));
    match sent {
        Err(Errno::ESRCH) => Ok(()),
        sent => sent,
    }
}

/// A frozen process of version 1 does not even die; version 2 lets it.
fn wake_for(record: &Record, signal: i32) -> Result<()> {
    if signal == libc::SIGKILL && matches!(record.cgroup, Cgroup::V1(_)) && record.cgroup.is_frozen()? {
        record.cgroup.thaw()?;
    }
    Ok(())
}
