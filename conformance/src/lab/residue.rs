//! What a finished life has left in the world.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use procfs::process::FDTarget;

use super::{Lab, deadline, process, world::Isolation};
use crate::{history::Residue, tenancy};

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
    Path::new("/").join(tenancy::place_of(unique)).display().to_string()
}

/// Below the world's parent, the parent of the cgroups of a second containerd.
pub const NEIGHBOUR: &str = "neighbour";

/// cgroups below the world's parent.
fn cgroups(unique: &str) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for hierarchy in hierarchies()? {
        let parent = hierarchy.join(cgroup_parent(unique).trim_start_matches('/'));
        // Those of a second containerd lie a step deeper, so that the same id may be in both.
        for directory in [parent.join(NEIGHBOUR), parent] {
            let below = children(&directory).into_iter();
            let containers = below.filter(|path| path.is_dir() && !path.ends_with(NEIGHBOUR));
            left.extend(containers.map(|path| path.display().to_string()));
        }
    }
    Ok(left)
}

/// The file in a world's base that names each address that a shim answered, one a line: a bundle that would name it may be gone.
const ADDRESSES: &str = "addresses";

/// Remembers where a shim serves. Outside of worlds nobody else would know what to remove when the driver is ended by force.
///
/// # Errors
///
/// When it cannot be written.
pub fn remember_address(base: &Path, address: &str) -> Result<()> {
    let path = base.join(ADDRESSES);
    let file = fs::OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{address}")).with_context(|| format!("write {}", path.display()))
}

/// Removes the sockets that shims left to the host: those whose addresses were remembered, and those that bundles name.
///
/// # Errors
///
/// With the socket that cannot be removed.
pub fn remove_sockets(base: &Path) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Bootstrap {
        address: String,
    }
    let remembered = fs::read_to_string(base.join(ADDRESSES)).unwrap_or_default();
    let mut addresses: Vec<String> = remembered.lines().map(str::to_owned).collect();
    let namespaces = children(&base.join("containerd/io.containerd.runtime.v2.task"));
    for bundle in namespaces.iter().flat_map(|namespace| children(namespace)) {
        addresses.extend(fs::read_to_string(bundle.join("address")));
        let json = fs::read(bundle.join("bootstrap.json")).unwrap_or_default();
        addresses.extend(serde_json::from_slice(&json).map(|Bootstrap { address }| address));
    }
    let paths = addresses.iter().filter_map(|address| address.trim().strip_prefix("unix://"));
    paths.map(Path::new).try_for_each(remove_socket)
}

/// Removes a socket, when there is one.
fn remove_socket(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// Removes those of `sockets` that are younger than `directory`: a process may also hold sockets that it inherited from the host.
///
/// # Errors
///
/// When one cannot be removed, or the file system does not tell when the directory was made.
pub fn remove_younger<'a>(sockets: impl IntoIterator<Item = &'a PathBuf>, directory: &Path) -> Result<()> {
    let made = match fs::metadata(directory).and_then(|metadata| metadata.created()) {
        // Nothing was made at all.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        made => made.with_context(|| format!("ask when {} was made", directory.display()))?,
    };
    for socket in sockets {
        let is_younger =
            fs::symlink_metadata(socket).and_then(|metadata| metadata.modified()).is_ok_and(|at| at >= made);
        if is_younger {
            remove_socket(socket)?;
        }
    }
    Ok(())
}

/// The paths of the unix sockets that a process of this network namespace holds; none when it is gone.
pub fn sockets_of(pid: i32) -> Vec<PathBuf> {
    let Ok(descriptors) = procfs::process::Process::new(pid).and_then(|process| process.fd()) else {
        return Vec::new();
    };
    let held: BTreeSet<u64> = descriptors
        .flatten()
        .filter_map(|descriptor| match descriptor.target {
            FDTarget::Socket(inode) => Some(inode),
            FDTarget::Path(_)
            | FDTarget::Net(_)
            | FDTarget::Pipe(_)
            | FDTarget::AnonInode(_)
            | FDTarget::MemFD(_)
            | FDTarget::Other(..)
            | FDTarget::Unknown(..) => None,
        })
        .collect();
    let all = procfs::net::unix().unwrap_or_default();
    all.into_iter().filter(|socket| held.contains(&socket.inode)).filter_map(|socket| socket.path).collect()
}

/// What lies in a directory that may not exist.
fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
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
