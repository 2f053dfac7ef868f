//! The bundle directory: what containerd puts there, and the shim's own files beside it.
//!
//! containerd brings `config.json`, `rootfs/`, `log` and `work`, and later writes `shim-binary-path`, `bootstrap.json`
//! and `sandbox`; none of the names below collide. They are what `delete` has to go by when the shim is dead.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{error::Error, task::Exit};

/// A bundle, by its absolute path.
#[derive(Clone, Debug)]
pub(crate) struct Bundle(PathBuf);

/// The parts of `config.json` that a shim has to know.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Spec {
    #[serde(default)]
    annotations: HashMap<String, String>,
    #[serde(default)]
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(default)]
    namespaces: Vec<Namespace>,
    #[serde(default)]
    cgroups_path: String,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

/// Which socket the address led to.
const SOCKET: &str = "socket.identity";

/// The annotations that name a group, the stronger first.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

impl Spec {
    /// The group of containers that share one shim, if the container belongs to one.
    fn group(&self) -> Option<&str> {
        GROUPS.iter().find_map(|name| self.annotations.get(*name)).map(String::as_str)
    }

    /// Whether other processes outlive init because they are not in a PID namespace of its own.
    pub(crate) fn shares_pids(&self) -> bool {
        !self.linux.namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
    }

    /// Where the container's cgroups are, in the notation of the OCI; empty when the runtime chooses.
    pub(crate) fn cgroups_path(&self) -> &str {
        &self.linux.cgroups_path
    }
}

/// An exit on disk: `delete` reports it when nobody is left who remembers it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct ExitRecord {
    pub(crate) pid: u32,
    pub(crate) status: u32,
    /// Nanoseconds since the epoch.
    exited_at_ns: u64,
    /// The shim has removed the container after that.
    pub(crate) removed: bool,
}

/// An init on disk: with its start time it cannot be taken for another that has its pid.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct InitRecord {
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
}

/// A container in a sandbox, on disk: `delete` of the sandbox goes by it, for containerd executes none for a member.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct MemberRecord {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
}

impl ExitRecord {
    pub(crate) fn new(pid: u32, exit: Exit, removed: bool) -> Self {
        let since = exit.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { pid, status: exit.status, exited_at_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX), removed }
    }

    pub(crate) fn at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.exited_at_ns)
    }
}

impl Bundle {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file of the bundle.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.join("rootfs")
    }

    /// Where the runtime writes the pid of init.
    pub(crate) fn init_pid(&self) -> PathBuf {
        self.join("init.pid")
    }

    /// The group of containers that share one shim, if the bundle belongs to one. A sandbox may have no configuration.
    pub(crate) fn group(&self) -> Result<Option<String>, Error> {
        match self.spec() {
            Ok(spec) => Ok(spec.group().map(str::to_owned)),
            Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn spec(&self) -> Result<Spec, Error> {
        let path = self.join("config.json");
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        serde_json::from_slice(&text).map_err(|cause| Error::Other(format!("parse {}: {cause}", path.display())))
    }

    /// Notes which socket the address led to: a later shim of the group listens at the same path.
    pub(crate) fn write_socket(&self, identity: &str) -> Result<(), Error> {
        self.replace(SOCKET, identity.as_bytes())
    }

    pub(crate) fn socket(&self) -> Option<String> {
        fs::read_to_string(self.join(SOCKET)).ok()
    }

    /// The bare address, without a newline: containerd 1.6 and 1.7 read it back when they start again, and trim nothing.
    pub(crate) fn write_address(&self, address: &str) -> Result<(), Error> {
        self.replace("address", address.as_bytes())
    }

    pub(crate) fn address(&self) -> Option<String> {
        fs::read_to_string(self.join("address")).ok()
    }

    pub(crate) fn write_exit(&self, record: &ExitRecord) -> Result<(), Error> {
        self.write_json(EXIT, record)
    }

    pub(crate) fn exit(&self) -> Option<ExitRecord> {
        self.read_json(EXIT)
    }

    pub(crate) fn write_init(&self, record: &InitRecord) -> Result<(), Error> {
        self.write_json(INIT, record)
    }

    pub(crate) fn init(&self) -> Option<InitRecord> {
        self.read_json(INIT)
    }

    pub(crate) fn write_members(&self, members: &[MemberRecord]) -> Result<(), Error> {
        self.write_json(MEMBERS, &members)
    }

    /// The members of a sandbox; nothing in a bundle that is none's.
    pub(crate) fn members(&self) -> Option<Vec<MemberRecord>> {
        self.read_json(MEMBERS)
    }

    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_vec(value).map_err(|cause| Error::Other(format!("encode {name}: {cause}")))?;
        self.replace(name, &text)
    }

    /// A file of ours, or nothing when it is absent or was cut short by a crash.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.join(name)).ok()?).ok()
    }

    /// Written aside and renamed, so that a reader sees all or nothing. The temporary name is ours alone, and a
    /// stale one left by a crash is simply overwritten.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let temporary = self.join(format!(".{name}.{}", std::process::id()));
        let path = self.join(name);
        let written = fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|cause| {
            drop(fs::remove_file(&temporary));
            Error::Io { what: format!("write {}", path.display()), cause }
        })
    }
}

const EXIT: &str = "exit.json";
const INIT: &str = "init.json";
const MEMBERS: &str = "members.json";

/// A pid that a runtime has written.
pub(crate) fn read_pid(path: &Path) -> io::Result<u32> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("not a pid: {text:?}")))
}
