//! What takes its time: each runs beside the loop and reports back with an event.

use std::sync::Arc;

use containerd_shim_protos::types::mount::Mount;
use nix::sys::signal::Signal;
use tokio::sync::{mpsc, oneshot};

use super::{Done, Event, SharedRuntime, container::Ticket, kill_child};
use crate::{
    bundle::Bundle,
    error::Error,
    mount,
    reaper::Reaper,
    runtime::{Birth, Runtime},
    service::Reply,
    stdio::{self, Io, Owner, Paths},
    sys,
    task::Who,
};

/// A container to create.
pub(super) struct CreateJob {
    pub(super) ticket: Ticket,
    pub(super) namespace: String,
    pub(super) reaper: Reaper,
    pub(super) bundle: Bundle,
    pub(super) runtime: SharedRuntime,
    pub(super) rootfs: Vec<Mount>,
    pub(super) paths: Paths,
}

/// Creates a container, unless its caller goes meanwhile.
pub(super) async fn create(job: CreateJob, events: mpsc::UnboundedSender<Event>, mut reply: Reply) {
    let result = match mount_rootfs(&job).await {
        Ok(()) => tokio::select! {
            result = bring_up(&job) => result,
            () = reply.abandoned() => Err(Error::Cancelled(format!("create {}", job.ticket.id))),
        },
        Err(error) => Err(error),
    };
    drop(events.send(Event::Done(Done::Created {
        ticket: job.ticket,
        result,
        reply,
    })));
}

/// To its end even when the caller goes: a mount that is under way cannot be taken back.
async fn mount_rootfs(job: &CreateJob) -> Result<(), Error> {
    if job.rootfs.is_empty() {
        return Ok(());
    }
    let (mounts, rootfs) = (job.rootfs.clone(), job.bundle.rootfs());
    mount::aside(move || mount::mount_all(&mounts, &rootfs)).await
}

async fn bring_up(job: &CreateJob) -> Result<(u32, Io), Error> {
    let id = job.ticket.id.as_str();
    let owner = Owner {
        reaper: &job.reaper,
        bundle: &job.bundle,
        namespace: &job.namespace,
        id,
    };
    let (opened, streams) = stdio::open(&job.paths, &owner).await?;
    let birth = Birth {
        reaper: &job.reaper,
        bundle: &job.bundle,
        id,
        console: opened.console_socket(),
    };
    let pid = job.runtime.create(&birth, streams).await?;
    Ok((pid, opened.connect().await?))
}

/// An exec to start.
pub(super) struct ExecJob {
    pub(super) ticket: Ticket,
    pub(super) exec: String,
    pub(super) namespace: String,
    pub(super) reaper: Reaper,
    pub(super) bundle: Bundle,
    pub(super) runtime: SharedRuntime,
    pub(super) paths: Paths,
    pub(super) spec: Vec<u8>,
}

pub(super) async fn exec(
    job: ExecJob,
    events: mpsc::UnboundedSender<Event>,
    aborted: oneshot::Receiver<()>,
    reply: Reply,
) {
    let result = unless(aborted, run_exec(&job)).await;
    let who = Who::Exec(job.exec);
    drop(events.send(Event::Done(Done::Started {
        ticket: job.ticket,
        who,
        result,
        reply,
    })));
}

async fn run_exec(job: &ExecJob) -> Result<(u32, Io), Error> {
    let id = job.ticket.id.as_str();
    let owner = Owner {
        reaper: &job.reaper,
        bundle: &job.bundle,
        namespace: &job.namespace,
        id,
    };
    let (opened, streams) = stdio::open(&job.paths, &owner).await?;
    let birth = Birth {
        reaper: &job.reaper,
        bundle: &job.bundle,
        id,
        console: opened.console_socket(),
    };
    let pid = job.runtime.exec(&birth, &job.exec, &job.spec, streams).await?;
    match opened.connect().await {
        Ok(io) => Ok((pid, io)),
        Err(error) => {
            // It runs, but nobody could ever talk to it.
            if sys::is_child(pid) {
                kill_child(pid);
            }
            Err(error)
        }
    }
}

/// Does something unless it is given up meanwhile; giving up kills the runtime's process.
pub(super) async fn unless<T>(
    aborted: oneshot::Receiver<()>,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        result = step => result,
        _ = aborted => Err(Error::FailedPrecondition("container has stopped meanwhile".to_owned())),
    }
}

/// A signal for init, or for all.
pub(super) struct KillJob {
    pub(super) pid: u32,
    pub(super) frozen: bool,
    pub(super) signal: u32,
    pub(super) all: bool,
}

pub(super) async fn kill(
    reaper: &Reaper,
    runtime: &Runtime,
    bundle: &Bundle,
    id: &str,
    job: KillJob,
) -> Result<(), Error> {
    let killed = runtime.kill(reaper, bundle, id, job.signal, job.all).await;
    if killed.is_err() && !sys::is_running(job.pid) {
        return Err(Error::NotFound(format!("{id}: process already finished")));
    }
    if killed.is_ok() && job.frozen && job.signal == Signal::SIGKILL as u32 && sys::is_running(job.pid) {
        // A frozen process of cgroup v1 dies only when thawed, and not every runtime sees to that.
        if let Err(error) = runtime.resume(reaper, bundle, id).await {
            log!("{id}: thaw the killed: {error}");
        }
    }
    killed
}

/// Removes a container whose init has ended.
pub(super) async fn delete(reaper: &Reaper, runtime: &Arc<Runtime>, bundle: &Bundle, id: &str) -> Result<(), Error> {
    if let Err(error) = runtime.delete(reaper, bundle, id, false).await {
        // The runtime may have lost its state, or never noticed the end; what counts is that nothing is left.
        log!("{id}: {error}");
        runtime.delete(reaper, bundle, id, true).await?;
    }
    let rootfs = bundle.rootfs();
    mount::aside(move || mount::unmount_all(&rootfs)).await
}
