//! The contract: every duty that a check or an invariant judges, with its level, where it comes from, and the sentence.
//!
//! One file per subject, named like the checks of the subject.

use std::fmt;

/// How strong a duty is (RFC 2119).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Without it containerd or its users break.
    Must,
    /// Without it they suffer.
    Should,
    /// Pleasant to have.
    May,
}

/// Where a duty comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// containerd's `docs/runtime-v2.md`.
    Spec,
    /// Comments of the API's messages.
    Proto,
    /// containerd itself, or its clients, depend on it.
    Client,
    /// containerd-shim-runc-v2 and another shim both do it.
    Defacto,
    /// Leaks and robustness.
    Hygiene,
}

/// A minor release of containerd, for duties that not every release asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum, serde::Serialize)]
pub enum Release {
    /// 1.6.
    #[value(name = "1.6")]
    #[serde(rename = "1.6")]
    V1_6,
    /// 1.7.
    #[value(name = "1.7")]
    #[serde(rename = "1.7")]
    V1_7,
    /// 2.0.
    #[value(name = "2.0")]
    #[serde(rename = "2.0")]
    V2_0,
    /// 2.1.
    #[value(name = "2.1")]
    #[serde(rename = "2.1")]
    V2_1,
    /// 2.2.
    #[value(name = "2.2")]
    #[serde(rename = "2.2")]
    V2_2,
    /// 2.3.
    #[value(name = "2.3")]
    #[serde(rename = "2.3")]
    V2_3,
}

/// A generation of the protocol, for duties of shims that speak it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Era {
    /// `start` answers with a bare address.
    BareAddress,
    /// `start` answers with JSON.
    Json,
    /// `start` reads and answers protobuf.
    Protobuf,
    /// The shim serves `containerd.task.v2.Task`.
    TaskV2,
    /// The shim serves `containerd.task.v3.Task`.
    TaskV3,
}

/// One duty.
#[derive(Debug, PartialEq, Eq)]
pub struct Clause {
    /// Stable for ever.
    pub id: &'static str,
    /// How strong it is.
    pub level: Level,
    /// Where it comes from.
    pub tier: Tier,
    /// The duty.
    pub says: &'static str,
    /// Where it stands: a document or a file of containerd.
    pub at: &'static str,
    /// What goes wrong for containerd or its users without it.
    pub why: &'static str,
    /// The first release of containerd that asks for it; none: as long as there are such shims.
    pub since: Option<Release>,
    /// The last release of containerd that asks for it; none: to this day.
    pub until: Option<Release>,
    /// The generation of the protocol whose shims owe it; none: all.
    pub era: Option<Era>,
    /// Why no check can decide it from outside; none: one can.
    pub untestable: Option<&'static str>,
}

impl Clause {
    /// Whether this release of containerd asks for it.
    pub fn is_asked_by(&self, release: Release) -> bool {
        self.since.is_none_or(|since| since <= release) && self.until.is_none_or(|until| release <= until)
    }

    /// The releases that ask for it, in words: `all`, `1.7-`, `-2.2`, `2.0-2.2`.
    pub fn releases(&self) -> String {
        match (self.since, self.until) {
            (None, None) => "all".to_owned(),
            (Some(since), None) => format!("{since}-"),
            (None, Some(until)) => format!("-{until}"),
            (Some(since), Some(until)) => format!("{since}-{until}"),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
            Self::V2_0 => "2.0",
            Self::V2_1 => "2.1",
            Self::V2_2 => "2.2",
            Self::V2_3 => "2.3",
        })
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareAddress => "bare-address",
            Self::Json => "json",
            Self::Protobuf => "protobuf",
            Self::TaskV2 => "task-v2",
            Self::TaskV3 => "task-v3",
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::May => "may",
        })
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spec => "spec",
            Self::Proto => "proto",
            Self::Client => "client",
            Self::Defacto => "defacto",
            Self::Hygiene => "hygiene",
        })
    }
}

/// Declares clauses, and `ALL` of the subject.
///
/// A row is `NAME = "id", Level, Tier, "says", "at", "why";`. What narrows a clause, or excuses it from checks, follows in braces:
/// `"why" { since: V1_7, until: V2_2, era: TaskV3, untestable: "reason" };`, each part optional.
macro_rules! clauses {
    (@since $($value:ident)?) => { clauses!(@some $($crate::contract::Release::$value)?) };
    (@until $($value:ident)?) => { clauses!(@some $($crate::contract::Release::$value)?) };
    (@era $($value:ident)?) => { clauses!(@some $($crate::contract::Era::$value)?) };
    (@some) => { None };
    (@some $value:expr) => { Some($value) };
    ($(
        $(#[$meta:meta])*
        $name:ident = $id:literal, $level:ident, $tier:ident, $says:literal, $at:literal, $why:literal
        $({
            $(since: $since:ident $(,)?)?
            $(until: $until:ident $(,)?)?
            $(era: $era:ident $(,)?)?
            $(untestable: $untestable:literal)?
        })?;
    )*) => {
        $(
            $(#[$meta])*
            #[doc = $says]
            pub static $name: $crate::contract::Clause = $crate::contract::Clause {
                id: $id,
                level: $crate::contract::Level::$level,
                tier: $crate::contract::Tier::$tier,
                says: $says,
                at: $at,
                why: $why,
                since: clauses!(@since $($($since)?)?),
                until: clauses!(@until $($($until)?)?),
                era: clauses!(@era $($($era)?)?),
                untestable: clauses!(@some $($($untestable)?)?),
            };
        )*

        /// Every clause of this subject.
        pub static ALL: &[&$crate::contract::Clause] = &[$(&$name),*];
    };
}

pub mod always;
pub mod delete;
pub mod events;
pub mod exec;
pub mod fault;
pub mod life;
pub mod log;
pub mod reaping;
pub mod runtime;
pub mod sandbox;
pub mod security;
pub mod shutdown;
pub mod start;
pub mod stdio;
pub mod syscall;
pub mod task;
pub mod ttrpc;

/// Every clause, in the order of a shim's life.
pub fn all() -> impl Iterator<Item = &'static Clause> {
    [
        start::ALL,
        task::ALL,
        exec::ALL,
        stdio::ALL,
        events::ALL,
        reaping::ALL,
        runtime::ALL,
        life::ALL,
        fault::ALL,
        log::ALL,
        shutdown::ALL,
        delete::ALL,
        sandbox::ALL,
        security::ALL,
        ttrpc::ALL,
        syscall::ALL,
        always::ALL,
    ]
    .into_iter()
    .flatten()
    .copied()
}
