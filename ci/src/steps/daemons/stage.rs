//! One daemon with a root file system, and the verbs in which the story is told.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{Seek as _, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Installed, Plan,
    ctr::{Background, Ctr},
    daemon::{Daemon, shim_name},
    image,
    talk::{Gate, Talk, Via},
};
use crate::{
    command::Finished,
    deadline,
    host::{self, Process},
};

/// How long anything that was caused may take to be seen, on a loaded machine.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// The programs of the container that the scripts use.
const APPLETS: &[&str] = &["cat", "echo", "sh", "sleep", "tty"];

/// A daemon, and what containers on it are made of.
pub(super) struct Stage<'a> {
    /// The daemon.
    pub(super) daemon: Daemon,
    plan: &'a Plan,
    /// The folder of everything that belongs to this daemon.
    home: PathBuf,
    /// The root file system that all containers share which need no mounts.
    rootfs: PathBuf,
    /// Counts what needs a name of its own.
    names: Cell<u32>,
    /// The addresses of killed shims.
    excused: Vec<String>,
}

/// A container whose task was started in the background.
#[derive(Debug)]
pub(super) struct Running {
    /// The container's id.
    pub(super) id: String,
    /// The process id of its init.
    pub(super) init: i32,
    /// The process id of its shim.
    pub(super) shim: i32,
}

impl<'a> Stage<'a> {
    /// Makes the root file system and prepares the daemon, below `home`.
    pub(super) fn set(home: &Path, installed: &Installed, plan: &'a Plan) -> Result<Self> {
        let rootfs = home.join("rootfs");
        build_rootfs(&rootfs)?;
        Ok(Self {
            daemon: Daemon::prepare(home, installed, plan)?,
            plan,
            home: home.to_path_buf(),
            rootfs,
            names: Cell::new(0),
            excused: Vec::new(),
        })
    }

    /// The daemon's client.
    pub(super) fn ctr(&self) -> &Ctr {
        self.daemon.ctr()
    }

    /// Runs `script` in a new container; then it waits to be told to end with `code`.
    pub(super) fn run(&self, id: &str, via: Via, script: &str, code: u8) -> Result<Talk> {
        let script = format!("{script}; read line </gate-{id}; exit {code}");
        let options: &[&str] = match via {
            Via::Files => &["--rm"],
            Via::Terminal => &["--rm", "--tty"],
        };
        self.talk(&self.run_line(options, id, &script)?, via, id)
    }

    /// Runs `script` in a new container, with `input` as its standard input.
    pub(super) fn run_with_input(&self, id: &str, script: &str, input: &str) -> Result<Finished> {
        let mut file = tempfile_with(input)?;
        file.rewind()?;
        self.ctr().finish_with_input(&self.run_line(&["--rm"], id, script)?, file)
    }

    /// Runs `script` in a new container whose root file system the shim is to mount.
    pub(super) fn run_on_mounts(&self, id: &str, script: &str) -> Result<Finished> {
        self.ctr().finish(&self.image_line(&["--rm"], id, script)?)
    }

    /// Begins to start `script` in a new container, and does not wait for anything.
    pub(super) fn begin_to_start(&self, id: &str, script: &str) -> Result<Background> {
        self.ctr().background(&self.run_line(&["--detach"], id, script)?, Stdio::null())
    }

    /// Starts `script` in a new container and leaves it running.
    pub(super) fn start(&self, id: &str, script: &str) -> Result<Running> {
        self.started(&self.run_line(&["--detach"], id, script)?, id)
    }

    /// The same in a container whose root file system the shim is to mount.
    pub(super) fn start_on_mounts(&self, id: &str, script: &str) -> Result<Running> {
        self.started(&self.image_line(&["--detach"], id, script)?, id)
    }

    fn started(&self, line: &[&str], id: &str) -> Result<Running> {
        self.ctr().done(line)?;
        let init = self.ctr().becomes(id, "RUNNING")?.pid;
        let shim = host::process(init)?.with_context(|| format!("init {init} of {id} is gone"))?.parent;
        let shim = host::process(shim)?.with_context(|| format!("init {init} of {id} has no parent"))?;
        let name = shim_name(&self.plan.runtime)?;
        ensure!(shim.line.contains(&name), "the parent of init {init} is not {name}, but {shim}");
        Ok(Running { id: id.to_owned(), init, shim: shim.pid })
    }

