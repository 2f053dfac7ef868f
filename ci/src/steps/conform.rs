//! `cargo ci conform`: the suite against the reference shim, from sources to verdict in one command.

use std::{
    env,
    ffi::OsString,
    process::{Command, ExitCode},
};

use anyhow::Result;

use crate::{command, steps, workspace};

/// From where the suite takes the shim's path when no argument names one. Not an argument, as not all of the suite's
/// subcommands take one.
const SHIM: &str = "CONFORMANCE_SHIM";

/// What follows `conform` goes to the suite.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments for the suite; `--shim PATH` puts another shim in the place of the reference shim
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let binaries = workspace::build()?;
    let mut suite = Command::new(&binaries.conformance);
    if env::var_os(SHIM).is_none() {
        suite.env(SHIM, &binaries.shim);
    }
    Ok(steps::exit_code(command::status(suite.args(&args.args))?))
}
