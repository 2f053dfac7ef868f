//! `cargo ci kills`: SIGKILL to the runner of the suite, many times, each at a random moment; then nothing may be left.
//!
//! All processes of the run must end by themselves. What they could not take with them, cgroups and directories, must be gone once the
//! next run has begun or `conformance doctor --clean` has ended. Everything is looked at from a part of the host of its own, so that a
//! machine with other users says the same.

use std::{
    collections::BTreeSet,
    env, fs,
    num::NonZero,
    path::{Path, PathBuf},
    process::{self, Command, ExitCode, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
};

use crate::{
    apart::Apart,
    command, deadline,
    host::{self, Footprint},
    table, workspace,
};

/// How often, whom, and from which numbers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often to kill a runner
    #[arg(long, value_name = "N", default_value = "100")]
    times: NonZero<u32>,
    /// Where moments and checks are drawn from [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// The suite whose runner is killed; with a shim nothing is built [default: built first]
    #[arg(long, value_name = "PATH", requires = "shim")]
    conformance: Option<PathBuf>,
    /// Shim to run against, in turns; may be repeated [default: the reference shim, built first]
    #[arg(long, value_name = "PATH")]
    shim: Vec<PathBuf>,
    /// More arguments for the suite
    #[arg(last = true)]
    args: Vec<String>,
}

/// By when all processes of a run have ended whose runner was killed.
const END: Duration = Duration::from_secs(30);
/// By when a run of one check has ended.
const NEXT_RUN: Duration = Duration::from_secs(120);
/// A run that is older has shown all that it does; half of the moments lie in its youth, where it settles on the host.
const LIFE: Duration = Duration::from_secs(6);
const YOUTH: Duration = Duration::from_millis(600);
/// How many checks a run has: fewer than it can do within its life.
const CHECKS: usize = 24;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (suite, shims) = subjects(args)?;
    let seed = args.seed.map_or_else(clock, Ok)?;
    println!("kills: seed {seed}");
    // Whatever a run leaves behind becomes our child.
    prctl::set_child_subreaper(true).context("cannot become the reaper of what the suite leaves")?;
    let _apart = Apart::enter()?;
    let mut killer = Killer { checks: checks(&suite)?, suite, dice: Dice(seed), more: &args.args };
    let mut rows = Vec::new();
    let mut bad = 0;
    for time in 1..=args.times.get() {
        let shim = &shims[usize::try_from(time)? % shims.len()];
        let kill = killer.kill(time, shim)?;
        for left in &kill.left {
            println!("kill {time} left {left}");
        }
        bad += u32::from(!kill.left.is_empty());
        rows.push(kill.row(time));
    }
    let head = ["kill", "shim", "isolation", "at ms", "ended ms", "cgroups until swept", "swept by", "left"];
    print!("{}", table::render(&head, &rows));
    println!("\nkills: {} runners killed, {bad} left something, seed {seed}", rows.len());
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The suite and the shims: what is named, or what is built.
fn subjects(args: &Args) -> Result<(PathBuf, Vec<PathBuf>)> {
    let absolute = |path: &PathBuf| fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()));
    let named = args.shim.iter().map(absolute).collect::<Result<Vec<_>>>()?;
    if let Some(suite) = &args.conformance {
        return Ok((absolute(suite)?, named));
    }
    let built = workspace::build()?;
    Ok((built.conformance, if named.is_empty() { vec![built.shim] } else { named }))
}

fn clock() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(since.as_secs())
}

/// The ids of all checks.
fn checks(suite: &Path) -> Result<Vec<String>> {
    let list = command::read(Command::new(suite).args(["list", "--format", "terse"]))?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// Starts runs and kills them.
struct Killer<'a> {
    suite: PathBuf,
    checks: Vec<String>,
    dice: Dice,
    more: &'a [String],
}

/// What one kill came to.
struct Kill {
    shim: String,
    isolation: &'static str,
    at: Duration,
    /// How long after the kill the last process had ended.
    ended: Duration,
    /// Cgroups that were there when all processes had ended.
    until_swept: usize,
    swept_by: &'static str,
    left: Vec<String>,
}

impl Kill {
    fn row(&self, time: u32) -> Vec<String> {
        vec![
            time.to_string(),
            self.shim.clone(),
            self.isolation.to_owned(),
            self.at.as_millis().to_string(),
            self.ended.as_millis().to_string(),
            self.until_swept.to_string(),
            self.swept_by.to_owned(),
            self.left.len().to_string(),
        ]
    }
}

