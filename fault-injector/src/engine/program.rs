//! The last steps before `execve`, the same for a container's first process and for those that join: limits, ids,
//! capabilities, working directory, environment, and finding the program.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, RawFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::SigSet,
        stat::{Mode, fstat, makedev, stat, umask},
    },
    unistd::{AccessFlags, Gid, Uid, access, chdir, execve, fchown, setgid, setgroups, setuid},
};

use super::{
    capabilities::Wanted,
    log::Log,
    refusal::Refusal,
    spec::{Process, Rlimit, User},
};
use crate::sys;

/// The mask of a process whose configuration names none, as with runc.
const DEFAULT_UMASK: u32 = 0o022;

/// A program that can be executed now.
#[derive(Debug)]
pub(super) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

/// Sets the score by which the kernel picks victims; while the host's `/proc` is still there.
pub(super) fn adjust_oom_score(process: &Process, log: &Log) -> Result<()> {
    let Some(score) = process.oom_score_adj else {
        return Ok(());
    };
    match fs::write("/proc/self/oom_score_adj", score.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            log.warn(format!("oom score not lowered to {score}: {error}"));
            Ok(())
        }
        written => written.context("cannot set the oom score"),
    }
}

/// Turns this process into what the configuration describes, up to the program itself.
pub(super) fn become_user(process: &Process, preserve_fds: u16, log: &Log) -> Result<Program> {
    set_rlimits(&process.rlimits, log)?;
    give_stdio(&process.user);
    let wanted = Wanted::of(&process.capabilities, log)?;
    wanted.limit_bounding()?;
    prctl::set_keepcaps(true).context("cannot keep capabilities over setuid")?;
    set_ids(&process.user, log)?;
    prctl::set_keepcaps(false).context("cannot stop keeping capabilities")?;
    // As the user: a directory that the user may not enter is an error, as it would be later.
    chdir(&process.cwd).with_context(|| format!("cannot enter working directory {}", process.cwd.display()))?;
    wanted.apply()?;
    if process.no_new_privileges {
        prctl::set_no_new_privs().context("cannot set no_new_privs")?;
    }
    umask(Mode::from_bits_truncate(process.user.umask.unwrap_or(DEFAULT_UMASK)));
    let first = RawFd::from(3 + preserve_fds.cast_signed());
    sys::exec_hygiene::close_on_exec_from(first).context("cannot mark descriptors close-on-exec")?;
    Program::find(process)
}

