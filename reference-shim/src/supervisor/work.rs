//! What takes its time: each runs beside the loop and reports back with an event.

use containerd_shim_protos::types::mount::Mount;
use nix::sys::signal::Signal;
use tokio::sync::oneshot;

use super::{Done, container::Ticket, kill_child};
use crate::{
    error::Error,
    mount, process,
    runtime::Engine,
    service::Reply,
    stdio::{self, Io, Owner, Paths},
    sys,
    task::Who,
};

/// A container to create.
pub(super) struct CreateJob {
    pub(super) ticket: Ticket,
    pub(super) namespace: String,
    pub(super) engine: Engine,
    pub(super) rootfs: Vec<Mount>,
    pub(super) paths: Paths,
}

/// Creates a container, unless its caller goes meanwhile.
pub(super) async fn create(job: CreateJob, mut reply: Reply) -> Done {
    let result = match mount_rootfs(&job).await {
        Ok(()) => tokio::select! {
            result = bring_up(&job) => result,
            () = reply.abandoned() => Err(Error::Cancelled(format!("create {}", job.ticket.id))),
        },
        Err(error) => Err(error),
    };
    Done::Created { ticket: job.ticket, result, reply }
}

/// To its end even when the caller goes: a mount that is under way cannot be taken back.
async fn mount_rootfs(job: &CreateJob) -> Result<(), Error> {
    if job.rootfs.is_empty() {
        return Ok(());
    }
    let (mounts, rootfs) = (job.rootfs.clone(), job.engine.bundle.rootfs());
    mount::aside(move || mount::mount_all(&mounts, &rootfs)).await
}

async fn bring_up(job: &CreateJob) -> Result<(u32, Io), Error> {
    let (opened, streams) = stdio::open(&job.paths, &owner(&job.engine, &job.namespace)).await?;
    let pid = job.engine.create(opened.console_socket(), streams).await?;
    Ok((pid, opened.connect().await?))
}

fn owner<'a>(engine: &'a Engine, namespace: &'a str) -> Owner<'a> {
    Owner { reaper: &engine.reaper, bundle: &engine.bundle, namespace, id: &engine.id }
}

/// An exec to start.
pub(super) struct ExecJob {
    pub(super) ticket: Ticket,
    pub(super) exec: String,
    pub(super) namespace: String,
    pub(super) engine: Engine,
    pub(super) paths: Paths,
    pub(super) spec: Vec<u8>,
}

pub(super) async fn exec(job: ExecJob, aborted: oneshot::Receiver<()>, reply: Reply) -> Done {
    let result = unless(aborted, run_exec(&job)).await;
    Done::Started { ticket: job.ticket, who: Who::Exec(job.exec), result, reply }
}

async fn run_exec(job: &ExecJob) -> Result<(u32, Io), Error> {
    let (opened, streams) = stdio::open(&job.paths, &owner(&job.engine, &job.namespace)).await?;
    let pid = job.engine.exec(&job.exec, &job.spec, opened.console_socket(), streams).await?;
    let io = opened.connect().await;
    if io.is_err() && sys::is_child(pid) {
        // It runs, but nobody could ever talk to it.
        kill_child(pid);
    }
    Ok((pid, io?))
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
    pub(super) engine: Engine,
    pub(super) pid: u32,
    pub(super) frozen: bool,
    pub(super) signal: u32,
    pub(super) all: bool,
}

pub(super) async fn kill(job: KillJob) -> Result<(), Error> {
    let id = &job.engine.id;
    let killed = job.engine.kill(job.signal, job.all).await;
    // Init may be dying: its first thread is a zombie, and there is nothing to be reaped until the others have ended too.
    if killed.is_err() && !(sys::is_running(job.pid) && process::is_alive(job.pid)) {
        return Err(Error::NotFound(format!("{id}: process already finished")));
    }
    if killed.is_err() && !process::is_alive(job.pid) {
        // Its first thread is dead, which runtimes take for the end, and others are not: it may live on or be about to end. Nobody has
        // reaped it, so the number is still its own.
        return sys::send_signal(job.pid, job.signal).map_err(Error::io("signal", job.pid.to_string()));
    }
    if killed.is_ok() && job.frozen && job.signal == Signal::SIGKILL as u32 && sys::is_running(job.pid) {
        // A frozen process of cgroup v1 dies only when thawed, and not every runtime sees to that.
        if let Err(error) = job.engine.resume().await {
            log!("{id}: thaw the killed: {error}");
        }
    }
    killed
}

/// Removes a container whose init has ended.
pub(super) async fn delete(engine: &Engine) -> Result<(), Error> {
    if let Err(error) = engine.delete().await {
        // The runtime may have lost its state, or never noticed the end; what counts is that nothing is left.
        log!("{}: {error}", engine.id);
        engine.destroy().await?;
    }
    let rootfs = engine.bundle.rootfs();
    mount::aside(move || mount::unmount_all(&rootfs)).await
}
