//! The `conformance` command. Under other names, and with hidden subcommands, it is what its own runs are made of.

use std::process::ExitCode;

use conformance::{cli, entry};

fn main() -> ExitCode {
    entry::other_self().unwrap_or_else(|| cli::main(std::env::args_os()))
}
