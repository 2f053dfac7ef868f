//! The contract: every duty that a check or an invariant judges, with its level, where it comes from, and the sentence.
//!
//! One file per subject, named like the checks of the subject.

use std::fmt;

/// How strong a duty is (RFC 2119).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum, serde::Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize)]
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
macro_rules! clauses {
    ($($(#[$meta:meta])* $name:ident = $id:literal, $level:ident, $tier:ident, $says:literal, $at:literal, $why:literal;)*) => {
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
pub mod life;
pub mod reaping;
pub mod runtime;
pub mod security;
pub mod shutdown;
pub mod start;
pub mod stdio;
pub mod task;

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
        shutdown::ALL,
        delete::ALL,
        security::ALL,
        always::ALL,
    ]
    .into_iter()
    .flatten()
    .copied()
}
