//! When the shim goes, and when it must not.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
