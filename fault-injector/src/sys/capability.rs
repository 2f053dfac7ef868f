//! The capability sets of the calling thread: `capget(2)`, `capset(2)` and the two sets `prctl(2)` keeps.

use std::io;

/// The three sets that `capset(2)` replaces at once; bit *n* is capability number *n*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sets {
    /// What the kernel checks.
    pub(crate) effective: u64,
    /// What the thread may make effective.
    pub(crate) permitted: u64,
    /// What survives `execve` of a file that has inheritable capabilities.
    pub(crate) inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Words {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two 32-bit words for each set.
const VERSION_3: u32 = 0x2008_0522;

/// The sets of this thread.
///
/// # Errors
///
/// Whatever `capget(2)` answers.
pub(crate) fn sets() -> io::Result<Sets> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut words = [Words::default(); 2];
    // SAFETY: both pointers are to live values of the layout that version 3 prescribes.
    let answer = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    check(answer)?;
    let join = |pick: fn(&Words) -> u32| u64::from(pick(&words[0])) | u64::from(pick(&words[1])) << 32;
    Ok(Sets {
        effective: join(|word| word.effective),
        permitted: join(|word| word.permitted),
        inheritable: join(|word| word.inheritable),
    })
}

/// Replaces the sets of this thread.
///
/// # Errors
///
/// `EPERM` when a set grows beyond what the thread may have.
pub(crate) fn replace(sets: Sets) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let low = |set: u64| (set & u64::from(u32::MAX)) as u32;
    let word = |shift: u32| Words {
        effective: low(sets.effective >> shift),
        permitted: low(sets.permitted >> shift),
        inheritable: low(sets.inheritable >> shift),
    };
    let words = [word(0), word(32)];
    // SAFETY: both pointers are to live values of the layout that version 3 prescribes.
    let answer = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    check(answer)
}

/// Takes `capability` out of the bounding set, for this thread and all it executes.
///
/// # Errors
///
/// `EPERM` without CAP_SETPCAP; `EINVAL` for a capability that this kernel does not know.
pub(crate) fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: PR_CAPBSET_DROP takes one integer.
    let answer = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
    check(answer.into())
}

/// Whether `capability` is in the bounding set; `None` when this kernel does not know it.
pub(crate) fn is_bounding(capability: u32) -> Option<bool> {
    // SAFETY: PR_CAPBSET_READ takes one integer.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) } {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Makes `capability` ambient: a program without file capabilities keeps it.
///
/// # Errors
///
/// `EPERM` unless it is permitted and inheritable.
pub(crate) fn raise_ambient(capability: u32) -> io::Result<()> {
    // SAFETY: PR_CAP_AMBIENT takes integers only.
    let answer = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
            libc::c_ulong::from(capability),
            0,
            0,
        )
    };
    check(answer.into())
}

fn check(answer: libc::c_long) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
