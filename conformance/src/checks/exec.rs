//! The calls about execs.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