/// Limits may always be lowered; raising one takes a privilege, and a test double goes on without.
fn set_rlimits(rlimits: &[Rlimit], log: &Log) -> Result<()> {
    for rlimit in rlimits {
        let resource = resource(&rlimit.kind).with_context(|| format!("unknown rlimit {}", rlimit.kind))?;
        match setrlimit(resource, rlimit.soft, rlimit.hard) {
            Err(Errno::EPERM) => log.warn(format!("{} not raised to {}: not permitted", rlimit.kind, rlimit.hard)),
            set => set.with_context(|| format!("cannot set {}", rlimit.kind))?,
        }
    }
    Ok(())
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_AS" => Resource::RLIMIT_AS,
        "RLIMIT_CORE" => Resource::RLIMIT_CORE,
        "RLIMIT_CPU" => Resource::RLIMIT_CPU,
        "RLIMIT_DATA" => Resource::RLIMIT_DATA,
        "RLIMIT_FSIZE" => Resource::RLIMIT_FSIZE,
        "RLIMIT_LOCKS" => Resource::RLIMIT_LOCKS,
        "RLIMIT_MEMLOCK" => Resource::RLIMIT_MEMLOCK,
        "RLIMIT_MSGQUEUE" => Resource::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => Resource::RLIMIT_NICE,
        "RLIMIT_NOFILE" => Resource::RLIMIT_NOFILE,
        "RLIMIT_NPROC" => Resource::RLIMIT_NPROC,
        "RLIMIT_RSS" => Resource::RLIMIT_RSS,
        "RLIMIT_RTPRIO" => Resource::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => Resource::RLIMIT_RTTIME,
        "RLIMIT_SIGPENDING" => Resource::RLIMIT_SIGPENDING,
        "RLIMIT_STACK" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

/// Lets an unprivileged user reopen `/dev/stdout`. Best effort by nature: the caller's files may be on a file system that
/// has no owners, or be nobody's to give.
fn give_stdio(user: &User) {
    if user.uid == 0 {
        return;
    }
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    for stream in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        if !is_null_device(stream) {
            let _best_effort = fchown(stream, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
        }
    }
}

fn is_null_device(stream: BorrowedFd<'_>) -> bool {
    fstat(stream).is_ok_and(|stat| stat.st_rdev == makedev(1, 3))
}

fn set_ids(user: &User, log: &Log) -> Result<()> {
    let groups: Vec<Gid> = user.additional_gids.iter().copied().map(Gid::from_raw).collect();
    match setgroups(&groups) {
        // A user namespace made without privilege has given setgroups up for ever.
        Err(Errno::EPERM) => log.warn("supplementary groups unchanged: setgroups is denied in this user namespace"),
        // A group that is not mapped.
        set => set.with_context(|| format!("cannot set groups {:?}", user.additional_gids))?,
    }
    setgid(Gid::from_raw(user.gid)).with_context(|| format!("cannot become group {}", user.gid))?;
    setuid(Uid::from_raw(user.uid)).with_context(|| format!("cannot become user {}", user.uid))
}

impl Program {
    /// Finds the program as this user, in this root and working directory.
    fn find(process: &Process) -> Result<Self> {
        let program = process.args.first().context("process args are empty")?;
        let search = process.env.iter().rev().find_map(|pair| pair.strip_prefix("PATH="));
        let path = find_executable(program, search)?;
        let mut env = process.env.clone();
        if !env.iter().any(|pair| pair.starts_with("HOME=")) {
            env.push(format!("HOME={}", home_of(process.user.uid)));
        }
        Ok(Self {
            path: c_string(path.to_string_lossy().as_ref())?,
            args: process.args.iter().map(|argument| c_string(argument)).collect::<Result<_>>()?,
            env: env.iter().map(|pair| c_string(pair)).collect::<Result<_>>()?,
        })
    }

    /// Executes it; comes back only to say why not.
    pub(super) fn execute(&self) -> anyhow::Error {
        sys::exec_hygiene::default_signal_dispositions();
        if let Err(error) = SigSet::empty().thread_set_mask() {
            return anyhow::Error::new(error).context("cannot clear the signal mask");
        }
        let Err(error) = execve(&self.path, &self.args, &self.env);
        anyhow::Error::new(error).context(format!("exec {}", self.path.to_string_lossy()))
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).with_context(|| format!("a zero byte in {text:?}"))
}

/// As `execvp` would, but before anything is executed, so that a missing program is an error of `create`.
fn find_executable(program: &str, search: Option<&str>) -> Result<PathBuf> {
    if program.contains('/') {
        return match executable(Path::new(program)) {
            Ok(()) => Ok(PathBuf::from(program)),
            Err(error) => {
                Err(Refusal::NotExecutable { program: program.to_owned(), reason: error.desc().to_lowercase() }.into())
            }
        };
    }
    let directories =
        search.unwrap_or_default().split(':').map(|directory| if directory.is_empty() { "." } else { directory });
    let found = directories.map(|directory| Path::new(directory).join(program)).find(|path| executable(path).is_ok());
    found.ok_or_else(|| Refusal::NotInPath { program: program.to_owned() }.into())
}

fn executable(path: &Path) -> Result<(), Errno> {
    let stat = stat(path)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

/// The home directory by the container's own `/etc/passwd`; `/` when it has none.
fn home_of(uid: u32) -> String {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    home_in(&text, uid).unwrap_or("/").to_owned()
}

fn home_in(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then_some(*fields.get(5)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_slash_is_searched() {
        let path = find_executable("sh", Some("/nonexistent:/bin")).unwrap();
        assert_eq!(path, Path::new("/bin/sh"));
    }

    #[test]
    fn what_is_missing_is_named_as_shims_expect() {
        let in_path = find_executable("no-such-program", Some("/bin")).unwrap_err().to_string();
        assert!(in_path.contains("executable file not found"), "{in_path}");
        let by_path = find_executable("/no/such/program", None).unwrap_err().to_string();
        assert!(by_path.contains("no such file or directory"), "{by_path}");
    }

    #[test]
    fn a_directory_is_no_program() {
        find_executable("/bin", None).unwrap_err();
    }

    #[test]
    fn homes_are_in_the_sixth_field() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nu:x:7:7::/home/u:/bin/sh\n";
        assert_eq!(home_in(passwd, 7), Some("/home/u"));
        assert_eq!(home_in(passwd, 8), None);
    }
}
