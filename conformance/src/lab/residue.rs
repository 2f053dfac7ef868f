//! What a finished life has left in the world.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{Lab, deadline, process, world::Isolation};
use crate::history::Residue;

/// Looks at everything of the world that must be gone once all lives have ended.
///
/// # Errors
///
/// When /proc or a directory cannot be read.
pub fn look(lab: &Lab) -> Result<Residue> {
    let mut residue = Residue {
        processes: processes()?,
        mounts: mounts(lab)?,
        cgroups: cgroups(&lab.job().unique)?,
        sockets: Vec::new(),
        files: Vec::new(),
    };
    walk(&lab.places().runtime_root, &mut residue)?;
    match lab.job().isolation {
        Isolation::Full => walk(Path::new("/run/containerd/s"), &mut residue)?,
        // The directory is shared with the host's own shims: only what ours answered counts.
        Isolation::None => residue.sockets.extend(lab.sockets().into_iter().filter(|path| Path::new(path).exists())),
    }
    if let Some(lie) = lab.lie() {
        lie.residue(&mut residue);
    }
    Ok(residue)
}

/// Looks until nothing is left but what `excuse` takes away; what is left after `limit`.
///
/// # Errors
///
/// When /proc or a directory cannot be read.
pub async fn settled(lab: &Lab, limit: Duration, excuse: impl Fn(&mut Residue)) -> Result<Residue> {
    let excused = || {
        look(lab).map(|mut residue| {
            excuse(&mut residue);
            residue
        })
    };
    let end = deadline::until(lab.scaled(limit), || match excused() {
        Ok(residue) if residue == Residue::default() => Some(Ok(residue)),
        Ok(_) => None,
        Err(e) => Some(Err(e)),
    });
    end.await.unwrap_or_else(excused)
}

/// Whatever descends from the world's reaper and is neither the driver nor a fake containerd is the shim's.
fn processes() -> Result<Vec<String>> {
    let own = i32::try_from(std::process::id()).context("a pid over 31 bits")?;
    let mut family = vec![nix::unistd::getppid().as_raw()];
    let mut others = process::processes()?;
    others.retain(|stat| stat.pid != own && stat.ppid != own);
    let mut left = Vec::new();
    while let Some(parent) = family.pop() {
        for stat in others.iter().filter(|stat| stat.ppid == parent) {
            family.push(stat.pid);
            left.push(format!("{} {} ({})", stat.pid, stat.comm, stat.state));
        }
    }
    Ok(left)
}

fn mounts(lab: &Lab) -> Result<Vec<String>> {
    let mounts = procfs::process::Process::myself().and_then(|own| own.mountinfo()).context("read mountinfo")?;
    let state = &lab.setup().state;
    let left = mounts
        .into_iter()
        .map(|mount| mount.mount_point)
        .filter(|point| point.starts_with(state) || point.starts_with(&lab.places().base))
        .map(|point| point.display().to_string())
        .collect();
    Ok(left)
}

/// Sockets, and files of the runtime; directories on the way are nobody's.
fn walk(directory: &Path, residue: &mut Residue) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("list {}", directory.display())),
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", directory.display()))?;
        let kind = entry.file_type().with_context(|| format!("look at {}", entry.path().display()))?;
        if kind.is_dir() {
            walk(&entry.path(), residue)?;
        } else if kind.is_socket() {
            residue.sockets.push(entry.path().display().to_string());
        } else {
            residue.files.push(entry.path().display().to_string());
        }
    }
    Ok(())
}

/// Where the hierarchies of cgroups are mounted: one for v2, one for each group of controllers for v1.
pub fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = procfs::process::Process::myself().and_then(|own| own.mountinfo()).context("read mountinfo")?;
    let hierarchies = mounts.into_iter().filter(|mount| matches!(mount.fs_type.as_str(), "cgroup" | "cgroup2"));
    Ok(hierarchies.map(|mount| mount.mount_point).collect())
}

