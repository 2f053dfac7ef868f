//! The command line.

mod args;
mod audit;
mod bench;
mod chaos;
mod compare;
mod crash_points;
mod explain;
mod faults;
mod list;
mod merge;
mod replay;
mod requirements;
mod run;

use std::{ffi::OsString, io::Write as _, process::ExitCode, sync::Arc};

use anstream::ColorChoice;

use self::args::{Cli, Color, Command, Doctor};
use crate::{
    doctor,
    exit_code::{self, Failure},
    runner::Control,
    signals, sweep,
};

/// Parses the command line and does what it says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match args::parse(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error. When even that cannot be written, the status must do.
            _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit_code::USAGE));
        }
    };
    obey(cli).unwrap_or_else(|failure| {
        // When even that cannot be written, the status must do.
        _ = writeln!(anstream::stderr(), "error: {failure}");
        failure.into()
    })
}

fn obey(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        None => run::run(cli.run),
        Some(Command::Run(options)) => run::run(options),
        Some(Command::List(options)) => list::list(&options),
        Some(Command::Explain(options)) => explain::explain(&options.id),
        Some(Command::Doctor(options)) => doctor(&options),
        Some(Command::Audit(options)) => audit::audit(options),
        Some(Command::Bench(options)) => bench::bench(options),
        Some(Command::Compare(options)) => compare::compare(&options),
        Some(Command::Chaos(options)) => chaos::chaos(options),
        Some(Command::Replay(options)) => replay::replay(options),
        Some(Command::Merge(options)) => merge::merge(&options),
        Some(Command::CrashPoints(options)) => crash_points::crash_points(options),
    }
}

/// `conformance doctor`.
fn doctor(options: &Doctor) -> Result<ExitCode, Failure> {
    if options.clean {
        let swept = sweep::sweep()?;
        say(&format!("{swept}\n"))?;
        return Ok(ExitCode::from(if swept.left.is_empty() { exit_code::GREEN } else { exit_code::SUITE_ERROR }));
    }
    let findings = doctor::examine(&*watched()?)?;
    say(&findings.text())?;
    Ok(ExitCode::from(match findings.worlds {
        Ok(()) => exit_code::GREEN,
        Err(_) => exit_code::HOST,
    }))
}

/// The hold on a run that signals have. What dead runs have left goes first.
fn controlled() -> Result<Arc<Control>, Failure> {
    sweep::sweep_and_tell()?;
    watched()
}

fn watched() -> Result<Arc<Control>, Failure> {
    let control = Arc::new(Control::new()?);
    signals::watch(&control)?;
    Ok(control)
}

/// Decides for every stream of this process.
fn choose_color(color: Color) {
    match color {
        // NO_COLOR, CLICOLOR, CLICOLOR_FORCE and TERM are looked at stream by stream.
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    }
    .write_global();
}

/// Writes to standard output.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever closes the pipe has read enough.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Suite(anyhow::Error::new(e).context("write to standard output")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
