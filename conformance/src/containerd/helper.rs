//! Executing the shim binary for `start` and `delete`, as each containerd does (containerd: `core/runtime/v2/binary.go`,
//! `pkg/shim/util.go`).

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use containerd_shim_protos::bootstrap_api::{BootstrapParams, Extension, LogLevel};
use protobuf::{EnumOrUnknown, Message as _, MessageField, well_known_types::any::Any};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    task::{JoinHandle, spawn_local},
};

use super::bundle;
use crate::{
    entry,
    history::Ran,
    profile::Stdin,
    wire::{Input, Setup, Twist},
};

/// containerd sets none of its own; a start that takes longer than this is hung.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(20);
/// `io.containerd.timeout.shim.cleanup`.
pub(super) const DELETE_DEADLINE: Duration = Duration::from_secs(5);

/// `-v` and `-info` do nothing that takes time.
pub(super) const PRINT_DEADLINE: Duration = Duration::from_secs(5);

/// A running `start` or `delete`.
pub(super) struct Helper {
    child: Child,
    pid: u32,
    /// Writes to its standard input.
    feeding: Option<JoinHandle<Result<()>>>,
}

/// Executes `start`.
pub(super) fn start(setup: &Setup, id: &str, options: &[u8], twist: Twist) -> Result<Helper> {
    let mut command = command(setup, id)?;
    if setup.debug || twist.debug {
        command.arg("-debug");
    }
    command.envs(twist.with);
    for variable in twist.without {
        command.env_remove(variable);
    }
    let input = match twist.input {
        Some(Input::Bytes(bytes)) => bytes,
        Some(Input::Zeros(count)) => vec![0; count],
        None => bootstrap_input(setup, id, options)?,
    };
    command.arg("start");
    Helper::spawn_fed(command, input)
}

/// Executes the shim binary with `args` alone and `input` on its standard input, in a directory that is nobody's bundle (contract
/// BOOT-47, INFO-01).
pub(super) fn print(setup: &Setup, args: &[String], input: Vec<u8>) -> Result<Helper> {
    let mut command = Command::new(&setup.shim);
    command.args(args).current_dir("/").process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    Helper::spawn_fed(command, input)
}

/// Whether the shim is one of containerd's own, which is never asked for `-info` (containerd: `core/runtime/v2/task_manager.go`).
pub(super) fn is_builtin(setup: &Setup) -> bool {
    const OWN: [&str; 2] = ["containerd-shim-runc-v2", "containerd-shim-runhcs-v1"];
    setup.shim.file_name().is_some_and(|name| OWN.iter().any(|own| name == *own))
}

/// Executes `delete`.
pub(super) fn delete(setup: &Setup, id: &str, debug: bool) -> Result<Helper> {
    let mut command = command(setup, id)?;
    command.arg("-bundle").arg(bundle::path(setup, id));
    if debug || setup.debug && setup.profile.debug_on_delete {
        command.arg("-debug");
    }
    command.arg("delete").stdin(Stdio::null());
    Helper::spawn(command)
}

fn command(setup: &Setup, id: &str) -> Result<Command> {
    let mut command = shim(setup)?;
    command
        .args(["-namespace", &setup.namespace, "-address"])
        .arg(&setup.address)
        .arg("-publish-binary")
        .arg(std::env::current_exe().context("find the suite's own executable")?)
        .args(["-id", id])
        .current_dir(bundle::path(setup, id))
        .env("GOMAXPROCS", "2")
        .env("TTRPC_ADDRESS", &setup.ttrpc)
        .envs(setup.env.iter().map(|(key, value)| (key, value)))
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if setup.profile.names_itself {
        command.env("MAX_SHIM_VERSION", "2").env("GRPC_ADDRESS", &setup.address).env("NAMESPACE", &setup.namespace);
    }
    Ok(command)
}

/// The shim binary, or what becomes it under the supervisor of its system calls.
fn shim(setup: &Setup) -> Result<Command> {
    if !setup.supervisor.exists() {
        return Ok(Command::new(&setup.shim));
    }
    let mut command = Command::new(std::env::current_exe().context("find the suite's own executable")?);
    command.arg(entry::LAUNCH).arg(&setup.supervisor).arg(&setup.shim);
    Ok(command)
}