/// The parent of all cgroups of the world `unique`.
pub fn cgroup_parent(unique: &str) -> String {
    format!("/conformance-{unique}")
}

/// cgroups below the world's parent.
fn cgroups(unique: &str) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for hierarchy in hierarchies()? {
        let parent = hierarchy.join(cgroup_parent(unique).trim_start_matches('/'));
        let Ok(entries) = fs::read_dir(&parent) else { continue };
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            left.push(entry.path().display().to_string());
        }
    }
    Ok(left)
}

/// Removes the world's cgroups once nothing runs in them; what could not be removed is returned.
///
/// # Errors
///
/// When the mounts cannot be read.
pub fn remove_cgroups(unique: &str) -> Result<Vec<PathBuf>> {
    fn remove(directory: &Path, left: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            remove(&entry.path(), left);
        }
        if fs::remove_dir(directory).is_err() {
            left.push(directory.to_owned());
        }
    }
    let mut left = Vec::new();
    for hierarchy in hierarchies()? {
        remove(&hierarchy.join(cgroup_parent(unique).trim_start_matches('/')), &mut left);
    }
    Ok(left)
}

/// Removes the sockets that the bundles below `state` name: outside of worlds the shims that were ended by force leave them to the host.
///
/// # Errors
///
/// With the socket that cannot be removed.
pub fn remove_sockets(state: &Path) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Bootstrap {
        address: String,
    }
    let namespaces = children(&state.join("io.containerd.runtime.v2.task"));
    for bundle in namespaces.iter().flat_map(|namespace| children(namespace)) {
        let bare = fs::read_to_string(bundle.join("address")).ok();
        let json = fs::read(bundle.join("bootstrap.json"))
            .ok()
            .and_then(|text| serde_json::from_slice::<Bootstrap>(&text).ok());
        for address in bare.into_iter().chain(json.map(|bootstrap| bootstrap.address)) {
            let Some(socket) = address.trim().strip_prefix("unix://").map(Path::new) else {
                continue;
            };
            if fs::symlink_metadata(socket).is_ok_and(|metadata| metadata.file_type().is_socket()) {
                fs::remove_file(socket).with_context(|| format!("remove {}", socket.display()))?;
            }
        }
    }
    Ok(())
}

/// What lies in a directory that may not exist.
fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Thaws the world's cgroups: in a frozen one of v1 not even SIGKILL is obeyed.
///
/// # Errors
///
/// When the mounts cannot be read, or a cgroup stays frozen.
pub fn thaw_cgroups(unique: &str) -> Result<()> {
    fn thaw(directory: &Path) -> Result<()> {
        let Ok(entries) = fs::read_dir(directory) else {
            return Ok(());
        };
        let state = directory.join("freezer.state");
        match fs::write(&state, "THAWED") {
            Err(e) if state.exists() => return Err(e).with_context(|| format!("thaw {}", directory.display())),
            Ok(()) | Err(_) => {}
        }
        let mut below = entries.flatten().filter(|entry| entry.path().is_dir());
        below.try_for_each(|entry| thaw(&entry.path()))
    }
    for hierarchy in hierarchies()? {
        thaw(&hierarchy.join(cgroup_parent(unique).trim_start_matches('/')))?;
    }
    Ok(())
}

/// Whether a cgroup could have this controller.
pub fn has_controller(controller: &str) -> bool {
    hierarchies().unwrap_or_default().iter().any(|hierarchy| {
        let v2 = fs::read_to_string(hierarchy.join("cgroup.controllers"));
        v2.is_ok_and(|list| list.split_whitespace().any(|name| name == controller))
            || hierarchy
                .file_name()
                .is_some_and(|name| name.to_string_lossy().split(',').any(|name| name == controller))
    })
}

/// Whether a cgroup could be frozen: always on v2.
pub fn has_freezer() -> bool {
    has_controller("freezer")
        || hierarchies().unwrap_or_default().iter().any(|hierarchy| hierarchy.join("cgroup.controllers").exists())
}
