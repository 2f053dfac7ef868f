//! Commands that want a terminal.

use std::{
    fs::File,
    io,
    process::{Child, Command},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use nix::{libc, pty::openpty};

use crate::command;

/// What copies a terminal's output.
#[derive(Debug)]
pub(super) struct Copier(JoinHandle<io::Result<()>>);

impl Copier {
    /// Waits until nobody has the terminal open and all that was shown there is copied.
    pub(super) fn finish(self) -> Result<()> {
        let copied = self.0.join().map_err(|_| anyhow!("the copier of a terminal panicked"))?;
        copied.context("cannot copy what a terminal shows")
    }
}

/// Starts a command on a new terminal; what it shows there goes to `shown`.
pub(super) fn spawn(mut command: Command, mut shown: File) -> Result<(Child, Copier)> {
    let pair = openpty(None, None).context("cannot open a terminal")?;
    command.stdin(pair.slave.try_clone()?).stdout(pair.slave.try_clone()?).stderr(pair.slave);
    let child = command.spawn().with_context(|| format!("cannot run `{}`", command::line(&command)))?;
    // It holds our copies of the slave: the master shall see the end when the child's are closed.
    drop(command);
    let mut master = File::from(pair.master);
    let copier = thread::spawn(move || match io::copy(&mut master, &mut shown) {
        // So a master is told that no slave is open.
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(()),
        copied => copied.map(|_| ()),
    });
    Ok((child, Copier(copier)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    #[test]
    fn the_command_sees_a_terminal_and_we_see_what_it_shows() {
        let mut shown = tempfile::tempfile().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "test -t 0 && test -t 1 && echo shown; exit 5"]);
        let (mut child, copier) = spawn(command, shown.try_clone().unwrap()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(5));
        copier.finish().unwrap();
        let mut text = String::new();
        shown.rewind().unwrap();
        shown.read_to_string(&mut text).unwrap();
        assert_eq!(text.trim_end(), "shown");
    }
}
