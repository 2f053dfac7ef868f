//! One private containerd: started, killed, started again on the same state, stopped.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Installed, Plan, ctr::Ctr};
use crate::{command, deadline};

/// How long a daemon may take to answer, or to end when asked to.
const LIMIT: Duration = Duration::from_secs(60);

/// A daemon and all that it needs on disk.
#[derive(Debug)]
pub(super) struct Daemon {
    /// Folder of its configuration, root, state, socket and log.
    home: PathBuf,
    /// Its binary.
    program: PathBuf,
    /// Its PATH, where it looks for shims and shims look for runtimes.
    path: OsString,
    /// Its client.
    ctr: Ctr,
    /// The process, while one runs.
    process: Option<Child>,
}

impl Daemon {
    /// Writes the configuration, and puts the plan's shim where the daemon will find it; starts nothing.
    pub(super) fn prepare(home: &Path, installed: &Installed, plan: &Plan) -> Result<Self> {
        let shims = home.join("shims");
        fs::create_dir_all(&shims).with_context(|| format!("cannot create {}", shims.display()))?;
        if let Some(shim) = &plan.shim {
            let name = shims.join(shim_name(&plan.runtime)?);
            // A copy, so that a build that runs meanwhile does not change the shim under test.
            fs::copy(shim, &name).with_context(|| format!("cannot copy {} to {}", shim.display(), name.display()))?;
        }
        let config = home.join("config.toml");
        fs::write(&config, configuration(home)).with_context(|| format!("cannot write {}", config.display()))?;
        let inherited = env::var_os("PATH").unwrap_or_default();
        let folders = [shims, installed.folder.clone()].into_iter().chain(env::split_paths(&inherited));
        Ok(Self {
            home: home.to_path_buf(),
            program: installed.folder.join("containerd"),
            path: env::join_paths(folders.chain(["/usr/sbin".into()])).context("cannot build a PATH")?,
            ctr: Ctr::new(&installed.folder.join("ctr"), &home.join("containerd.sock"), &plan.namespace),
            process: None,
        })
    }

    /// Starts the daemon and returns when it answers.
    pub(super) fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.with_context(|| format!("cannot open {}", self.log().display()))?;
        let mut daemon = Command::new(&self.program);
        daemon.arg("--config").arg(self.home.join("config.toml")).env("PATH", &self.path);
        daemon.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = daemon.spawn().with_context(|| format!("cannot run `{}`", command::line(&daemon)))?;
        let process = self.process.insert(process);
        let socket = self.home.join("containerd.sock");
        deadline::until("answer from containerd", LIMIT, || {
            if let Some(status) = process.try_wait()? {
                bail!("containerd ended at once: {status}");
            }
            Ok(UnixStream::connect(&socket).is_ok().then_some(()))
        })?;
        self.ctr.done(&["version"])?;
        Ok(())
    }

    /// Kills the daemon as a crash would, and reaps it.
    pub(super) fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("no containerd is running")?;
        process.kill().context("cannot kill containerd")?;
        process.wait().context("cannot reap containerd")?;
        Ok(())
    }

    /// Asks the daemon to end, and waits for it.
    pub(super) fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("no containerd is running")?;
        kill(Pid::from_raw(i32::try_from(process.id())?), Signal::SIGTERM).context("cannot signal containerd")?;
        let ended = command::wait(&mut process, LIMIT)?;
        ended.map(|_| ()).with_context(|| format!("containerd did not end within {LIMIT:?} of SIGTERM"))
    }

    /// Whether a daemon is running, as far as we started or ended it.
    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The daemon's client.
    pub(super) fn ctr(&self) -> &Ctr {
        &self.ctr
    }

    /// Whether this release still lists a task that stopped while no daemon lived; later ones delete it as they start.
    pub(super) fn keeps_stopped_tasks(&self) -> Result<bool> {
        let version = self.ctr.done(&["version"])?;
        let mut versions = version.lines().filter_map(|line| line.trim().strip_prefix("Version:"));
        let version = versions.next_back().with_context(|| format!("`ctr version` told no version: {version:?}"))?;
        Ok(version.trim().trim_start_matches('v').starts_with("1.6."))
    }

    /// The bundles of tasks that the daemon knows or forgot to remove.
    pub(super) fn bundles(&self) -> Result<Vec<PathBuf>> {
        let tasks = self.home.join("state/io.containerd.runtime.v2.task");
        let mut found = Vec::new();
        for namespace in folders(&tasks)? {
            found.extend(folders(&namespace)?);
        }
        Ok(found)
    }

    /// Where the shim of the task `id` listens, in the form in which this release writes it into the bundle.
    pub(super) fn address(&self, id: &str) -> Result<String> {
        let bundles = self.bundles()?;
        let bundle = bundles.iter().find(|bundle| bundle.ends_with(id));
        let bundle = bundle.with_context(|| format!("task {id} has no bundle"))?;
        // Until 1.6 a bare address; since 1.7 JSON in another file, the old one being for 1.6 only.
        let files = ["bootstrap.json", "address"].map(|name| bundle.join(name));
        let file = files.iter().find(|file| file.exists());
        let file = file.with_context(|| format!("no address in {}", bundle.display()))?;
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// The last lines of the log, for a failure's message.
    pub(super) fn last_words(&self) -> String {
        const LINES: usize = 6;
        let log = fs::read_to_string(self.log()).unwrap_or_else(|error| format!("no log: {error}"));
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The world's end would do the same; a failure of these has no remedy here.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn folders(of: &Path) -> Result<Vec<PathBuf>> {
    if !of.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(of).with_context(|| format!("cannot list {}", of.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Which binary containerd looks for when it is asked for a runtime: `io.containerd.NAME.vN` is
/// `containerd-shim-NAME-vN` (containerd: `runtime/v2/shim/util.go`, `BinaryName`).
pub(super) fn shim_name(runtime: &str) -> Result<String> {
    let mut parts = runtime.rsplit('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(version), Some(name), Some(_)) => Ok(format!("containerd-shim-{name}-{version}")),
        (_, _, _) => bail!("{runtime} is not the name of a runtime: it needs at least two dots"),
    }
}

/// Everything below `home`, and nothing that would look at the rest of the machine.
fn configuration(home: &Path) -> String {
    let home = home.display();
    format!(
        r#"version = 2
root = "{home}/root"
state = "{home}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = "{home}/containerd.sock"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_names_its_shim() {
        assert_eq!(shim_name("io.containerd.reference.v1").unwrap(), "containerd-shim-reference-v1");
        assert_eq!(shim_name("io.containerd.runc.v2").unwrap(), "containerd-shim-runc-v2");
        assert!(shim_name("runc").is_err());
    }
}
