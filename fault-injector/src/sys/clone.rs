//! A child process in new namespaces: `clone3(2)` used as a `fork(2)` that takes flags.

use std::{
    fs, io,
    os::fd::{AsRawFd, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::{sched::CloneFlags, unistd::Pid};

/// `struct clone_args` of `linux/sched.h`, first published size that knows `cgroup`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `CLONE_INTO_CGROUP`; wider than the flags nix knows.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Runs `child` in a new process with a copy of this one's memory and ends that process with the returned code.
///
/// Each of the two processes becomes the owner of one copy of `shared`: the child through its argument, the parent through
/// the answer, be it good or bad. That is how one of them closes a descriptor and the other does not.
///
/// The child is born in `cgroup` (a directory of a version 2 hierarchy) when one is given, so that it never existed outside.
/// With `CLONE_PARENT` the child is a sibling of the caller. A panic in `child` ends it with 101; nothing unwinds into
/// the frames that the child shares with its parent.
///
/// # Errors
///
/// Refuses (`InvalidInput`) when this process has more than one thread, since the child would inherit locks without their
/// owners; otherwise whatever `clone3` answers.
pub(crate) fn clone<T>(
    flags: CloneFlags,
    cgroup: Option<BorrowedFd<'_>>,
    shared: T,
    child: impl FnOnce(T) -> u8,
) -> (io::Result<Pid>, T) {
    if let Err(error) = refuse_threads() {
        return (Err(error), shared);
    }
    let args = arguments(flags, cgroup);
    // SAFETY: without CLONE_VM the child runs on a copy of this memory and stack. This process has one thread (checked
    // above), so no lock is held by a thread that the child lacks.
    let answer = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    let cloned = match answer {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = catch_unwind(AssertUnwindSafe(|| child(shared))).unwrap_or(101);
            exit_now(code)
        }
        pid => i32::try_from(pid).map(Pid::from_raw).map_err(io::Error::other),
    };
    (cloned, shared)
}

fn refuse_threads() -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() == 1 {
        return Ok(());
    }
    let reason = "only a process with one thread can be cloned";
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

fn arguments(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>) -> CloneArgs {
    let is_sibling = flags.contains(CloneFlags::CLONE_PARENT);
    let mut args = CloneArgs {
        flags: u64::from(flags.bits().cast_unsigned()),
        // A sibling inherits the exit signal of the caller; the kernel refuses to be told another.
        exit_signal: if is_sibling { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    if let Some(directory) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(directory.as_raw_fd().cast_unsigned());
    }
    args
}

/// Ends this process without running the exit handlers it shares with its parent.
fn exit_now(code: u8) -> ! {
    // SAFETY: _exit takes any status, touches no memory of ours and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}
