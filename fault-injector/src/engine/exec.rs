//! `exec`: one more process in a running container.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::{
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, setsid},
};

use super::{
    Engine,
    channel::{ChildEnd, ParentEnd},
    cli,
    console::{self, ConsoleSocket},
    create::end,
    launch::{Birth, launch},
    log::Log,
    namespaces::Plan,
    pid_file, program,
    refusal::Refusal,
    spec::{Process, Spec},
    state::{Record, StateDirectory, Status},
};

/// Runs the process; answers with its exit status, or with 0 at once when detached.
pub(super) fn exec(engine: &Engine, arguments: &cli::Exec) -> Result<u8> {
    let record = StateDirectory::new(&engine.root, &arguments.id)?.load()?;
    let process = describe(arguments, &record)?;
    process.check()?;
    let status = record.status()?;
    match status {
        Status::Created | Status::Running => {}
        Status::Paused if arguments.ignore_paused => {}
        Status::Paused | Status::Stopped => {
            return Err(Refusal::State { verb: "exec in", id: record.id, status }.into());
        }
    }
    let console = ConsoleSocket::connect(arguments.console_socket.as_deref(), process.terminal)?;
    let plan = Plan::of_process(record.pid())?;
    // Looked at after the namespaces were opened: they are the container's if it still lives.
    if record.live_process()?.is_none() {
        return Err(Refusal::NotRunning { id: record.id }.into());
    }
    let entrance = record.cgroup.entrance()?;
    let birth = Birth { plan: &plan, entrance: &entrance, log: &engine.log };
    let listening = Listening::begin(arguments.detach)?;
    let body = |channel: &mut ChildEnd| live(&process, console.as_ref(), arguments.preserve_fds, &engine.log, channel);
    let (pid, channel) = launch(&birth, body)?;
    bring_up(pid, channel, arguments).inspect_err(|_| end(pid, &engine.log))?;
    listening.wait_for(pid)
}

/// In the new process, inside the container.
fn live(
    process: &Process,
    console: Option<&ConsoleSocket>,
    preserve_fds: u16,
    log: &Log,
    channel: &mut ChildEnd,
) -> Result<()> {
    setsid().context("cannot start a session")?;
    if let Some(socket) = console {
        console::attach(socket, process, false)?;
    }
    let program = program::become_user(process, preserve_fds, log)?;
    channel.executing()?;
    Err(program.execute())
}

fn bring_up(pid: Pid, mut channel: ParentEnd, arguments: &cli::Exec) -> Result<()> {
    channel.go()?;
    channel.wait_executed()?;
    if let Some(path) = &arguments.pid_file {
        pid_file::write(path, pid)?;
    }
    Ok(())
}

/// The process as JSON says, or the container's own with what the command line changes.
fn describe(arguments: &cli::Exec, record: &Record) -> Result<Process> {
    if let Some(path) = &arguments.process {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        return serde_json::from_slice(&text).with_context(|| format!("malformed {}", path.display()));
    }
    if arguments.args.is_empty() {
        bail!("neither a process file nor a command is given");
    }
    let spec = Spec::load(&record.bundle)?;
    let mut process = spec.process()?.clone();
    process.args.clone_from(&arguments.args);
    process.terminal = arguments.tty;
    process.console_size = None;
    process.env.extend(arguments.env.iter().cloned());
    process.cwd = arguments.cwd.clone().unwrap_or_else(|| PathBuf::from(&process.cwd));
    process.no_new_privileges |= arguments.no_new_privs;
    process.user.additional_gids.extend(&arguments.additional_gids);
    if let Some(user) = &arguments.user {
        (process.user.uid, process.user.gid) = parse_user(user)?;
    }
    let capabilities = &mut process.capabilities;
    for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
        set.extend(arguments.cap.iter().cloned());
    }
    Ok(process)
}

/// `UID[:GID]`; the group is 0 when not named.
fn parse_user(text: &str) -> Result<(u32, u32)> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    let parse = |id: &str| id.parse().with_context(|| format!("not a numeric user: {text:?}"));
    Ok((parse(uid)?, parse(gid)?))
}

/// A command that waits passes signals on to the process, so none may be lost between clone and wait.
enum Listening {
    Detached,
    Attached(SigSet),
}

/// What a terminal or a supervisor may send to the command and mean the process.
const PASSED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

impl Listening {
    fn begin(detach: bool) -> Result<Self> {
        if detach {
            return Ok(Self::Detached);
        }
        let mut signals: SigSet = PASSED_ON.into_iter().collect();
        signals.add(Signal::SIGCHLD);
        signals.thread_block().context("cannot block signals")?;
        Ok(Self::Attached(signals))
    }

    fn wait_for(&self, pid: Pid) -> Result<u8> {
        let Self::Attached(signals) = self else {
            return Ok(0);
        };
        loop {
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)).context("cannot wait for the process")? {
                WaitStatus::Exited(_, code) => return Ok(u8::try_from(code & 0xff)?),
                WaitStatus::Signaled(_, signal, _) => return Ok(u8::try_from(128 + signal as i32)?),
                WaitStatus::StillAlive
                | WaitStatus::Continued(_)
                | WaitStatus::Stopped(..)
                | WaitStatus::PtraceEvent(..)
                | WaitStatus::PtraceSyscall(_) => {}
            }
            let signal = signals.wait().context("cannot wait for signals")?;
            if signal != Signal::SIGCHLD {
                kill(pid, signal).with_context(|| format!("cannot pass {signal} on to process {pid}"))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        assert_eq!(parse_user("7:8").unwrap(), (7, 8));
        assert_eq!(parse_user("7").unwrap(), (7, 0));
        assert!(parse_user("root").is_err());
    }
}
