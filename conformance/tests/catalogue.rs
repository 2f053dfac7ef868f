//! `CHECKS.md` is what the binary says today. `CONFORMANCE_BLESS=1 cargo test -p conformance --test catalogue` writes it anew.

use std::{fs, path::Path};

#[test]
fn the_committed_catalogue_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CHECKS.md");
    let output =
        assert_cmd::cargo::cargo_bin_cmd!("conformance").args(["list", "--format", "markdown"]).output().unwrap();
    assert!(output.status.success());
    let fresh = String::from_utf8(output.stdout).unwrap();
    if std::env::var_os("CONFORMANCE_BLESS").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "{} is stale; write it anew with CONFORMANCE_BLESS=1", path.display());
}
