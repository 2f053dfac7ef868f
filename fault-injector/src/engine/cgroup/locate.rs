//! Where control groups are mounted, and where in them a container belongs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use procfs::{
    FromRead as _, ProcessCGroups,
    process::{MountInfo, MountInfos},
};

/// What this mount namespace offers.
pub(super) enum Mounted {
    /// Neither version.
    Nothing,
    /// At least one version 1 hierarchy.
    V1(Vec<Mountpoint>),
    /// The version 2 tree, and no version 1 hierarchy.
    V2(PathBuf),
}

/// One version 1 hierarchy.
pub(super) struct Mountpoint {
    /// `cpu`, `memory`, …, or `name=systemd`.
    pub(super) controllers: Vec<String>,
    pub(super) path: PathBuf,
}

/// Reads the mount table of this process.
pub(super) fn mounted() -> Result<Mounted> {
    let table = MountInfos::from_file("/proc/self/mountinfo").context("cannot read the mount table")?;
    Ok(choose(&table.0))
}

/// Which mounts to use, pure: version 1 wins on a hybrid host, since the controllers are there.
fn choose(table: &[MountInfo]) -> Mounted {
    let mut hierarchies: Vec<Mountpoint> = Vec::new();
    for mount in table.iter().filter(|mount| mount.fs_type == "cgroup") {
        let controllers = controllers(mount);
        if hierarchies.iter().all(|known| known.controllers != controllers) {
            hierarchies.push(Mountpoint { controllers, path: mount.mount_point.clone() });
        }
    }
    if !hierarchies.is_empty() {
        return Mounted::V1(hierarchies);
    }
    let unified = table.iter().find(|mount| mount.fs_type == "cgroup2");
    unified.map_or(Mounted::Nothing, |mount| Mounted::V2(mount.mount_point.clone()))
}

/// The controllers are among the options of the file system, beside the general ones.
fn controllers(mount: &MountInfo) -> Vec<String> {
    const GENERAL: &[&str] = &["rw", "ro", "xattr", "noprefix", "clone_children", "favordynmods", "release_agent"];
    let options = mount.super_options.iter().filter(|(key, _)| !GENERAL.contains(&key.as_str()));
    let mut controllers: Vec<String> = options
        .map(|(key, value)| value.as_ref().map_or_else(|| key.clone(), |value| format!("{key}={value}")))
        .collect();
    controllers.sort_unstable();
    controllers
}

/// The group this process is in, by controller name (`None` for version 2); relative paths of containers start there.
pub(super) fn own(controller: Option<&str>) -> Result<PathBuf> {
    let groups = ProcessCGroups::from_file("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    let own = groups.0.into_iter().find(|group| match controller {
        None => group.hierarchy == 0,
        Some(name) => group.controllers.iter().any(|known| known == name),
    });
    Ok(own.map_or_else(|| PathBuf::from("/"), |group| group.pathname.into()))
}

/// The directory of the container below a mount point: `cgroupsPath` from the root if absolute, else (or by id, if absent)
/// from `own`. A systemd triple `slice:prefix:name` becomes the path that systemd would choose.
pub(super) fn directory(mountpoint: &Path, own: &Path, id: &str, cgroups_path: Option<&str>) -> PathBuf {
    let path = match cgroups_path.filter(|path| !path.is_empty()) {
        None => own.join(id),
        Some(path) => match path.split(':').collect::<Vec<_>>()[..] {
            [slice, prefix, name] if !path.contains('/') => {
                let slice = if slice.is_empty() { "system.slice" } else { slice };
                Path::new("/").join(slice).join(format!("{prefix}-{name}.scope"))
            }
            _ => own.join(path),
        },
    };
    // An absolute or climbing path must not leave the hierarchy.
    let inside = path.components().filter(|part| matches!(part, std::path::Component::Normal(_)));
    mountpoint.join(inside.collect::<PathBuf>())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, "/m/own/c1")]
    #[case(Some(""), "/m/own/c1")]
    #[case(Some("/ns/c1"), "/m/ns/c1")]
    #[case(Some("ns/c1"), "/m/own/ns/c1")]
    #[case(Some("/../../etc"), "/m/etc")]
    #[case(Some("user.slice:cri:c1"), "/m/user.slice/cri-c1.scope")]
    #[case(Some(":cri:c1"), "/m/system.slice/cri-c1.scope")]
    fn directories(#[case] path: Option<&str>, #[case] expected: &str) {
        let found = directory(Path::new("/m"), Path::new("/own"), "c1", path);
        assert_eq!(found, Path::new(expected));
    }

    fn table(text: &str) -> Vec<MountInfo> {
        MountInfos::from_read(text.as_bytes()).unwrap().0
    }

    #[test]
    fn a_hybrid_host_is_version_1() {
        let table = table(
            "20 1 0:1 / /c/cpu rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
             21 1 0:2 / /c/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             22 1 0:3 / /c/unified rw - cgroup2 cgroup2 rw\n",
        );
        let Mounted::V1(hierarchies) = choose(&table) else {
            panic!("version 1 is mounted");
        };
        let names: Vec<_> = hierarchies.iter().map(|one| one.controllers.join(",")).collect();
        assert_eq!(names, ["cpu,cpuacct", "name=systemd"]);
    }

    #[test]
    fn a_unified_host_is_version_2() {
        let table = table("22 1 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert!(matches!(choose(&table), Mounted::V2(path) if path == Path::new("/sys/fs/cgroup")));
    }

    #[test]
    fn a_bare_world_has_nothing() {
        assert!(matches!(choose(&[]), Mounted::Nothing));
    }
}
