//! `cargo ci conform`: the suite against the reference shim, from sources to verdict in one command.

use std::{
    ffi::OsString,
    process::{Command, ExitCode},
};

use anyhow::Result;

use crate::{command, steps, workspace};

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
    if !names_a_shim(&args.args) {
        suite.arg("--shim").arg(&binaries.shim);
    }
    Ok(steps::exit_code(command::status(suite.args(&args.args))?))
}

fn names_a_shim(args: &[OsString]) -> bool {
    args.iter()
        .any(|arg| arg == "--shim" || arg.to_string_lossy().starts_with("--shim="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_shim_is_noticed_in_both_spellings() {
        let args = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(names_a_shim(&args(&["--shim", "/x"])));
        assert!(names_a_shim(&args(&["-v", "--shim=/x"])));
        assert!(!names_a_shim(&args(&["--shimmy", "list"])));
    }
}
