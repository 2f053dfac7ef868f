//! The daemon: serves until it is time to leave, and leaves nothing behind.

use std::{
    env, fs, future,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::mpsc;

use super::flags::Flags;
use crate::{
    abandonment::Watch,
    error::Error,
    events::Outbox,
    reaper::Reaper,
    service::{self, Service},
    socket,
    supervisor::{ExitPolicy, Settings, Supervisor},
    sys,
};

/// The environment variable for when to leave.
const EXIT_POLICY: &str = "REFERENCE_SHIM_EXIT_POLICY";

/// How long clients may take to read their last answers.
const ANSWERS_LIMIT: Duration = Duration::from_millis(500);

/// How long a thread that did something blocking is kept for the next such thing.
const THREAD_KEEP_ALIVE: Duration = Duration::from_millis(100);

pub(crate) fn run(flags: &Flags) -> Result<(), Error> {
    sys::close_inherited().map_err(Error::io("close", "inherited descriptors"))?;
    let (listener, ready) = take_over()?;
    let path = listener
        .local_addr()
        .ok()
        .and_then(|address| address.as_pathname().map(Path::to_path_buf))
        .ok_or_else(|| Error::Other("stdin is no socket: the shim is started by \"start\"".to_owned()))?;
    let inode = socket::inode_of(&path).map_err(Error::io("find", &path))?;
    // Whoever signals the starter's group does not mean us.
    nix::unistd::setsid().map_err(|errno| Error::io("leave", "the session")(errno.into()))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|errno| Error::io("become", "subreaper")(errno.into()))?;
    let settings = Settings { namespace: flags.namespace.clone(), policy: exit_policy()? };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .build()
        .map_err(Error::io("start", "the event loop"))?;
    runtime.block_on(serve(flags, settings, listener, ready, (path, inode)))
}

async fn serve(
    flags: &Flags,
    settings: Settings,
    listener: UnixListener,
    mut ready: fs::File,
    (path, inode): (PathBuf, u64),
) -> Result<(), Error> {
    let listener = service::adopt(listener).map_err(Error::io("serve", &path))?;
    let outbox = Outbox::new(&settings.namespace);
    match events_address(flags) {
        Some(address) => drop(tokio::spawn(outbox.clone().deliver(address))),
        None => log!("containerd has named no socket for events"),
    }
    let policy = settings.policy;
    let (sender, events) = mpsc::unbounded_channel();
    let service = Service::new(sender.clone());
    let supervisor = Supervisor::new(settings, Reaper::default(), outbox.clone(), sender);
    let accepting = tokio::spawn(service.clone().listen(listener));
    let supervisor = tokio::spawn(supervisor.run(events, given_up()));
    if let Err(error) = ready.write_all(b"1") {
        // Another starter may have found our socket meanwhile; if none has, nobody will connect and we leave.
        log!("the starter has died: {error}");
    }
    drop(ready);
    let result = supervisor.await.map_err(io::Error::other).flatten().map_err(Error::io("run", "the supervisor"));
    // From here on a `start` of the same group makes a new shim. The path goes first, so that it finds us alive or
    // finds nothing.
    if let Err(error) = socket::release(&path, inode) {
        log!("{error}");
    }
    accepting.abort();
    service.drain(ANSWERS_LIMIT).await;
    if !outbox.flush(policy).await {
        log!("left with events that containerd did not take");
    }
    result
}

/// Comes back when containerd has removed the bundle that the shim was started in.
async fn given_up() {
    let watch = env::current_dir().and_then(|bundle| Watch::over(&bundle));
    let given_up = match watch {
        Ok(watch) => watch.given_up().await,
        // It was faster than we.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = given_up {
        // The limit in time remains.
        log!("watch the bundle: {error}");
        future::pending().await
    }
}

/// Takes over stdin, the listener, and stdout, where the starter waits; then nothing of either stays.
fn take_over() -> Result<(UnixListener, fs::File), Error> {
    let error = || Error::io("take over", "stdin and stdout");
    let listener: OwnedFd = io::stdin().as_fd().try_clone_to_owned().map_err(error())?;
    let ready: OwnedFd = io::stdout().as_fd().try_clone_to_owned().map_err(error())?;
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").map_err(error())?;
    nix::unistd::dup2_stdin(&null).map_err(|errno| error()(errno.into()))?;
    nix::unistd::dup2_stdout(&null).map_err(|errno| error()(errno.into()))?;
    Ok((listener.into(), ready.into()))
}

/// Where containerd takes events. Its ttrpc socket lies beside the gRPC socket unless it says otherwise.
fn events_address(flags: &Flags) -> Option<String> {
    let named = env::var("TTRPC_ADDRESS").ok().filter(|address| !address.is_empty());
    let address = named.or_else(|| (!flags.address.is_empty()).then(|| format!("{}.ttrpc", flags.address)))?;
    Some(address.strip_prefix("unix://").unwrap_or(&address).to_owned())
}

fn exit_policy() -> Result<ExitPolicy, Error> {
    match env::var(EXIT_POLICY).as_deref() {
        Err(_) | Ok("on-shutdown") => Ok(ExitPolicy::OnShutdown),
        Ok("on-init-exit") => Ok(ExitPolicy::OnInitExit),
        Ok(other) => Err(Error::InvalidArgument(format!("{EXIT_POLICY}={other:?} is not on-shutdown or on-init-exit"))),
    }
}
