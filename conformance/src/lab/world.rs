//! The disposable universe of one check: its namespaces, its PID 1, and the plain world of a shim that needs the host.
//!
//! ```text
//! runner ─▶ keeper (enters the namespaces) ─▶ reaper (PID 1 of them) ─▶ driver (the check)
//! ```
//!
//! The driver dies with the reaper, the reaper with the keeper, and with the reaper everything in the world dies. The keeper outlives a
//! runner that dies, to take the world down: it ends the reaper, thaws what is frozen and removes the world's cgroups. Without namespaces
//! it is the reaper that ends what the driver leaves, so it outlives the keeper.
//!
//! The reaper does nothing but reap: a container whose processes nobody collects cannot be taken down (the kernel waits in
//! `zap_pid_ns_processes`), and the shim would be blamed for it.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use fork::{Fork, fork};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        prctl::set_child_subreaper,
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getgid, getpid, getppid, getuid},
};
use serde::{Deserialize, Serialize};

use super::{
    Job,
    cgroups::Groups,
    deadline, residue,
    watch::{Watch, die_with, stop_listening},
};
use crate::tenancy;

/// How long processes that were killed may take to die, and cgroups to let them go.
pub const DYING: Duration = Duration::from_secs(10);

/// How a world is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Isolation {
    /// Namespaces of its own; as an ordinary user with a user namespace around them.
    Full,
    /// None: for shims that need the host. Leaks are then seen less exactly.
    None,
}

/// Runs one world of `runner`: reads the job from standard input, tells the driver's words on standard output.
///
/// # Errors
///
/// When the world cannot be made; the runner then has no verdict and says so.
pub fn main(runner: Pid, drive: fn(Job) -> Result<()>) -> Result<ExitCode> {
    // The runner waits for SIGINT and SIGTERM and blocks them for that. A mask is inherited, over every execution: shims and the fake
    // containerd would never see a SIGTERM.
    SigSet::empty().thread_set_mask().context("empty the mask of signals")?;
    let watch = Watch::begin(runner)?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("read the job")?;
    let job: Job = serde_json::from_str(&text).context("decode the job")?;
    // Looked up while /proc is the keeper's own.
    let groups = if job.cgroups { Groups::of_world(&job.unique)? } else { Groups::default() };

    match job.isolation {
        Isolation::Full => enter_namespaces()?,
        Isolation::None => set_child_subreaper(true).context("become a sub-reaper")?,
    }
    let keeper = getpid();
    match forked()? {
        Fork::Parent(reaper) => keep(&watch, runner, Pid::from_raw(reaper), &job, &groups),
        Fork::Child => match job.isolation {
            Isolation::Full => {
                stop_listening()?;
                // In a new PID namespace the keeper has no number here, and getppid says 0 as long as it lives.
                die_with(Pid::from_raw(0), Signal::SIGKILL)?;
                furnish().context("furnish the world")?;
                reap_inside(|| drive(job))
            }
            Isolation::None => {
                let watch = Watch::begin(keeper)?;
                set_child_subreaper(true).context("become a sub-reaper")?;
                let leftover = base(&job);
                reap_outside(&watch, || drive(job), &groups, &leftover)
            }
        },
    }
}

/// Waits for the reaper. At the word it ends the world from within, and at the runner's death it removes what else the world had.
fn keep(watch: &Watch, runner: Pid, reaper: Pid, job: &Job, groups: &Groups) -> Result<ExitCode> {
    let end = match job.isolation {
        // PID 1 takes its namespace with it.
        Isolation::Full => Signal::SIGKILL,
        // The reaper ends whatever its driver leaves.
        Isolation::None => Signal::SIGTERM,
    };
    let ended = watch.await_exit(reaper, || {
        signal_child(reaper, end)?;
        groups.thaw()
    })?;
    if ended.told {
        let cleared = deadline::until_blocking(DYING, || groups.remove().left.is_empty().then_some(()));
        cleared.with_context(|| format!("cgroups cannot be removed: {:?}", groups.remove().left))?;
    }
    if getppid() != runner {
        let parent_of_base = base(job).parent().map(Path::to_owned);
        for directory in groups.parents().map(Path::to_owned).chain(parent_of_base) {
            // The run's own are in use as long as another of its worlds is, which then removes them.
            _ = fs::remove_dir(directory);
        }
    }
    ended.code.context("the world was ended by a signal")
}

