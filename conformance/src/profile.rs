//! The containerds that can be played: what each release does to a shim that its neighbours do otherwise, on one page.
//!
//! What is the same in all of them stands where it is done: the flags and the order of the actions in `containerd/helper.rs`, the bundle
//! in `containerd/bundle.rs`. A release is its branch's last patch.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::contract::Release;

/// One containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// How people call it.
    pub name: &'static str,
    /// Which release it is; decides which clauses apply.
    pub release: Release,
    /// What `start` finds on its standard input.
    pub stdin: Stdin,
    /// Whether `MAX_SHIM_VERSION`, `GRPC_ADDRESS` and `NAMESPACE` are in the environment, beside `GOMAXPROCS` and `TTRPC_ADDRESS`.
    pub names_itself: bool,
    /// The newest version that a JSON answer of `start` may have; none: JSON is taken for an address.
    pub json: Option<u32>,
    /// Whether an answer may be a `BootstrapResult`.
    pub protobuf: bool,
    /// The version that an answer must have to be spoken to over gRPC; none: it never is.
    pub grpc: Option<u32>,
    /// Whether a shim that promised Task v3 and does not serve it is asked again in v2.
    pub falls_back: bool,
    /// Whether `bootstrap.json` is written after `start` and read first on a reload; otherwise it is the shim that must write `address`.
    pub bootstrap_json: bool,
    /// Which shims are ended on a reload although they answer.
    pub reaps: Reaps,
    /// Whether `-debug` is passed to `delete` as well.
    pub debug_on_delete: bool,
    /// Whether `-info` is executed before the first `start` of a runtime that is not containerd's own.
    pub asks_info: bool,
}

/// What `start` finds on its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// The runtime options as an `Any`; nothing when there are none.
    Options,
    /// `BootstrapParams`, with the options as an extension.
    Params,
}

/// Which shims containerd ends when it comes up, by what they answer to Pids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaps {
    /// None: Pids is not asked for.
    None,
    /// Those that list nobody, or do not answer.
    Unlisted,
    /// Those that list nobody, or know no such task.
    Unknown,
}

/// What a shim answered to Pids on a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listed {
    /// Processes.
    Some,
    /// No process.
    Nobody,
    /// NOT_FOUND.
    Unknown,
    /// Another refusal, or nothing.
    Failed,
}

impl Reaps {
    /// Whether a shim that answered so is ended (containerd: `core/runtime/v2/shim_load.go`).
    pub const fn ends(self, listed: Listed) -> bool {
        match (self, listed) {
            (Self::None, _) | (_, Listed::Some) | (Self::Unknown, Listed::Failed) => false,
            (Self::Unlisted | Self::Unknown, Listed::Nobody | Listed::Unknown) | (Self::Unlisted, Listed::Failed) => {
                true
            }
        }
    }
}

/// containerd 1.6 (`runtime/v2/{binary,shim,manager}.go`): the whole output of `start` is an address, of Task v2.
pub const V1_6: Profile = Profile {
    name: "containerd-1.6",
    release: Release::V1_6,
    stdin: Stdin::Options,
    names_itself: false,
    json: None,
    protobuf: false,
    grpc: None,
    falls_back: false,
    bootstrap_json: false,
    reaps: Reaps::None,
    debug_on_delete: false,
    asks_info: false,
};

/// containerd 1.7 (`runtime/v2/shim.go`, `parseStartResponse`; `runtime/v2/shim_load.go`): JSON of version 2 as well; shims without
/// processes are ended on a reload.
pub const V1_7: Profile = Profile {
    name: "containerd-1.7",
    release: Release::V1_7,
    names_itself: true,
    json: Some(2),
    grpc: Some(2),
    reaps: Reaps::Unlisted,
    debug_on_delete: true,
    ..V1_6
};

/// containerd 2.0 (`core/runtime/v2/{shim,shim_manager,bridge,task_manager}.go`): Task v3, and `bootstrap.json` is containerd's own.
pub const V2_0: Profile = Profile {
    name: "containerd-2.0",
    release: Release::V2_0,
    json: Some(3),
    grpc: Some(3),
    falls_back: true,
    bootstrap_json: true,
    ..V1_7
};

/// containerd 2.1: to a shim of tasks the same as 2.0.
pub const V2_1: Profile = Profile { name: "containerd-2.1", release: Release::V2_1, ..V2_0 };

/// containerd 2.2 (`core/runtime/v2/shim_manager.go`, `loadShimInfo`): asks for `-info` first.
pub const V2_2: Profile = Profile { name: "containerd-2.2", release: Release::V2_2, asks_info: true, ..V2_1 };

/// containerd 2.3 (`core/runtime/v2/command.go`; `api/runtime/bootstrap/v1/bootstrap.proto`): speaks protobuf with `start`, and tells a
/// shim that knows no such task from one that fails.
pub const V2_3: Profile = Profile {
    name: "containerd-2.3",
    release: Release::V2_3,
    stdin: Stdin::Params,
    protobuf: true,
    reaps: Reaps::Unknown,
    ..V2_2
};

/// Every containerd that can be played, the oldest first.
pub const ALL: [Profile; 6] = [V1_6, V1_7, V2_0, V2_1, V2_2, V2_3];

impl Profile {
    /// The versions of the Task service that it speaks, in words.
    pub const fn tasks(self) -> &'static str {
        match self.json {
            Some(3..) => "v2 and v3",
            Some(_) | None => "v2",
        }
    }

    /// The forms in which it takes an answer of `start`, in words.
    pub fn answers(self) -> String {
        let json = self.json.map(|newest| format!("JSON up to version {newest}"));
        let protobuf = self.protobuf.then(|| "protobuf".to_owned());
        ["bare address".to_owned()].into_iter().chain(json).chain(protobuf).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        ALL.into_iter().find(|profile| profile.name == name).ok_or_else(|| {
            let names = ALL.map(|profile| profile.name).join(", ");
            format!("no profile {name:?}; there are {names}")
        })
    }
}

/// Profiles travel by name.
impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn names_and_releases_agree_and_are_in_order() {
        for profile in ALL {
            assert_eq!(profile.name, format!("containerd-{}", profile.release));
            assert_eq!(profile.name.parse(), Ok(profile));
        }
        assert!(ALL.is_sorted_by_key(|profile| profile.release));
    }

    #[rstest]
    #[case::never(Reaps::None, Listed::Nobody, false)]
    #[case::stopped(Reaps::Unlisted, Listed::Nobody, true)]
    #[case::any_error(Reaps::Unlisted, Listed::Failed, true)]
    #[case::an_error_tells_nothing(Reaps::Unknown, Listed::Failed, false)]
    #[case::never_created(Reaps::Unknown, Listed::Unknown, true)]
    #[case::running(Reaps::Unlisted, Listed::Some, false)]
    fn shims_without_processes_are_ended(#[case] reaps: Reaps, #[case] listed: Listed, #[case] ends: bool) {
        assert_eq!(reaps.ends(listed), ends);
    }
}
