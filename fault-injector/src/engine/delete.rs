//! `delete`: ends what is left and removes every trace.

use std::{os::fd::AsFd as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    Engine, cli, deadline, kill, processes,
    refusal::Refusal,
    state::{Record, StateDirectory, Status},
};

/// How long killed processes may take to die; the kernel waits for nobody but a reaper.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// Removes a container.
pub(super) fn delete(engine: &Engine, arguments: &cli::Delete) -> Result<()> {
    let directory = StateDirectory::new(&engine.root, &arguments.id)?;
    let record = match directory.load() {
        Ok(record) => record,
        Err(error) if arguments.force && matches!(error.downcast_ref(), Some(Refusal::Unknown { .. })) => {
            // A create that was killed half-way leaves a directory without a state; its process ends by itself.
            directory.load_plan()?.remove()?;
            return directory.remove();
        }
        Err(error) => return Err(error),
    };
    let status = record.status()?;
    match status {
        Status::Stopped => {}
        Status::Created => end(&record)?,
        Status::Running | Status::Paused if arguments.force => end(&record)?,
        Status::Running | Status::Paused => {
            return Err(Refusal::State { verb: "delete", id: record.id, status }.into());
        }
    }
    end_stragglers(&record)?;
    record.cgroup.remove()?;
    directory.remove()
}

fn end(record: &Record) -> Result<()> {
    let process = record.open_process();
    match kill::first(record, libc::SIGKILL) {
        Err(error) if matches!(error.downcast_ref(), Some(Refusal::NotRunning { .. })) => return Ok(()),
        killed => killed?,
    }
    let process = process?;
    let mut waiting = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(DEATH_LIMIT).context("the limit is no time-out")?;
    if poll(&mut waiting, limit).context("cannot wait for the container process")? == 0 {
        bail!("container process {} still running {DEATH_LIMIT:?} after SIGKILL", record.pid);
    }
    Ok(())
}

/// Without a PID namespace of its own, a container's processes survive the first.
fn end_stragglers(record: &Record) -> Result<()> {
    if record.owns_pid_namespace {
        return Ok(());
    }
    kill::all(record, libc::SIGKILL)?;
    let are_gone = || processes::of(record).map(|left| left.is_empty());
    if !deadline::holds_within(DEATH_LIMIT, are_gone)? {
        bail!("processes of container {} still running {DEATH_LIMIT:?} after SIGKILL", record.id);
    }
    Ok(())
}
