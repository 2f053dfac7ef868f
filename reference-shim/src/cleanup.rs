//! Leaves nothing of a container: after a `create` that failed, and in `delete` when the shim is dead.

use std::{fs, io, path::Path, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    bundle::{Bundle, read_pid},
    cgroup,
    error::Error,
    mount, process,
    runtime::Engine,
    sys,
};

/// How long the runtime may take to remove a container by force.
const RUNTIME_LIMIT: Duration = Duration::from_millis(2000);

/// How long killed processes may take to be gone, so that their cgroups can be removed.
const DEATH_LIMIT: Duration = Duration::from_millis(1000);

/// How often to look whether they are.
const DEATH_POLL: Duration = Duration::from_millis(2);

/// Undoes a `create` that failed or was given up half-way. The runtime's process is dead; its children may not be.
pub(crate) async fn undo_create(engine: &Engine) {
    let id = &engine.id;
    report(id, destroy(&engine.bundle, Some(engine), id).await);
    if let Ok(pid) = read_pid(&engine.bundle.init_pid())
        && sys::is_child(pid)
    {
        report(id, sys::send_signal(pid, Signal::SIGKILL as u32).map_err(Error::io("kill", pid.to_string())));
    }
    let rootfs = engine.bundle.rootfs();
    report(id, mount::aside(move || mount::unmount_all(&rootfs)).await);
}

/// Kills and removes whatever there is of a container, but for its mounts.
pub(crate) async fn destroy(bundle: &Bundle, engine: Option<&Engine>, id: &str) -> Result<(), Error> {
    let forced = match engine {
        None => Ok(()),
        Some(engine) => timeout(RUNTIME_LIMIT, engine.destroy())
            .await
            .unwrap_or_else(|_| Err(Error::DeadlineExceeded(format!("remove {id}")))),
    };
    let cgroups = match bundle.spec() {
        Ok(spec) => remove_cgroups(spec.cgroups_path(), id).await.map_err(Error::io("remove cgroups of", id)),
        // Without a configuration there was no container.
        Err(_) => Ok(()),
    };
    forced.and(cgroups)
}

/// Removes cgroups as soon as the processes in them, which have been killed, are gone.
async fn remove_cgroups(path: &str, id: &str) -> io::Result<()> {
    let deadline = Instant::now() + DEATH_LIMIT;
    loop {
        match cgroup::remove(path, id) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                sleep(DEATH_POLL).await;
            }
            result => return result,
        }
    }
}

/// Stops what calls of the runtime a dead shim left behind. They would finish their work after we have looked: a
/// `create` would make a container that nobody knows of.
pub(crate) async fn stop_orphaned_calls(bundle: &Bundle) {
    for pid in process::all() {
        if let Some(shim) = caller(pid, bundle.path())
            && !process::is_alive(shim)
        {
            stop_tree(pid).await;
        }
    }
}

/// The pid of the shim that made this process, if it is a call of the runtime for this bundle: its log file says so.
fn caller(pid: u32, bundle: &Path) -> Option<u32> {
    let arguments = process::arguments(pid)?;
    let log = arguments.iter().skip_while(|argument| argument.as_slice() != b"--log").nth(1)?;
    let prefix = [bundle.as_os_str().as_encoded_bytes(), b"/log."].concat();
    let name = std::str::from_utf8(log.strip_prefix(prefix.as_slice())?).ok()?;
    name.split('.').next()?.parse().ok()
}

/// Kills a process with its descendants. It is stopped first, so that it makes no new ones meanwhile, and dies last,
/// so that the others can be found below it.
async fn stop_tree(root: u32) {
    // Fails when the process is gone, and then so are its descendants that could be found.
    drop(sys::send_signal(root, Signal::SIGSTOP as u32));
    let deadline = Instant::now() + DEATH_LIMIT;
    loop {
        let descendants = process::descendants(root);
        if descendants.is_empty() || Instant::now() >= deadline {
            break;
        }
        for pid in descendants {
            drop(sys::send_signal(pid, Signal::SIGKILL as u32));
        }
        sleep(DEATH_POLL).await;
    }
    drop(sys::send_signal(root, Signal::SIGKILL as u32));
    gone(root).await;
}

/// Waits until a killed process runs no more.
pub(crate) async fn gone(pid: u32) {
    let deadline = Instant::now() + DEATH_LIMIT;
    while process::is_alive(pid) && Instant::now() < deadline {
        sleep(DEATH_POLL).await;
    }
}

fn report(id: &str, result: Result<(), Error>) {
    if let Err(error) = result {
        log!("{id}: clean up: {error}");
    }
}

/// Removes the short-lived files of a runtime's call that a dead shim cannot remove any more.
pub(crate) fn remove_leftovers(bundle: &Bundle) {
    let Ok(entries) = fs::read_dir(bundle.path()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let temporary = name.starts_with("log.") && name.ends_with(".json")
            || name.starts_with("pty.")
            || name.ends_with(".process.json")
            || name.ends_with(".process.pid");
        if temporary {
            // A second `delete` may be faster.
            drop(fs::remove_file(entry.path()));
        }
    }
}
