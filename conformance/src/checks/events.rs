//! What the shim publishes, and when.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
