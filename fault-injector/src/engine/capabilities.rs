//! Capability names and the order in which a process gives its capabilities up.

use std::io;

use anyhow::{Context as _, Result};

use super::{log::Log, spec::Capabilities};
use crate::sys::capability::{self, Sets};

/// Names without `CAP_`, at their numbers (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What the process is to keep; bit *n* is capability number *n*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    bounding: u64,
    ambient: u64,
    sets: Sets,
}

impl Wanted {
    /// Translates the names. What does not exist, or what this engine does not have itself, is left out and logged, as runc does.
    pub(super) fn of(asked: &Capabilities, log: &Log) -> Result<Self> {
        let own = capability::sets().context("cannot read the own capabilities")?.permitted;
        let set = |names: &[String]| {
            let (known, unknown) = numbers(names);
            for name in unknown {
                log.warn(format!("unknown capability {name}"));
            }
            if known & !own != 0 {
                log.warn(format!("left out capabilities {:#x}, which this engine does not have", known & !own));
            }
            known & own
        };
        let (bounding, _unknown) = numbers(&asked.bounding);
        Ok(Self {
            bounding,
            ambient: set(&asked.ambient),
            sets: Sets {
                effective: set(&asked.effective),
                permitted: set(&asked.permitted),
                inheritable: set(&asked.inheritable),
            },
        })
    }

    /// Before the change of user, while CAP_SETPCAP is there.
    pub(super) fn limit_bounding(&self) -> Result<()> {
        for number in 0..u64::BITS {
            let Some(is_bounding) = capability::is_bounding(number) else {
                break; // The kernel knows no number from here on.
            };
            if is_bounding && self.bounding & 1 << number == 0 {
                let dropped = capability::drop_bounding(number);
                dropped.with_context(|| format!("cannot drop capability {number} from the bounding set"))?;
            }
        }
        Ok(())
    }

    /// After the change of user.
    pub(super) fn apply(&self) -> Result<()> {
        capability::replace(self.sets).context("cannot set the capabilities")?;
        for number in (0..u64::BITS).filter(|number| self.ambient & 1 << number != 0) {
            let raised: io::Result<()> = capability::raise_ambient(number);
            raised.with_context(|| format!("cannot make capability {number} ambient"))?;
        }
        Ok(())
    }
}

/// All names, as configurations write them.
pub(super) fn names() -> Vec<String> {
    NAMES.iter().map(|name| format!("CAP_{name}")).collect()
}

/// The set, and the names that are in no table.
fn numbers(names: &[String]) -> (u64, Vec<&str>) {
    let mut set = 0;
    let mut unknown = Vec::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match NAMES.iter().position(|known| *known == short) {
            Some(number) => set |= 1 << number,
            None => unknown.push(name.as_str()),
        }
    }
    (set, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_at_their_numbers() {
        let asked = ["CAP_CHOWN", "cap_kill", "CAP_CHECKPOINT_RESTORE", "CAP_FLY"].map(String::from);
        assert_eq!(numbers(&asked), (1 | 1 << 5 | 1 << 40, vec!["CAP_FLY"]));
    }
}
