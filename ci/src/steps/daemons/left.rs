//! What may not be left of any container when the daemon has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::stage::Stage;
use crate::host::{self, Footprint, Process};

/// The folder of the daemons' own files, which are no concern of a shim.
pub(super) const HOMES: &str = "/run/ci";

/// Where `ctr` makes FIFOs, which it leaves there when it detaches.
const FIFOS: &str = "/run/containerd/fifo";

/// What is in this world at one time.
pub(super) struct Inventory {
    processes: BTreeMap<i32, Process>,
    kernel: Footprint,
    files: BTreeSet<PathBuf>,
}

impl Inventory {
    /// Counts what is there now.
    pub(super) fn take() -> Result<Self> {
        let mut found = BTreeSet::new();
        files(Path::new("/run"), &mut found)?;
        let processes = host::processes()?.into_iter().map(|process| (process.pid, process)).collect();
        Ok(Self { processes, kernel: Footprint::now()?, files: found })
    }
}

/// Names everything that is left in this world and was not there before, and the daemon's bundles.
pub(super) fn all(stage: &Stage<'_>, namespace: &str, before: &Inventory, bundles: &[PathBuf]) -> Result<Vec<String>> {
    let now = Inventory::take()?;
    let strangers = now.processes.values().filter(|process| !before.processes.contains_key(&process.pid));
    let mut left: Vec<String> = strangers.map(ToString::to_string).collect();
    let kernel = now.kernel.since(&before.kernel);
    // The host's other cgroups are not ours to judge; the parent that is named for our namespace is no container's.
    let below = format!("/{namespace}/");
    left.extend(kernel.into_iter().filter(|entry| !entry.starts_with("cgroup ") || entry.contains(&below)));
    left.extend(bundles.iter().map(|bundle| format!("bundle {}", bundle.display())));
    let files = now.files.difference(&before.files).filter(|file| !stage.excuses(file));
    left.extend(files.map(|file| format!("file {}", file.display())));
    Ok(left)
}

/// Finds all below `folder` that is no folder.
fn files(folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            found.insert(path);
        } else if path != Path::new(HOMES) && path != Path::new(FIFOS) {
            files(&path, found)?;
        }
    }
    Ok(())
}
