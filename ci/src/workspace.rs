//! Where this workspace lies, and how its binaries are built and found.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command;

/// The directory that holds the workspace's `Cargo.toml`.
///
/// Asked of cargo at run time, not compile time: the folder may have been moved with its `target`.
pub(crate) fn root() -> Result<PathBuf> {
    let own = env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR is not set: run this as `cargo ci`")?;
    let root = Path::new(&own).parent().context("the ci crate lies in no folder")?;
    Ok(root.to_path_buf())
}

/// The cargo that runs us, in the workspace's folder.
pub(crate) fn cargo() -> Result<Command> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()?);
    Ok(cargo)
}

/// The binaries that the other steps run.
#[derive(Debug)]
pub(crate) struct Binaries {
    /// The suite.
    pub(crate) conformance: PathBuf,
    /// The reference shim.
    pub(crate) shim: PathBuf,
}

/// Names a folder of binaries that were built before; where it is set nothing is built, and no cargo is needed.
const BUILT: &str = "CI_BINARIES";

/// Builds the suite, the shim and the helpers that they start, in release mode.
pub(crate) fn build() -> Result<Binaries> {
    if let Some(built) = env::var_os(BUILT).map(PathBuf::from) {
        return Ok(Binaries {
            conformance: built.join("conformance"),
            shim: built.join("containerd-shim-reference-v1"),
        });
    }
    let mut cargo = cargo()?;
    // This crate is left out: it is running already, in the other profile.
    cargo.args(["build", "--release", "--workspace", "--exclude", "ci", "--bins"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    command::show(&cargo);
    let messages = command::read(&mut cargo)?;
    Ok(Binaries {
        conformance: executable(&messages, "conformance")?,
        shim: executable(&messages, "containerd-shim-reference-v1")?,
    })
}

/// Where cargo says that it put the binary `name`: its target directory and triple are not guessed.
fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        target: Option<Target>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    for message in messages.lines() {
        let message: Message =
            serde_json::from_str(message).with_context(|| format!("cannot read cargo's message {message:?}"))?;
        if let (Some(target), Some(executable)) = (message.target, message.executable)
            && target.name == name
        {
            return Ok(executable);
        }
    }
    bail!("cargo built no binary named {name}");
}

/// A crate of this workspace, as `cargo metadata` tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// The crate's name.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
    /// What it depends on, for whatever purpose.
    pub(crate) dependencies: Vec<Dependency>,
    /// What is built from it.
    pub(crate) targets: Vec<Target>,
}

/// A dependency that a crate declares.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The name of the crate that is depended on.
    pub(crate) name: String,
}

/// Something that cargo builds from a crate.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// The file that the compiler is given.
    pub(crate) src_path: PathBuf,
}

/// The crates of this workspace.
pub(crate) fn packages() -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let mut cargo = cargo()?;
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).stdin(Stdio::null());
    let metadata: Metadata = serde_json::from_str(&command::read(&mut cargo)?).context("cannot read cargo metadata")?;
    Ok(metadata.packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_is_where_cargo_says() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"conformance"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"conformance"},"executable":"/t/x/conformance"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, "conformance").unwrap(), Path::new("/t/x/conformance"));
        assert_eq!(executable(messages, "shim").unwrap_err().to_string(), "cargo built no binary named shim");
    }
}
