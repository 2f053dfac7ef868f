//! Cloning a container process: from the command's own namespaces into the container's, as the command's own child, so that
//! it falls to the shim (the next sub-reaper) when the command ends.

use std::io::{PipeWriter, Read as _, Write as _};

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::CloneFlags,
    sys::wait::{WaitStatus, waitpid},
    unistd::Pid,
};

use super::{
    cgroup::Entrance,
    channel::{self, ChildEnd, ParentEnd},
    log::Log,
    namespaces::{Joined, Plan},
    spec::NamespaceKind,
};
use crate::sys;

/// What a new process is born into.
#[derive(Debug)]
pub(super) struct Birth<'a> {
    pub(super) plan: &'a Plan,
    pub(super) entrance: &'a Entrance,
    pub(super) log: &'a Log,
}

/// Clones a process that waits for *go*, joins what is to be joined and runs `body`. When `body` fails, its reason goes
/// to the parent and the process ends with 1.
///
/// A user namespace that exists can only be entered by a process that can afford to lose the caller's rights, and a PID
/// namespace owned by it only from inside. So then a helper goes first and clones the process as its sibling.
pub(super) fn launch(birth: &Birth<'_>, body: impl FnOnce(&mut ChildEnd) -> Result<()>) -> Result<(Pid, ParentEnd)> {
    let (parent, child) = channel::pair()?;
    if birth.plan.joins_user() {
        return launch_by_helper(birth, (parent, child), body);
    }
    for joined in birth.plan.joined.iter().filter(|joined| !is_joined_inside(joined.kind)) {
        joined.enter()?;
    }
    let ends = (parent, child);
    let (cloned, (parent, _child)) = sys::clone::clone(birth.plan.new, birth.entrance.birthplace(), ends, |ends| {
        let (parent, child) = ends;
        drop(parent);
        live(birth, child, body)
    });
    let pid = cloned.context("cannot clone the container process")?;
    Ok((pid, parent))
}

/// The command needs its mount namespace to the end; the rest it can do without.
fn is_joined_inside(kind: NamespaceKind) -> bool {
    match kind {
        NamespaceKind::Mount | NamespaceKind::User => true,
        NamespaceKind::Cgroup
        | NamespaceKind::Ipc
        | NamespaceKind::Network
        | NamespaceKind::Pid
        | NamespaceKind::Uts => false,
    }
}

/// The life of the new process until it executes its program.
fn live(birth: &Birth<'_>, mut channel: ChildEnd, body: impl FnOnce(&mut ChildEnd) -> Result<()>) -> u8 {
    let outcome = channel.wait_go().and_then(|()| birth.entrance.enter()).and_then(|()| {
        let inside = |joined: &&Joined| joined.kind == NamespaceKind::Mount;
        birth.plan.joined.iter().filter(inside).try_for_each(Joined::enter)?;
        body(&mut channel)
    });
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            let reason = format!("{error:#}");
            birth.log.debug(format!("container process: {reason}"));
            channel.failed(&reason);
            1
        }
    }
}

fn launch_by_helper(
    birth: &Birth<'_>,
    ends: (ParentEnd, ChildEnd),
    body: impl FnOnce(&mut ChildEnd) -> Result<()>,
) -> Result<(Pid, ParentEnd)> {
    let (mut reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let (cloned, ((parent, child), writer)) = sys::clone::clone(CloneFlags::empty(), None, (ends, writer), |shared| {
        let ((parent, child), writer) = shared;
        drop(parent);
        help(birth, child, writer, body)
    });
    let helper = cloned.context("cannot clone the helper")?;
    drop((child, writer));
    let mut text = String::new();
    reader.read_to_string(&mut text).context("cannot hear the helper")?;
    let ended = waitpid(helper, None).context("cannot wait for the helper")?;
    if ended != WaitStatus::Exited(helper, 0) {
        bail!("the helper ended early: {ended:?} {text}");
    }
    let pid = text.parse().with_context(|| format!("the helper answered {text:?}"))?;
    Ok((Pid::from_raw(pid), parent))
}

/// The life of the helper: goes in, clones the process outward, tells its pid.
fn help(birth: &Birth<'_>, child: ChildEnd, writer: PipeWriter, body: impl FnOnce(&mut ChildEnd) -> Result<()>) -> u8 {
    let mut outside = birth.plan.joined.iter().filter(|joined| joined.kind != NamespaceKind::Mount);
    let joined = outside.try_for_each(Joined::enter);
    let flags = birth.plan.new | CloneFlags::CLONE_PARENT;
    let (cloned, (_child, mut writer)) = match joined {
        Err(error) => (Err(error), (child, writer)),
        Ok(()) => {
            let shared = (child, writer);
            let (cloned, shared) = sys::clone::clone(flags, birth.entrance.birthplace(), shared, |(child, writer)| {
                drop(writer); // The command listens until the last writer is gone.
                live(birth, child, body)
            });
            (cloned.context("cannot clone the container process"), shared)
        }
    };
    let (code, text) = match cloned {
        Ok(pid) => (0, pid.to_string()),
        Err(error) => (1, format!("{error:#}")),
    };
    // A reader that is gone is a dead command; the helper ends either way.
    let _command_may_be_dead = writer.write_all(text.as_bytes());
    code
}
