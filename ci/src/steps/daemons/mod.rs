//! `cargo ci daemons`: a shim under real containerd daemons, which are killed and started again.
//!
//! Everything happens in a world of its own: PID, mount and network namespaces with a private `/run`. What is left at
//! the end is therefore exactly what the shim left, and when the step ends, or is killed, the kernel ends all of it.

mod ctr;
mod daemon;
mod image;
mod left;
mod stage;
mod story;
mod talk;
mod terminal;
mod world;

use std::{
    path::PathBuf,
    process::{self, ExitCode},
};

use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use super::peers;
use crate::workspace;

/// The runtime's name under which daemons find the reference shim.
const REFERENCE: &str = "io.containerd.reference.v1";

/// Which daemons, and which shim.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Daemon to run under, by its peer's key; may be given several times [default: all]
    #[arg(long, value_name = "KEY", value_parser = ["s16", "s17", "s21"])]
    daemon: Vec<String>,
    /// Runtime name that containerd is asked for
    #[arg(long, value_name = "NAME", default_value = REFERENCE)]
    runtime: String,
    /// The shim's binary [default: the reference shim, built first; for other runtimes the daemon's own]
    #[arg(long, value_name = "PATH")]
    shim: Option<PathBuf>,
    /// Run only the steps whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Directory that holds the peers [default: target/peers]
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// What this process is to do inside the world, for our own use
    #[arg(long, hide = true, value_enum)]
    role: Option<Role>,
    /// The plan as JSON, for our own use
    #[arg(long, hide = true)]
    plan: Option<String>,
}

/// The processes of ours inside the world.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Role {
    /// PID 1: mounts what the world needs, reaps orphans
    Init,
    /// Runs the story
    Teller,
}

/// What to do, as told to the processes inside the world.
#[derive(Debug, Deserialize, Serialize)]
struct Plan {
    /// containerd's namespace, and so the name of the cgroup that holds every container; unique on the host.
    namespace: String,
    /// The runtime's name.
    runtime: String,
    /// The shim's binary; without it, the one that lies beside the daemon.
    shim: Option<PathBuf>,
    /// Substring of the names of the steps to run.
    only: String,
    /// The daemons, in order.
    daemons: Vec<Installed>,
}

/// A containerd on this host.
#[derive(Debug, Deserialize, Serialize)]
struct Installed {
    /// The peer's key.
    key: String,
    /// The folder that holds `containerd` and `ctr`.
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match (args.role, &args.plan) {
        (Some(Role::Init), Some(plan)) => return world::init(plan),
        (Some(Role::Teller), Some(plan)) => {
            return story::tell(&serde_json::from_str(plan).context("cannot read the plan")?);
        }
        (_, _) => {}
    }
    ensure!(Uid::effective().is_root(), "containerd needs root: run this step as root");
    let keys = peers::KEYS.into_iter().filter(|&key| key != "srs");
    let keys: Vec<_> =
        keys.filter(|&key| args.daemon.is_empty() || args.daemon.iter().any(|asked| asked == key)).collect();
    let fetched = peers::fetch(&peers::directory(args.peers.as_deref())?, &keys)?;
    let daemons =
        fetched.into_iter().filter_map(|peer| Some(Installed { key: peer.key.to_owned(), folder: peer.daemon? }));
    let plan = Plan {
        namespace: format!("ci-{}", process::id()),
        runtime: args.runtime.clone(),
        shim: shim(args)?,
        only: args.only.clone(),
        daemons: daemons.collect(),
    };
    world::enter(&serde_json::to_string(&plan)?, &plan.namespace)
}

/// The shim's binary as an absolute path; nothing stands for the daemon's own.
fn shim(args: &Args) -> Result<Option<PathBuf>> {
    match &args.shim {
        Some(path) => {
            let path = std::path::absolute(path)?;
            ensure!(path.is_file(), "there is no shim at {}", path.display());
            Ok(Some(path))
        }
        None if args.runtime == REFERENCE => Ok(Some(workspace::build()?.shim)),
        None => Ok(None),
    }
}
