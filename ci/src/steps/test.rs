//! `cargo ci test`: what needs no shim of somebody else.

use std::process::ExitCode;

use anyhow::Result;

use crate::{command, workspace};

pub(crate) fn run() -> Result<ExitCode> {
    command::run(workspace::cargo()?.args(["test", "--workspace", "--no-fail-fast"]))?;
    Ok(ExitCode::SUCCESS)
}
