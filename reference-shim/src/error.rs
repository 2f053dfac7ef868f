//! What a call can fail with, and the one place that knows the status codes of the wire.
//!
//! Every module returns [`Error`]; only [`Error::code`] decides what the caller sees. A cause that the caller can act
//! upon has its own variant (containerd acts on NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION and UNIMPLEMENTED);
//! whatever else goes wrong travels as UNKNOWN with its text, which says what was tried, on what, and why it failed.

use std::io;

use ttrpc::Code;

use crate::task::Refusal;

/// A call that failed. Texts of the variants with a class end with the class, as containerd's do.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::error_impl_error, reason = "the crate has one error, and `Error::NotFound` reads as it should")]
pub(crate) enum Error {
    #[error("{0}: not found")]
    NotFound(String),
    #[error("{0}: already exists")]
    AlreadyExists(String),
    #[error("{0}: failed precondition")]
    FailedPrecondition(String),
    #[error("{0}: invalid argument")]
    InvalidArgument(String),
    #[error("{0}: not implemented")]
    Unimplemented(String),
    #[error("{0}: unavailable")]
    Unavailable(String),
    #[error("{0}: deadline exceeded")]
    DeadlineExceeded(String),
    #[error("{0}: resource exhausted")]
    ResourceExhausted(String),
    #[error("cannot decode {0}")]
    Undecodable(String),
    #[error("{0}: canceled")]
    Cancelled(String),
    /// The OCI runtime refused or died; the text is its own.
    #[error("{binary} {verb}: {cause}")]
    Runtime { binary: String, verb: String, cause: String },
    #[error("{what}: {cause}")]
    Io { what: String, cause: io::Error },
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// An IO error with what was tried, to be used as `map_err(Error::io("open", path))`.
    pub(crate) fn io(verb: &'static str, path: impl AsRef<std::path::Path>) -> impl FnOnce(io::Error) -> Self {
        let what = format!("{verb} {}", path.as_ref().display());
        move |cause| Self::Io { what, cause }
    }

    /// A refusal of the task machine, about this process of this container.
    pub(crate) fn refused(refusal: Refusal, container: &str, exec: &str) -> Self {
        let subject = if exec.is_empty() { container.to_owned() } else { format!("{container}/{exec}") };
        match refusal {
            Refusal::NotFound(why) => Self::NotFound(format!("{subject}: {why}")),
            Refusal::Precondition(why) => Self::FailedPrecondition(format!("{subject}: {why}")),
            Refusal::Exists => Self::AlreadyExists(subject),
        }
    }

    /// The status code of the wire.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NOT_FOUND,
            Self::AlreadyExists(_) => Code::ALREADY_EXISTS,
            Self::FailedPrecondition(_) => Code::FAILED_PRECONDITION,
            Self::InvalidArgument(_) => Code::INVALID_ARGUMENT,
            Self::Unimplemented(_) => Code::UNIMPLEMENTED,
            Self::Unavailable(_) => Code::UNAVAILABLE,
            Self::DeadlineExceeded(_) => Code::DEADLINE_EXCEEDED,
            Self::ResourceExhausted(_) => Code::RESOURCE_EXHAUSTED,
            Self::Undecodable(_) => Code::INTERNAL,
            Self::Cancelled(_) => Code::CANCELLED,
            Self::Runtime { .. } | Self::Io { .. } | Self::Other(_) => Code::UNKNOWN,
        }
    }
}