/// Below which everything of the suite's lies.
pub fn base(job: &Job) -> PathBuf {
    match job.isolation {
        Isolation::Full => PathBuf::from("/run/conformance"),
        Isolation::None => std::env::temp_dir().join(tenancy::place_of(&job.unique)),
    }
}

/// Forks as [`fork()`] does, with an error that says so.
fn forked() -> Result<Fork> {
    fork().map_err(|e| anyhow::anyhow!("fork: {e}"))
}

fn enter_namespaces() -> Result<()> {
    let (uid, gid) = (getuid(), getgid());
    let mut flags = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if !uid.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).context("unshare the namespaces of a world")?;
    if !uid.is_root() {
        fs::write("/proc/self/setgroups", "deny").context("write setgroups")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("write uid_map")?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("write gid_map")?;
    }
    Ok(())
}

/// Mounts what a world has of its own.
fn furnish() -> Result<()> {
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("make mounts private")?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("proc"), "/proc", Some("proc"), safe | MsFlags::MS_NOEXEC, NONE).context("mount /proc")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), safe, Some("mode=755,size=1g")).context("mount /run")?;
    // crun refuses a v1 host that shows an empty v2 hierarchy as well.
    match umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::ENOENT | Errno::EINVAL | Errno::EPERM) => Ok(()),
        Err(e) => Err(e).context("detach /sys/fs/cgroup/unified"),
    }
}

/// Forks the driver and reaps everything until it has ended. With PID 1 all that is left in its namespace ends too.
fn reap_inside(drive: impl FnOnce() -> Result<()>) -> Result<ExitCode> {
    let reaper = getpid();
    match forked()? {
        Fork::Child => {
            die_with(reaper, Signal::SIGKILL)?;
            drive()?;
            Ok(ExitCode::SUCCESS)
        }
        Fork::Parent(driver) => await_exit(Pid::from_raw(driver)),
    }
}

/// The same without namespaces: the driver is ended at the word, then whatever is left ends too, and `leftover` is removed.
fn reap_outside(
    watch: &Watch,
    drive: impl FnOnce() -> Result<()>,
    groups: &Groups,
    leftover: &Path,
) -> Result<ExitCode> {
    let reaper = getpid();
    match forked()? {
        Fork::Child => {
            stop_listening()?;
            die_with(reaper, Signal::SIGKILL)?;
            drive()?;
            Ok(ExitCode::SUCCESS)
        }
        Fork::Parent(driver) => {
            let driver = Pid::from_raw(driver);
            let ended = watch.await_exit(driver, || signal_child(driver, Signal::SIGKILL))?;
            // A driver that was ended by force leaves most of all.
            end_children(reaper, groups, leftover)?;
            remove(leftover)?;
            ended.code.context("the driver was ended by a signal")
        }
    }
}

/// Removes a directory of a world without isolation, and with it mounts below it and sockets that its bundles name.
///
/// # Errors
///
/// With what could not be removed.
pub fn remove(directory: &Path) -> Result<()> {
    residue::remove_sockets(directory)?;
    unmount_below(directory)?;
    match fs::remove_dir_all(directory) {
        // Whoever sweeps may be about it at the same time.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("remove {}", directory.display())),
    }
}

/// Unmounts what a driver that was ended by force, or a shim, has left below `path`; the youngest first.
fn unmount_below(path: &Path) -> Result<()> {
    let mounts = procfs::process::Process::myself().and_then(|own| own.mountinfo()).context("read mountinfo")?;
    let below: Vec<PathBuf> =
        mounts.into_iter().map(|mount| mount.mount_point).filter(|point| point.starts_with(path)).collect();
    for point in below.iter().rev() {
        match umount2(point, MntFlags::MNT_DETACH) {
            // Somebody was quicker.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(e) => return Err(e).with_context(|| format!("unmount {}", point.display())),
        }
    }
    Ok(())
}

