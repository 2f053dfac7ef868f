//! What can be said on the command line.

use std::{ffi::OsString, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use super::crash_points::{Action, Point, scenario};
use crate::{
    chaos::results::Shard,
    contract::{Level, Tier},
    crash_points::{self, Scenario},
    exit_code::{self, Failure},
    lab::{ExitPolicy, world::Isolation},
    profile::{self, Profile},
    report::Destination,
    subject::{EngineWish, ProfileWish},
};

/// Runs any containerd shim as containerd would, breaks things, and judges it by a written contract.
///
/// Without a subcommand it runs: `conformance --shim PATH` is `conformance run --shim PATH`.
#[derive(Debug, Parser)]
#[command(
    name = "conformance",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Begin with `conformance doctor`, then `conformance --shim PATH`. `conformance explain ID` tells what a check wants.",
    after_long_help = after_long_help(),
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) run: Run,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run checks against a shim.
    #[command(after_long_help = after_long_help())]
    Run(Run),
    /// List checks, the clauses that they test, or the faults.
    List(List),
    /// Tell everything about a check, a clause, an invariant or a fault.
    Explain(Explain),
    /// Tell what this host can decide, why not the rest, and what runs that were killed have left.
    Doctor(Doctor),
    /// Prove on an honest shim that every check notices the lies it claims to notice.
    ///
    /// Each check runs once as it is and must hold, and once behind each of its lies and must then be violated.
    Audit(Audit),
    /// Measure shims side by side: how long each takes for the same life, and what it weighs.
    ///
    /// Each round plays one life of each shim, in turns, each in a world of its own: a container that ends at once, from `start` to the
    /// `delete` action, and one that is weighed, does 20 execs one after the other (Exec, Start, Wait, Delete) and is killed past the shim.
    /// A first round warms up and is dropped. Memory, threads and descriptors are those of the shim with one running container.
    ///
    /// A cell is `median (min–max) ×ratio`, the ratio to the first shim's median. `start` lasts until the connection stands, Shutdown
    /// until the process is gone, and the whole life includes the time in which the shim announces the deletion. The memory's share is
    /// the proportional one: each page divided by the processes that map it.
    ///
    /// A timing never decides anything, nor do the invariants: the status is 0 unless a life could not be lived to its end; that is
    /// told, and the status is 1.
    Bench(Bench),
    /// Play plans that nobody wrote: many containers, faults of processes, sockets, runtime and containerd, all of it drawn from one seed.
    ///
    /// A plan is a story of up to five containers, some of them in a pod, in which calls, containerd's deaths and faults of the catalogue
    /// come in turns. While a fault is in force answers are judged by what it excuses; at the end of each plan everything is healed, and
    /// each shim that lives must carry its containers to the end of their lives.
    ///
    /// What fails is made smaller (fewer containers, faults, calls), played again to see how often it fails, and kept in a file that
    /// `conformance replay` plays again. The seed and the number of a plan decide what it is: with --plans a run, and each shard of it,
    /// plays the same plans every time. `conformance merge` adds up the result files of all shards.
    ///
    /// The status is 1 when a plan was violated, 70 when the suite failed, 3 when no plan was held, 0 otherwise. SIGINT and SIGTERM end a run in order: what was
    /// done until then is told and written, and said to be partial.
    Chaos(Chaos),
    /// Play a captured failure again, on the same shim or another one.
    ///
    /// FILE is what `conformance chaos` kept (`.toml`), or a plan as text with one act a line, such as `a: create`, `b: start e0 &` (not
    /// waited for), `inject runtime/start-hangs`, `heal runtime/start-hangs`, `restart`, and `pod a b` at the top for containers that share
    /// a shim. The status is 0 when the plan is held each time, and 1 when it is violated once.
    Replay(Replay),
    /// Add up the result files of all shards of a run of chaos.
    ///
    /// Missing, doubled and partial shards are refused, and so are shards of another seed, shim, engine or number of shards (status 2).
    Merge(Merge),
    /// Lay the reports of several runs side by side: each check that not every run holds.
    ///
    /// Takes what `--report json=PATH` wrote. The status is 0 whatever the reports say; a file that is no report is a usage error.
    Compare(Compare),
    /// Kill the shim at every system call of a life, or make each of them fail, and judge what is left.
    ///
    /// The life is recorded a few times; every call of the shim's own that changes something is a point, named PHASE CALL SUBJECT #K. Each
    /// point is visited in a world of its own: the shim is struck there, the fault heals, and then a living shim must end its task and
    /// serve another one, and after a dead one the delete action must leave nothing and tell a true exit. An error is given only to calls
    /// whose manual page knows it.
    ///
    /// A point whose call does not come in three visits is not reached, which is no pass: the status is then 3. What the shim breaks
    /// without any fault is told once and blamed on no point.
    #[command(after_long_help = scenarios())]
    CrashPoints(CrashPoints),
}

