//! Talks to the OCI runtime: one process per verb, started as go-runc starts it.
//!
//! What went wrong is in the runtime's JSON log. The text is passed on to the caller and never decided upon.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Read, Seek, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use containerd_shim_protos::shim::oci::Options;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::{
    bundle::{Bundle, read_pid},
    error::Error,
    reaper::Reaper,
};

/// Where the state of containers is kept, in a directory per namespace: runc's and containerd's own choice.
const ROOT: &str = "/run/containerd/runc";

/// The runtimes that are looked for when nobody names one; the last is the suite's double.
const CANDIDATES: [&str; 3] = ["runc", "crun", "conformance-engine"];

/// The file that lets `delete` find the runtime of a container.
const RECORD: &str = "runtime.json";

/// Which runtime a container has, and the options that it is called with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Runtime {
    binary: PathBuf,
    root: PathBuf,
    systemd_cgroup: bool,
    no_pivot_root: bool,
    no_new_keyring: bool,
}

/// The stdin, stdout and stderr that a verb is started with.
pub(crate) struct Streams {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

impl Streams {
    pub(crate) fn null() -> Self {
        Self { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() }
    }
}

impl Runtime {
    /// The runtime that the client's options name, else the first that can be found.
    pub(crate) fn choose(options: &Options, namespace: &str) -> Result<Self, Error> {
        let binary = if options.binary_name.is_empty() {
            CANDIDATES
                .iter()
                .find_map(|name| find(name))
                .ok_or_else(|| Error::NotFound(format!("an OCI runtime ({}) in PATH", CANDIDATES.join(", "))))?
        } else {
            PathBuf::from(&options.binary_name)
        };
        let root = if options.root.is_empty() { ROOT } else { &options.root };
        Ok(Self {
            binary,
            root: Path::new(root).join(namespace),
            systemd_cgroup: options.systemd_cgroup,
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
        })
    }

    pub(crate) fn save(&self, bundle: &Bundle) -> Result<(), Error> {
        bundle.write_json(RECORD, self)
    }

    /// The runtime that was saved in this bundle.
    pub(crate) fn load(bundle: &Bundle) -> Option<Self> {
        bundle.read_json(RECORD)
    }

    /// Whether the runtime keeps state for a container of this id. An id that is taken must be refused before `create`,
    /// because cleaning up after a failed `create` would remove the other container.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.root.join(id).exists()
    }

    /// What the runtime can do, as the OCI's `Features` in JSON; nothing when it does not say.
    pub(crate) async fn features(&self, reaper: &Reaper) -> Option<Vec<u8>> {
        let output = memfd("output").ok()?;
        let mut command = self.command();
        command.arg("features").stdin(Stdio::null()).stdout(output.try_clone().ok()?).stderr(Stdio::null());
        let mut helper = reaper.spawn(&mut command).ok()?;
        let status = tokio::time::timeout(FEATURES_LIMIT, helper.wait()).await.ok()?;
        (status == 0).then(|| read_back(output)).filter(|features| !features.is_empty())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        // The runtime would report the container's readiness to whoever supervises containerd.
        command.env_remove("NOTIFY_SOCKET");
        command
    }

    fn failure(&self, verb: &str, cause: impl ToString) -> Error {
        let binary = self.binary.file_name().unwrap_or(self.binary.as_os_str()).to_string_lossy().into_owned();
        Error::Runtime { binary, verb: verb.to_owned(), cause: cause.to_string() }
    }
}

/// How long a runtime may take to say what it can do.
const FEATURES_LIMIT: Duration = Duration::from_secs(3);

/// The runtime of one container. Dropping the future of a call kills the runtime's process.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) reaper: Reaper,
    pub(crate) bundle: Bundle,
    pub(crate) id: Arc<str>,
}

/// Arguments of a call.
macro_rules! args {
    ($($arg:expr),* $(,)?) => {
        vec![$(OsString::from($arg)),*]
    };
}

impl Engine {
    /// Makes the container and returns the pid of its init. `console` is the socket for its terminal.
    pub(crate) async fn create(&self, console: Option<&Path>, streams: Streams) -> Result<u32, Error> {
        let pid_file = self.bundle.init_pid();
        let mut args = args!["--bundle", self.bundle.path(), "--pid-file", &pid_file];
        args.extend(console.into_iter().flat_map(|socket| args!["--console-socket", socket]));
        args.extend(self.runtime.no_pivot_root.then(|| "--no-pivot".into()));
        args.extend(self.runtime.no_new_keyring.then(|| "--no-new-keyring".into()));
        args.push(self.id());
        drop(fs::remove_file(&pid_file)); // of an earlier try
        self.call("create", args, streams, None).await?;
        self.read_pid("create", &pid_file)
    }

    /// Runs a process, described by the OCI in this JSON text, in the container, and returns its pid.
    pub(crate) async fn exec(
        &self,
        name: &str,
        spec: &[u8],
        console: Option<&Path>,
        streams: Streams,
    ) -> Result<u32, Error> {
        let spec_file = Temporary(self.bundle.join(format!("{name}.process.json")));
        let pid_file = Temporary(self.bundle.join(format!("{name}.process.pid")));
        fs::write(&spec_file.0, spec).map_err(Error::io("write", &spec_file.0))?;
        let mut args = args!["--process", &spec_file.0, "--detach", "--pid-file", &pid_file.0];
        args.extend(console.into_iter().flat_map(|socket| args!["--console-socket", socket]));
        args.push(self.id());
        self.call("exec", args, streams, None).await?;
        self.read_pid("exec", &pid_file.0)
    }

    pub(crate) async fn start(&self) -> Result<(), Error> {
        self.simple("start", args![self.id()]).await.map(drop)
    }

