//! `cargo ci chaos`: plans that nobody wrote, in shards one after the other, and their results put together.
//!
//! Each shard is a command that can be run again by hand, on any machine: its seed and its number say which plans it plays.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};

use crate::{command, steps, workspace};

/// The status of a run in which plans were violated: the shards after it tell more.
const VIOLATED: i32 = 1;

/// How much, and against what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many shards
    #[arg(long, value_name = "N", default_value = "2")]
    shards: NonZero<u32>,
    /// For how long each shard begins plans
    #[arg(long = "for", value_name = "TIME", default_value = "10m", conflicts_with = "plans")]
    time: String,
    /// How many plans all shards together play
    #[arg(long, value_name = "N")]
    plans: Option<u64>,
    /// Where every plan comes from [default: the day]
    #[arg(long)]
    seed: Option<u64>,
    /// Shim to run against [default: the reference shim, built first]
    #[arg(long, value_name = "PATH")]
    shim: Option<PathBuf>,
    /// Where results and captures go [default: target/chaos]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// More arguments for the suite
    #[arg(last = true)]
    args: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let binaries = workspace::build()?;
    let shim = args.shim.as_deref().unwrap_or(&binaries.shim);
    let seed = args.seed.map_or_else(day, Ok)?;
    let out = args.out.clone().map_or_else(|| Ok::<_, anyhow::Error>(workspace::root()?.join("target/chaos")), Ok)?;
    let shards = args.shards.get();
    let mut results = Vec::new();
    for index in 1..=shards {
        let status = command::status(&mut shard(&binaries.conformance, shim, args, seed, index, &out))?;
        // A shard that was interrupted or is broken makes no whole.
        if !status.success() && status.code() != Some(VIOLATED) {
            bail!("shard {index}/{shards} ended with {status}");
        }
        results.push(out.join(format!("chaos-{seed:#x}-{index}of{shards}.json")));
    }
    let mut merge = Command::new(&binaries.conformance);
    merge.arg("merge").args(results).arg("--out").arg(out.join(format!("chaos-{seed:#x}.json")));
    Ok(steps::exit_code(command::status(&mut merge)?))
}

fn shard(suite: &Path, shim: &Path, args: &Args, seed: u64, index: u32, out: &Path) -> Command {
    let mut command = Command::new(suite);
    command.arg("chaos").arg("--shim").arg(shim).args(["--seed", &seed.to_string()]);
    command.args(["--shard", &format!("{index}/{}", args.shards)]);
    match args.plans {
        Some(plans) => command.args(["--plans", &plans.to_string()]),
        None => command.args(["--for", &args.time]),
    };
    command.arg("--out").arg(out).args(&args.args);
    command
}

/// Days since 1970: each night has plans of its own, and they can be drawn again.
fn day() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(now.as_secs() / (24 * 60 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(plans: Option<u64>) -> Args {
        let shards = NonZero::new(3).unwrap();
        Args { shards, time: "5m".to_owned(), plans, seed: None, shim: None, out: None, args: vec!["-q".to_owned()] }
    }

    fn words(args: &Args) -> String {
        let command = shard(Path::new("suite"), Path::new("/shim"), args, 7, 2, Path::new("out"));
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_shard_says_which_plans_it_plays() {
        assert_eq!(words(&args(None)), "chaos --shim /shim --seed 7 --shard 2/3 --for 5m --out out -q");
        assert_eq!(words(&args(Some(9))), "chaos --shim /shim --seed 7 --shard 2/3 --plans 9 --out out -q");
    }
}