#[derive(Debug, Args)]
pub(super) struct Compare {
    /// Reports of runs, a column each.
    #[arg(value_name = "REPORT", required = true)]
    pub(super) reports: Vec<PathBuf>,
    /// Write the page of all of them as well.
    #[arg(long, value_name = "PATH")]
    pub(super) html: Option<PathBuf>,
    /// Show every check and not only those that some run does not hold.
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) subject: Subject,
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    pub(super) pace: Pace,
    /// Stop starting checks after the first violation.
    #[arg(long, env = "CONFORMANCE_FAIL_FAST", help_heading = "Verdicts")]
    pub(super) fail_fast: bool,
    /// A file that says which violations are known, and why (TOML, `[[expect]]` rows).
    #[arg(long, value_name = "FILE", env = "CONFORMANCE_EXPECT", help_heading = "Verdicts")]
    pub(super) expect: Option<PathBuf>,
    /// Write a report: `html=PATH`, `json=PATH` or `junit=PATH`, `-` for standard output; may be repeated.
    #[arg(
        long,
        value_name = "FORMAT=PATH",
        env = "CONFORMANCE_REPORT",
        value_delimiter = ',',
        help_heading = "Output"
    )]
    pub(super) report: Vec<Destination>,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Subject")]
pub(super) struct Subject {
    /// The shim binary to test.
    #[arg(long, value_name = "PATH", env = "CONFORMANCE_SHIM", required = true)]
    pub(super) shim: Option<PathBuf>,
    /// The OCI runtime that the shim is told to use: auto (runc when installed, else ours), ours, runc, crun, shim (nothing is
    /// said to it), or a path.
    #[arg(long, value_name = "NAME|PATH", env = "CONFORMANCE_ENGINE", default_value = "auto")]
    pub(super) engine: EngineWish,
    /// The containerd to play: containerd-1.6, -1.7, -2.0, -2.1, -2.2 or -2.3, auto (one under which `start` succeeds) or all. It
    /// decides how the shim is started and called, what lies on disk, and which clauses apply. With several, each runs on its own and
    /// a table compares them.
    #[arg(long, value_name = "CONTAINERD", env = "CONFORMANCE_PROFILE", value_delimiter = ',', default_value = "auto")]
    pub(super) profile: Vec<Profiles>,
    /// When the shim is expected to leave by itself.
    #[arg(long, value_enum, env = "CONFORMANCE_EXIT_POLICY", default_value = "on-shutdown")]
    pub(super) exit_policy: ExitPolicy,
    /// How each check is kept apart from the host; `none` is for shims that need the host itself.
    #[arg(long, value_enum, env = "CONFORMANCE_ISOLATION", default_value = "full")]
    pub(super) isolation: Isolation,
    /// Start the shim with `-debug`, so that its log says more.
    #[arg(long, env = "CONFORMANCE_DEBUG_SHIM")]
    pub(super) debug_shim: bool,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Selection")]
pub(super) struct Selection {
    /// Checks to run, by id or glob (`exec/*`); all when none is given.
    #[arg(value_name = "ID|GLOB")]
    pub(super) patterns: Vec<String>,
    /// Only checks of clauses of this level and stronger ones.
    #[arg(long, value_enum, env = "CONFORMANCE_LEVEL")]
    pub(super) level: Option<Level>,
    /// Only checks of clauses of these tiers.
    #[arg(long, value_enum, value_delimiter = ',', env = "CONFORMANCE_TIER")]
    pub(super) tier: Vec<Tier>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
pub(super) struct Pace {
    /// How many checks run at once [default: twice the cores].
    #[arg(long, short, value_name = "N", env = "CONFORMANCE_JOBS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    /// Where every random choice comes from: decimal, or hexadecimal after 0x [default: from the clock].
    #[arg(long, env = "CONFORMANCE_SEED")]
    pub(super) seed: Option<Seed>,
    /// How many cases each property tries.
    #[arg(long, value_name = "N", env = "CONFORMANCE_CASES", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) cases: u32,
    /// Factor on every deadline, for slow hosts.
    #[arg(long, value_name = "FACTOR", env = "CONFORMANCE_TIMEOUT_SCALE", default_value = "1", value_parser = factor)]
    pub(super) timeout_scale: f64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Output {
    /// When to use colour.
    #[arg(long, value_enum, env = "CONFORMANCE_COLOR", default_value = "auto")]
    pub(super) color: Color,
    /// Only violations and the summary.
    #[arg(long, short, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Whole timelines of what is red; twice: of everything.
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// List the clauses, what judges each of them or why nothing can, and the coverage; ids and globs are those of clauses then.
    #[arg(long, visible_alias = "clauses", help_heading = "Selection")]
    pub(super) requirements: bool,
    /// List the faults: what is done to the surroundings of a shim, and which duties are suspended meanwhile.
    #[arg(long, conflicts_with = "requirements", help_heading = "Selection")]
    pub(super) faults: bool,
    /// How to write the list.
    #[arg(long, value_enum, default_value = "table", help_heading = "Output")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The id of a check, a clause, an invariant or a fault.
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Remove what runs that were killed have left: cgroups, the processes in them, and directories. Each run begins with that, too.
    #[arg(long)]
    pub(super) clean: bool,
}

#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    pub(super) subject: Subject,
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    pub(super) pace: Pace,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Bench {
    /// A shim binary to measure; may be repeated, the first is what the others are compared with.
    #[arg(long, value_name = "PATH", required = true, help_heading = "Subject")]
    pub(super) shim: Vec<PathBuf>,
    /// The OCI runtime that all shims are told to use, as for `run`.
    #[arg(
        long,
        value_name = "NAME|PATH",
        env = "CONFORMANCE_ENGINE",
        default_value = "auto",
        help_heading = "Subject"
    )]
    pub(super) engine: EngineWish,
    /// The containerd to play, one, as for `run`.
    #[arg(
        long,
        value_name = "CONTAINERD",
        env = "CONFORMANCE_PROFILE",
        default_value = "auto",
        help_heading = "Subject"
    )]
    pub(super) profile: Profiles,
    /// How many lives of each shim count.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Pace")]
    pub(super) rounds: u32,
    /// How to write the figures.
    #[arg(long, value_enum, default_value = "table", help_heading = "Output")]
    pub(super) format: BenchFormat,
}

