//! `start`, `-v` and `-info`.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
