//! Executing a program under the filter, with its supervisor at the other end.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, Read as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::calls::CALLS;
use super::filter;
use crate::sys::seccomp;

/// Becomes `program` with `args`, under the eyes of the supervisor that listens at `supervisor`. Comes back only with the reason why not.
///
/// The listener cannot be sent by the thread under the filter: the supervisor would be asked about that very call before it can be asked.
/// So a second thread, which the filter does not concern, sends it, and ends with the execution.
pub fn launch(supervisor: &Path, program: &OsStr, args: impl IntoIterator<Item = OsString>) -> io::Error {
    match supervised(supervisor) {
        Ok(()) => Command::new(program).args(args).exec(),
        Err(error) => error,
    }
}

fn supervised(supervisor: &Path) -> io::Result<()> {
    let socket = UnixStream::connect(supervisor).map_err(|error| {
        io::Error::new(error.kind(), format!("connect to the supervisor {}: {error}", supervisor.display()))
    })?;
    let (sender, opened) = mpsc::channel();
    let courier = thread::spawn(move || hand_over(socket, &opened));
    // That the courier is gone is told by its own end.
    _ = sender.send(install());
    courier.join().map_err(|_| io::Error::other("the courier of the listener panicked"))?
}

/// Puts the filter in force for this thread.
fn install() -> io::Result<OwnedFd> {
    let mut program = filter::program(CALLS);
    let listener = match seccomp::listen(&mut program) {
        // Whoever is not privileged must forgo becoming so.
        Err(Errno::EACCES) => set_no_new_privs().and_then(|()| seccomp::listen(&mut program)),
        other => other,
    };
    listener.map_err(|errno| {
        io::Error::new(errno_kind(errno), format!("install a seccomp filter with a listener: {errno}"))
    })
}

fn errno_kind(errno: Errno) -> io::ErrorKind {
    io::Error::from(errno).kind()
}

/// Sends the listener, or why there is none, and waits until the supervisor has it.
fn hand_over(mut socket: UnixStream, opened: &Receiver<io::Result<OwnedFd>>) -> io::Result<()> {
    let listener = match opened.recv().map_err(io::Error::other)? {
        Ok(listener) => listener,
        Err(error) => {
            let text = error.to_string();
            sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(text.as_bytes())], &[], MsgFlags::empty(), None)?;
            return Err(error);
        }
    };
    let rights = [listener.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"listener")], &control, MsgFlags::empty(), None)?;
    let mut taken = [0];
    socket.read_exact(&mut taken)
}

/// Whether this kernel and this process can do all that: it is tried out on a thread that ends at once.
///
/// # Errors
///
/// Why not, in words.
pub fn available() -> Result<(), String> {
    let tried = thread::spawn(|| {
        let allow =
            libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
        match seccomp::listen(&mut [allow]) {
            Err(Errno::EACCES) => set_no_new_privs().and_then(|()| seccomp::listen(&mut [allow])),
            other => other,
        }
        .map(drop)
    });
    match tried.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Errno::EINVAL)) => {
            Err("this kernel is older than 5.19: seccomp listeners cannot wait through signals".to_owned())
        }
        Ok(Err(Errno::EBUSY)) => {
            Err("a seccomp listener is in force here already, and there can be only one".to_owned())
        }
        Ok(Err(errno)) => Err(format!("seccomp listeners cannot be made: {errno}")),
        Err(_) => Err("the trial of a seccomp listener panicked".to_owned()),
    }
}
