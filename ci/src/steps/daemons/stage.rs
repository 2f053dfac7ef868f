//! One daemon with a root file system, and the verbs in which the story is told.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{Seek as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    libc,
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};

use super::{
    Installed, Plan,
    ctr::{Background, Ctr},
    daemon::Daemon,
};
use crate::{command::Finished, deadline, host};

/// How long anything that was caused may take to be seen, on a loaded machine.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// The programs of the container that the scripts use.
const APPLETS: &[&str] = &["cat", "echo", "sh", "sleep", "tty"];

/// A daemon, and what containers on it are made of.
pub(super) struct Stage<'a> {
    /// The daemon.
    pub(super) daemon: Daemon,
    plan: &'a Plan,
    /// The root file system that all containers share.
    rootfs: PathBuf,
    /// Counts the execs, so that each has its own id.
    execs: Cell<u32>,
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
            rootfs,
            execs: Cell::new(0),
            excused: Vec::new(),
        })
    }

    /// The daemon's client.
    pub(super) fn ctr(&self) -> &Ctr {
        self.daemon.ctr()
    }

    /// Runs `script` in a new container to its end.
    pub(super) fn run(&self, id: &str, script: &str) -> Result<Finished> {
        self.ctr().finish(&self.run_line(&["--rm"], id, script)?)
    }

    /// Runs `script` in a new container, with `input` as its standard input.
    pub(super) fn run_with_input(&self, id: &str, script: &str, input: &str) -> Result<Finished> {
        let mut file = tempfile_with(input)?;
        file.rewind()?;
        self.ctr()
            .finish_with_input(&self.run_line(&["--rm"], id, script)?, file)
    }

    /// Runs `script` in a new container that has a terminal.
    pub(super) fn run_on_terminal(&self, id: &str, script: &str) -> Result<Finished> {
        self.ctr()
            .finish_on_terminal(&self.run_line(&["--rm", "--tty"], id, script)?)
    }

    /// Starts `script` in a new container and leaves it running.
    pub(super) fn start(&self, id: &str, script: &str) -> Result<Running> {
        self.ctr().done(&self.run_line(&["--detach"], id, script)?)?;
        let init = self.ctr().becomes(id, "RUNNING")?.pid;
        let shim = host::process(init)?
            .with_context(|| format!("init {init} of {id} is gone"))?
            .parent;
        let shim = host::process(shim)?.with_context(|| format!("init {init} of {id} has no parent"))?;
        ensure!(
            shim.line.contains("containerd-shim"),
            "the parent of init {init} is no shim, but {shim}"
        );
        Ok(Running {
            id: id.to_owned(),
            init,
            shim: shim.pid,
        })
    }

    /// Runs `script` as a further process of a running container, to its end.
    pub(super) fn exec(&self, id: &str, script: &str) -> Result<Finished> {
        self.ctr().finish(&[
            "task",
            "exec",
            "--exec-id",
            &self.exec_id(),
            id,
            "/bin/sh",
            "-c",
            script,
        ])
    }

    /// The same on a terminal.
    pub(super) fn exec_on_terminal(&self, id: &str, script: &str) -> Result<Finished> {
        let exec_id = self.exec_id();
        self.ctr().finish_on_terminal(&[
            "task",
            "exec",
            "--tty",
            "--exec-id",
            &exec_id,
            id,
            "/bin/sh",
            "-c",
            script,
        ])
    }

    /// Starts a container that waits for [`Stage::open_gate`] and then exits with `code`.
    pub(super) fn start_at_gate(&self, id: &str, code: u8) -> Result<Running> {
        let gate = self.gate(id);
        mkfifo(&gate, Mode::S_IRWXU).with_context(|| format!("cannot make the gate {}", gate.display()))?;
        self.start(id, &format!("read line </gate-{id}; exit {code}"))
    }

    /// Lets a container that waits at its gate go on; a reader must be there, or come soon.
    pub(super) fn open_gate(&self, id: &str) -> Result<()> {
        let gate = self.gate(id);
        let mut gate = deadline::until(&format!("reader at the gate of {id}"), LIMIT, || {
            match File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&gate) {
                Ok(gate) => Ok(Some(gate)),
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
                Err(error) => Err(error).with_context(|| format!("cannot open {}", gate.display())),
            }
        })?;
        gate.write_all(b"go\n")
            .with_context(|| format!("cannot write to the gate of {id}"))
    }

    /// Subscribes to the daemon's events; returns when they arrive.
    pub(super) fn events(&self) -> Result<Events> {
        let path = self.rootfs.with_file_name(format!("events-{}", self.next()));
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
        deadline::until("end of the bundle", LIMIT, || {
            Ok((!self
                .daemon
                .bundles()?
                .iter()
                .any(|bundle| bundle.ends_with(&running.id)))
            .then_some(()))
        })?;
        self.ctr().done(&["container", "rm", &running.id]).map(|_| ())
    }

    /// Waits until there is no process `pid`, not even a zombie.
    pub(super) fn gone(&self, pid: i32, what: &str) -> Result<()> {
        deadline::until(&format!("end of the {what} {pid}"), LIMIT, || {
            Ok(host::process(pid)?.is_none().then_some(()))
        })
    }

    /// Kills a shim, which then cannot remove its socket.
    pub(super) fn kill_shim(&mut self, running: &Running) -> Result<()> {
        self.excused.push(self.daemon.address(&running.id)?);
        let pid = running.shim;
        kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("cannot kill the shim {pid}"))
    }

    /// Whether a file may be left: a killed shim's socket stays until a shim of the same name starts.
    pub(super) fn excuses(&self, file: &Path) -> bool {
        self.excused
            .iter()
            .any(|address| address.contains(&*file.to_string_lossy()))
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
        let rootfs = self
            .rootfs
            .to_str()
            .context("the root file system's path is not UTF-8")?;
        let mut line = vec!["run"];
        line.extend(options);
        line.extend([
            "--rootfs",
            "--runtime",
            &self.plan.runtime,
            rootfs,
            id,
            "/bin/sh",
            "-c",
            script,
        ]);
        Ok(line)
    }

    fn gate(&self, id: &str) -> PathBuf {
        self.rootfs.join(format!("gate-{id}"))
    }

    fn exec_id(&self) -> String {
        format!("exec-{}", self.next())
    }

    fn next(&self) -> u32 {
        self.execs.set(self.execs.get() + 1);
        self.execs.get()
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
    file.write_all(text.as_bytes())
        .context("cannot write the standard input")?;
    Ok(file)
}
