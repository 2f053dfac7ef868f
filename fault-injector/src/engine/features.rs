//! `features`: what this engine can do, in the shape of the specification's features document.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{capabilities, log::answer, mount_options};

/// Prints the document.
pub(super) fn features() -> Result<()> {
    let document = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.1.0",
        "hooks": [],
        "mountOptions": mount_options::names(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "capabilities": capabilities::names(),
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false},
            "seccomp": {"enabled": false},
            "apparmor": {"enabled": false},
            "selinux": {"enabled": false},
        },
        "annotations": {"conformance-engine.version": env!("CARGO_PKG_VERSION")},
    });
    answer(&(serde_json::to_string_pretty(&document).context("cannot encode the features")? + "\n"))
}
