//! The command line, in runc's words: what shims pass is understood, what only people type is left out.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// An OCI runtime for tests of shims. It isolates enough to tell the truth about processes; it is no security boundary.
#[derive(Debug, Parser)]
#[command(
    name = "conformance-engine",
    disable_version_flag = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(super) struct Cli {
    /// Where the state of containers is kept.
    #[arg(long, default_value = "/run/conformance-engine")]
    pub(super) root: PathBuf,
    /// Append messages to this file.
    #[arg(long)]
    pub(super) log: Option<PathBuf>,
    /// Shape of the lines in the log file.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    /// Log what is done, not only what fails.
    #[arg(long)]
    pub(super) debug: bool,
    #[command(flatten)]
    pub(super) ignored: IgnoredGlobals,
    /// Print the version.
    #[arg(long, short = 'v', visible_short_alias = 'V')]
    pub(super) version: bool,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// Accepted because shims pass them, without effect.
#[derive(Debug, Args)]
pub(super) struct IgnoredGlobals {
    /// Ignored: cgroups are always plain directories.
    #[arg(long, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    systemd_cgroup: Option<String>,
    /// Ignored: what is allowed is found out by trying.
    #[arg(long)]
    rootless: Option<String>,
    /// Ignored: checkpoints are not supported.
    #[arg(long)]
    criu: Option<PathBuf>,
}

/// Shape of the lines in the log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// `{"level":…,"msg":…,"time":…}`
    Json,
    /// `time=… level=… msg=…`
    Text,
}

/// Shape of an answer on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For programs.
    Json,
    /// For people.
    Table,
}

/// One thing to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a container whose process waits for `start`.
    Create(Create),
    /// Let the process of a created container begin.
    Start(Id),
    /// Print the state of a container as JSON.
    State(Id),
    /// Send a signal.
    Kill(Kill),
    /// Remove a stopped container, or any with --force.
    Delete(Delete),
    /// Run one more process in a container.
    Exec(Box<Exec>),
    /// List the processes of a container.
    Ps(Ps),
    /// Freeze the processes of a container.
    Pause(Id),
    /// Thaw the processes of a container.
    Resume(Id),
    /// Change limits.
    Update(Update),
    /// Print statistics.
    Events(Events),
    /// List containers.
    List(List),
    /// Print what this engine can do.
    Features,
    /// Refused: checkpoints are not supported.
    Checkpoint(Anything),
    /// Refused: checkpoints are not supported.
    Restore(Anything),
}

/// A container's id.
#[derive(Debug, Args)]
pub(super) struct Id {
    pub(super) id: String,
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Directory with config.json.
    #[arg(long, short, default_value = ".")]
    pub(super) bundle: PathBuf,
    /// Unix socket that receives the master of the terminal.
    #[arg(long)]
    pub(super) console_socket: Option<PathBuf>,
    /// Write the pid of the process to this file.
    #[arg(long)]
    pub(super) pid_file: Option<PathBuf>,
    /// Change the root with chroot instead of pivot_root (for a rootfs on ramfs).
    #[arg(long)]
    pub(super) no_pivot: bool,
    /// Ignored: no session keyring is ever made.
    #[arg(long)]
    no_new_keyring: bool,
    /// Hand down this many descriptors after stderr.
    #[arg(long, default_value_t = 0)]
    pub(super) preserve_fds: u16,
    pub(super) id: String,
}

/// Arguments of `kill`.
#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Signal all processes of the container.
    #[arg(long, short)]
    pub(super) all: bool,
    pub(super) id: String,
    /// Name or number.
    #[arg(default_value = "SIGTERM")]
    pub(super) signal: String,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// Kill what runs; an unknown container is fine.
    #[arg(long, short)]
    pub(super) force: bool,
    pub(super) id: String,
}

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Do not wait for the process.
    #[arg(long, short)]
    pub(super) detach: bool,
    /// OCI process as JSON; the other ways to describe it are then ignored.
    #[arg(long, short)]
    pub(super) process: Option<PathBuf>,
    /// Write the pid of the process to this file.
    #[arg(long)]
    pub(super) pid_file: Option<PathBuf>,
    /// Unix socket that receives the master of the terminal.
    #[arg(long)]
    pub(super) console_socket: Option<PathBuf>,
    /// Give the process a terminal.
    #[arg(long, short)]
    pub(super) tty: bool,
    /// Working directory.
    #[arg(long)]
    pub(super) cwd: Option<PathBuf>,
    /// NAME=VALUE, may be given again.
    #[arg(long, short)]
    pub(super) env: Vec<String>,
    /// `UID[:GID]`.
    #[arg(long, short)]
    pub(super) user: Option<String>,
    /// Group beside that of the user, may be given again.
    #[arg(long, short = 'g')]
    pub(super) additional_gids: Vec<u32>,
    /// Capability to be added, may be given again.
    #[arg(long, short = 'c')]
    pub(super) cap: Vec<String>,
    /// Forbid gaining privileges.
    #[arg(long)]
    pub(super) no_new_privs: bool,
    /// Ignored: no labels are set.
    #[arg(long)]
    process_label: Option<String>,
    /// Ignored: no profile is applied.
    #[arg(long)]
    apparmor: Option<String>,
    /// Hand down this many descriptors after stderr.
    #[arg(long, default_value_t = 0)]
    pub(super) preserve_fds: u16,
    /// Run even in a paused container: it then waits for resume.
    #[arg(long)]
    pub(super) ignore_paused: bool,
    pub(super) id: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) args: Vec<String>,
}

/// Arguments of `ps`.
#[derive(Debug, Args)]
pub(super) struct Ps {
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    pub(super) format: Format,
    pub(super) id: String,
}

/// Arguments of `update`.
#[derive(Debug, Args)]
pub(super) struct Update {
    /// OCI resources as JSON; `-` is stdin.
    #[arg(long, short)]
    pub(super) resources: PathBuf,
    pub(super) id: String,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Print once and end; the only way this engine knows.
    #[arg(long)]
    pub(super) stats: bool,
    pub(super) id: String,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    pub(super) format: Format,
    /// Only ids.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// Whatever follows a command that is refused anyway.
#[derive(Debug, Args)]
pub(super) struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<String>,
}
