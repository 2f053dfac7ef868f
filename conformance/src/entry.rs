//! The names under which an executable of this library is somebody else: it runs as world, fake containerd, payload and engine of its own
//! runs, so that there is nothing else to install.

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

use crate::{
    containerd, drive,
    lab::{Job, world},
    payload, probe,
};

/// Hidden subcommand: the fake containerd.
pub const CONTAINERD: &str = "__containerd";
/// Hidden subcommand: executes the shim under the supervisor of its system calls.
pub const LAUNCH: &str = "__launch";
/// Hidden subcommand: a world and the check in it.
pub const WORLD: &str = "__world";
/// Hidden subcommand: a world in which nothing is judged.
pub const PROBE: &str = "__probe";
/// Under this name the executable is the program inside containers.
pub const PAYLOAD: &str = "payload";
/// Under this name the executable is our OCI runtime.
pub const ENGINE: &str = "conformance-engine";

/// What every `main` must ask first: when this process is somebody else, it plays its part here and `Some` is its status.
pub fn other_self() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(OsStr::to_str) {
        Some(PAYLOAD) => {
            let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
            return Some(payload::main(&args));
        }
        Some(ENGINE) => return Some(fault_injector::engine::main(std::env::args_os())),
        Some(_) | None => {}
    }
    match args.next().as_deref().and_then(OsStr::to_str) {
        Some(CONTAINERD) => Some(hidden(fake_containerd(args.next()))),
        Some(LAUNCH) => Some(hidden(launch(args))),
        Some(WORLD) => Some(hidden(a_world(args.next(), drive::main))),
        Some(PROBE) => Some(hidden(a_world(args.next(), probe::main))),
        Some(_) | None => None,
    }
}

/// The runner says who it is, so that a world which begins after the runner's death takes nobody else for it.
fn a_world(runner: Option<OsString>, drive: fn(Job) -> Result<()>) -> Result<ExitCode> {
    let runner = runner.context("no runner was named")?.into_string().ok().and_then(|pid| pid.parse().ok());
    world::main(Pid::from_raw(runner.context("the runner's name is no pid")?), drive)
}

fn fake_containerd(setup: Option<OsString>) -> Result<ExitCode> {
    let setup = setup.context("no setup was given")?;
    let setup = serde_json::from_slice(setup.as_encoded_bytes()).context("decode the setup")?;
    let control = std::io::stdin().as_fd().try_clone_to_owned().context("adopt the control socket")?;
    containerd::main(setup, UnixStream::from(control))?;
    Ok(ExitCode::SUCCESS)
}

/// Becomes the shim; comes back only when it cannot.
fn launch(mut args: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let supervisor = args.next().context("no supervisor was named")?;
    let shim = args.next().context("no shim was named")?;
    let error = fault_injector::seam::syscall::launch(Path::new(&supervisor), &shim, args);
    Err(error).with_context(|| format!("launch {}", shim.display()))
}

/// The runner reads the errors of its own children from their standard error.
fn hidden(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|e| {
        // When even that fails the exit code must do.
        _ = writeln!(std::io::stderr(), "{e:#}");
        ExitCode::from(crate::exit_code::SUITE_ERROR)
    })
}
