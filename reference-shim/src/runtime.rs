//! Talks to the OCI runtime: one process per verb, started as go-runc starts it.
//!
//! What went wrong is in the runtime's JSON log. The text is passed on to the caller and never decided upon.

use std::{
    env, fs,
    io::{self, Read, Seek, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use containerd_shim_protos::shim::oci::Options;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::{bundle::Bundle, error::Error, reaper::Reaper};

/// Where the state of containers is kept, in a directory per namespace: runc's and containerd's own choice.
const ROOT: &str = "/run/containerd/runc";

/// The runtimes that are looked for when nobody names one; the last is the suite's double.
const CANDIDATES: [&str; 3] = ["runc", "crun", "conformance-engine"];

/// The file that lets `delete` find the runtime of a container.
const RECORD: &str = "runtime.json";

/// Which runtime a container has, and how it is called.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
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
        Self {
            stdin: Stdio::null(),
            stdout: Stdio::null(),
            stderr: Stdio::null(),
        }
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

    pub(crate) async fn create(&self, call: &Birth<'_>, streams: Streams) -> Result<u32, Error> {
        let pid_file = call.bundle.init_pid();
        let mut verb = Verb::new("create");
        verb.flag("--bundle", call.bundle.path()).flag("--pid-file", &pid_file);
        if let Some(socket) = call.console {
            verb.flag("--console-socket", socket);
        }
        if self.no_pivot_root {
            verb.arg("--no-pivot");
        }
        if self.no_new_keyring {
            verb.arg("--no-new-keyring");
        }
        verb.arg(call.id);
        self.give_birth(call, verb, &pid_file, streams).await
    }

    /// Runs a process, described by the OCI in this JSON text, in a container.
    pub(crate) async fn exec(&self, call: &Birth<'_>, name: &str, spec: &[u8], streams: Streams) -> Result<u32, Error> {
        let spec_file = call.bundle.join(format!("{name}.process.json"));
        let pid_file = call.bundle.join(format!("{name}.pid"));
        fs::write(&spec_file, spec).map_err(Error::io("write", &spec_file))?;
        let mut verb = Verb::new("exec");
        verb.flag("--process", &spec_file)
            .arg("--detach")
            .flag("--pid-file", &pid_file);
        if let Some(socket) = call.console {
            verb.flag("--console-socket", socket);
        }
        verb.arg(call.id);
        let born = self.give_birth(call, verb, &pid_file, streams).await;
        drop(fs::remove_file(&spec_file));
        drop(fs::remove_file(&pid_file));
        born
    }

    pub(crate) async fn start(&self, reaper: &Reaper, bundle: &Bundle, id: &str) -> Result<(), Error> {
        self.simple(reaper, bundle, "start", &[], id).await
    }

    pub(crate) async fn pause(&self, reaper: &Reaper, bundle: &Bundle, id: &str) -> Result<(), Error> {
        self.simple(reaper, bundle, "pause", &[], id).await
    }

    pub(crate) async fn resume(&self, reaper: &Reaper, bundle: &Bundle, id: &str) -> Result<(), Error> {
        self.simple(reaper, bundle, "resume", &[], id).await
    }

    /// Removes a stopped container, or with `force` whatever there is.
    pub(crate) async fn delete(&self, reaper: &Reaper, bundle: &Bundle, id: &str, force: bool) -> Result<(), Error> {
        self.simple(reaper, bundle, "delete", if force { &["--force"] } else { &[] }, id)
            .await
    }

    pub(crate) async fn kill(
        &self,
        reaper: &Reaper,
        bundle: &Bundle,
        id: &str,
        signal: u32,
        all: bool,
    ) -> Result<(), Error> {
        let mut verb = Verb::new("kill");
        if all {
            verb.arg("--all");
        }
        verb.arg(id).arg(&signal.to_string());
        self.run(reaper, bundle, verb, Streams::null()).await.map(drop)
    }

    /// Applies a JSON text of the OCI's `LinuxResources`.
    pub(crate) async fn update(
        &self,
        reaper: &Reaper,
        bundle: &Bundle,
        id: &str,
        resources: &[u8],
    ) -> Result<(), Error> {
        let stdin = filled(resources).map_err(Error::io("pass", "resources"))?;
        let mut verb = Verb::new("update");
        verb.arg("--resources").arg("-").arg(id);
        self.run(
            reaper,
            bundle,
            verb,
            Streams {
                stdin: stdin.into(),
                ..Streams::null()
            },
        )
        .await
        .map(drop)
    }

    /// Writes an image of the container, with options of the runtime's own.
    pub(crate) async fn checkpoint(
        &self,
        reaper: &Reaper,
        bundle: &Bundle,
        id: &str,
        options: &[String],
    ) -> Result<(), Error> {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.simple(reaper, bundle, "checkpoint", &options, id).await
    }

    /// The pids of all processes of a container.
    pub(crate) async fn ps(&self, reaper: &Reaper, bundle: &Bundle, id: &str) -> Result<Vec<u32>, Error> {
        let mut verb = Verb::new("ps");
        verb.arg("--format").arg("json").arg(id);
        let output = self.run(reaper, bundle, verb, Streams::null()).await?;
        // runc says "null" for a container without processes.
        let pids: Option<Vec<u32>> =
            serde_json::from_slice(&output).map_err(|cause| self.failure("ps", cause.to_string()))?;
        Ok(pids.unwrap_or_default())
    }

    /// What the runtime can do, as the OCI's `Features` in JSON; nothing when it does not say.
    pub(crate) async fn features(&self, reaper: &Reaper) -> Option<Vec<u8>> {
        let output = memfd("stdout").ok()?;
        let mut command = self.command();
        command
            .arg("features")
            .stdin(Stdio::null())
            .stdout(output.try_clone().ok()?)
            .stderr(Stdio::null());
        let mut helper = reaper.spawn(&mut command).ok()?;
        let status = tokio::time::timeout(FEATURES_LIMIT, helper.wait()).await.ok()?;
        (status == 0)
            .then(|| read_back(output))
            .filter(|features| !features.is_empty())
    }

    async fn simple(
        &self,
        reaper: &Reaper,
        bundle: &Bundle,
        name: &'static str,
        options: &[&str],
        id: &str,
    ) -> Result<(), Error> {
        let mut verb = Verb::new(name);
        for option in options {
            verb.arg(option);
        }
        verb.arg(id);
        self.run(reaper, bundle, verb, Streams::null()).await.map(drop)
    }

    /// Runs a verb that makes a process, and believes its pid only if the kernel says that it is ours.
    async fn give_birth(&self, call: &Birth<'_>, verb: Verb, pid_file: &Path, streams: Streams) -> Result<u32, Error> {
        let name = verb.name;
        drop(fs::remove_file(pid_file));
        self.run_with(call.reaper, call.bundle, verb, streams, None).await?;
        crate::bundle::read_pid(pid_file).map_err(|cause| self.failure(name, format!("wrote no pid: {cause}")))
    }

    /// Runs a verb to its end and returns what it printed.
    async fn run(&self, reaper: &Reaper, bundle: &Bundle, verb: Verb, streams: Streams) -> Result<Vec<u8>, Error> {
        let output = memfd("output").map_err(Error::io("make", "a buffer"))?;
        let copy = || {
            output
                .try_clone()
                .map(Stdio::from)
                .map_err(Error::io("duplicate", "a buffer"))
        };
        let errors = memfd("errors").map_err(Error::io("make", "a buffer"))?;
        let stderr = errors
            .try_clone()
            .map(Stdio::from)
            .map_err(Error::io("duplicate", "a buffer"))?;
        let streams = Streams {
            stdout: copy()?,
            stderr,
            ..streams
        };
        self.run_with(reaper, bundle, verb, streams, Some(errors)).await?;
        Ok(read_back(output))
    }

    async fn run_with(
        &self,
        reaper: &Reaper,
        bundle: &Bundle,
        verb: Verb,
        streams: Streams,
        errors: Option<fs::File>,
    ) -> Result<(), Error> {
        let name = verb.name;
        let log = Log::new(bundle);
        let mut command = self.command();
        command
            .arg("--root")
            .arg(&self.root)
            .arg("--log")
            .arg(&log.0)
            .args(["--log-format", "json"]);
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command
            .arg(name)
            .args(verb.args)
            .stdin(streams.stdin)
            .stdout(streams.stdout)
            .stderr(streams.stderr);
        // The shim's own directory may be the bundle of a container that is long gone.
        command.current_dir(if bundle.path().is_dir() {
            bundle.path()
        } else {
            Path::new("/")
        });
        let spawned = reaper.spawn(&mut command);
        drop(command); // the parent's copies of the streams
        let mut helper = spawned.map_err(|cause| self.failure(name, cause.to_string()))?;
        let status = helper.wait().await;
        if status == 0 {
            return Ok(());
        }
        let printed = errors.map(read_back).unwrap_or_default();
        Err(self.failure(name, log.last_error().unwrap_or_else(|| describe(status, &printed))))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        // The runtime would report the container's readiness to whoever supervises containerd.
        command.env_remove("NOTIFY_SOCKET");
        command
    }

    fn failure(&self, verb: &str, cause: String) -> Error {
        let binary = self
            .binary
            .file_name()
            .unwrap_or(self.binary.as_os_str())
            .to_string_lossy()
            .into_owned();
        Error::Runtime {
            binary,
            verb: verb.to_owned(),
            cause,
        }
    }
}

/// How long a runtime may take to say what it can do.
const FEATURES_LIMIT: Duration = Duration::from_secs(3);

/// What a verb that makes a process needs to know.
pub(crate) struct Birth<'a> {
    pub(crate) reaper: &'a Reaper,
    pub(crate) bundle: &'a Bundle,
    pub(crate) id: &'a str,
    pub(crate) console: Option<&'a Path>,
}

/// A verb and its arguments.
struct Verb {
    name: &'static str,
    args: Vec<std::ffi::OsString>,
}

impl Verb {
    fn new(name: &'static str) -> Self {
        Self { name, args: Vec::new() }
    }

    fn arg(&mut self, arg: &str) -> &mut Self {
        self.args.push(arg.into());
        self
    }

    fn flag(&mut self, flag: &str, path: &Path) -> &mut Self {
        self.args.push(flag.into());
        self.args.push(path.into());
        self
    }
}

/// The log of one call. Calls run side by side, so each has a file of its own, which goes with it.
struct Log(PathBuf);

impl Log {
    fn new(bundle: &Bundle) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Self(bundle.join(format!("log.{}.{serial}.json", std::process::id())))
    }

    fn last_error(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Line {
            level: String,
            msg: String,
        }
        let text = fs::read_to_string(&self.0).ok()?;
        let lines = text
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok());
        lines
            .into_iter()
            .find(|line| line.level == "error")
            .map(|line| line.msg)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Absent when the runtime had nothing to say.
        drop(fs::remove_file(&self.0));
    }
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
    let own = env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_path_buf));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(own)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}
