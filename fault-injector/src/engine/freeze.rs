//! `pause` and `resume`.

use anyhow::Result;

use super::{
    Engine, cli,
    refusal::Refusal,
    state::{StateDirectory, Status},
};

/// Freezes a container that lives.
pub(super) fn pause(engine: &Engine, arguments: &cli::Id) -> Result<()> {
    let record = StateDirectory::new(&engine.root, &arguments.id)?.load()?;
    match record.status()? {
        Status::Created | Status::Running => record.cgroup.freeze(),
        status @ (Status::Paused | Status::Stopped) => Err(refusal("pause", arguments, status)),
    }
}

/// Thaws a container that is frozen.
pub(super) fn resume(engine: &Engine, arguments: &cli::Id) -> Result<()> {
    let record = StateDirectory::new(&engine.root, &arguments.id)?.load()?;
    match record.status()? {
        Status::Paused => record.cgroup.thaw(),
        status @ (Status::Created | Status::Running | Status::Stopped) => Err(refusal("resume", arguments, status)),
    }
}

fn refusal(verb: &'static str, arguments: &cli::Id, status: Status) -> anyhow::Error {
    let id = arguments.id.clone();
    Refusal::State { verb, id, status }.into()
}