#[derive(Debug, Args)]
pub(super) struct Chaos {
    #[command(flatten)]
    pub(super) subject: Subject,
    /// For how long plans are begun: 90s, 10m, 1h.
    #[arg(long = "for", value_name = "TIME", env = "CONFORMANCE_CHAOS_FOR", default_value = "1m", value_parser = time, help_heading = "Pace")]
    pub(super) time: Duration,
    /// Play so many plans, over all shards, however long it takes.
    #[arg(long, value_name = "N", conflicts_with = "time", help_heading = "Pace")]
    pub(super) plans: Option<u64>,
    /// Where every plan comes from: decimal, or hexadecimal after 0x [default: from the clock].
    #[arg(long, env = "CONFORMANCE_SEED", help_heading = "Pace")]
    pub(super) seed: Option<Seed>,
    /// Play only this part of the plans: 1/3 is the first third of them.
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE, help_heading = "Pace")]
    pub(super) shard: Shard,
    /// How many worlds there are at once [default: twice the cores].
    #[arg(long, short, value_name = "N", env = "CONFORMANCE_JOBS", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Pace")]
    pub(super) jobs: Option<u16>,
    /// Factor on every deadline, for slow hosts.
    #[arg(long, value_name = "FACTOR", env = "CONFORMANCE_TIMEOUT_SCALE", default_value = "1", value_parser = factor, help_heading = "Pace")]
    pub(super) timeout_scale: f64,
    /// How often a failure that was made smaller is played again to see how often it fails; less often when it takes more than a minute.
    #[arg(long, value_name = "N", default_value_t = 50, help_heading = "Pace")]
    pub(super) reproduce: u32,
    /// Where result file and captures go.
    #[arg(long, value_name = "DIR", default_value = "chaos", help_heading = "Output")]
    pub(super) out: PathBuf,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// What was captured, or a plan as text.
    pub(super) file: PathBuf,
    /// Another shim binary [default: that of the capture].
    #[arg(long, value_name = "PATH", env = "CONFORMANCE_SHIM", help_heading = "Subject")]
    pub(super) shim: Option<PathBuf>,
    /// The OCI runtime, as for `run` [default: that of the capture].
    #[arg(long, value_name = "NAME|PATH", env = "CONFORMANCE_ENGINE", help_heading = "Subject")]
    pub(super) engine: Option<EngineWish>,
    /// The containerd to play, as for `run` [default: that of the capture, or auto for another shim].
    #[arg(long, value_name = "PROFILE", env = "CONFORMANCE_PROFILE", help_heading = "Subject")]
    pub(super) profile: Option<Profiles>,
    /// How often it is played.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Pace")]
    pub(super) times: u32,
    /// Factor on every deadline, for slow hosts.
    #[arg(long, value_name = "FACTOR", env = "CONFORMANCE_TIMEOUT_SCALE", default_value = "1", value_parser = factor, help_heading = "Pace")]
    pub(super) timeout_scale: f64,
    /// Play the plan as it was drawn, not the smallest that fails.
    #[arg(long, help_heading = "Selection")]
    pub(super) original: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Merge {
    /// The result files of all shards.
    #[arg(value_name = "RESULT", required = true)]
    pub(super) results: Vec<PathBuf>,
    /// Where the sum is written [default: beside the first].
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CrashPoints {
    #[command(flatten)]
    pub(super) subject: Subject,
    /// The life that is lived; `--help` lists them.
    #[arg(
        long,
        value_name = "NAME",
        default_value = crash_points::SCENARIOS[0].name,
        value_parser = scenario,
        help_heading = "Selection"
    )]
    pub(super) scenario: &'static Scenario,
    /// What happens at each point: kill, EAGAIN, EINTR, EIO, EMFILE, ENOMEM or ENOSPC; several are separated by commas.
    #[arg(long, value_name = "ACTION", value_delimiter = ',', default_value = "kill", help_heading = "Selection")]
    pub(super) action: Vec<Action>,
    /// Only points of this phase; may be repeated.
    #[arg(long, value_name = "PHASE", value_delimiter = ',', help_heading = "Selection")]
    pub(super) phase: Vec<String>,
    /// Only this point, as a report names it.
    #[arg(long, value_name = "POINT", conflicts_with = "phase", help_heading = "Selection")]
    pub(super) point: Option<Point>,
    /// How often the life is recorded before it is struck.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Pace")]
    pub(super) recordings: u16,
    /// How many worlds there are at once [default: twice the cores].
    #[arg(long, short, value_name = "N", env = "CONFORMANCE_JOBS", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Pace")]
    pub(super) jobs: Option<u16>,
    /// Factor on every deadline, for slow hosts.
    #[arg(long, value_name = "FACTOR", env = "CONFORMANCE_TIMEOUT_SCALE", default_value = "1", value_parser = factor, help_heading = "Pace")]
    pub(super) timeout_scale: f64,
    /// Keep in this file what was visited, and go on from there when it exists.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) resume: Option<PathBuf>,
    /// Write a report with every point, and the history of those that are not held.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) json: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: Output,
}

