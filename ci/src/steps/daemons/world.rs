//! The disposable world of one run: namespaces, a private `/run`, and an init that reaps.

use std::{
    env, fs,
    os::unix::process::parent_id,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::Signal,
        wait::{WaitStatus, wait},
    },
};

use crate::{command, host, steps};

/// Runs the plan in a new world, which ends with it.
///
/// Cgroups are the one thing that has no namespace to die with: those named `namespace` are removed here.
pub(super) fn enter(plan: &str, namespace: &str) -> Result<ExitCode> {
    // The next child becomes PID 1 of the new PID namespace; we stay outside of it.
    let namespaces =
        CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
    unshare(namespaces).context("cannot leave the host's namespaces")?;
    let mut init = own("init", plan)?;
    let status = init.status().with_context(|| format!("cannot run `{}`", command::line(&init)))?;
    remove_cgroups(namespace)?;
    Ok(steps::exit_code(status))
}

/// PID 1: mounts, starts the teller, and reaps whatever becomes its child until the teller has ended.
pub(super) fn init(plan: &str) -> Result<ExitCode> {
    // When somebody kills the step, the world shall end too.
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot tie the world's life to its maker's")?;
    if std::process::id() != 1 || parent_id() != 0 {
        bail!("the role of init is only for PID 1 of a new PID namespace");
    }
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .context("cannot make mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing).context("cannot mount /proc")?;
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).context("cannot mount /run")?;
    let mut teller = own("teller", plan)?;
    let teller = teller.spawn().with_context(|| format!("cannot run `{}`", command::line(&teller)))?;
    let teller = i32::try_from(teller.id())?;
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == teller => {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == teller => bail!("the teller died of {signal}"),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the teller"),
        }
    }
}

/// Removes the cgroups named `namespace` and all below, in which nothing lives any more.
fn remove_cgroups(namespace: &str) -> Result<()> {
    let mut ours = Vec::new();
    host::each_folder(Path::new("/sys/fs/cgroup"), &mut |folder| {
        if folder.components().any(|component| component.as_os_str() == namespace) {
            ours.push(folder.to_path_buf());
        }
    })?;
    // Children were visited after their parents.
    for folder in ours.iter().rev() {
        fs::remove_dir(folder).with_context(|| format!("cannot remove the cgroup {}", folder.display()))?;
    }
    Ok(())
}

fn own(role: &str, plan: &str) -> Result<Command> {
    let mut own = Command::new(env::current_exe().context("cannot find our own binary")?);
    own.args(["daemons", "--role", role, "--plan", plan]);
    Ok(own)
}
