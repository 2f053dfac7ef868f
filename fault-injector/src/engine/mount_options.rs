//! Mount options as words, turned into flags, propagation and data. Pure.

use nix::mount::MsFlags;

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
        let mut sorted = Self {
            flags: MsFlags::empty(),
            propagation: Vec::new(),
            data: String::new(),
        };
        let mut data = Vec::new();
        for option in options {
            if let Some((clears, flags)) = flag(option) {
                sorted.flags.set(flags, !clears);
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

/// (whether the word takes the flag away, the flag).
fn flag(option: &str) -> Option<(bool, MsFlags)> {
    Some(match option {
        "defaults" => (false, MsFlags::empty()),
        "async" => (true, MsFlags::MS_SYNCHRONOUS),
        "atime" => (true, MsFlags::MS_NOATIME),
        "bind" => (false, MsFlags::MS_BIND),
        "dev" => (true, MsFlags::MS_NODEV),
        "diratime" => (true, MsFlags::MS_NODIRATIME),
        "dirsync" => (false, MsFlags::MS_DIRSYNC),
        "exec" => (true, MsFlags::MS_NOEXEC),
        "iversion" => (false, MsFlags::MS_I_VERSION),
        "mand" => (false, MsFlags::MS_MANDLOCK),
        "noatime" => (false, MsFlags::MS_NOATIME),
        "nodev" => (false, MsFlags::MS_NODEV),
        "nodiratime" => (false, MsFlags::MS_NODIRATIME),
        "noexec" => (false, MsFlags::MS_NOEXEC),
        "noiversion" => (true, MsFlags::MS_I_VERSION),
        "nomand" => (true, MsFlags::MS_MANDLOCK),
        "norelatime" => (true, MsFlags::MS_RELATIME),
        "nostrictatime" => (true, MsFlags::MS_STRICTATIME),
        "nosuid" => (false, MsFlags::MS_NOSUID),
        "rbind" => (false, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
        "relatime" => (false, MsFlags::MS_RELATIME),
        "remount" => (false, MsFlags::MS_REMOUNT),
        "ro" => (false, MsFlags::MS_RDONLY),
        "rw" => (true, MsFlags::MS_RDONLY),
        "silent" => (false, MsFlags::MS_SILENT),
        "strictatime" => (false, MsFlags::MS_STRICTATIME),
        "suid" => (true, MsFlags::MS_NOSUID),
        "sync" => (false, MsFlags::MS_SYNCHRONOUS),
        _ => return None,
    })
}

/// How mounts and unmounts travel between this mount and its copies (mount_namespaces(7)).
pub(super) fn propagation(option: &str) -> Option<MsFlags> {
    let recursive = MsFlags::MS_REC;
    Some(match option {
        "private" => MsFlags::MS_PRIVATE,
        "rprivate" => MsFlags::MS_PRIVATE | recursive,
        "shared" => MsFlags::MS_SHARED,
        "rshared" => MsFlags::MS_SHARED | recursive,
        "slave" => MsFlags::MS_SLAVE,
        "rslave" => MsFlags::MS_SLAVE | recursive,
        "unbindable" => MsFlags::MS_UNBINDABLE,
        "runbindable" => MsFlags::MS_UNBINDABLE | recursive,
        _ => return None,
    })
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
