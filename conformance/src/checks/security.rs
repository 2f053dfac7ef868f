//! Who may reach the shim, and what containers see of it.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
