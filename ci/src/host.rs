//! What the host holds that a shim could leave behind: processes, mounts, cgroups and sockets.

use std::{collections::BTreeSet, fmt, fs, io, path::Path};

use anyhow::{Context, Result};

/// A process as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id, in the namespace that `/proc` was mounted in.
    pub(crate) pid: i32,
    /// Its parent's id.
    pub(crate) parent: i32,
    /// The state letter of `/proc/PID/stat`: `Z` is a zombie.
    pub(crate) state: char,
    /// The short name in `/proc/PID/stat`.
    pub(crate) name: String,
    /// The arguments, joined by spaces; empty for a zombie.
    pub(crate) line: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of parent {} in state {}: {} {}", self.pid, self.parent, self.state, self.name, self.line)
    }
}

/// The process `pid`, if there is one.
pub(crate) fn process(pid: i32) -> Result<Option<Process>> {
    let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        // A process that ends between `open` and `read` is `ESRCH`.
        Err(error) if is_gone(&error) => return Ok(None),
        stat => stat.with_context(|| format!("cannot read /proc/{pid}/stat"))?,
    };
    let line = match fs::read(format!("/proc/{pid}/cmdline")) {
        Err(error) if is_gone(&error) => return Ok(None),
        line => line.with_context(|| format!("cannot read /proc/{pid}/cmdline"))?,
    };
    let line = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
    let process = parse(&stat, line).with_context(|| format!("cannot understand /proc/{pid}/stat: {stat:?}"))?;
    Ok(Some(process))
}

/// All processes, by id.
pub(crate) fn processes() -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        if let Ok(pid) = entry?.file_name().to_string_lossy().parse() {
            found.extend(process(pid)?);
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// Reads a line of `/proc/PID/stat`; the name in it may hold spaces and parentheses.
fn parse(stat: &str, line: String) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process { pid: pid.parse().ok()?, parent, state, name: name.to_owned(), line })
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// What the kernel holds besides processes; each entry is named by its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint(BTreeSet<String>);

impl Footprint {
    /// What is there now: mounts of this mount namespace, cgroups, and listening sockets of this network namespace.
    pub(crate) fn now() -> Result<Self> {
        let mut all = BTreeSet::new();
        all.extend(mount_points()?.iter().map(|point| format!("mount {point}")));
        let sockets = fs::read_to_string("/proc/net/unix").context("cannot read /proc/net/unix")?;
        all.extend(sockets.lines().filter_map(listener).map(|name| format!("socket {name}")));
        each_folder(Path::new("/sys/fs/cgroup"), &mut |folder| {
            all.insert(format!("cgroup {}", folder.display()));
        })?;
        Ok(Self(all))
    }

    /// What is here and was not in `before`.
    pub(crate) fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// Where something is mounted in this mount namespace.
pub(crate) fn mount_points() -> Result<Vec<String>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(mounts.lines().filter_map(mount_point).map(str::to_owned).collect())
}

/// The fifth field of a line of `mountinfo`.
fn mount_point(line: &str) -> Option<&str> {
    line.split(' ').nth(4)
}

/// The name of a listening socket in a line of `/proc/net/unix`, where abstract names begin with `@`.
fn listener(line: &str) -> Option<&str> {
    // The flag `__SO_ACCEPTCON` of the kernel.
    const LISTENS: &str = "00010000";
    let mut fields = line.split_whitespace();
    let flags = fields.nth(3)?;
    let name = fields.nth(3)?;
    (flags == LISTENS).then_some(name)
}

/// Calls `visit` for each folder below `top`, whichever of them vanish meanwhile.
pub(crate) fn each_folder(top: &Path, visit: &mut impl FnMut(&Path)) -> Result<()> {
    let entries = match fs::read_dir(top) {
        Err(error) if is_gone(&error) => return Ok(()),
        entries => entries.with_context(|| format!("cannot list {}", top.display()))?,
    };
    for entry in entries {
        let entry = match entry {
            Err(error) if is_gone(&error) => continue,
            entry => entry.with_context(|| format!("cannot list {}", top.display()))?,
        };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path());
            each_folder(&entry.path(), visit)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let process = parse("42 (a) (b c) S 7 42 42 0", "a b".to_owned()).unwrap();
        assert_eq!((process.pid, process.parent, process.state, process.name.as_str()), (42, 7, 'S', "a) (b c"));
    }

    #[test]
    fn only_listeners_count() {
        assert_eq!(
            listener("0000000000000000: 00000002 00000000 00010000 0001 01 1234 @/x/shim.sock"),
            Some("@/x/shim.sock")
        );
        assert_eq!(listener("0000000000000000: 00000003 00000000 00000000 0001 03 1235 /x/shim.sock"), None);
        assert_eq!(listener("0000000000000000: 00000002 00000000 00010000 0001 01 1236"), None);
    }

    #[test]
    fn we_are_a_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(processes().unwrap().iter().any(|process| process.pid == own));
        assert_eq!(process(i32::MAX).unwrap(), None);
    }

    #[test]
    fn what_is_new_is_told() {
        let before = Footprint(BTreeSet::from(["mount /a".to_owned()]));
        let after = Footprint(BTreeSet::from(["mount /a".to_owned(), "mount /b".to_owned()]));
        assert_eq!(after.since(&before), ["mount /b"]);
        assert_eq!(before.since(&after), [""; 0]);
    }
}
