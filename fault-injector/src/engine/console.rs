//! A terminal for a container process: made inside, its master sent to the shim over the console socket.

use std::{
    fs::{File, OpenOptions},
    io::IoSlice,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{fs::OpenOptionsExt as _, net::UnixStream},
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sys::socket::{ControlMessage, MsgFlags, sendmsg},
    unistd::{Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown},
};

use super::spec::Process;
use crate::sys;

const PTMX: &str = "/dev/pts/ptmx";

/// Where the master goes, connected while the host's paths are still there.
#[derive(Debug)]
pub(super) struct ConsoleSocket(UnixStream);

impl ConsoleSocket {
    /// Connects, if and only if a terminal is asked for.
    pub(super) fn connect(path: Option<&Path>, terminal: bool) -> Result<Option<Self>> {
        match (path, terminal) {
            (None, false) => Ok(None),
            (None, true) => anyhow::bail!("a process with a terminal needs a console socket"),
            (Some(_), false) => anyhow::bail!("a console socket is given but the process has no terminal"),
            (Some(path), true) => {
                let socket = UnixStream::connect(path);
                let socket = socket.with_context(|| format!("cannot connect to console socket {}", path.display()))?;
                Ok(Some(Self(socket)))
            }
        }
    }

    fn send(&self, master: &File) -> Result<()> {
        let fds = [master.as_raw_fd()];
        // The text is only for people; go-runc's receiver wants some bytes beside the descriptor.
        let text = [IoSlice::new(PTMX.as_bytes())];
        let sent =
            sendmsg::<()>(self.0.as_raw_fd(), &text, &[ControlMessage::ScmRights(&fds)], MsgFlags::MSG_NOSIGNAL, None);
        sent.context("cannot send the terminal over the console socket")?;
        Ok(())
    }
}

/// Gives this session leader a terminal of the current mount namespace on its three streams; `on_console` shows it as
/// `/dev/console` too, which only a container's first process may do.
pub(super) fn attach(socket: &ConsoleSocket, process: &Process, on_console: bool) -> Result<()> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(PTMX);
    let master = opened.with_context(|| format!("cannot open {PTMX}"))?;
    // A new pseudo-terminal is locked until its maker says so.
    sys::terminal::unlock(&master).context("cannot unlock the terminal")?;
    let terminal = sys::terminal::peer(&master).context("cannot open the terminal")?;
    if let Some(size) = process.console_size {
        sys::terminal::resize(&master, size.height, size.width).context("cannot size the terminal")?;
    }
    let (uid, gid) = (Uid::from_raw(process.user.uid), Gid::from_raw(process.user.gid));
    fchown(&terminal, Some(uid), Some(gid)).context("cannot give the terminal to the user")?;
    if on_console {
        show_as_console(&master)?;
    }
    socket.send(&master)?;
    sys::terminal::take_control(&terminal).context("cannot make the terminal the controlling one")?;
    onto_streams(&terminal)
}

fn show_as_console(master: &File) -> Result<()> {
    let number = sys::terminal::number(master).context("the terminal has no number")?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open("/dev/console");
    if let Err(error) = made
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(error).context("cannot make /dev/console");
    }
    let source = format!("/dev/pts/{number}");
    mount(Some(source.as_str()), "/dev/console", None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .context("cannot mount /dev/console")
}

fn onto_streams(terminal: &OwnedFd) -> Result<()> {
    dup2_stdin(terminal).context("cannot replace stdin")?;
    dup2_stdout(terminal).context("cannot replace stdout")?;
    dup2_stderr(terminal).context("cannot replace stderr")
}
