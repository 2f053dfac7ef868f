//! The file by which a shim learns the pid.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

/// Writes the number beside its place and renames it there, so that a watcher never reads half of it.
pub(super) fn write(path: &Path, pid: Pid) -> Result<()> {
    let name = path.file_name().with_context(|| format!("pid file {} has no name", path.display()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let new = path.with_file_name(hidden);
    fs::write(&new, pid.to_string()).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("cannot rename {} to {}", new.display(), path.display()))
}
