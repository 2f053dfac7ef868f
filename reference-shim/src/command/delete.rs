//! `delete`: leaves nothing of a container, whatever state it and its shim are in, and tells how it ended.
//!
//! containerd runs it at the end of every container, with five seconds to do it in, and after a crash of the shim. A
//! shim that lives is asked to delete the container itself, for it knows; the rest is what a dead one left in the
//! bundle.

use std::{
    env, future, io,
    io::Write,
    time::{Duration, SystemTime},
};

use containerd_shim_protos::{
    api, protobuf::Message, sandbox_api::ShutdownSandboxRequest, sandbox_async::SandboxClient, shim_async::TaskClient,
};
use nix::sys::signal::Signal;
use tokio::{
    net::UnixStream,
    select,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use ttrpc::{
    asynchronous::{Client, transport::Socket},
    context,
};

use super::flags::Flags;
use crate::{
    bundle::{Bundle, ExitRecord, InitRecord, read_pid},
    cleanup,
    error::Error,
    mount, process,
    reaper::Reaper,
    runtime::{Engine, Runtime},
    socket, sys,
};

/// How long a living shim may take to connect to, and to do all that it is asked.
const CONNECT_LIMIT: Duration = Duration::from_millis(200);
const SHIM_LIMIT: Duration = Duration::from_millis(2000);

/// The status of a container of which nothing is known but that it has been killed: 128 and SIGKILL.
const KILLED: u32 = 137;

pub(crate) fn run(flags: &Flags) -> Result<(), Error> {
    nix::sys::prctl::set_child_subreaper(true).map_err(|errno| Error::io("become", "subreaper")(errno.into()))?;
    let bundle = if flags.bundle.as_os_str().is_empty() {
        env::current_dir().map_err(Error::io("find", "the bundle"))?
    } else {
        flags.bundle.clone()
    };
    let bundle = Bundle::new(bundle);
    let response = with_reaper(async |reaper| delete(&reaper, &bundle, &flags.id).await)??;
    let bytes = response.write_to_bytes().map_err(|cause| Error::Other(format!("encode the answer: {cause}")))?;
    let mut stdout = io::stdout();
    stdout.write_all(&bytes).and_then(|()| stdout.flush()).map_err(Error::io("write", "stdout"))
}

async fn delete(reaper: &Reaper, bundle: &Bundle, id: &str) -> Result<api::DeleteResponse, Error> {
    let told = ask_shim(bundle, id).await;
    // What was alive before is being killed here.
    let before = bundle.exit();
    let init = bundle.init();
    let mut result = match told.is_some() || before.is_some_and(|exit| exit.removed) {
        true => clear(bundle).await,
        false => end(reaper, bundle, id).await,
    };
    // containerd executes no `delete` for the members of a sandbox.
    for member in bundle.members().unwrap_or_default() {
        let bundle = Bundle::new(member.bundle);
        if bundle.path().is_dir() {
            result = end(reaper, &bundle, &member.id).await.and(result);
        }
    }
    if let Some(path) = bundle.address().as_deref().and_then(socket::path_of) {
        socket::release_dead(path)?;
    }
    result?;
    Ok(told.unwrap_or_else(|| response(bundle.exit().or(before), init, bundle)))
}

/// Ends a container that a dead shim left, in whatever state it is.
async fn end(reaper: &Reaper, bundle: &Bundle, id: &str) -> Result<(), Error> {
    let init = bundle.init();
    cleanup::stop_orphaned_calls(bundle).await;
    let engine = Runtime::load(bundle).map(|runtime| Engine {
        runtime: runtime.into(),
        reaper: reaper.clone(),
        bundle: bundle.clone(),
        id: id.into(),
    });
    let result = cleanup::destroy(bundle, engine.as_ref(), id).await;
    kill_init(init).await;
    let cleared = clear(bundle).await;
    if let Err(error) = result {
        // The runtime's opinion; what counts is whether anything is left, and the mounts are what containerd needs.
        log!("{id}: {error}");
    }
    cleared
}

/// Takes away the mounts and the short-lived files of a container that is over.
async fn clear(bundle: &Bundle) -> Result<(), Error> {
    let rootfs = bundle.rootfs();
    let unmounted = mount::aside(move || mount::unmount_all(&rootfs)).await;
    cleanup::remove_leftovers(bundle);
    unmounted
}

/// The exit as it was; killed, and now, where nobody saw it.
fn response(exit: Option<ExitRecord>, init: Option<InitRecord>, bundle: &Bundle) -> api::DeleteResponse {
    let pid = init.map(|init| init.pid).or_else(|| read_pid(&bundle.init_pid()).ok()).unwrap_or(0);
    api::DeleteResponse {
        pid: exit.map_or(pid, |exit| exit.pid),
        exit_status: exit.map_or(KILLED, |exit| exit.status),
        exited_at: Some(exit.map_or_else(SystemTime::now, |exit| exit.at()).into()).into(),
        ..api::DeleteResponse::default()
    }
}

/// Kills the init that a shim recorded, if the runtime has not; never another that got its pid.
async fn kill_init(init: Option<InitRecord>) {
    if let Some(init) = init.filter(|init| process::start_time(init.pid) == Some(init.start_time)) {
        // It may die at this moment by itself.
        drop(sys::send_signal(init.pid, Signal::SIGKILL as u32));
        cleanup::gone(init.pid).await;
    }
}

/// Lets a living shim do it; it leaves when it holds nothing else. Nothing when there is none, or it does not answer.
async fn ask_shim(bundle: &Bundle, id: &str) -> Option<api::DeleteResponse> {
    let address = bundle.address()?;
    let path = socket::path_of(&address)?;
    // Behind the same path there may be the next shim of the pod, which knows nothing of this container and waits for others.
    if bundle.socket().is_some_and(|served| socket::identity(path).is_ok_and(|now| now != served)) {
        return None;
    }
    let stream = timeout(CONNECT_LIMIT, UnixStream::connect(path)).await.ok()?.ok()?;
    let connection = Client::new(Socket::new(stream));
    let (client, sandbox) = (TaskClient::new(connection.clone()), SandboxClient::new(connection));
    let id = id.to_owned();
    let talk = async {
        let context = || context::with_duration(SHIM_LIMIT);
        if bundle.members().is_some() {
            let shutdown = ShutdownSandboxRequest { sandbox_id: id.clone(), ..ShutdownSandboxRequest::default() };
            // It ends with its members, and is cleaned up after like a dead one.
            if let Err(error) = sandbox.shutdown_sandbox(context(), &shutdown).await {
                log!("{id}: {error}");
            }
            return None;
        }
        let kill = api::KillRequest { id: id.clone(), signal: 9, all: true, ..api::KillRequest::default() };
        let wait = api::WaitRequest { id: id.clone(), ..api::WaitRequest::default() };
        let delete = api::DeleteRequest { id: id.clone(), ..api::DeleteRequest::default() };
        let shutdown = api::ShutdownRequest { id: id.clone(), ..api::ShutdownRequest::default() };
        let known = client.kill(context(), &kill).await.is_ok() && client.wait(context(), &wait).await.is_ok();
        if !known {
            log!("{id}: the shim does not have it, or not any more");
        }
        let deleted = client.delete(context(), &delete).await.ok();
        // It refuses while it has others, and its answer may be cut off when it leaves.
        drop(client.shutdown(context(), &shutdown).await);
        deleted
    };
    timeout(SHIM_LIMIT, talk).await.ok().flatten()
}

/// Runs something that starts helper processes, in a program that has no supervisor to reap them.
pub(crate) fn with_reaper<T>(task: impl AsyncFnOnce(Reaper) -> T) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start", "the event loop"))?;
    runtime.block_on(async {
        let reaper = Reaper::default();
        let mut children = signal(SignalKind::child()).map_err(Error::io("watch", "children"))?;
        let reap = async {
            while children.recv().await.is_some() {
                reaper.collect();
            }
            future::pending::<()>().await;
        };
        select! {
            result = task(reaper.clone()) => Ok(result),
            () = reap => Err(Error::Other("children are not watched any more".to_owned())),
        }
    })
}
