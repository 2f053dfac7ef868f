//! An OCI runtime in small: what runc does for a shim, in a tenth of the time, and wrong on request.
//!
//! It is a test double. It speaks runc's command line and keeps runc's promises about processes (who is whose parent, what
//! is reported, what is left behind), because those are what a shim depends on. It leaves out what only confines:
//! seccomp, LSM labels, device cgroups. Hooks and checkpoints are refused.
//!
//! One file is one operation or one thing the container has; [`rules`] says how the engine is made to misbehave.

// How it is called, and what it says.
mod cli;
mod log;
mod refusal;

// How it misbehaves.
mod call;
mod misbehave;
pub mod rules;

// What it is told, and what it keeps.
mod spec;
mod state;

// The operations.
mod create;
mod delete;
mod exec;
mod features;
mod freeze;
mod kill;
mod processes;
mod report;
mod start;
mod stats;
mod update;

// The life of a container process, from clone to execve.
mod channel;
mod init;
mod launch;
mod namespaces;
mod program;

// What is built around it.
mod cgroup;
mod console;
mod devices;
mod in_root;
mod mount_options;
mod mounts;
mod rootfs;

// Small things.
mod capabilities;
mod deadline;
mod pid_file;
mod process_stat;
mod signal;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::Parser as _;

use self::{
    cli::{Cli, Command},
    log::{Log, answer, complain},
    misbehave::Stage,
};

/// What every operation needs.
#[derive(Debug)]
struct Engine {
    /// Directory of all containers' states.
    root: PathBuf,
    log: Log,
}

/// Runs one command line, program name included, and answers with the exit status: 0, 1 for a failure that is told on
/// stderr and in the log file, or the status of the process for an `exec` that waits.
///
/// Must be called from a process with one thread, since processes are cloned from it.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let code = Stage::set(&args).and_then(|stage| match stage {
        None => Ok(run(&args)),
        Some(stage) => stage.play(run),
    });
    ExitCode::from(code.unwrap_or_else(|error| {
        complain(&format!("rules: {error:#}"));
        1
    }))
}

/// The engine being honest.
fn run(args: &[OsString]) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let is_help = !error.use_stderr();
            // Help that nobody reads is no failure of ours.
            let _closed_stream = error.print();
            return u8::from(!is_help);
        }
    };
    let log = match Log::open(cli.log.as_deref(), cli.log_format, cli.debug) {
        Ok(log) => log,
        Err(error) => {
            complain(&format!("{error:#}"));
            return 1;
        }
    };
    let engine = Engine { root: cli.root, log };
    engine.log.debug(format!("{:?}", log::printable(args)));
    let done = match &cli.command {
        _ if cli.version => version(),
        None => Err(anyhow::anyhow!("no command is given")),
        Some(command) => obey(&engine, command),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            let message = format!("{error:#}");
            engine.log.error(&message);
            complain(&message);
            1
        }
    }
}

fn obey(engine: &Engine, command: &Command) -> Result<u8> {
    match command {
        Command::Create(arguments) => create::create(engine, arguments)?,
        Command::Start(arguments) => start::start(engine, arguments)?,
        Command::State(arguments) => report::state(engine, arguments)?,
        Command::Kill(arguments) => kill::kill(engine, arguments)?,
        Command::Delete(arguments) => delete::delete(engine, arguments)?,
        Command::Exec(arguments) => return exec::exec(engine, arguments),
        Command::Ps(arguments) => processes::ps(engine, arguments)?,
        Command::Pause(arguments) => freeze::pause(engine, arguments)?,
        Command::Resume(arguments) => freeze::resume(engine, arguments)?,
        Command::List(arguments) => report::list(engine, arguments)?,
        Command::Update(arguments) => update::update(engine, arguments)?,
        Command::Events(arguments) => stats::events(engine, arguments)?,
        Command::Features => features::features()?,
        Command::Checkpoint(_) | Command::Restore(_) => bail!("checkpoints are not supported by this engine"),
    }
    Ok(0)
}

fn version() -> Result<u8> {
    let version = env!("CARGO_PKG_VERSION");
    answer(&format!("conformance-engine version {version} (a test double)\nspec: 1.1.0\n"))?;
    Ok(0)
}
