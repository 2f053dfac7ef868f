//! `cargo ci check`: formatting, lints and documentation, each with warnings as errors.

use std::process::ExitCode;

use anyhow::Result;

use crate::{command, workspace};

pub(crate) fn run() -> Result<ExitCode> {
    command::run(workspace::cargo()?.args(["fmt", "--all", "--check"]))?;
    command::run(workspace::cargo()?.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut doc = workspace::cargo()?;
    doc.args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(ExitCode::SUCCESS)
}
