//! containerd is killed at every step and comes back.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