/// How figures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BenchFormat {
    /// For people, and for Markdown.
    Table,
    /// For programs, with every value.
    Json,
}

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One id a line.
    Terse,
    /// For programs.
    Json,
    /// The catalogue.
    Markdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On terminals, unless NO_COLOR, CLICOLOR or TERM=dumb say otherwise.
    Auto,
    Always,
    Never,
}

/// What can be said for a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profiles {
    /// Whatever suits the shim.
    Auto,
    /// This one.
    One(Profile),
    /// Each of them.
    All,
}

impl FromStr for Profiles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "all" => Ok(Self::All),
            name => name.parse().map(Self::One),
        }
    }
}

/// The containerds that were asked for, each once.
pub(super) fn wished(profiles: &[Profiles]) -> Vec<ProfileWish> {
    let mut wished = Vec::new();
    for profiles in profiles {
        let of = match profiles {
            Profiles::Auto => vec![ProfileWish::Auto],
            Profiles::One(profile) => vec![ProfileWish::Exactly(*profile)],
            Profiles::All => profile::ALL.map(ProfileWish::Exactly).to_vec(),
        };
        wished.extend(of.into_iter().filter(|wish| !wished.contains(wish)).collect::<Vec<_>>());
    }
    wished
}

/// The one containerd that was asked for.
///
/// # Errors
///
/// When several were.
pub(super) fn single(profiles: &[Profiles]) -> Result<ProfileWish, Failure> {
    match wished(profiles).as_slice() {
        [one] => Ok(*one),
        several => Err(Failure::Usage(format!("{} profiles are asked for\n  name one here", several.len()))),
    }
}

