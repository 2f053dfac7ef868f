//! Commands that want a terminal.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{libc, pty::openpty};

use crate::command::{self, Finished};

/// Runs a command to its end on a new terminal; what it shows there is answered as standard output.
pub(super) fn finish(mut command: Command, limit: Duration) -> Result<Finished> {
    let pair = openpty(None, None).context("cannot open a terminal")?;
    let line = command::line(&command);
    command
        .stdin(pair.slave.try_clone()?)
        .stdout(pair.slave.try_clone()?)
        .stderr(pair.slave);
    let mut child = command.spawn().with_context(|| format!("cannot run `{line}`"))?;
    // It holds our copies of the slave: the master shall see the end when the child's are closed.
    drop(command);
    let shown = thread::spawn(|| read_to_end(pair.master));
    let status = command::wait(&mut child, limit)?;
    let shown = match shown.join() {
        Ok(shown) => String::from_utf8_lossy(&shown.context("cannot read from the terminal")?).into_owned(),
        Err(_) => bail!("reading from the terminal panicked"),
    };
    match status {
        Some(status) => Ok(Finished {
            status,
            stdout: shown,
            stderr: String::new(),
        }),
        None => bail!("`{line}` was not done within {limit:?}; its terminal showed {shown:?}"),
    }
}

/// Reads a terminal's master until no slave is open, which it tells by `EIO`.
fn read_to_end(master: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::from(master).read_to_end(&mut bytes) {
        Err(error) if error.raw_os_error() != Some(libc::EIO) => Err(error),
        Ok(_) | Err(_) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_sees_a_terminal_and_we_see_what_it_shows() {
        let mut command = Command::new("sh");
        command.args(["-c", "test -t 0 && test -t 1 && echo shown; exit 5"]);
        let done = finish(command, Duration::from_secs(20)).unwrap();
        assert_eq!((done.stdout.trim_end(), done.status.code()), ("shown", Some(5)));
    }
}
