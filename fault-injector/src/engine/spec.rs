//! The part of the OCI runtime specification's `config.json` that the engine obeys. Unknown fields are ignored, as the specification demands.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Deserializer};

/// `config.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) oci_version: String,
    pub(super) process: Option<Process>,
    pub(super) root: Option<Root>,
    pub(super) hostname: Option<String>,
    pub(super) domainname: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) mounts: Vec<Mount>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) hooks: BTreeMap<String, Option<Vec<serde_json::Value>>>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) linux: Linux,
}

/// Where the container's `/` is.
#[derive(Debug, Deserialize)]
pub(super) struct Root {
    /// Absolute, or relative to the bundle.
    pub(super) path: PathBuf,
    #[serde(default)]
    pub(super) readonly: bool,
}

/// The container's first process, or one that joins it; also the whole file given to `exec --process`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    #[serde(default)]
    pub(super) terminal: bool,
    pub(super) console_size: Option<ConsoleSize>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) user: User,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) args: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) env: Vec<String>,
    #[serde(default)]
    pub(super) cwd: PathBuf,
    /// Absent means none at all, as runc has it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) capabilities: Capabilities,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) rlimits: Vec<Rlimit>,
    #[serde(default)]
    pub(super) no_new_privileges: bool,
    pub(super) oom_score_adj: Option<i32>,
}

/// Terminal size in characters.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct ConsoleSize {
    pub(super) height: u16,
    pub(super) width: u16,
}

/// Ids inside the container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    #[serde(default)]
    pub(super) uid: u32,
    #[serde(default)]
    pub(super) gid: u32,
    pub(super) umask: Option<u32>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) additional_gids: Vec<u32>,
}

/// Capability names such as `CAP_KILL`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Capabilities {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) bounding: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) effective: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) inheritable: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) permitted: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) ambient: Vec<String>,
}

/// One resource limit, named as in `setrlimit(2)`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Rlimit {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// One row of the mount table.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Mount {
    pub(super) destination: PathBuf,
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) source: PathBuf,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) options: Vec<String>,
}

/// What only Linux has.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Linux {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) namespaces: Vec<Namespace>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) uid_mappings: Vec<IdMapping>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) gid_mappings: Vec<IdMapping>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) devices: Vec<Device>,
    pub(super) cgroups_path: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) resources: Resources,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) sysctl: BTreeMap<String, String>,
    pub(super) rootfs_propagation: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) masked_paths: Vec<PathBuf>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) readonly_paths: Vec<PathBuf>,
    pub(super) seccomp: Option<serde_json::Value>,
}

/// A namespace to be made, or joined when it has a path.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Namespace {
    #[serde(rename = "type")]
    pub(super) kind: NamespaceKind,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) path: PathBuf,
}

/// The namespaces the engine knows; any other is an error when the file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NamespaceKind {
    Cgroup,
    Ipc,
    Mount,
    Network,
    Pid,
    User,
    Uts,
}

/// `size` ids from `container_id` inside are the ids from `host_id` outside.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IdMapping {
    #[serde(rename = "containerID")]
    pub(super) container_id: u32,
    #[serde(rename = "hostID")]
    pub(super) host_id: u32,
    pub(super) size: u32,
}

/// A device node to be made.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub(super) path: PathBuf,
    /// `c`, `u` (character), `b` (block) or `p` (FIFO).
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) major: i64,
    #[serde(default)]
    pub(super) minor: i64,
    pub(super) file_mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// Limits of the container; also the whole file given to `update --resources`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Resources {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) memory: Memory,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) cpu: Cpu,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) pids: Pids,
    /// Version 2 files and what to write to them.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) unified: BTreeMap<String, String>,
}

/// Bytes; -1 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Memory {
    pub(super) limit: Option<i64>,
    pub(super) reservation: Option<i64>,
    /// Memory and swap together.
    pub(super) swap: Option<i64>,
}

/// Times in microseconds; a quota of -1 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Cpu {
    pub(super) shares: Option<u64>,
    pub(super) quota: Option<i64>,
    pub(super) period: Option<u64>,
    pub(super) cpus: Option<String>,
    pub(super) mems: Option<String>,
}

/// Number of tasks; 0 and below is no limit.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Pids {
    pub(super) limit: Option<i64>,
}

impl Spec {
    /// Reads and checks `config.json` of a bundle.
    pub(super) fn load(bundle: &Path) -> Result<Self> {
        let path = bundle.join("config.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let spec: Self = serde_json::from_slice(&text).with_context(|| format!("malformed {}", path.display()))?;
        spec.check().with_context(|| format!("cannot run {}", path.display()))?;
        Ok(spec)
    }

    /// The container's first process, or why there is none.
    pub(super) fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("no process in the configuration")
    }

    /// Refuses what would silently be left out although a container may depend on it.
    fn check(&self) -> Result<()> {
        self.process()?.check()?;
        if self.root.is_none() {
            bail!("no root in the configuration");
        }
        if let Some((name, _)) = self.hooks.iter().find(|(_, hooks)| hooks.iter().flatten().next().is_some()) {
            bail!("hooks are not supported by this engine: {name}");
        }
        if self.linux.namespace(NamespaceKind::Mount).is_none() {
            bail!("a mount namespace is required");
        }
        if self.hostname.is_some() && self.linux.namespace(NamespaceKind::Uts).is_none() {
            bail!("a hostname is given without a uts namespace");
        }
        for namespace in &self.linux.namespaces {
            let alike = self.linux.namespaces.iter().filter(|other| other.kind == namespace.kind);
            if alike.count() > 1 {
                bail!("namespace {:?} is listed twice", namespace.kind);
            }
        }
        Ok(())
    }
}

impl Process {
    /// Refuses what no program can be run with.
    pub(super) fn check(&self) -> Result<()> {
        if self.args.is_empty() {
            bail!("process args are empty");
        }
        if !self.cwd.is_absolute() {
            bail!("process cwd is not an absolute path: {:?}", self.cwd);
        }
        Ok(())
    }
}

impl Linux {
    /// The entry of one kind, if listed.
    pub(super) fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)
    }
}

impl Namespace {
    /// Whether an existing namespace is meant.
    pub(super) fn is_joined(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }
}

impl Resources {
    /// Whether nothing is limited.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Go writes `null` for an empty slice, map or pointer.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