/// Reaps every child until `awaited` ends.
fn await_exit(awaited: Pid) -> Result<ExitCode> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == awaited => {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == awaited => bail!("the driver was ended by {signal}"),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).context("wait for the world's processes"),
        }
    }
}

/// Kills what has been left to this sub-reaper, until nothing is, and removes the sockets at which it served.
fn end_children(reaper: Pid, groups: &Groups, base: &Path) -> Result<()> {
    let children = || -> Result<Vec<i32>> {
        let children = fs::read_to_string(format!("/proc/self/task/{reaper}/children")).context("list children")?;
        Ok(children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    };
    let mut sockets = BTreeSet::new();
    let mut end_all = || -> Result<bool> {
        let children = children()?;
        for pid in children.iter().copied().map(Pid::from_raw) {
            // Stopped, it makes no further sockets, and so those that it leaves are known.
            signal_child(pid, Signal::SIGSTOP)?;
            sockets.extend(residue::sockets_of(pid.as_raw()));
            signal_child(pid, Signal::SIGKILL)?;
        }
        groups.thaw()?;
        // Whichever ends first: a container's init cannot end before somebody has reaped the execs in its namespace.
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(children.is_empty()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e).context("reap a child"),
            }
        }
    };
    let ended = deadline::until_blocking(DYING, || match end_all() {
        Ok(true) => Some(Ok(())),
        Ok(false) => None,
        Err(e) => Some(Err(e)),
    });
    ended.unwrap_or_else(|| bail!("processes do not end: {:?}", children()?))?;
    residue::remove_younger(&sockets, base)
}

/// Signals a child that nobody else can reap: the number cannot have been used again.
fn signal_child(child: Pid, signal: Signal) -> Result<()> {
    match kill(child, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(e).with_context(|| format!("send {signal} to process {child}")),
    }
}

/// Directories and files that every world has.
#[derive(Debug, Clone)]
pub struct Places {
    /// Everything of the suite's lies below.
    pub base: PathBuf,
    /// The root file system of all containers.
    pub rootfs: PathBuf,
    /// The host's side of `/shared`.
    pub shared: PathBuf,
    /// The suite's executable under the payload's name.
    pub payload: PathBuf,
    /// The suite's executable under the engine's name.
    pub engine: PathBuf,
    /// Where stdio FIFOs lie.
    pub fifos: PathBuf,
    /// The runtime's state directory.
    pub runtime_root: PathBuf,
}

impl Places {
    /// Lays them out below `base`.
    ///
    /// # Errors
    ///
    /// With the path that could not be made.
    pub fn lay_out(base: &Path) -> Result<Self> {
        let places = Self {
            base: base.to_owned(),
            rootfs: base.join("rootfs"),
            shared: base.join("rootfs/shared"),
            payload: base.join("bin/payload"),
            engine: base.join("bin/conformance-engine"),
            fifos: base.join("fifo"),
            runtime_root: base.join("runtime"),
        };
        for directory in
            ["rootfs/proc", "rootfs/dev", "rootfs/sys", "rootfs/tmp", "rootfs/shared", "bin", "fifo", "runtime", "tmp"]
        {
            let directory = base.join(directory);
            fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        }
        fs::File::create(places.rootfs.join("payload")).context("create the payload's mount point")?;
        let own = std::env::current_exe().context("find the suite's own executable")?;
        for name in [&places.payload, &places.engine] {
            std::os::unix::fs::symlink(&own, name).with_context(|| format!("link {}", name.display()))?;
        }
        Ok(places)
    }
}

/// Says one line on standard output, which the runner reads.
///
/// # Errors
///
/// When the runner is gone.
pub fn tell(word: &super::Word) -> Result<()> {
    let mut line = serde_json::to_vec(word).context("encode a word")?;
    line.push(b'\n');
    std::io::stdout().lock().write_all(&line).context("tell the runner")
}
