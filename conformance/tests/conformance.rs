//! Every check against the reference shim, with the engine of ours and with runc; and against containerd's own shim, with what is known
//! of it. Where one of them is missing a test says so: ignored on a laptop, failed in continuous integration.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::OnceLock,
};

use conformance::{
    host, profile,
    subject::EngineWish,
    suite::{self, Suite},
};

/// The reference shim's binary; containerd would run it as `io.containerd.reference.v1`.
const REFERENCE: &str = "containerd-shim-reference-v1";
/// The beginnings of the checks whose course depends on the containerd that is played.
const DEPENDS_ON_PROFILE: &[&str] =
    &["bootstrap/", "start/", "life/", "delete/debug", "restart/group", "lifecycle/containerd-restarts"];
/// What is known of each generation of containerd-shim-runc-v2, by how its version begins.
const EXPECTED: &[(&str, &str)] = &[("1.6.", "s16.toml"), ("1.7.", "s17.toml"), ("2.1.", "s21.toml")];

fn main() -> ExitCode {
    let mut suites = vec![Suite::made("reference/ours", reference_shim).engine(EngineWish::Ours).audited()];
    // The other containerds, where they make a difference; the default one is 2.1, from which 2.0 and 2.2 hardly differ.
    let others = [profile::V1_6, profile::V1_7, profile::V2_3];
    suites.extend(others.map(|profile| {
        let suite = Suite::made(&format!("reference/{profile}"), reference_shim);
        suite.engine(EngineWish::Ours).under(profile).only(DEPENDS_ON_PROFILE)
    }));
    suites.push(match host::find_program("runc") {
        Some(runc) => Suite::made("reference/runc", reference_shim).engine(EngineWish::At(runc)),
        None => missing("reference/runc", "runc is not installed"),
    });
    suites.push(runc_v2().unwrap_or_else(|reason| missing("runc-v2/runc", &reason)));
    suite::main(suites)
}

fn missing(name: &str, reason: &str) -> Suite {
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    Suite::missing(name, reason, is_ci)
}

fn runc_v2() -> Result<Suite, String> {
    if !nix::unistd::getuid().is_root() {
        return Err("containerd-shim-runc-v2 is tried as root only".to_owned());
    }
    let shim = host::find_program("containerd-shim-runc-v2").ok_or("containerd-shim-runc-v2 is not installed")?;
    let runc = host::find_program("runc").ok_or("runc is not installed")?;
    let expected = workspace().join("ci/expected").join(expectations_of(&shim)?);
    Ok(Suite::new("runc-v2/runc", shim).engine(EngineWish::At(runc)).expecting(expected))
}

fn expectations_of(shim: &Path) -> Result<&'static str, String> {
    let output = Command::new(shim).arg("-v").output().map_err(|e| format!("execute {} -v: {e}", shim.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Version:").map(str::trim))
        .ok_or_else(|| format!("{} does not tell its version", shim.display()))?;
    EXPECTED
        .iter()
        .find(|(beginning, _)| version.starts_with(beginning))
        .map(|(_, file)| *file)
        .ok_or_else(|| format!("nothing is written down about version {version} in ci/expected"))
}

fn workspace() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// Builds the reference shim once, so that nobody tests a stale one. nextest runs each test in a process of its own and builds the
/// workspace before; there the shim is only looked up.
fn reference_shim() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let shim = profile_directory()?.join(REFERENCE);
            if std::env::var_os("NEXTEST").is_none() {
                build(&shim)?;
            }
            Ok(shim)
        })
        .clone()
}

/// `target/TRIPLE/PROFILE`, where this very test lies in `deps`.
fn profile_directory() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("find this test's own executable: {e}"))?;
    let directory = own.ancestors().nth(2).ok_or("this test lies in no target directory")?;
    Ok(directory.to_owned())
}

fn build(shim: &Path) -> Result<(), String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "reference-shim"]);
    if shim.parent().is_some_and(|profile| profile.ends_with("release")) {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(workspace()).output().map_err(|e| format!("execute cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("build the reference shim: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(())
}
