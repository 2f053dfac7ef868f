//! `update`: other limits for a living container.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};

use super::{
    Engine, cli,
    refusal::Refusal,
    spec::Resources,
    state::{StateDirectory, Status},
};

/// Sets the limits that are given.
pub(super) fn update(engine: &Engine, arguments: &cli::Update) -> Result<()> {
    let record = StateDirectory::new(&engine.root, &arguments.id)?.load()?;
    let text = if arguments.resources == Path::new("-") {
        io::read_to_string(io::stdin()).context("cannot read resources from stdin")?
    } else {
        let path = &arguments.resources;
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
    };
    let resources: Resources = serde_json::from_str(&text).context("malformed resources")?;
    match record.status()? {
        Status::Created | Status::Running | Status::Paused => record.cgroup.limit(&resources),
        Status::Stopped => Err(Refusal::NotRunning { id: record.id }.into()),
    }
}
