//! The thread that makes a call, while it waits: its memory, its descriptors, and so what the call is about.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::calls::{About, Call};
use super::identity::Role;
use crate::fault::Errno;

/// No path of the kernel's is longer.
const PATH_MAX: usize = 4096;

/// Who makes a call, by the numbers of our PID namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    /// The thread.
    pub(super) tid: i32,
    /// Its process.
    pub(super) tgid: i32,
}

/// What a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// For people, and to tell calls of one name apart; not yet normalised.
    pub(super) text: String,
    /// The errors of the call's row that its manual page knows for such a subject.
    pub(super) errnos: Vec<Errno>,
    /// Whether a crash before it is a crash at a place of its own.
    pub(super) crash: bool,
}

/// A file, whatever its path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file behind `path`.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// The process of the thread `tid`.
pub(super) fn process_of(tid: i32) -> io::Result<i32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|tgid| tgid.trim().parse().ok())
        .ok_or_else(|| io::Error::other(format!("/proc/{tid}/status names no process")))
}

impl Caller {
    /// What `call` is about; `None` when this use of it changes nothing outside of the process that makes it.
    pub(super) fn subject(self, call: &Call, args: &[u64; 6], role: Role) -> io::Result<Option<Subject>> {
        let all = |text: String| Ok(Some(Subject { text, errnos: call.errnos.to_vec(), crash: call.crash }));
        match call.about {
            About::Nothing => all(String::new()),
            About::Path(path) => all(self.path(None, args[path])?),
            About::PathAt(from, path) => all(self.path(Some(args[from]), args[path])?),
            About::Open(path, flags) => {
                let text = self.path(None, args[path])?;
                Ok(Some(opened(call, text, args[flags])))
            }
            About::OpenAt(from, path, flags) => {
                let text = self.path(Some(args[from]), args[path])?;
                Ok(Some(opened(call, text, args[flags])))
            }
            About::Descriptor(fd) => all(shown(&self.descriptor(args[fd])?)),
            About::Written(fd) => self.written(call, args[fd], role),
            About::Address(address) => all(self.address(args[address])?),
            About::Signal(number) => {
                let signal =
                    i32::try_from(args[number]).ok().and_then(|raw| nix::sys::signal::Signal::try_from(raw).ok());
                // Signal 0 only asks.
                signal.map_or(Ok(None), |signal| all(signal.to_string()))
            }
            About::Clone(flags) => Ok(Some(cloned(call, args[flags]))),
            About::Clone3(structure) => Ok(Some(cloned(call, self.word(args[structure])?))),
            About::Program(_) | About::ProgramAt(..) => Ok(None),
        }
    }

    /// Whether the program that `call` executes is `program`; `None` when it executes none.
    pub(super) fn executes(self, call: &Call, args: &[u64; 6], program: FileId) -> Option<bool> {
        let path = match call.about {
            About::Program(path) => self.path(None, args[path]),
            About::ProgramAt(from, path) => self.path(Some(args[from]), args[path]),
            About::Nothing
            | About::Path(_)
            | About::PathAt(..)
            | About::OpenAt(..)
            | About::Open(..)
            | About::Descriptor(_)
            | About::Written(_)
            | About::Address(_)
            | About::Signal(_)
            | About::Clone(_)
            | About::Clone3(_) => return None,
        };
        // What cannot be found is not executed either.
        Some(path.and_then(|path| FileId::of(&self.seen_by_us(&path))).is_ok_and(|file| file == program))
    }

    /// Where we find what is at `path` for the caller.
    fn seen_by_us(self, path: &str) -> PathBuf {
        let Self { tgid, .. } = self;
        if let Some(own) = path.strip_prefix("/proc/self/") {
            return format!("/proc/{tgid}/{own}").into();
        }
        if path.starts_with("/proc/") {
            return path.into();
        }
        format!("/proc/{tgid}/root{path}").into()
    }

