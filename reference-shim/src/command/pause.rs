//! The process of a sandbox: it does nothing, and keeps the namespaces of a pod by doing it.
//!
//! The shim starts it, in those namespaces and so that it dies with the shim.

use std::{
    fs,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use crate::{error::Error, sys};

pub(crate) fn run() -> ! {
    loop {
        nix::unistd::pause();
    }
}

/// Starts one. `network` is the path of the network namespace that it keeps, empty for the shim's own; the pid is a
/// child of this process.
pub(crate) fn start(namespace: &str, id: &str, network: &Path) -> Result<u32, Error> {
    let network = match network.as_os_str().is_empty() {
        true => None,
        false => Some(OwnedFd::from(fs::File::open(network).map_err(Error::io("open", network))?)),
    };
    let mut command = Command::new("/proc/self/exe");
    command.arg0("containerd-shim-reference-v1").args(["-namespace", namespace, "-id", id, "pause"]);
    command.env_clear().current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sys::keep_namespaces(&mut command, network);
    command.spawn().map(|child| child.id()).map_err(Error::io("start", "the process of the sandbox"))
}