/// What containerd writes to the stdin of `start`.
fn bootstrap_input(setup: &Setup, id: &str, options: &[u8]) -> Result<Vec<u8>> {
    // 2.3 goes on to speak the older way with the two shims that would fail otherwise (containerd: `core/runtime/v2/command.go`).
    const OLD: [&str; 2] = ["shim-runc-v1", "shim-runhcs-v1"];
    let name = setup.shim.file_name().unwrap_or_default().to_string_lossy();
    match setup.profile.stdin {
        Stdin::Params if OLD.iter().all(|old| !name.contains(old)) => params(setup, id, options),
        Stdin::Options | Stdin::Params => Ok(options.to_vec()),
    }
}

/// `BootstrapParams` for the container `id` with these runtime options, encoded.
///
/// # Errors
///
/// When the options are no `Any`; the suite's fault.
pub(super) fn params(setup: &Setup, id: &str, options: &[u8]) -> Result<Vec<u8>> {
    let mut params = BootstrapParams::new();
    id.clone_into(&mut params.instance_id);
    params.namespace.clone_from(&setup.namespace);
    params.log_level =
        EnumOrUnknown::new(if setup.debug { LogLevel::LOG_LEVEL_DEBUG } else { LogLevel::LOG_LEVEL_INFO });
    "2.3.4".clone_into(&mut params.containerd_version);
    params.containerd_ttrpc_address = setup.ttrpc.display().to_string();
    params.containerd_grpc_address = setup.address.display().to_string();
    params.containerd_binary =
        std::env::current_exe().context("find the suite's own executable")?.display().to_string();
    params.socket_dir = Some(setup.sockets.display().to_string());
    if !options.is_empty() {
        let mut extension = Extension::new();
        extension.value = MessageField::some(Any::parse_from_bytes(options).context("decode the options")?);
        params.extensions.push(extension);
    }
    params.write_to_bytes().context("encode BootstrapParams")
}

async fn feed(mut stdin: ChildStdin, input: Vec<u8>) -> Result<()> {
    match stdin.write_all(&input).await {
        // A shim need not read what it does not want.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e).context("write to the stdin of start"),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Helper {
    fn spawn(mut command: Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("execute {:?}", command.as_std()))?;
        let pid = child.id().context("the helper has no pid")?;
        Ok(Self { child, pid, feeding: None })
    }

    /// The same with `input` on its standard input. Where containerd has nothing to say, nothing is there, not even a pipe.
    fn spawn_fed(mut command: Command, input: Vec<u8>) -> Result<Self> {
        command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut helper = Self::spawn(command)?;
        // Beside everything else, as in containerd: who does not read more than a pipe holds shall not be waited for here.
        helper.feeding = helper.child.stdin.take().map(|stdin| spawn_local(feed(stdin, input)));
        Ok(helper)
    }

    /// The helper's pid.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.pid)
    }

    /// Waits, as containerd does, for the end of the helper and of its output; ends it when the deadline passes.
    pub(super) async fn finish(&mut self, deadline: Duration) -> Result<(Ran, Vec<u8>)> {
        let mut out = self.child.stdout.take().context("the helper has no stdout")?;
        let mut err = self.child.stderr.take().context("the helper has no stderr")?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let reading = async {
            // A read error ends the stream like its end does.
            _ = tokio::join!(out.read_to_end(&mut stdout), err.read_to_end(&mut stderr));
        };
        let waiting = tokio::time::timeout(deadline, self.child.wait());
        let reading = tokio::time::timeout(deadline, reading);
        let (ended, read) = tokio::join!(waiting, reading);
        let code = match ended {
            Ok(status) => Some(code(status.context("wait for the helper")?)),
            Err(_) => {
                self.child.kill().await.context("end a hung helper")?;
                None
            }
        };
        if let Some(feeding) = self.feeding.take() {
            feeding.abort();
            match feeding.await {
                Err(e) if !e.is_cancelled() => return Err(e).context("feed the helper"),
                Ok(fed) => fed?,
                Err(_) => {}
            }
        }
        let ran = Ran {
            code,
            pid: self.pid,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            held_open: code.is_some() && read.is_err(),
        };
        Ok((ran, stdout))
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