    /// The path at `address`, made absolute through the caller's directory or the descriptor `from`.
    fn path(self, from: Option<u64>, address: u64) -> io::Result<String> {
        let path = self.text(address)?;
        if path.starts_with('/') {
            return Ok(path);
        }
        // The kernel looks at the low half.
        let from = from.map_or(libc::AT_FDCWD, |fd| fd as u32 as i32);
        let base = if from == libc::AT_FDCWD {
            fs::read_link(format!("/proc/{}/cwd", self.tid))?
        } else {
            fs::read_link(format!("/proc/{}/fd/{from}", self.tid))?
        };
        let base = base.display();
        Ok(if path.is_empty() { base.to_string() } else { format!("{base}/{path}") })
    }

    fn descriptor(self, fd: u64) -> io::Result<PathBuf> {
        fs::read_link(format!("/proc/{}/fd/{}", self.tid, fd as u32))
    }

    /// A write is a point when it goes to a file, to a socket or to who executed us; not what wakes a thread, and not the log.
    fn written(self, call: &Call, fd: u64, role: Role) -> io::Result<Option<Subject>> {
        let kind = fs::metadata(format!("/proc/{}/fd/{}", self.tid, fd as u32))?.file_type();
        let some = |text: String, of_files: bool| {
            let possible = |errno: &Errno| of_files || !matches!(errno, Errno::Enospc | Errno::Eio);
            let errnos = call.errnos.iter().copied().filter(possible).collect();
            Ok(Some(Subject { text, errnos, crash: call.crash }))
        };
        if kind.is_file() {
            return some(shown(&self.descriptor(fd)?), true);
        }
        if kind.is_socket() {
            return some("socket".to_owned(), false);
        }
        if kind.is_fifo() {
            let path = self.descriptor(fd)?;
            if path.is_absolute() && path.file_name().is_none_or(|name| name != "log") {
                return some(shown(&path), false);
            }
            return if fd == 1 && role == Role::Helper { some("stdout".to_owned(), false) } else { Ok(None) };
        }
        Ok(None)
    }

    /// The path of a local socket's address; other families by number.
    fn address(self, address: u64) -> io::Result<String> {
        let bytes = self.bytes(address, size_of::<libc::sockaddr_un>())?;
        let [low, high, path @ ..] = bytes.as_slice() else {
            return Ok(String::new());
        };
        match i32::from(u16::from_ne_bytes([*low, *high])) {
            libc::AF_UNIX => {
                let (abstract_name, path) = match path {
                    [0, name @ ..] => ("@", name),
                    path => ("", path),
                };
                let name = path.split(|&byte| byte == 0).next().unwrap_or_default();
                Ok(format!("{abstract_name}{}", String::from_utf8_lossy(name)))
            }
            family => Ok(format!("family {family}")),
        }
    }

    fn text(self, address: u64) -> io::Result<String> {
        let bytes = self.bytes(address, PATH_MAX)?;
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn word(self, address: u64) -> io::Result<u64> {
        let bytes = self.bytes(address, size_of::<u64>())?;
        let word = bytes.try_into().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(u64::from_ne_bytes(word))
    }

    /// At most `length` bytes: what follows may not be mapped.
    fn bytes(self, address: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let memory = File::open(format!("/proc/{}/mem", self.tid))?;
        let read = memory.read_at(&mut bytes, address)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// Only what is created needs space.
fn opened(call: &Call, text: String, flags: u64) -> Subject {
    let creates = flags & libc::O_CREAT as u64 != 0;
    let possible = |errno: &Errno| creates || *errno != Errno::Enospc;
    Subject { text, errnos: call.errnos.iter().copied().filter(possible).collect(), crash: call.crash }
}

/// A thread is nobody's business but the process's own; that it cannot be made is.
fn cloned(call: &Call, flags: u64) -> Subject {
    let is_thread = flags & libc::CLONE_THREAD as u64 != 0;
    Subject {
        text: if is_thread { THREAD } else { "process" }.to_owned(),
        errnos: call.errnos.to_vec(),
        crash: call.crash && !is_thread,
    }
}

/// The subject of a call that makes a thread.
pub const THREAD: &str = "thread";

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