    pub(crate) async fn pause(&self) -> Result<(), Error> {
        self.simple("pause", args![self.id()]).await.map(drop)
    }

    pub(crate) async fn resume(&self) -> Result<(), Error> {
        self.simple("resume", args![self.id()]).await.map(drop)
    }

    /// Removes a stopped container.
    pub(crate) async fn delete(&self) -> Result<(), Error> {
        self.simple("delete", args![self.id()]).await.map(drop)
    }

    /// Kills and removes whatever there is of the container, and is content when there is nothing.
    pub(crate) async fn destroy(&self) -> Result<(), Error> {
        self.simple("delete", args!["--force", self.id()]).await.map(drop)
    }

    /// Writes an image of the container, with options of the runtime's own.
    pub(crate) async fn checkpoint(&self, mut options: Vec<OsString>) -> Result<(), Error> {
        options.push(self.id());
        self.simple("checkpoint", options).await.map(drop)
    }

    /// Signals init, or all processes.
    pub(crate) async fn kill(&self, signal: u32, all: bool) -> Result<(), Error> {
        let mut args = if all { args!["--all"] } else { args![] };
        args.extend(args![self.id(), signal.to_string()]);
        self.simple("kill", args).await.map(drop)
    }

    /// Applies a JSON text of the OCI's `LinuxResources`.
    pub(crate) async fn update(&self, resources: &[u8]) -> Result<(), Error> {
        let stdin = filled(resources).map_err(Error::io("pass", "resources"))?;
        self.captured("update", args!["--resources", "-", self.id()], stdin.into()).await.map(drop)
    }

    /// The pids of all processes of the container.
    pub(crate) async fn ps(&self) -> Result<Vec<u32>, Error> {
        let output = self.simple("ps", args!["--format", "json", self.id()]).await?;
        // runc says "null" for a container without processes.
        let pids: Option<Vec<u32>> =
            serde_json::from_slice(&output).map_err(|cause| self.runtime.failure("ps", cause))?;
        Ok(pids.unwrap_or_default())
    }

    fn id(&self) -> OsString {
        OsString::from(&*self.id)
    }

    fn read_pid(&self, verb: &str, file: &Path) -> Result<u32, Error> {
        read_pid(file).map_err(|cause| self.runtime.failure(verb, format!("wrote no pid: {cause}")))
    }

    async fn simple(&self, verb: &str, args: Vec<OsString>) -> Result<Vec<u8>, Error> {
        self.captured(verb, args, Stdio::null()).await
    }

    /// Runs a verb whose output is for the shim, and returns it.
    async fn captured(&self, verb: &str, args: Vec<OsString>, stdin: Stdio) -> Result<Vec<u8>, Error> {
        let buffer = || memfd("output").and_then(|file| Ok((file.try_clone()?, file)));
        let (output, stdout) = buffer().map_err(Error::io("make", "a buffer"))?;
        let (errors, stderr) = buffer().map_err(Error::io("make", "a buffer"))?;
        let streams = Streams { stdin, stdout: stdout.into(), stderr: stderr.into() };
        self.call(verb, args, streams, Some(errors)).await?;
        Ok(read_back(output))
    }

    async fn call(
        &self,
        verb: &str,
        args: Vec<OsString>,
        streams: Streams,
        errors: Option<fs::File>,
    ) -> Result<(), Error> {
        let log = log_file(&self.bundle);
        let mut command = self.runtime.command();
        command.arg("--root").arg(&self.runtime.root).arg("--log").arg(&log.0).args(["--log-format", "json"]);
        if self.runtime.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command.arg(verb).args(args).stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr);
        // The shim's own directory may be the bundle of a container that is long gone.
        let bundle = self.bundle.path();
        command.current_dir(if bundle.is_dir() { bundle } else { Path::new("/") });
        let spawned = self.reaper.spawn(&mut command);
        drop(command); // our copies of the streams
        let mut helper = spawned.map_err(|cause| self.runtime.failure(verb, cause))?;
        let status = helper.wait().await;
        if status == 0 {
            return Ok(());
        }
        let printed = errors.map(read_back).unwrap_or_default();
        Err(self.runtime.failure(verb, last_error(&log.0).unwrap_or_else(|| describe(status, &printed))))
    }
}

/// A file that goes when the call is over, if it ever came.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// The log of one call. Calls run side by side, so each has its own; the name says whose call it is.
fn log_file(bundle: &Bundle) -> Temporary {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    Temporary(bundle.join(format!("log.{}.{serial}.json", std::process::id())))
}

fn last_error(log: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let text = fs::read_to_string(log).ok()?;
    let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.find(|line| line.level == "error").map(|line| line.msg)
}

fn describe(status: u32, printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    match (text.trim(), status.checked_sub(128).filter(|signal| *signal > 0)) {
        ("", Some(signal)) => format!("killed by signal {signal}"),
        ("", None) => format!("exit status {status}"),
        (text, _) => text.to_owned(),
    }
}

fn memfd(name: &str) -> io::Result<fs::File> {
    let fd: OwnedFd = memfd_create(name, MFdFlags::MFD_CLOEXEC)?;
    Ok(fd.into())
}

fn filled(content: &[u8]) -> io::Result<fs::File> {
    let mut file = memfd("input")?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn read_back(mut file: fs::File) -> Vec<u8> {
    let mut content = Vec::new();
    // Memory cannot fail to be read; if it did, the caller would miss nothing but words.
    drop(file.rewind().and_then(|()| file.read_to_end(&mut content)));
    content
}

/// A program in PATH, or beside the shim's own executable.
fn find(name: &str) -> Option<PathBuf> {
    let own = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(own).map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}
