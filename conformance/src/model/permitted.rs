//! Which answers are right: a set, because races are real.

use std::fmt;

use crate::history::{Answer, Code, Status};

/// One kind of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Success, whatever it says.
    Done,
    /// Success of State, which must say this.
    Says(Status),
    /// A refusal with one of these codes, because containerd acts on them.
    Refused(&'static [Code]),
    /// Any refusal: nobody acts on its code.
    RefusedSomehow,
    /// No answer until the process has exited.
    Blocks,
}

impl Outcome {
    /// Whether `answer` is of this kind.
    pub fn admits(self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Done, Answer::Done(_)) | (Self::RefusedSomehow, Answer::Refused { .. }) => true,
            (Self::Says(status), Answer::Done(reply)) => reply.status == Some(status),
            (Self::Refused(codes), Answer::Refused { code, .. }) => codes.contains(code),
            (Self::Done | Self::Says(_), Answer::Refused { .. } | Answer::Lost(_))
            | (Self::Refused(_) | Self::RefusedSomehow, Answer::Done(_) | Answer::Lost(_))
            | (Self::Blocks, _) => false,
        }
    }

    /// Whether it is a success.
    pub const fn is_success(self) -> bool {
        match self {
            Self::Done | Self::Says(_) => true,
            Self::Refused(_) | Self::RefusedSomehow | Self::Blocks => false,
        }
    }
}

/// What a fault that is in force allows of the answer to one call, beyond what is right otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Excuse {
    /// It may be a refusal, which is true: nothing has changed.
    pub refusal: bool,
    /// What was refused may have been done all the same, behind the shim's back.
    pub effect: bool,
    /// It may be missing.
    pub loss: bool,
    /// It may come only when the fault is healed.
    pub late: bool,
}

impl Excuse {
    /// Whatever one of the two allows.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            refusal: self.refusal || other.refusal,
            effect: self.effect || other.effect,
            loss: self.loss || other.loss,
            late: self.late || other.late,
        }
    }
}

/// The answers that are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permitted(Vec<Outcome>);

impl Permitted {
    pub(super) fn new(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let mut kept = Vec::new();
        for outcome in outcomes {
            if !kept.contains(&outcome) {
                kept.push(outcome);
            }
        }
        Self(kept)
    }

    /// Each kind once.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        self.0.iter().copied()
    }

    /// Whether `answer` is right.
    pub fn admits(&self, answer: &Answer) -> bool {
        self.outcomes().any(|outcome| outcome.admits(answer))
    }

    /// Whether the call may have to wait.
    pub fn may_block(&self) -> bool {
        self.0.contains(&Outcome::Blocks)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("success"),
            Self::Says(status) => write!(f, "{status:?}"),
            Self::Refused(codes) => {
                f.write_str(&codes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
            }
            Self::RefusedSomehow => f.write_str("a refusal"),
            Self::Blocks => f.write_str("no answer before the exit"),
        }
    }
}

impl fmt::Display for Permitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", or "))
    }
}