impl Killer<'_> {
    fn kill(&mut self, time: u32, shim: &Path) -> Result<Kill> {
        let isolation = if self.dice.below(4) == 0 { "none" } else { "full" };
        let at = self.moment();
        let scratch = tempfile::tempdir().context("cannot create a folder for the run's files")?;
        let (before, files_before) = (Footprint::now()?, files_in_run()?);
        let mut suite = self.suite(shim, scratch.path());
        suite.args(["--isolation", isolation]).args(self.more).args(self.some_checks());
        let mut runner = suite.spawn().with_context(|| format!("cannot run `{}`", command::line(&suite)))?;
        // SIGKILL is what it sends; a run that was over before is a moment like any other.
        command::wait(&mut runner, at)?;
        let killed = Instant::now();
        let mut left = end_of_family(self.suite.as_path())?;
        let ended = killed.elapsed();
        let until_swept = Footprint::now()?.since(&before).iter().filter(|one| one.starts_with("cgroup ")).count();
        let swept_by = if time.is_multiple_of(2) { "doctor" } else { "next run" };
        let mut sweeper = match swept_by {
            "doctor" => {
                let mut doctor = self.command(scratch.path());
                doctor.args(["doctor", "--clean"]);
                doctor
            }
            _ => {
                let mut next = self.suite(shim, scratch.path());
                next.arg("lifecycle/exit-code");
                next
            }
        };
        let Some(status) = command::wait(&mut sweeper.spawn().context("cannot run the suite")?, NEXT_RUN)? else {
            bail!("`{}` was not done within {NEXT_RUN:?}", command::line(&sweeper));
        };
        if !status.success() {
            left.push(format!("a sweeper that failed: `{}`: {status}", command::line(&sweeper)));
        }
        left.extend(end_of_family(self.suite.as_path())?);
        left.extend(Footprint::now()?.since(&before));
        left.extend(files_in_run()?.difference(&files_before).map(|path| format!("file {}", path.display())));
        for entry in fs::read_dir(scratch.path()).context("cannot list a run's files")? {
            left.push(format!("file {}", entry?.path().display()));
        }
        let shim = shim.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Kill { shim, isolation, at, ended, until_swept, swept_by, left })
    }

    fn moment(&mut self) -> Duration {
        let span = if self.dice.below(2) == 0 { YOUTH } else { LIFE };
        Duration::from_micros(self.dice.below(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }

    fn some_checks(&mut self) -> BTreeSet<String> {
        let all = u64::try_from(self.checks.len()).unwrap_or(1);
        (0..CHECKS).map(|_| self.checks[usize::try_from(self.dice.below(all)).unwrap_or(0)].clone()).collect()
    }

    fn suite(&self, shim: &Path, scratch: &Path) -> Command {
        let mut suite = self.command(scratch);
        suite.arg("run").arg("--shim").arg(shim);
        suite
    }

    fn command(&self, scratch: &Path) -> Command {
        let mut command = Command::new(&self.suite);
        command.env("TMPDIR", scratch).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONFORMANCE_")) {
            command.env_remove(name);
        }
        command
    }
}

/// Reaps whoever comes to us, until nobody descends from us any more. Whoever does not end in time is named.
fn end_of_family(suite: &Path) -> Result<Vec<String>> {
    let own = i32::try_from(process::id())?;
    let ended = deadline::until("end of all processes", END, || {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return Ok(None),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(Some(())),
                Err(error) => return Err(error).context("cannot reap what the suite leaves"),
            }
        }
    });
    match ended {
        Ok(()) => Ok(Vec::new()),
        Err(_) => {
            let mine = host::processes()?.into_iter().filter(|process| process.parent == own);
            let named: Vec<String> = mine.map(|process| process.to_string()).collect();
            // They would be counted again after the next kill, which is not theirs.
            bail!("`{}` left, after {END:?}: {}", suite.display(), named.join("; "))
        }
    }
}

/// Sockets and other files that shims make outside of worlds.
fn files_in_run() -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut folders = vec![PathBuf::from("/run")];
    host::each_folder(Path::new("/run"), &mut |folder| folders.push(folder.to_path_buf()))?;
    for folder in folders {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                files.insert(entry.path());
            }
        }
    }
    Ok(files)
}

/// Where every choice comes from: SplitMix64 (Steele, Lea, Flood, 2014), so that a seed says all.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not zero; even enough for limits far below 2^64.
    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_all() {
        let draw = |seed| {
            let mut dice = Dice(seed);
            [dice.below(4), dice.below(1000), dice.below(1_000_000)]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
