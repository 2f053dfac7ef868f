//! `cargo ci peer-run`: the suite against shims of others, on each runtime, with what is expected of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::peers::{self, Peer};
use crate::{command, report, table, workspace};

/// Which shims, and on which runtimes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shim to run against; may be given several times [default: all]
    #[arg(long, value_enum)]
    peer: Vec<Key>,
    /// Runtime for the shim to call; may be given several times [default: all]
    #[arg(long, value_enum)]
    engine: Vec<Engine>,
    /// Directory that holds the peers [default: target/peers]
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// More arguments for the suite
    #[arg(last = true)]
    args: Vec<String>,
}

/// A peer's key, or all of them.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Key {
    S16,
    S17,
    S21,
    Srs,
    All,
}

/// A runtime, or all of them.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Runc,
    Crun,
    /// The suite's own
    Ours,
    All,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let peers = peers::fetch(&peers::directory(args.peers.as_deref())?, &keys(&args.peer))?;
    let suite = workspace::build()?.conformance;
    let reports = workspace::root()?.join("target/peer-run");
    fs::create_dir_all(&reports).with_context(|| format!("cannot create {}", reports.display()))?;
    let mut rows = Vec::new();
    let mut all_ended_well = true;
    for peer in &peers {
        for engine in engines(&args.engine) {
            let run = Run { peer, engine, suite: &suite, reports: &reports, args: &args.args };
            let (row, ended_well) = run.row()?;
            all_ended_well &= ended_well;
            rows.push(row);
        }
    }
    let head =
        ["shim", "runtime", "held", "violated", "waived", "skipped", "n/a", "inconclusive", "error", "seconds", "exit"];
    print!("{}", table::render(&head, &rows));
    Ok(if all_ended_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One run of the suite: a cell of the matrix.
struct Run<'a> {
    peer: &'a Peer,
    engine: &'static str,
    suite: &'a Path,
    reports: &'a Path,
    args: &'a [String],
}

impl Run<'_> {
    /// Runs the suite; answers its row of the table and whether its exit status was success.
    fn row(&self) -> Result<(Vec<String>, bool)> {
        let path = self.reports.join(format!("{}-{}.json", self.peer.key, self.engine));
        // An old report must not be taken for this run's.
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let mut suite = Command::new(self.suite);
        suite.arg("--shim").arg(&self.peer.shim).args(["--engine", self.engine]);
        suite.arg("--report").arg(format!("json={}", path.display()));
        let expected = workspace::root()?.join(format!("ci/expected/{}.toml", self.peer.key));
        if expected.exists() {
            suite.arg("--expect").arg(expected);
        }
        let status = command::status(suite.args(self.args))?;
        let sum = report::read(&path)?.summary;
        let undecided = [sum.skipped, sum.not_applicable, sum.inconclusive, sum.error];
        let counts = [sum.held, sum.violated, sum.waived].into_iter().chain(undecided);
        let mut row = vec![self.peer.key.to_owned(), self.engine.to_owned()];
        row.extend(counts.map(|count| count.to_string()));
        row.push(seconds(sum.wall_ms));
        row.push(status.code().map_or_else(|| status.to_string(), |code| code.to_string()));
        Ok((row, status.success()))
    }
}

/// Milliseconds as seconds with one digit.
pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1000, ms % 1000 / 100)
}

fn keys(asked: &[Key]) -> Vec<&'static str> {
    let keys = [Key::S16, Key::S17, Key::S21, Key::Srs];
    let is_asked = |key| asked.is_empty() || asked.contains(&Key::All) || asked.contains(&key);
    keys.into_iter().zip(peers::KEYS).filter(|(key, _)| is_asked(*key)).map(|(_, name)| name).collect()
}

fn engines(asked: &[Engine]) -> Vec<&'static str> {
    let engines = [(Engine::Runc, "runc"), (Engine::Crun, "crun"), (Engine::Ours, "ours")];
    let is_asked = |engine| asked.is_empty() || asked.contains(&Engine::All) || asked.contains(&engine);
    engines.into_iter().filter(|(engine, _)| is_asked(*engine)).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_means_all() {
        assert_eq!(keys(&[]), peers::KEYS);
        assert_eq!(keys(&[Key::S16, Key::All]), peers::KEYS);
        assert_eq!(keys(&[Key::Srs]), ["srs"]);
        assert_eq!(engines(&[]), ["runc", "crun", "ours"]);
        assert_eq!(engines(&[Engine::Crun]), ["crun"]);
    }

    #[test]
    fn seconds_have_one_digit() {
        assert_eq!(seconds(61_250), "61.2");
        assert_eq!(seconds(40), "0.0");
    }
}
