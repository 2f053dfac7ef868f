//! The `delete` action.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
