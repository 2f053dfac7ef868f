//! The calls about a container and its init: what each answers in each state.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
