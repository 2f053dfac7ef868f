//! A sequence of calls and faults: generated, shrunk, printed, parsed, replayed.

use serde::{Deserialize, Serialize};

/// A story that was not written by hand.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Script {}
