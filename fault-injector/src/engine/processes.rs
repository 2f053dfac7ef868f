//! Which processes belong to a container, for `ps` and for signals to all.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

use super::{
    Engine, cli,
    log::answer,
    state::{Record, StateDirectory},
};

/// Prints the processes of a container, as pids of our own PID namespace.
pub(super) fn ps(engine: &Engine, arguments: &cli::Ps) -> Result<()> {
    let record = StateDirectory::new(&engine.root, &arguments.id)?.load()?;
    let pids: Vec<i32> = of(&record)?.into_iter().map(Pid::as_raw).collect();
    match arguments.format {
        cli::Format::Json => answer(&(serde_json::to_string(&pids).context("cannot encode the pids")? + "\n")),
        cli::Format::Table => {
            let mut text = format!("{:>8} {}\n", "PID", "CMD");
            for pid in pids {
                // A process that ends meanwhile has no command line any more.
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                text += &format!("{pid:>8} {}\n", command.trim_end());
            }
            answer(&text)
        }
    }
}

/// Everything in the container's cgroups and, when it has a PID namespace of its own, everything in that.
pub(super) fn of(record: &Record) -> Result<BTreeSet<Pid>> {
    let mut found: BTreeSet<Pid> = record.cgroup.processes()?.into_iter().collect();
    if found.is_empty() && record.owns_pid_namespace && record.live_process()?.is_some() {
        found = in_pid_namespace_of(record.pid())?;
    }
    Ok(found)
}

fn in_pid_namespace_of(init: Pid) -> Result<BTreeSet<Pid>> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid"));
    let wanted = namespace(init.as_raw()).context("cannot look at the PID namespace of the container")?;
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let name = entry.context("cannot list /proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that has ended meanwhile has no namespace any more.
        if namespace(pid).is_ok_and(|link| link == wanted) {
            found.insert(Pid::from_raw(pid));
        }
    }
    Ok(found)
}