    /// Runs `script` as a further process of a running container; then it waits to be told to end with `code`.
    pub(super) fn exec(&self, id: &str, via: Via, script: &str, code: u8) -> Result<Talk> {
        let exec_id = format!("exec-{}", self.next());
        let script = format!("{script}; read line </gate-{exec_id}; exit {code}");
        let mut line = vec!["task", "exec", "--exec-id", &exec_id];
        line.extend(match via {
            Via::Files => None,
            Via::Terminal => Some("--tty"),
        });
        line.extend([id, "/bin/sh", "-c", &script]);
        self.talk(&line, via, &exec_id)
    }

    /// Runs `script` as a further process of a running container to its end, and answers its exit code.
    pub(super) fn exec_code(&self, id: &str, script: &str) -> Result<Option<i32>> {
        let exec_id = format!("exec-{}", self.next());
        let done = self.ctr().finish(&["task", "exec", "--exec-id", &exec_id, id, "/bin/sh", "-c", script])?;
        Ok(done.status.code())
    }

    fn talk(&self, line: &[&str], via: Via, name: &str) -> Result<Talk> {
        let gate = Gate::make(&self.rootfs, &format!("gate-{name}"))?;
        Talk::begin(self.ctr(), line, via, gate, &self.home, name)
    }

    /// Starts a container that waits at a gate and then exits with `code`.
    pub(super) fn start_at_gate(&self, id: &str, code: u8) -> Result<(Running, Gate)> {
        let gate = Gate::make(&self.rootfs, &format!("gate-{id}"))?;
        let running = self.start(id, &format!("read line </gate-{id}; exit {code}"))?;
        Ok((running, gate))
    }

    /// Subscribes to the daemon's events; returns when they arrive.
    pub(super) fn events(&self) -> Result<Events> {
        let path = self.home.join(format!("events-{}", self.next()));
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let call = self.ctr().background(&["events"], Stdio::from(file))?;
        let mut events = Events { path, call };
        deadline::until("event of our own making", LIMIT, || {
            let probe = format!("probe-{}", self.next());
            self.ctr().done(&["namespaces", "create", &probe])?;
            events.contains(&[&probe]).map(|seen| seen.then_some(()))
        })?;
        Ok(events)
    }

    /// Deletes a stopped task, whose exit code must be `code`, and its container; the shim and the bundle must go.
    pub(super) fn delete(&self, running: &Running, code: i32) -> Result<()> {
        let deleted = self.ctr().finish(&["task", "rm", &running.id])?;
        // `ctr` succeeds although the task did not, and warns of it.
        let warning = format!("exit with non-zero exit code {code}");
        let tells_code = deleted.status.success() && (code == 0 || deleted.stderr.contains(&warning));
        ensure!(tells_code, "`ctr task rm` ended with {deleted:?}, expected code {code}");
        self.remove_container(running)
    }

    /// Removes the container of a task that is gone, and sees that the shim and the bundle went with it.
    pub(super) fn remove_container(&self, running: &Running) -> Result<()> {
        self.gone(running.shim, "shim")?;
        self.gone(running.init, "init")?;
        self.remove_leavings(&running.id)
    }

    /// Removes a container that has no task and no process any more, and sees that nothing else stayed.
    pub(super) fn remove_leavings(&self, id: &str) -> Result<()> {
        deadline::until("end of the bundle", LIMIT, || {
            Ok((!self.daemon.bundles()?.iter().any(|bundle| bundle.ends_with(id))).then_some(()))
        })?;
        self.ctr().done(&["container", "rm", id]).map(|_| ())
    }

    /// Waits until there is no process `pid`, not even a zombie.
    pub(super) fn gone(&self, pid: i32, what: &str) -> Result<()> {
        deadline::until(&format!("end of the {what} {pid}"), LIMIT, || Ok(host::process(pid)?.is_none().then_some(())))
    }

    /// The process that this daemon started as the shim of `id`, or for it.
    pub(super) fn shim_of(&self, id: &str) -> Result<Option<Process>> {
        let (id, home) = (format!("-id {id} "), format!("{}/", self.home.display()));
        let mut all = host::processes()?.into_iter();
        Ok(all.find(|process| process.line.contains(&id) && process.line.contains(&home)))
    }

