//! Mount options as words, turned into flags, propagation and data. Pure.

use nix::mount::MsFlags;

/// What a word does to its flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Set,
    Clear,
}
use Effect::{Clear, Set};

/// The words that are flags (mount(8), file-system-independent options).
const FLAGS: &[(&str, Effect, MsFlags)] = &[
    ("defaults", Set, MsFlags::empty()),
    ("async", Clear, MsFlags::MS_SYNCHRONOUS),
    ("atime", Clear, MsFlags::MS_NOATIME),
    ("bind", Set, MsFlags::MS_BIND),
    ("dev", Clear, MsFlags::MS_NODEV),
    ("diratime", Clear, MsFlags::MS_NODIRATIME),
    ("dirsync", Set, MsFlags::MS_DIRSYNC),
    ("exec", Clear, MsFlags::MS_NOEXEC),
    ("iversion", Set, MsFlags::MS_I_VERSION),
    ("mand", Set, MsFlags::MS_MANDLOCK),
    ("noatime", Set, MsFlags::MS_NOATIME),
    ("nodev", Set, MsFlags::MS_NODEV),
    ("nodiratime", Set, MsFlags::MS_NODIRATIME),
    ("noexec", Set, MsFlags::MS_NOEXEC),
    ("noiversion", Clear, MsFlags::MS_I_VERSION),
    ("nomand", Clear, MsFlags::MS_MANDLOCK),
    ("norelatime", Clear, MsFlags::MS_RELATIME),
    ("nostrictatime", Clear, MsFlags::MS_STRICTATIME),
    ("nosuid", Set, MsFlags::MS_NOSUID),
    ("rbind", Set, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
    ("relatime", Set, MsFlags::MS_RELATIME),
    ("remount", Set, MsFlags::MS_REMOUNT),
    ("ro", Set, MsFlags::MS_RDONLY),
    ("rw", Clear, MsFlags::MS_RDONLY),
    ("silent", Set, MsFlags::MS_SILENT),
    ("strictatime", Set, MsFlags::MS_STRICTATIME),
    ("suid", Clear, MsFlags::MS_NOSUID),
    ("sync", Set, MsFlags::MS_SYNCHRONOUS),
];

/// The words for how mounts and unmounts travel between this mount and its copies (mount_namespaces(7)).
const PROPAGATIONS: &[(&str, MsFlags)] = &[
    ("private", MsFlags::MS_PRIVATE),
    ("rprivate", MsFlags::MS_PRIVATE.union(MsFlags::MS_REC)),
    ("shared", MsFlags::MS_SHARED),
    ("rshared", MsFlags::MS_SHARED.union(MsFlags::MS_REC)),
    ("slave", MsFlags::MS_SLAVE),
    ("rslave", MsFlags::MS_SLAVE.union(MsFlags::MS_REC)),
    ("unbindable", MsFlags::MS_UNBINDABLE),
    ("runbindable", MsFlags::MS_UNBINDABLE.union(MsFlags::MS_REC)),
];

/// The options of one mount, sorted by what the kernel does with them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MountOptions {
    /// For `mount(2)`.
    pub(super) flags: MsFlags,
    /// Each is a `mount(2)` of its own, after the first.
    pub(super) propagation: Vec<MsFlags>,
    /// What only the file system understands, joined by commas.
    pub(super) data: String,
}

impl MountOptions {
    /// Sorts the words; the last one wins, and what is in no table is data.
    pub(super) fn parse(options: &[String]) -> Self {
        let mut sorted = Self { flags: MsFlags::empty(), propagation: Vec::new(), data: String::new() };
        let mut data = Vec::new();
        for option in options {
            if let Some((effect, flags)) = flag(option) {
                sorted.flags.set(flags, effect == Set);
            } else if let Some(propagation) = propagation(option) {
                sorted.propagation.push(propagation);
            } else {
                data.push(option.as_str());
            }
        }
        sorted.data = data.join(",");
        sorted
    }

    /// Whether something that exists is shown in one more place.
    pub(super) fn is_bind(&self) -> bool {
        self.flags.contains(MsFlags::MS_BIND)
    }

    /// The flags that a bind mount takes only in a second step.
    pub(super) fn bind_restrictions(&self) -> MsFlags {
        self.flags - (MsFlags::MS_BIND | MsFlags::MS_REC)
    }
}

/// All words that are not data.
pub(super) fn names() -> Vec<&'static str> {
    let flags = FLAGS.iter().map(|(name, ..)| *name);
    let propagations = PROPAGATIONS.iter().map(|(name, _)| *name);
    flags.chain(propagations).collect()
}

fn flag(option: &str) -> Option<(Effect, MsFlags)> {
    let row = FLAGS.iter().find(|(name, ..)| *name == option);
    row.map(|&(_, effect, flags)| (effect, flags))
}

/// The propagation that a word stands for.
pub(super) fn propagation(option: &str) -> Option<MsFlags> {
    let row = PROPAGATIONS.iter().find(|(name, _)| *name == option);
    row.map(|&(_, flags)| flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> MountOptions {
        MountOptions::parse(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_sorted() {
        let parsed = parse(&["nosuid", "mode=755", "rprivate", "ro", "size=64k"]);
        let expected = MountOptions {
            flags: MsFlags::MS_NOSUID | MsFlags::MS_RDONLY,
            propagation: vec![MsFlags::MS_PRIVATE | MsFlags::MS_REC],
            data: "mode=755,size=64k".to_owned(),
        };
        assert_eq!(parsed, expected);
    }

    #[test]
    fn the_last_word_wins() {
        assert_eq!(parse(&["ro", "rw"]).flags, MsFlags::empty());
    }

    #[test]
    fn a_bind_is_restricted_in_a_second_step() {
        let parsed = parse(&["rbind", "ro"]);
        assert!(parsed.is_bind());
        assert_eq!(parsed.bind_restrictions(), MsFlags::MS_RDONLY);
    }
}
