//! `start`: lets the waiting process go on, and sees that its program begins.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    Engine, cli,
    refusal::Refusal,
    state::{EXEC_FIFO, StateDirectory, Status},
};

/// What the process writes when it has been let go; its end of the FIFO then closes on exec.
pub(super) const RELEASED: &[u8] = b"0";

/// Starts the program of a created container.
pub(super) fn start(engine: &Engine, arguments: &cli::Id) -> Result<()> {
    let directory = StateDirectory::new(&engine.root, &arguments.id)?;
    let record = directory.load()?;
    match record.status()? {
        Status::Created => {}
        status @ (Status::Running | Status::Paused | Status::Stopped) => {
            return Err(Refusal::State { verb: "start", id: arguments.id.clone(), status }.into());
        }
    }
    let process = record.open_process()?;
    let path = directory.path().join(EXEC_FIFO);
    // Without blocking: this end opens at once and wakes the process, which waits for a reader.
    let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    let fifo = opened.with_context(|| format!("cannot open {}", path.display()))?;
    let words = listen(&fifo, &process)?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    match words.strip_prefix(RELEASED) {
        Some([]) => Ok(()),
        Some(reason) => bail!("{}", String::from_utf8_lossy(reason)),
        None => bail!("the container process ended before it was started"),
    }
}

/// Reads until the process has executed its program, said why not, or died.
fn listen(fifo: &File, process: &impl std::os::fd::AsFd) -> Result<Vec<u8>> {
    let mut words = Vec::new();
    loop {
        let mut waiting =
            [PollFd::new(fifo.as_fd(), PollFlags::POLLIN), PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::NONE).context("cannot wait for the container process")?;
        let [said, died] = waiting.map(|one| one.revents().is_some_and(|events| !events.is_empty()));
        match { fifo }.read_to_end(&mut words) {
            // The end of the file is news only after the writer has spoken: before, it may not have opened yet.
            Ok(_) if !words.is_empty() => return Ok(words),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(error).context("cannot read the start FIFO");
            }
            Ok(_) | Err(_) if died => return Ok(words),
            Ok(_) | Err(_) => debug_assert!(said, "poll woke for nothing"),
        }
    }
}
