//! The smallest complete containerd shim, to be read as the answer to "what should a shim do?".
//!
//! A reader may follow the modules in this order. `command` is what containerd executes: `start` makes a daemon,
//! which is `serve`. There, `service` turns frames into calls, the `supervisor` decides about them with the help of
//! two pure machines, `task` and `sandbox`, has `runtime`, `stdio` and `mount` do the work, and tells the world through
//! `events`. `reaper` buries every child. `delete` and `cleanup` are for when all this has died.
//!
//! **Invariant:** there is one thread and one loop, and neither waits for anything slow.
//! **Invariant:** a state changes only in `task` and `sandbox`, and its announcement is queued in the same step.
//! **Invariant:** unsafe code and raw system calls live in `sys` only.

#[macro_use]
mod log;

mod abandonment;
mod bundle;
mod cgroup;
mod cleanup;
mod command;
mod error;
mod events;
mod mount;
mod process;
mod reaper;
mod runtime;
mod sandbox;
mod service;
mod socket;
mod stdio;
mod supervisor;
#[expect(unsafe_code, reason = "system calls that no safe wrapper covers; each block says why it is sound")]
mod sys;
mod task;

use std::{env, process::ExitCode};

use command::{
    delete,
    flags::{Action, Flags},
    info, pause, serve, start,
};

/// Bad command line, as Go's `flag` package exits.
const EXIT_USAGE: u8 = 2;

/// Runs what the command line asks for.
///
/// # Exit status
///
/// 0: done. 1: failed, and stderr says why. 2: the command line is wrong.
pub fn main() -> ExitCode {
    let flags = match Flags::parse(env::args_os().skip(1)) {
        Ok(flags) => flags,
        Err(usage) => {
            log!("{usage}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let result = match flags.action {
        Action::Start => start::run(&flags),
        Action::Delete => delete::run(&flags),
        Action::Serve => serve::run(&flags),
        Action::Pause => pause::run(),
        Action::Version => info::version(),
        Action::Info => info::info(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log!("{error}");
            ExitCode::FAILURE
        }
    }
}
