//! What a shim needs from the kernel and from the disk, taken away in this world.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use fault_injector::{
    fault::{Damage, Fault, Limit},
    guard::Guard,
    seam::{
        disk,
        process::{Process, ProcessError},
        resource::{self, Ground, ResourceError},
    },
};

use super::{Container, Lab, residue, world::Isolation};
use crate::check::Stop;

impl Lab {
    /// Takes from the shim of `container`, or from the container itself, what the kernel grants.
    pub(super) fn deprive(&self, fault: &Fault, limit: Limit, container: &Container<'_>) -> Result<Guard, Stop> {
        let guard = match limit {
            Limit::Descriptors => shim(container).and_then(|process| resource::limit_descriptors(fault, process)),
            Limit::Processes => {
                let ground = self.ground("pids", container)?;
                shim(container).and_then(|process| resource::confine(fault, &process, ground))
            }
            Limit::Memory => {
                let ground = self.ground("memory", container)?;
                shim(container).and_then(|process| resource::confine(fault, &process, ground))
            }
            Limit::Time => resource::freeze(fault, &self.freezer(container)?),
        };
        guard.map_err(|error| match error {
            ResourceError::Process(ProcessError::Gone { pid }) => {
                Stop::Inconclusive(format!("fault {} finds nobody: process {pid} is gone", fault.id))
            }
            ResourceError::Process(_) | ResourceError::Unfit(_) | ResourceError::Io { .. } => {
                anyhow::Error::new(error).context(format!("inject {}", fault.id)).into()
            }
        })
    }

    /// Does something to the files that the shim of `container` and containerd share.
    pub(super) fn damage(&self, fault: &Fault, damage: Damage, container: &Container<'_>) -> Result<Guard, Stop> {
        if self.job.isolation == Isolation::None {
            return Err(Stop::Skipped("without isolation the files are the host's".to_owned()));
        }
        let bundle = container.bundle();
        let guard = match damage {
            // All that worlds write lies on one tmpfs.
            Damage::Full => disk::fill(fault, Path::new("/run")),
            Damage::ReadOnly => disk::write_protect(fault, &self.shared_directories()),
            Damage::SocketGone => disk::hide(fault, &container.socket()?),
            Damage::AddressGone => disk::hide(fault, &address_file(&bundle)),
            Damage::BundleGone => disk::hide(fault, &bundle),
        };
        Ok(guard.with_context(|| format!("inject {}", fault.id))?)
    }

    /// Where bundles and sockets lie, and the runtime's state.
    fn shared_directories(&self) -> Vec<PathBuf> {
        vec![self.setup.state.clone(), self.places.runtime_root.clone()]
    }

    /// A place for a group around the shim of `container`.
    fn ground(&self, controller: &'static str, container: &Container<'_>) -> Result<Ground, Stop> {
        let (hierarchy, is_v1) = hierarchy_of(controller)?;
        let group = hierarchy
            .join(residue::cgroup_parent(&self.job.unique).trim_start_matches('/'))
            .join(format!("shim-of-{}", container.id()));
        Ok(Ground { hierarchy, controller: is_v1.then_some(controller), group })
    }

    /// The cgroup by which `container` can be frozen.
    fn freezer(&self, container: &Container<'_>) -> Result<PathBuf, Stop> {
        let (hierarchy, _) = hierarchy_of("freezer")?;
        let parent = residue::cgroup_parent(&self.job.unique);
        Ok(hierarchy.join(parent.trim_start_matches('/')).join(container.id()))
    }
}

/// The hierarchy of version 1 that has `controller`, or else the tree of version 2; and whether it is the former.
fn hierarchy_of(controller: &str) -> Result<(PathBuf, bool), Stop> {
    let named = |hierarchy: &PathBuf| {
        hierarchy.file_name().is_some_and(|name| name.to_string_lossy().split(',').any(|name| name == controller))
    };
    let hierarchies = residue::hierarchies()?;
    if let Some(v1) = hierarchies.iter().find(|hierarchy| named(hierarchy)) {
        return Ok((v1.clone(), true));
    }
    let v2 = hierarchies.into_iter().find(|hierarchy| hierarchy.join("cgroup.controllers").exists());
    v2.map(|v2| (v2, false)).ok_or_else(|| Stop::Skipped(format!("no hierarchy has {controller}")))
}

fn shim(container: &Container<'_>) -> Result<Process, ResourceError> {
    let shim =
        container.shim().map_err(|e| ResourceError::Io { what: "find the shim", source: std::io::Error::other(e) })?;
    let pid = i32::try_from(shim.pid).unwrap_or(-1);
    let process = Process::open(pid)?;
    // Asked once it is held: by now the number may be somebody else's.
    if shim.is_alive() { Ok(process) } else { Err(ProcessError::Gone { pid }.into()) }
}

/// The file from which the next containerd would learn the address.
fn address_file(bundle: &Path) -> PathBuf {
    let json = bundle.join("bootstrap.json");
    match json.symlink_metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => bundle.join("address"),
        Ok(_) | Err(_) => json,
    }
}
