//! The steps of continuous integration, runnable on a laptop: `cargo ci STEP`.
//!
//! A workflow file only names a step; what the step does is written here. Each external command is printed before it
//! runs, so that a step can be followed, and repeated, by hand.

mod apart;
mod command;
mod deadline;
mod host;
mod report;
mod steps;
mod table;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs one step of continuous integration.
#[derive(Parser)]
#[command(name = "cargo ci", bin_name = "cargo ci", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    /// Build everything in release mode and run the suite against the reference shim
    Conform(steps::conform::Args),
    /// Run the tests that need no shim of somebody else
    Test,
    /// Check formatting, lints and documentation
    Check,
    /// Check what lints cannot say: crate edges, stray files, forbidden words
    Tidy,
    /// Check licences, advisories and sources of the dependencies
    Deny,
    /// Fetch real shims, daemons and runtimes to run against
    Peers(steps::peers::Args),
    /// Run the suite against real shims, on each runtime
    PeerRun(steps::peer_run::Args),
    /// Put a shim under real containerd daemons, and kill the daemons
    Daemons(steps::daemons::Args),
    /// Run the suite many times on a loaded machine; count flakes and leftovers
    Soak(steps::soak::Args),
    /// Kill the runner of the suite many times, at random moments; count what is left
    Kills(steps::kills::Args),
    /// Play plans that nobody wrote against a shim, in shards, and put the results together
    Chaos(steps::chaos::Args),
    /// Load one core until standard input ends
    #[command(hide = true)]
    Busy,
}

fn main() -> ExitCode {
    match run(Cli::parse().step) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo ci: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(step: Step) -> anyhow::Result<ExitCode> {
    match step {
        Step::Conform(args) => steps::conform::run(&args),
        Step::Test => steps::test::run(),
        Step::Check => steps::check::run(),
        Step::Tidy => tidy::run(),
        Step::Deny => steps::deny::run(),
        Step::Peers(args) => steps::peers::run(&args),
        Step::PeerRun(args) => steps::peer_run::run(&args),
        Step::Daemons(args) => steps::daemons::run(&args),
        Step::Soak(args) => steps::soak::run(&args),
        Step::Kills(args) => steps::kills::run(&args),
        Step::Chaos(args) => steps::chaos::run(&args),
        Step::Busy => steps::soak::busy(),
    }
}
