//! What a check is, and how it can end.

use std::{fmt, future::Future, pin::Pin};

use proptest::strategy::BoxedStrategy;
use serde::{Deserialize, Serialize};

use crate::{contract::Clause, lab::Lab, lie::Lie, script::Script};

/// One test of one clause.
#[derive(Debug)]
pub struct Check {
    /// `subject/what-is-shown`; stable for ever.
    pub id: &'static str,
    /// The duty that it tests.
    pub clause: &'static Clause,
    /// What the host must offer, beside what every check needs.
    pub needs: &'static [Need],
    /// Falsehoods about an honest shim under which the check must turn red.
    pub notices: &'static [Lie],
    /// How it is tested.
    pub body: Body,
}

/// How a check is carried out.
pub enum Body {
    /// A written story.
    Example(for<'a> fn(&'a Lab) -> Story<'a>),
    /// A generator of stories; the model and the invariants judge.
    Property(fn() -> BoxedStrategy<Script>),
}

/// A running example.
pub type Story<'a> = Pin<Box<dyn Future<Output = Result<(), Stop>> + 'a>>;

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Example(_) => "Example",
            Self::Property(_) => "Property",
        })
    }
}

/// What a check wants of the host; absent, the check is skipped with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// cgroups in which the world may create directories with this controller.
    Controller(&'static str),
    /// The right to pause: a freezer.
    Freezer,
    /// A runtime that speaks to the suite's fault rules: our engine, or another one wrapped by it.
    RuntimeRules,
    /// The host's PID namespace may be shared with a container.
    HostPid,
    /// System calls of the shim can be seen and struck.
    SyscallFaults,
}

/// Why a story ended before its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// The shim broke a duty.
    Violated(Violation),
    /// This host, runtime or shim cannot show it.
    Skipped(String),
    /// This shim does not owe it.
    NotApplicable(String),
    /// Nobody can tell.
    Inconclusive(String),
    /// The suite itself failed.
    Error(String),
}

/// What the shim did wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// One sentence: what happened.
    pub happened: String,
    /// What would have been right; several are permitted.
    pub expected: String,
    /// What was seen.
    pub actual: String,
}

impl Stop {
    /// The shim broke a duty.
    pub fn violated(happened: impl Into<String>, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::Violated(Violation { happened: happened.into(), expected: expected.into(), actual: actual.into() })
    }
}

/// Trouble of the suite's own is never the shim's fault.
impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(format!("{error:#}"))
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Error(error.to_string())
    }
}

/// How a check ended. Only *held* is green.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// The duty was kept.
    Held,
    /// It was broken.
    Violated {
        /// The clause: the check's own, or that of the invariant that was broken.
        clause: String,
        /// How.
        violation: Violation,
    },
    /// A violation that the expectations file knows.
    Waived {
        /// The reason the file gives.
        reason: String,
    },
    /// Cannot be decided here.
    Skipped {
        /// Why.
        reason: String,
    },
    /// The containerd that is played does not ask for it, or not of this shim.
    NotApplicable {
        /// Why.
        reason: String,
    },
    /// Could not be told.
    Inconclusive {
        /// Why.
        reason: String,
    },
    /// The suite failed.
    Error {
        /// How.
        reason: String,
    },
}

impl Verdict {
    /// What was done wrong.
    pub const fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Violated { violation, .. } => Some(violation),
            Self::Held
            | Self::Waived { .. }
            | Self::Skipped { .. }
            | Self::NotApplicable { .. }
            | Self::Inconclusive { .. }
            | Self::Error { .. } => None,
        }
    }

    /// The word for it.
    pub const fn word(&self) -> Word {
        match self {
            Self::Held => Word::Held,
            Self::Violated { .. } => Word::Violated,
            Self::Waived { .. } => Word::Waived,
            Self::Skipped { .. } => Word::Skipped,
            Self::NotApplicable { .. } => Word::NotApplicable,
            Self::Inconclusive { .. } => Word::Inconclusive,
            Self::Error { .. } => Word::Error,
        }
    }
}

/// A verdict without what is told beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the verdicts")]
pub enum Word {
    Held,
    Violated,
    Waived,
    Skipped,
    NotApplicable,
    Inconclusive,
    Error,
}

impl Word {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Violated => "violated",
            Self::Waived => "waived",
            Self::Skipped => "skipped",
            Self::NotApplicable => "not applicable",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (expected {}; actual {})", self.happened, self.expected, self.actual)
    }
}
