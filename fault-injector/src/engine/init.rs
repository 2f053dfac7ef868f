//! The life of a container's first process from its birth to its program.

use std::{fs::File, io::Write as _, os::fd::OwnedFd, path::Path};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::{OFlag, openat},
    sys::{prctl, stat::Mode},
    unistd::{Gid, Uid, setresgid, setresuid, setsid},
};

use super::{
    channel::ChildEnd,
    console::{self, ConsoleSocket},
    program,
    rootfs::Rootfs,
    spec::{NamespaceKind, Process, Spec},
    state::{EXEC_FIFO, WAITING_COMM},
};
use crate::sys;

/// What the process takes along from `create`.
#[derive(Debug)]
pub(super) struct Init<'a> {
    pub(super) spec: &'a Spec,
    pub(super) process: &'a Process,
    pub(super) rootfs: Rootfs<'a>,
    pub(super) console: Option<&'a ConsoleSocket>,
    pub(super) preserve_fds: u16,
    /// The container's directory under the root: the FIFO in it is opened when no host path means anything any more.
    pub(super) state_directory: &'a OwnedFd,
}

impl Init<'_> {
    /// Runs in the new process; comes back only with a failure.
    pub(super) fn live(&self, channel: &mut ChildEnd) -> Result<()> {
        let log = self.rootfs.log;
        program::adjust_oom_score(self.process, log)?;
        setsid().context("cannot start a session")?;
        self.become_namespace_root()?;
        self.prepare_namespaces()?;
        self.rootfs.build()?;
        self.rootfs.enter()?;
        if let Some(socket) = self.console {
            console::attach(socket, self.process, true)?;
        }
        let program = program::become_user(self.process, self.preserve_fds, log)?;
        name_as_waiting()?;
        channel.ready()?;
        channel.wait_run()?;
        let mut fifo = self.wait_for_start()?;
        let failure = program.execute();
        // `start` reads the reason up to the end that `execve` would have been.
        fifo.write_all(format!("{failure:#}").as_bytes()).context("nobody hears why the program did not start")?;
        Err(failure)
    }

    /// In a new user namespace this process has all rights but no identity yet.
    fn become_namespace_root(&self) -> Result<()> {
        if self.spec.linux.namespace(NamespaceKind::User).is_none() {
            return Ok(());
        }
        let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
        setresgid(group, group, group).context("cannot become group 0 of the user namespace")?;
        setresuid(user, user, user).context("cannot become user 0 of the user namespace")
    }

    fn prepare_namespaces(&self) -> Result<()> {
        let is_new = |kind| {
            let listed = self.spec.linux.namespace(kind);
            listed.is_some_and(|namespace| !namespace.is_joined())
        };
        if is_new(NamespaceKind::Network) {
            sys::loopback::up().context("cannot bring up the loopback interface")?;
        }
        if let Some(name) = self.spec.hostname.as_ref().filter(|name| !name.is_empty()) {
            nix::unistd::sethostname(name).with_context(|| format!("cannot set hostname {name:?}"))?;
        }
        if let Some(name) = self.spec.domainname.as_ref().filter(|name| !name.is_empty()) {
            let path = Path::new("/proc/sys/kernel/domainname");
            std::fs::write(path, name).with_context(|| format!("cannot set domain name {name:?}"))?;
        }
        Ok(())
    }

    /// Opening for writing blocks until `start` opens for reading. What comes back closes on exec.
    fn wait_for_start(&self) -> Result<File> {
        let fifo = openat(self.state_directory, EXEC_FIFO, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
        let mut fifo = File::from(fifo.context("cannot open the start FIFO")?);
        fifo.write_all(super::start::RELEASED).context("start went away")?;
        Ok(fifo)
    }
}

fn name_as_waiting() -> Result<()> {
    let name = std::ffi::CString::new(WAITING_COMM).context("the waiting name has a zero byte")?;
    prctl::set_name(&name).context("cannot name the waiting process")
}
