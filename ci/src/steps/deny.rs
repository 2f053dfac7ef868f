//! `cargo ci deny`: licences, advisories and sources of the dependencies, by cargo-deny.

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::{command, workspace};

pub(crate) fn run() -> Result<ExitCode> {
    let mut probe = workspace::cargo()?;
    probe.args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().context("cannot run cargo")?.success() {
        command::run(workspace::cargo()?.args(["install", "cargo-deny", "--locked"]))?;
    }
    command::run(workspace::cargo()?.args(["deny", "--config", ".deny.toml", "check"]))?;
    Ok(ExitCode::SUCCESS)
}
