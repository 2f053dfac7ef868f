//! `cargo ci peers`: real shims and daemons to run against, fetched by package name without touching the system.
//!
//! Debian packages of several suites are unpacked side by side, never installed: the programs of containerd are
//! statically linked enough to run on any of them. Runtimes are not, so the machine's own are used.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{command, table, workspace};

/// The Rust shim's crate; its version is pinned because `ci/expected/srs.toml` speaks of that version.
const RUST_SHIM: &str = "containerd-runc-shim@0.2.0";

/// Where to put the peers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory to unpack into; what is there already is kept [default: target/peers]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// A shim of somebody else.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its name in options, tables and `ci/expected`.
    pub(crate) key: &'static str,
    /// The shim's binary.
    pub(crate) shim: PathBuf,
    /// The folder with the `containerd` and `ctr` of the same release, for a shim that comes with them.
    pub(crate) daemon: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let dir = directory(args.dir.as_deref())?;
    let peers = fetch(&dir, &KEYS)?;
    let mut rows = Vec::new();
    for peer in &peers {
        rows.push(row(peer.key, &peer.shim, "-v")?);
        if let Some(daemon) = &peer.daemon {
            rows.push(row(peer.key, &daemon.join("containerd"), "--version")?);
        }
    }
    for engine in ["runc", "crun"] {
        match on_path(engine) {
            Some(path) => rows.push(row(engine, &path, "--version")?),
            None => rows.push([engine, "-", "missing: install the package of that name"].map(str::to_owned).to_vec()),
        }
    }
    print!("{}", table::render(&["key", "version", "path"], &rows));
    Ok(ExitCode::SUCCESS)
}

/// Every peer's key: containerd's own shim of 1.6, 1.7 and 2.x, and the one written in Rust.
pub(crate) const KEYS: [&str; 4] = ["s16", "s17", "s21", "srs"];

/// The directory that was asked for, as an absolute path, or `target/peers`.
pub(crate) fn directory(asked: Option<&Path>) -> Result<PathBuf> {
    let dir = asked.map_or_else(|| Ok(workspace::root()?.join("target/peers")), |dir| Ok(dir.to_path_buf()));
    let dir = dir.and_then(|dir: PathBuf| anyhow::Ok(std::path::absolute(dir)?))?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// Fetches the peers named by `keys` that `dir` does not hold yet, and answers where all of them are.
pub(crate) fn fetch(dir: &Path, keys: &[&'static str]) -> Result<Vec<Peer>> {
    keys.iter().map(|&key| fetch_one(dir, key)).collect()
}

fn fetch_one(dir: &Path, key: &'static str) -> Result<Peer> {
    let suite = match key {
        "s16" if system_is_1_6() => return Ok(of_containerd(key, Path::new("/usr/bin"))),
        "s16" => "bookworm",
        "s17" => "trixie",
        "s21" => "sid",
        "srs" => return rust_shim(dir),
        other => bail!("no peer is named {other}"),
    };
    let prefix = dir.join(suite);
    if !prefix.join("usr/bin/containerd").exists() {
        unpack(dir, suite, "containerd", &prefix)?;
    }
    Ok(of_containerd(key, &prefix.join("usr/bin")))
}

fn of_containerd(key: &'static str, folder: &Path) -> Peer {
    Peer { key, shim: folder.join("containerd-shim-runc-v2"), daemon: Some(folder.to_path_buf()) }
}

/// On Debian bookworm the system's own package is the 1.6 that we want.
fn system_is_1_6() -> bool {
    version(Path::new("/usr/bin/containerd"), "--version").is_ok_and(|version| version.starts_with("1.6."))
}

fn rust_shim(dir: &Path) -> Result<Peer> {
    let root = dir.join("srs");
    let shim = root.join("bin/containerd-shim-runc-v2-rs");
    if !shim.exists() {
        let mut cargo = workspace::cargo()?;
        // From `/`, so that this workspace's linker flags are not found: it shall be built as its users build it.
        cargo.current_dir("/").args(["install", RUST_SHIM, "--locked", "--root"]).arg(&root);
        command::run(&mut cargo)?;
    }
    Ok(Peer { key: "srs", shim, daemon: None })
}

/// Downloads `package` of a Debian suite with this machine's keys and mirror, and unpacks it into `prefix`.
fn unpack(dir: &Path, suite: &str, package: &str, prefix: &Path) -> Result<()> {
    let apt = Apt::prepare(&dir.join("apt").join(suite), suite)?;
    command::run(apt.get()?.arg("update"))?;
    command::run(apt.get()?.args(["download", package]).current_dir(&apt.dir))?;
    let archive = only_package(&apt.dir)?;
    // Unpacked aside and renamed, so that what `prefix` holds is always whole.
    let aside = prefix.with_extension("partial");
    if aside.exists() {
        fs::remove_dir_all(&aside).with_context(|| format!("cannot remove {}", aside.display()))?;
    }
    command::run(Command::new("dpkg").arg("--extract").arg(archive).arg(&aside))?;
    fs::rename(&aside, prefix).with_context(|| format!("cannot rename {} to {}", aside.display(), prefix.display()))
}

/// An apt of our own: its sources, lists and caches lie in `dir`, the system's are neither read nor written.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn prepare(dir: &Path, suite: &str) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(folder)).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let source = format!("deb [signed-by={}] {} {suite} main\n", keyring()?.display(), mirror()?);
        fs::write(dir.join("sources.list"), source).with_context(|| format!("cannot write to {}", dir.display()))?;
        Ok(Self { dir: dir.to_path_buf() })
    }

    fn get(&self) -> Result<Command> {
        let dir = self.dir.to_str().with_context(|| format!("{} is not UTF-8", self.dir.display()))?;
        let mut apt = Command::new("apt-get");
        apt.stdin(Stdio::null()).arg("--quiet=2");
        for setting in [
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=/nonexistent".to_owned(),
            format!("Dir::State={dir}/state"),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={dir}/cache"),
            // apt's own user could not enter a folder below somebody's home.
            "APT::Sandbox::User=".to_owned(),
        ] {
            apt.args(["-o", &setting]);
        }
        Ok(apt)
    }
}

