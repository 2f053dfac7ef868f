//! `state` and `list`: what is there and what it is doing.

use std::{collections::BTreeMap, fs, io, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    Engine, cli,
    log::answer,
    refusal::Refusal,
    state::{Record, StateDirectory, Status},
};

/// The state of the specification, with the fields that runc adds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    /// 0 once stopped.
    pid: i32,
    status: Status,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    annotations: &'a BTreeMap<String, String>,
    owner: &'static str,
}

impl<'a> State<'a> {
    fn of(record: &'a Record) -> Result<Self> {
        let status = record.status()?;
        Ok(Self {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status,
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner: "",
        })
    }
}

/// Prints the state of one container.
pub(super) fn state(engine: &Engine, arguments: &cli::Id) -> Result<()> {
    let record = StateDirectory::new(&engine.root, &arguments.id)?.load()?;
    let state = State::of(&record)?;
    answer(&(serde_json::to_string_pretty(&state).context("cannot encode the state")? + "\n"))
}

/// Prints all containers under the root.
pub(super) fn list(engine: &Engine, arguments: &cli::List) -> Result<()> {
    let records = records(engine)?;
    let states = records.iter().map(State::of).collect::<Result<Vec<_>>>()?;
    if arguments.quiet {
        return answer(&states.iter().map(|state| format!("{}\n", state.id)).collect::<String>());
    }
    match arguments.format {
        cli::Format::Json => answer(&(serde_json::to_string(&states).context("cannot encode the list")? + "\n")),
        cli::Format::Table => answer(&table(&states)),
    }
}

fn table(states: &[State<'_>]) -> String {
    let mut text = format!("{:<36} {:<8} {:<8} {}\n", "ID", "PID", "STATUS", "BUNDLE");
    for state in states {
        let State { id, pid, status, bundle, .. } = state;
        text += &format!("{id:<36} {pid:<8} {:<8} {}\n", status.to_string(), bundle.display());
    }
    text
}

fn records(engine: &Engine) -> Result<Vec<Record>> {
    let entries = match fs::read_dir(&engine.root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", engine.root.display()))?,
    };
    let mut records = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", engine.root.display()))?;
        let name = entry.file_name();
        let Some(id) = name.to_str().filter(|_| entry.metadata().is_ok_and(|data| data.mode() & 0o040_000 != 0)) else {
            continue;
        };
        match StateDirectory::new(&engine.root, id)?.load() {
            Ok(record) => records.push(record),
            // Being created or deleted right now.
            Err(error) if matches!(error.downcast_ref(), Some(Refusal::Unknown { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    records.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Ok(records)
}
