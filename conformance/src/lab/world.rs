//! The disposable universe of one check: its namespaces, its PID 1, and the plain world of a shim that needs the host.
//!
//! ```text
//! runner ─▶ keeper (enters the namespaces) ─▶ reaper (PID 1 of them) ─▶ driver (the check)
//! ```
//!
//! Each dies with its parent, and with the reaper everything in the world dies. The reaper does nothing but reap: a container whose
//! processes nobody collects cannot be taken down (the kernel waits in `zap_pid_ns_processes`), and the shim would be blamed for it.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use fork::{Fork, fork};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        prctl::{set_child_subreaper, set_pdeathsig},
        signal::{Signal, kill},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, getgid, getpid, getppid, getuid},
};
use serde::{Deserialize, Serialize};

use super::{Job, residue};

/// How a world is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Isolation {
    /// Namespaces of its own; as an ordinary user with a user namespace around them.
    Full,
    /// None: for shims that need the host. Leaks are then seen less exactly.
    None,
}

/// Runs one world: reads the job from standard input, tells the driver's words on standard output.
///
/// # Errors
///
/// When the world cannot be made; the runner then has no verdict and says so.
pub fn main(drive: fn(Job) -> Result<()>) -> Result<ExitCode> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("read the job")?;
    let job: Job = serde_json::from_str(&text).context("decode the job")?;

    let runner = getppid();
    die_with_parent(runner)?;
    match job.isolation {
        Isolation::Full => enter_namespaces()?,
        Isolation::None => set_child_subreaper(true).context("become a sub-reaper")?,
    }
    let keeper = getpid();
    match forked()? {
        Fork::Parent(reaper) => await_exit(Pid::from_raw(reaper)),
        Fork::Child => {
            // In a new PID namespace the keeper has no number here, and getppid says 0 as long as it lives.
            let parent = if job.isolation == Isolation::Full { Pid::from_raw(0) } else { keeper };
            die_with_parent(parent)?;
            if job.isolation == Isolation::Full {
                furnish().context("furnish the world")?;
            } else {
                set_child_subreaper(true).context("become a sub-reaper")?;
            }
            // With namespaces it goes with its tmpfs.
            let leftover = (job.isolation == Isolation::None).then(|| base(&job));
            reap_while(|| drive(job), leftover.as_deref())
        }
    }
}

/// Below which everything of the suite's lies.
pub fn base(job: &Job) -> PathBuf {
    match job.isolation {
        Isolation::Full => PathBuf::from("/run/conformance"),
        Isolation::None => std::env::temp_dir().join(format!("conformance-{}", job.unique)),
    }
}

/// Forks as [`fork()`] does, with an error that says so.
fn forked() -> Result<Fork> {
    fork().map_err(|e| anyhow::anyhow!("fork: {e}"))
}

fn die_with_parent(parent: Pid) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("tie the world to its parent")?;
    if getppid() != parent {
        bail!("the parent died before the world began");
    }
    Ok(())
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

/// Forks the driver and reaps everything until the driver has ended; then whatever is left ends too, and `leftover` is removed.
fn reap_while(drive: impl FnOnce() -> Result<()>, leftover: Option<&Path>) -> Result<ExitCode> {
    let reaper = getpid();
    match forked()? {
        Fork::Child => {
            die_with_parent(reaper)?;
            drive()?;
            Ok(ExitCode::SUCCESS)
        }
        Fork::Parent(driver) => {
            let code = await_exit(Pid::from_raw(driver));
            // A driver that was ended by force leaves most of all.
            end_children(reaper)?;
            if let Some(path) = leftover.filter(|path| path.exists()) {
                residue::remove_sockets(&path.join("containerd"))?;
                unmount_below(path)?;
                fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))?;
            }
            code
        }
    }
}

/// Unmounts what a driver that was ended by force, or a shim, has left below `path`; the youngest first.
fn unmount_below(path: &Path) -> Result<()> {
    let mounts = procfs::process::Process::myself().and_then(|own| own.mountinfo()).context("read mountinfo")?;
    let below: Vec<PathBuf> =
        mounts.into_iter().map(|mount| mount.mount_point).filter(|point| point.starts_with(path)).collect();
    for point in below.iter().rev() {
        umount2(point, MntFlags::MNT_DETACH).with_context(|| format!("unmount {}", point.display()))?;
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

/// Kills what has been left to this sub-reaper, until nothing is. For PID 1 of a namespace the kernel does the same at its exit.
fn end_children(reaper: Pid) -> Result<()> {
    loop {
        let children = fs::read_to_string(format!("/proc/self/task/{reaper}/children")).context("list children")?;
        let children: Vec<i32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        if children.is_empty() {
            return Ok(());
        }
        for pid in children {
            // Children that nobody else can reap: the number cannot have been reused.
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(e) => return Err(e).context("end a child"),
            }
        }
        // Whichever ends first: a container's init cannot end before somebody has reaped the execs in its namespace.
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR | Errno::ECHILD) => {}
            Err(e) => return Err(e).context("reap a child"),
        }
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
