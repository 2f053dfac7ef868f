//! What this host offers to worlds, found out by trying.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use nix::unistd::getuid;

use crate::{lab::world::Isolation, probe, runner::Control};

/// Where programs of administrators lie when PATH does not say so.
const USUAL_PLACES: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What was found.
#[derive(Debug, Clone)]
pub struct Host {
    /// Whether the suite runs as root.
    pub root: bool,
    /// Whether worlds can be made, or why not.
    pub worlds: Result<(), String>,
    /// Whether worlds may make cgroups, or why not.
    pub cgroups: Result<(), String>,
}

impl Host {
    /// Tries, by making one world that does nothing.
    ///
    /// # Errors
    ///
    /// When the suite fails or is interrupted.
    pub fn examine(isolation: Isolation, control: &Control) -> anyhow::Result<Self> {
        let root = getuid().is_root();
        Ok(Self { root, worlds: probe::world(isolation, control)?, cgroups: control.tenancy().cgroups() })
    }
}

/// The executable called `name`, as a shell would find it, or in the usual places.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(USUAL_PLACES.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_absolute() && is_executable(candidate))
}

/// Whether this is a file that somebody may execute.
pub fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Whether this very executable is linked dynamically: the kernel then tells it where its interpreter was mapped.
///
/// # Errors
///
/// When /proc cannot be read.
pub fn is_dynamic() -> anyhow::Result<bool> {
    /// `getauxval(3)`.
    const AT_BASE: u64 = 7;
    let auxiliary = procfs::process::Process::myself().and_then(|own| own.auxv()).context("read /proc/self/auxv")?;
    Ok(auxiliary.get(&AT_BASE).is_some_and(|&base| base != 0))
}
