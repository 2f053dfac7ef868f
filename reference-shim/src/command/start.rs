//! `start`: finds or makes the shim of a container's group and prints its address.

use std::{
    env, fs,
    io::{self, IsTerminal, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, net::UnixListener, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    bootstrap::{DIALECT, Dialect, Greeting},
    flags::Flags,
};
use crate::{
    bundle::Bundle,
    error::Error,
    runtime::Runtime,
    socket::{self, Claim},
};

/// More than any containerd sends (its own shim stops here too).
const STDIN_MAX: u64 = 10 << 20;

/// How long the new shim may take until it serves, in milliseconds.
const READY_LIMIT_MS: u16 = 10_000;

/// The highest `oom_score_adj` there is.
const OOM_SCORE_MAX: i32 = 1000;

pub(crate) fn run(flags: &Flags) -> Result<(), Error> {
    let greeting = Greeting::parse(&read_stdin()?, &flags.namespace, &flags.id);
    let dialect = match env::var(DIALECT) {
        Ok(name) => Dialect::parse(&name)?,
        Err(_) => greeting.dialect,
    };
    let bundle = Bundle::new(env::current_dir().map_err(Error::io("find", "the bundle"))?);
    let group = bundle.group()?;
    if let Some(options) = &greeting.options {
        Runtime::choose(options, &flags.namespace)?.save(&bundle)?;
    }
    let group = group.as_deref().unwrap_or(&flags.id);
    let path = socket::path(&greeting.socket_directory, &flags.address, &flags.namespace, group)?;
    let address = socket::address(&path);
    let answer = dialect.encode(&address)?;
    match socket::claim(&path)? {
        Claim::Taken => {
            bundle.write_address(&address)?;
            bundle.write_socket(&socket::identity(&path)?)?;
            print(&answer)
        }
        Claim::Ours(listener) => {
            let newborn = Newborn { path: &path, inode: socket::inode_of(&path).ok(), daemon: None };
            newborn.raise(listener, flags, &greeting, &bundle, &address)?;
            print(&answer)
        }
    }
}

/// A shim in the making. Unless it is let go, nothing of it stays.
struct Newborn<'a> {
    path: &'a Path,
    inode: Option<u64>,
    daemon: Option<Child>,
}

impl Newborn<'_> {
    fn raise(
        mut self,
        listener: UnixListener,
        flags: &Flags,
        greeting: &Greeting,
        bundle: &Bundle,
        address: &str,
    ) -> Result<(), Error> {
        let (ready, tell) = io::pipe().map_err(Error::io("make", "a pipe"))?;
        let mut command = daemon(flags, greeting, listener, tell.into(), bundle)?;
        // Before there is anybody there: whoever kills us now leaves a shim that `delete` finds.
        bundle.write_address(address)?;
        bundle.write_socket(&socket::identity(self.path)?)?;
        let daemon = self.daemon.insert(command.spawn().map_err(Error::io("start", "the shim"))?);
        drop(command); // our copies of the listener and of the pipe's end
        adjust_oom_score(daemon.id());
        await_ready(ready)?;
        self.daemon = None;
        self.inode = None;
        Ok(())
    }
}

impl Drop for Newborn<'_> {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // It may have died by itself, which is why we are here.
            drop(daemon.kill());
            drop(daemon.wait());
        }
        if let Some(inode) = self.inode
            && let Err(error) = socket::release(self.path, inode)
        {
            log!("{error}");
        }
    }
}

/// The command of the daemon. It finds its listener as stdin and says on stdout that it is ready; its stderr is the
/// bundle's log. So nothing has to be inherited by number, and nothing of ours stays open in it.
fn daemon(
    flags: &Flags,
    greeting: &Greeting,
    listener: UnixListener,
    ready: OwnedFd,
    bundle: &Bundle,
) -> Result<Command, Error> {
    // Not by path: the binary may have been replaced since we were executed.
    let mut command = Command::new("/proc/self/exe");
    command.arg0(env::args_os().next().unwrap_or_else(|| "containerd-shim-reference-v1".into()));
    command.args(["-namespace", &flags.namespace, "-id", &flags.id, "-address", &flags.address]);
    if flags.debug {
        command.arg("-debug");
    }
    if let Some(address) = &greeting.ttrpc_address {
        command.env("TTRPC_ADDRESS", address);
    }
    command.stdin(OwnedFd::from(listener)).stdout(ready).stderr(open_log(bundle)).current_dir(bundle.path());
    Ok(command)
}

/// The log FIFO of containerd. Never blocks: not now for want of a reader, not later when it is full.
fn open_log(bundle: &Bundle) -> Stdio {
    let log = fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(bundle.join("log"));
    // Without a log there is nobody to tell so, and it is no reason not to run containers.
    log.map_or_else(|_| Stdio::null(), Stdio::from)
}

/// Waits for the daemon to say that it serves. It says nothing when it dies.
fn await_ready(mut ready: io::PipeReader) -> Result<(), Error> {
    let mut wait = [PollFd::new(std::os::fd::AsFd::as_fd(&ready), PollFlags::POLLIN)];
    match poll(&mut wait, PollTimeout::from(READY_LIMIT_MS)) {
        Ok(0) => return Err(Error::DeadlineExceeded("shim is not ready".to_owned())),
        Ok(_) => {}
        Err(errno) => return Err(Error::io("watch", "the shim")(errno.into())),
    }
    let mut byte = [0];
    match ready.read(&mut byte).map_err(Error::io("hear", "the shim"))? {
        0 => Err(Error::Other("shim died before it was ready; its log says why".to_owned())),
        _ => Ok(()),
    }
}

/// The shim goes a little before containerd when memory runs out, and long before the machine.
fn adjust_oom_score(daemon: u32) {
    let parent = nix::unistd::getppid();
    let score = fs::read_to_string(format!("/proc/{parent}/oom_score_adj"));
    if let Some(score) = score.ok().and_then(|score| score.trim().parse::<i32>().ok()) {
        let score = OOM_SCORE_MAX.min(score + 1);
        // Refused where a sandbox forbids it; the shim then has containerd's own score, which is no harm.
        drop(fs::write(format!("/proc/{daemon}/oom_score_adj"), score.to_string()));
    }
}

fn read_stdin() -> Result<Vec<u8>, Error> {
    let stdin = io::stdin();
    let mut content = Vec::new();
    if !stdin.is_terminal() {
        stdin.take(STDIN_MAX).read_to_end(&mut content).map_err(Error::io("read", "stdin"))?;
    }
    Ok(content)
}

fn print(answer: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout();
    stdout.write_all(answer).and_then(|()| stdout.flush()).map_err(Error::io("write", "stdout"))
}
