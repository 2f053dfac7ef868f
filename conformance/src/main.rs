//! The `conformance` command. Under other names, and with hidden subcommands, it is what its own runs are made of.

use std::{
    io::Write as _,
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use conformance::{cli, containerd, drive, entry, lab::world, payload, probe};

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let name = Path::new(&name)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    match name.as_str() {
        entry::PAYLOAD => payload::main(&args.map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>()),
        entry::ENGINE => fault_injector::engine::main(std::env::args_os()),
        _ => match args.next().as_deref().and_then(|first| first.to_str()) {
            Some(entry::CONTAINERD) => hidden(
                args.next()
                    .context("no setup was given")
                    .and_then(|setup| fake_containerd(&setup)),
            ),
            Some(entry::WORLD) => hidden(world::main(drive::main)),
            Some(entry::PROBE) => hidden(world::main(probe::main)),
            _ => cli::main(std::env::args_os()),
        },
    }
}

fn fake_containerd(setup: &std::ffi::OsStr) -> Result<ExitCode> {
    let setup = serde_json::from_slice(setup.as_encoded_bytes()).context("decode the setup")?;
    let control = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("adopt the control socket")?;
    containerd::main(setup, UnixStream::from(control))?;
    Ok(ExitCode::SUCCESS)
}

/// The runner reads the errors of its own children from their standard error.
fn hidden(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|e| {
        // When even that fails the exit code must do.
        _ = writeln!(std::io::stderr(), "{e:#}");
        ExitCode::from(70)
    })
}