/// The Debian mirror that this machine uses.
fn mirror() -> Result<String> {
    if on_path("apt-get").is_none() {
        bail!("the peers are Debian packages, and this machine has no apt-get: run this step in ci/Dockerfile's image");
    }
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]);
    let targets = command::read(apt.stdin(Stdio::null()))?;
    let mirror =
        debian_mirror(&targets).with_context(|| format!("no Debian mirror among apt's sources:\n{targets}"))?;
    Ok(mirror.to_owned())
}

/// The first repository with a whole Debian release, not merely its updates or somebody else's packages.
fn debian_mirror(targets: &str) -> Option<&str> {
    targets.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (uri, release, component) = (words.next()?, words.next()?, words.next()?);
        let is_release = component == "main" && !release.contains('-') && !release.contains('/');
        (is_release && uri.trim_end_matches('/').ends_with("/debian")).then_some(uri)
    })
}

fn keyring() -> Result<PathBuf> {
    let candidates = ["gpg", "pgp"].map(|kind| format!("/usr/share/keyrings/debian-archive-keyring.{kind}"));
    let found = candidates.iter().map(PathBuf::from).find(|path| path.exists());
    found.with_context(|| format!("none of {candidates:?} exists: install the package debian-archive-keyring"))
}

fn only_package(dir: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            found.push(path);
        }
    }
    ensure!(found.len() == 1, "expected one package in {}, found {found:?}", dir.display());
    Ok(found.remove(0))
}

/// The first executable of that name on PATH; as cargo and daemons look for it.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    // Debian keeps runc where only root's PATH looks.
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/sbin".into()]).map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn row(key: &str, path: &Path, flag: &str) -> Result<Vec<String>> {
    Ok(vec![key.to_owned(), version(path, flag)?, path.display().to_string()])
}

fn version(path: &Path, flag: &str) -> Result<String> {
    let text = command::read(Command::new(path).arg(flag))?;
    let version =
        find_version(&text).with_context(|| format!("{} {flag} told no version: {text:?}", path.display()))?;
    Ok(version.to_owned())
}

/// The first word that starts like a version, in any of the forms that these programs print.
fn find_version(text: &str) -> Option<&str> {
    text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_holds_whole_releases() {
        let targets = "http://x.test/debian/ bookworm-updates main\n\
                       http://x.test/debian-security/ bookworm-security main\n\
                       https://other.test/node nodistro main\n\
                       http://mirror.test/debian/ bookworm main\n";
        assert_eq!(debian_mirror(targets), Some("http://mirror.test/debian/"));
        assert_eq!(debian_mirror("https://other.test/node nodistro main\n"), None);
    }

    #[test]
    fn versions_are_found_in_each_form() {
        assert_eq!(find_version("shim:\n  Version:  1.6.20~ds1\n  Go version: go1.19"), Some("1.6.20~ds1"));
        assert_eq!(find_version("containerd github.com/containerd/v2 2.1.9+unknown "), Some("2.1.9+unknown"));
        assert_eq!(find_version("crun version 1.8.1"), Some("1.8.1"));
        assert_eq!(find_version("no such thing"), None);
    }
}
