//! One phase of the reference shim's life, swept.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, process::Command, time::Duration};

use assert_cmd::cargo::cargo_bin_cmd;
use predicates::{prelude::PredicateBooleanExt as _, str::contains};

/// `target/TRIPLE/PROFILE`, where this very test lies in `deps`; the shim there is built first, so that nobody tests a stale one.
fn reference_shim() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.ancestors().nth(2).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "reference-shim"]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success());
    profile.join("containerd-shim-reference-v1")
}

#[test]
fn the_reference_shim_may_die_anywhere_in_start() {
    let mut sweep = cargo_bin_cmd!("conformance");
    sweep.timeout(Duration::from_secs(300)).arg("crash-points").arg("--shim").arg(reference_shim());
    sweep.args(["--engine", "ours", "--phase", "start,serve"]);
    let assert = sweep.assert();
    if assert.get_output().status.code() == Some(77) {
        assert!(std::env::var_os("CI").is_none(), "CI can supervise system calls");
        eprintln!("system calls cannot be supervised here: this test shows nothing");
        return;
    }
    assert.code(0).stdout(contains("violated 0  not reached 0").and(contains("held 0").not()));
}