/// Where random choices come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seed(pub(super) u64);

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number.map(Self).map_err(|e| format!("neither a decimal number nor 0x and a hexadecimal one: {e}"))
    }
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (0.1..=1000.0).contains(&factor) => Ok(factor),
        Ok(_) => Err("must lie between 0.1 and 1000".to_owned()),
        Err(e) => Err(format!("not a number: {e}")),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time: SignedDuration = text.parse().map_err(|e| format!("no time such as 90s, 10m or 1h: {e}"))?;
    Duration::try_from(time).ok().filter(|time| !time.is_zero()).ok_or_else(|| "must be above zero".to_owned())
}

fn scenarios() -> String {
    let mut text = "Scenarios:\n".to_owned();
    for scenario in crash_points::SCENARIOS {
        text.push_str(&format!("  {}\n      {}\n", scenario.name, scenario.summary));
    }
    text.push('\n');
    text.push_str(&exit_statuses());
    text
}

fn exit_statuses() -> String {
    let mut text = "Exit status:\n".to_owned();
    for (code, meaning) in exit_code::ALL {
        text.push_str(&format!("  {code:>3}  {meaning}\n"));
    }
    text
}

fn after_long_help() -> String {
    let mut text = exit_statuses();
    text.push_str(
        "\nThe line that begins with `result:` tells the claim. CONFORMANT: every MUST that this containerd asks for is held. NOT \
         CONFORMANT: one is violated, though it be waived. INCOMPLETE: one was skipped, inconclusive or not selected. The line above it \
         that begins with `conformant to` counts and names them.\n\n\
         Every option but -q and -v can be set in the environment: --shim is CONFORMANCE_SHIM, and so on.",
    );
    text
}

/// Parses, with the errors and statuses of clap.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(args)
}
