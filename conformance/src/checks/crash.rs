//! The shim, init or the runtime is killed.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
