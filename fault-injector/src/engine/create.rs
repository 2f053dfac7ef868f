//! `create`: everything but the program.

use std::{
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
        wait::waitpid,
    },
    unistd::{Pid, mkfifo},
};

use super::{
    Engine,
    cgroup::Cgroup,
    channel::ParentEnd,
    cli,
    console::ConsoleSocket,
    init::Init,
    launch::{Birth, launch},
    namespaces::{self, Plan},
    pid_file,
    process_stat::ProcessStat,
    rootfs::Rootfs,
    spec::{NamespaceKind, Spec},
    state::{EXEC_FIFO, Record, StateDirectory},
};

/// Makes the container, or leaves nothing behind.
pub(super) fn create(engine: &Engine, arguments: &cli::Create) -> Result<()> {
    let bundle = fs::canonicalize(&arguments.bundle);
    let bundle = bundle.with_context(|| format!("no bundle {}", arguments.bundle.display()))?;
    let spec = Spec::load(&bundle)?;
    warn_of_what_is_left_out(engine, &spec);
    let directory = StateDirectory::new(&engine.root, &arguments.id)?;
    let console = ConsoleSocket::connect(arguments.console_socket.as_deref(), spec.process()?.terminal)?;
    directory.claim()?;
    let creation =
        Creation { engine, arguments, spec: &spec, bundle: &bundle, directory: &directory, console: console.as_ref() };
    creation.make().inspect_err(|_| {
        // The first error is the one to report.
        if let Err(error) = directory.remove() {
            engine.log.warn(format!("after a failed create: {error:#}"));
        }
    })
}

struct Creation<'a> {
    engine: &'a Engine,
    arguments: &'a cli::Create,
    spec: &'a Spec,
    bundle: &'a Path,
    directory: &'a StateDirectory,
    console: Option<&'a ConsoleSocket>,
}

impl Creation<'_> {
    fn make(&self) -> Result<()> {
        let linux = &self.spec.linux;
        let id = &self.arguments.id;
        let planned = Cgroup::plan(id, linux.cgroups_path.as_deref())?;
        // Written before there is anything to find, so that `delete` finds it whenever we die.
        self.directory.save_plan(&planned)?;
        let cgroup = planned.make(&linux.resources, &self.engine.log)?;
        self.make_in(&cgroup).inspect_err(|_| {
            if let Err(error) = cgroup.remove() {
                self.engine.log.warn(format!("after a failed create: {error:#}"));
            }
        })
    }

    fn make_in(&self, cgroup: &Cgroup) -> Result<()> {
        let rootfs_path = self.rootfs_path()?;
        self.make_fifo()?;
        let opened = File::open(self.directory.path());
        let state_directory: OwnedFd = opened.context("cannot open the state directory")?.into();
        let plan = Plan::of(&self.spec.linux)?;
        let entrance = cgroup.entrance()?;
        let init = Init {
            spec: self.spec,
            process: self.spec.process()?,
            rootfs: Rootfs {
                spec: self.spec,
                bundle: self.bundle,
                path: &rootfs_path,
                cgroup,
                no_pivot: self.arguments.no_pivot,
                log: &self.engine.log,
            },
            console: self.console,
            preserve_fds: self.arguments.preserve_fds,
            state_directory: &state_directory,
        };
        let birth = Birth { plan: &plan, entrance: &entrance, log: &self.engine.log };
        let (pid, channel) = launch(&birth, |channel| init.live(channel))?;
        self.bring_up(pid, channel, &plan, cgroup, &rootfs_path).inspect_err(|_| {
            end(pid, &self.engine.log);
        })
    }

    fn bring_up(&self, pid: Pid, mut channel: ParentEnd, plan: &Plan, cgroup: &Cgroup, rootfs: &Path) -> Result<()> {
        if plan.makes_user() {
            namespaces::map_ids(pid, &self.spec.linux)?;
        }
        channel.go()?;
        channel.wait_ready()?;
        let stat = ProcessStat::of(pid)?.with_context(|| format!("process {pid} has vanished"))?;
        self.directory.save(&Record {
            oci_version: self.spec.oci_version.clone(),
            id: self.arguments.id.clone(),
            pid: pid.as_raw(),
            start_time: stat.start_time,
            created: jiff::Timestamp::now().to_string(),
            bundle: self.bundle.to_owned(),
            rootfs: rootfs.to_owned(),
            annotations: self.spec.annotations.clone(),
            owns_pid_namespace: self.spec.linux.namespace(NamespaceKind::Pid).is_some_and(|pid| !pid.is_joined()),
            cgroup: cgroup.clone(),
        })?;
        if let Some(path) = &self.arguments.pid_file {
            pid_file::write(path, pid)?;
        }
        channel.run()
    }

    fn rootfs_path(&self) -> Result<PathBuf> {
        let root = self.spec.root.as_ref().context("no root in the configuration")?;
        let path = self.bundle.join(&root.path);
        fs::canonicalize(&path).with_context(|| format!("no root file system {}", path.display()))
    }

    fn make_fifo(&self) -> Result<()> {
        let path = self.directory.path().join(EXEC_FIFO);
        let mode = Mode::from_bits_truncate(0o622);
        mkfifo(&path, mode).with_context(|| format!("cannot make {}", path.display()))?;
        // The mode was subject to the umask, and the container's user must be able to write.
        let set = fs::set_permissions(&path, fs::Permissions::from_mode(mode.bits()));
        set.with_context(|| format!("cannot set the mode of {}", path.display()))
    }
}

/// Ends and reaps a process that was just cloned and is still our child.
pub(super) fn end(pid: Pid, log: &super::log::Log) {
    // It may have ended by itself; then it is a zombie until we reap it, so the number is still its own.
    if let Err(error) = kill(pid, Signal::SIGKILL).and_then(|()| waitpid(pid, None).map(|_| ())) {
        log.warn(format!("cannot end process {pid}: {error}"));
    }
}

/// A test double does without confinement, and says so.
fn warn_of_what_is_left_out(engine: &Engine, spec: &Spec) {
    if spec.linux.seccomp.is_some() {
        engine.log.warn("the seccomp profile is not applied by this engine");
    }
}