    /// Kills a shim, which then cannot remove its socket.
    pub(super) fn kill_shim(&mut self, running: &Running) -> Result<()> {
        self.excused.push(self.daemon.address(&running.id)?);
        let pid = running.shim;
        kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("cannot kill the shim {pid}"))
    }

    /// Whether a file may be left: a killed shim's socket stays until a shim of the same name starts.
    pub(super) fn excuses(&self, file: &Path) -> bool {
        self.excused.iter().any(|address| address.contains(&*file.to_string_lossy()))
    }

    /// Removes whatever a failed step left, so that the next one starts as if it were the first.
    pub(super) fn sweep(&mut self) -> Result<()> {
        if !self.daemon.is_running() {
            self.daemon.start()?;
        }
        for id in self.ctr().done(&["container", "ls", "--quiet"])?.lines() {
            // Whether there is a task to remove is not known; if it stays, the removal of the container fails.
            self.ctr().finish(&["task", "rm", "--force", id])?;
            self.ctr().done(&["container", "rm", id])?;
        }
        Ok(())
    }

    fn run_line<'l>(&'l self, options: &[&'l str], id: &'l str, script: &'l str) -> Result<Vec<&'l str>> {
        let rootfs = self.rootfs.to_str().context("the root file system's path is not UTF-8")?;
        let line = ["run", "--runtime", &self.plan.runtime, "--rootfs"].into_iter();
        Ok(line.chain(options.iter().copied()).chain([rootfs, id, "/bin/sh", "-c", script]).collect())
    }

    /// As [`Self::run_line`], with mounts of the snapshotter that everybody uses.
    fn image_line<'l>(&'l self, options: &[&'l str], id: &'l str, script: &'l str) -> Result<Vec<&'l str>> {
        self.import_image()?;
        let line = ["run", "--runtime", &self.plan.runtime, "--snapshotter", "overlayfs"].into_iter();
        Ok(line.chain(options.iter().copied()).chain([image::NAME, id, "/bin/sh", "-c", script]).collect())
    }

    /// Gives the daemon the image, if it has none yet.
    fn import_image(&self) -> Result<()> {
        if self.ctr().done(&["image", "ls", "--quiet"])?.lines().any(|name| name == image::NAME) {
            return Ok(());
        }
        let archive = image::pack(&self.rootfs, &self.home)?;
        let archive = archive.to_str().context("the image's path is not UTF-8")?;
        self.ctr().done(&["image", "import", "--snapshotter", "overlayfs", archive]).map(|_| ())
    }

    fn next(&self) -> u32 {
        self.names.set(self.names.get() + 1);
        self.names.get()
    }
}

/// A subscription to a daemon's events.
#[derive(Debug)]
pub(super) struct Events {
    path: PathBuf,
    call: Background,
}

impl Events {
    /// Waits for an event whose line holds all of `parts`.
    pub(super) fn arrive(&mut self, parts: &[&str]) -> Result<()> {
        let what = format!("event with {parts:?}");
        let waited = deadline::until(&what, LIMIT, || self.contains(parts).map(|seen| seen.then_some(())));
        waited.with_context(|| format!("events were:\n{}", fs::read_to_string(&self.path).unwrap_or_default()))
    }

    fn contains(&mut self, parts: &[&str]) -> Result<bool> {
        ensure!(self.call.is_running()?, "`ctr events` ended");
        let text = fs::read_to_string(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(text.lines().any(|line| parts.iter().all(|part| line.contains(part))))
    }
}

fn build_rootfs(rootfs: &Path) -> Result<()> {
    for folder in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join(folder)).with_context(|| format!("cannot create {}", rootfs.display()))?;
    }
    let busybox = rootfs.join("bin/busybox");
    fs::copy("/bin/busybox", &busybox).context("cannot copy /bin/busybox: install the package busybox-static")?;
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).with_context(|| format!("cannot link {applet}"))?;
    }
    Ok(())
}

fn tempfile_with(text: &str) -> Result<File> {
    let mut file = tempfile::tempfile().context("cannot create a file for standard input")?;
    file.write_all(text.as_bytes()).context("cannot write the standard input")?;
    Ok(file)
}
