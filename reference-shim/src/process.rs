//! What /proc says about processes that are not the shim's children.

use std::fs;

/// All processes that can be seen.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A process's arguments; nothing when it is gone.
pub(crate) fn arguments(pid: u32) -> Option<Vec<Vec<u8>>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// When a process started, in ticks since the machine did; with the pid it names a process for ever.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.start_time)
}

/// The living descendants of a process.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, Stat)> = all().into_iter().filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let mut found = vec![root];
    let mut index = 0;
    while let Some(parent) = found.get(index).copied() {
        found.extend(parents.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
        index += 1;
    }
    let alive = |pid: &u32| parents.iter().any(|(other, stat)| other == pid && !matches!(stat.state, 'Z' | 'X'));
    found.into_iter().skip(1).filter(alive).collect()
}

struct Stat {
    state: char,
    parent: u32,
    start_time: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields count from after the name, which may contain anything, a closing parenthesis too.
fn parse(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_contain_anything() {
        let stat = parse("7 (a) b) S 3 7 7 0 -1 1 2 3 4 5 6 7 8 9 20 0 1 0 4242 1 2").unwrap();
        assert_eq!((stat.state, stat.parent, stat.start_time), ('S', 3, 4242));
    }

    #[test]
    fn we_are_alive_and_have_arguments() {
        let own = std::process::id();
        assert!(is_alive(own));
        assert!(arguments(own).is_some_and(|arguments| !arguments.is_empty()));
    }
}
