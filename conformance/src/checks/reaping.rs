//! Zombies and orphans.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
