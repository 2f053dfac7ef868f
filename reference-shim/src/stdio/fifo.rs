//! The client's FIFOs. The client makes them; the shim opens what is there and makes nothing.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::Path,
    time::Duration,
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::{
    net::unix::pipe,
    time::{Instant, sleep},
};

use crate::error::Error;

/// How long a client may take to open its end of an output FIFO.
const READER_LIMIT: Duration = Duration::from_secs(10);

/// How often to look for the reader. The kernel has no notice for "a FIFO got a reader" but a blocking open.
const READER_POLL: Duration = Duration::from_millis(5);

/// Opens the client's stdin for reading without waiting for a writer.
///
/// Read-write, because a FIFO without writers reads as ended: the client may close its end and another may come.
pub(super) fn open_stdin(path: &str) -> Result<pipe::Receiver, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(Error::io("open stdin", path))?;
    pipe::Receiver::from_file(file).map_err(Error::io("read stdin", path))
}

/// Opens an output for writing once the client reads it; for a FIFO also returns a read end to hold.
pub(super) async fn open_output(path: &Path) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
    let kind = std::fs::metadata(path).map_err(Error::io("open output", path))?.file_type();
    if !kind.is_fifo() {
        return Ok((open_plain(OpenOptions::new().append(true), path)?, None));
    }
    let write = open_with_reader(path).await?;
    let read = open_nonblocking(path, false).map_err(Error::io("hold", path))?;
    blocking(&write, path)?;
    Ok((write.into(), Some(read.into())))
}

/// Opens something that should be a file. If it is not, this fails at least and does not block.
pub(super) fn open_plain(options: &mut OpenOptions, path: &Path) -> Result<OwnedFd, Error> {
    let file = options.custom_flags(libc::O_NONBLOCK).open(path).map_err(Error::io("open output", path))?;
    blocking(&file, path)?;
    Ok(file.into())
}

/// Undoes `O_NONBLOCK`, which belongs to the open file and so would be the process's: it expects writes to block.
fn blocking(file: &File, path: &Path) -> Result<(), Error> {
    let error = |errno: nix::errno::Errno| Error::io("set up", path)(errno.into());
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL).map_err(error)?);
    fcntl(file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).map_err(error)?;
    Ok(())
}

async fn open_with_reader(path: &Path) -> Result<File, Error> {
    let deadline = Instant::now() + READER_LIMIT;
    loop {
        match open_nonblocking(path, true) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                if Instant::now() >= deadline {
                    return Err(Error::DeadlineExceeded(format!("no reader of {}", path.display())));
                }
                sleep(READER_POLL).await;
            }
            opened => return opened.map_err(Error::io("open output", path)),
        }
    }
}

fn open_nonblocking(path: &Path, write: bool) -> io::Result<File> {
    OpenOptions::new().read(!write).write(write).custom_flags(libc::O_NONBLOCK).open(path)
}

/// A pipe's end for tokio, which needs it non-blocking.
pub(super) fn sender(fd: OwnedFd) -> Result<pipe::Sender, Error> {
    pipe::Sender::from_owned_fd(fd).map_err(Error::io("use", "a pipe"))
}
