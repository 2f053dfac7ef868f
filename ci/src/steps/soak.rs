//! `cargo ci soak`: the suite, many times, on a machine whose cores are all busy.
//!
//! A check that is sound answers the same every time, however slowly the machine runs, and leaves nothing on the host.
//! Mounts, cgroups and sockets are compared for the whole host, so nobody else should be making any meanwhile.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read as _},
    num::NonZero,
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};

use super::peer_run::seconds;
use crate::{
    command,
    host::{self, Footprint, Process},
    report::{self, Report},
    table, workspace,
};

/// How often, and against what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often to run the suite
    #[arg(long, value_name = "N", default_value = "10")]
    times: NonZero<u32>,
    /// Shim to run against [default: the reference shim, built first]
    #[arg(long, value_name = "PATH")]
    shim: Option<PathBuf>,
    /// More arguments for the suite
    #[arg(last = true)]
    args: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let binaries = workspace::build()?;
    let shim = args.shim.as_deref().unwrap_or(&binaries.shim);
    // Whatever a run leaves behind becomes our child, so that nobody else's process can be taken for it.
    prctl::set_child_subreaper(true).context("cannot become the reaper of what the suite leaves")?;
    let load = Load::on_every_core()?;
    let mut rows = Vec::new();
    let mut verdicts = Verdicts::default();
    let mut is_clean = true;
    for time in 1..=args.times.get() {
        let run = one_run(&binaries.conformance, shim, &args.args, &load)?;
        let sum = run.report.summary;
        let counts = [u64::from(time), sum.held, sum.violated, sum.waived, sum.skipped, sum.inconclusive, sum.error];
        let mut row: Vec<String> = counts.map(|count| count.to_string()).to_vec();
        row.extend([seconds(sum.wall_ms), run.left.len().to_string()]);
        rows.push(row);
        is_clean &= run.ended_well && run.left.is_empty();
        for leftover in &run.left {
            println!("run {time} left {leftover}");
        }
        verdicts.add(&run.report);
    }
    drop(load);
    let head = ["run", "held", "violated", "waived", "skipped", "inconclusive", "error", "seconds", "left"];
    print!("{}", table::render(&head, &rows));
    let flakes = verdicts.flakes();
    if !flakes.is_empty() {
        print!("\n{}", table::render(&["flake", "verdicts", "last reason"], &flakes));
    }
    println!("\nsoak: {} runs, {} flakes, {}", rows.len(), flakes.len(), if is_clean { "clean" } else { "not clean" });
    Ok(if is_clean && flakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `cargo ci busy`: spins until standard input ends, which it does when the process that wants the load ends.
pub(crate) fn busy() -> Result<ExitCode> {
    static ENDED: AtomicBool = AtomicBool::new(false);
    thread::spawn(|| {
        // An error ends the load as the end of input does: in both cases nobody holds the other side.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        ENDED.store(true, Ordering::Relaxed);
    });
    while !ENDED.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    Ok(ExitCode::SUCCESS)
}

/// One busy process for each core; dropping it ends them.
struct Load(Vec<Child>);

impl Load {
    fn on_every_core() -> Result<Self> {
        let cores = thread::available_parallelism().context("cannot count the cores")?;
        let own = env::current_exe().context("cannot find our own binary")?;
        let mut load = Self(Vec::new());
        for _ in 0..cores.get() {
            let spin = Command::new(&own).arg("busy").stdin(Stdio::piped()).spawn();
            load.0.push(spin.context("cannot start a busy process")?);
        }
        Ok(load)
    }

    fn is_ours(&self, process: &Process) -> bool {
        self.0.iter().any(|child| i32::try_from(child.id()) == Ok(process.pid))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It cannot fail for a child that is not reaped yet; nor could a failure be handled better than by going on.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What one run of the suite said and left.
struct Outcome {
    report: Report,
    ended_well: bool,
    left: Vec<String>,
}

fn one_run(suite: &Path, shim: &Path, args: &[String], load: &Load) -> Result<Outcome> {
    let own = tempfile::tempdir().context("cannot create a folder for the run's files")?;
    let (scratch, report) = (own.path().join("tmp"), own.path().join("report.json"));
    fs::create_dir(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let before = Footprint::now()?;
    let mut suite = Command::new(suite);
    suite.arg("--shim").arg(shim).arg("--report").arg(format!("json={}", report.display())).args(args);
    let ended_well = command::status(suite.env("TMPDIR", &scratch))?.success();
    let mut left = end_orphans(load)?;
    left.extend(Footprint::now()?.since(&before));
    for entry in fs::read_dir(&scratch).with_context(|| format!("cannot list {}", scratch.display()))? {
        left.push(format!("file {}", entry?.path().display()));
    }
    Ok(Outcome { report: report::read(&report)?, ended_well, left })
}

/// Names, kills and reaps every process that was left to us, and then those that these leave to us.
fn end_orphans(load: &Load) -> Result<Vec<String>> {
    let own = i32::try_from(process::id())?;
    let mut left = Vec::new();
    loop {
        let mut orphans = host::processes()?;
        orphans.retain(|process| process.parent == own && !load.is_ours(process));
        if orphans.is_empty() {
            return Ok(left);
        }
        for orphan in orphans {
            let pid = Pid::from_raw(orphan.pid);
            // A child of ours keeps its pid until we reap it.
            kill(pid, Signal::SIGKILL).with_context(|| format!("cannot kill {orphan}"))?;
            match waitpid(pid, None) {
                Ok(_) | Err(Errno::ECHILD) => left.push(orphan.to_string()),
                Err(error) => return Err(error).with_context(|| format!("cannot reap {orphan}")),
            }
        }
    }
}

/// How often each check gave which verdict, over all runs.
#[derive(Default)]
struct Verdicts(BTreeMap<String, (BTreeMap<String, u32>, String)>);

impl Verdicts {
    fn add(&mut self, report: &Report) {
        for check in &report.checks {
            let (counts, reason) = self.0.entry(check.id.clone()).or_default();
            *counts.entry(check.verdict.clone()).or_default() += 1;
            if let Some(last) = &check.reason {
                reason.clone_from(last);
            }
        }
    }

    /// The checks that did not say the same in each run.
    fn flakes(&self) -> Vec<Vec<String>> {
        let differing = self.0.iter().filter(|(_, (counts, _))| counts.len() > 1);
        let row = |(id, (counts, reason)): (&String, &(BTreeMap<String, u32>, String))| {
            let counts = counts.iter().map(|(verdict, count)| format!("{verdict} {count}")).collect::<Vec<_>>();
            vec![id.clone(), counts.join(", "), reason.lines().next().unwrap_or_default().to_owned()]
        };
        differing.map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Check, Summary};

    fn report(verdicts: &[(&str, &str)]) -> Report {
        let check = |(id, verdict): &(&str, &str)| Check {
            id: (*id).to_owned(),
            verdict: (*verdict).to_owned(),
            reason: (*verdict != "held").then(|| "too late".to_owned()),
        };
        Report { summary: Summary::default(), checks: verdicts.iter().map(check).collect() }
    }

    #[test]
    fn a_flake_is_a_check_that_changes_its_mind() {
        let mut verdicts = Verdicts::default();
        verdicts.add(&report(&[("a", "held"), ("b", "held"), ("c", "skipped")]));
        verdicts.add(&report(&[("a", "held"), ("b", "violated"), ("c", "skipped")]));
        assert_eq!(verdicts.flakes(), [["b", "held 1, violated 1", "too late"].map(str::to_owned).to_vec()]);
    }
}
