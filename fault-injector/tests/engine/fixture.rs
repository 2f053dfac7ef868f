//! One engine in a directory of its own, and containers that run a shell.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollTimeout, poll},
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, geteuid},
};
use serde_json::{Value, json};

/// The host's directories that hold a shell and what it needs.
const SHOWN: [&str; 4] = ["/bin", "/lib", "/lib64", "/usr"];

/// How long anything here may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A private engine: link, root directory, bundle. What it made is deleted on drop.
pub(crate) struct Engine {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) id: String,
}

/// One run of the engine.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// False, after telling why, where containers cannot be made.
pub(crate) fn is_root(test: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("skipped: {test} makes containers, which takes root here");
    }
    root
}

impl Engine {
    /// An engine with a bundle whose container runs `script`.
    pub(crate) fn with(script: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Containers fall to this process when `create` ends, as to a shim.
        prctl::set_child_subreaper(true).unwrap();
        let directory = tempfile::Builder::new().prefix("engine-test-").tempdir().unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let engine = Self { directory, id: format!("engine-test-{}-{number}", std::process::id()) };
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_conformance-engine"), engine.path("engine")).unwrap();
        fs::create_dir_all(engine.path("bundle/rootfs")).unwrap();
        engine.configure(&configuration(&engine.id, script));
        engine
    }

    pub(crate) fn configure(&self, configuration: &Value) {
        fs::write(self.path("bundle/config.json"), configuration.to_string()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command line up to the subcommand, on null streams.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.path("engine"));
        command.arg("--root").arg(self.path("root"));
        command.arg("--log").arg(self.path("log.json")).args(["--log-format", "json"]);
        command.stdin(Stdio::null());
        command
    }

    /// Runs one subcommand. Its streams are files, since a container that inherits a pipe would keep it open.
    pub(crate) fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Done {
        let (stdout, stderr) = (self.path("stdout"), self.path("stderr"));
        let mut command = self.command();
        command.args(arguments);
        command.stdout(fs::File::create(&stdout).unwrap());
        command.stderr(fs::File::create(&stderr).unwrap());
        let status = command.status().unwrap();
        Done {
            code: status.code(),
            stdout: fs::read_to_string(stdout).unwrap(),
            stderr: fs::read_to_string(stderr).unwrap(),
        }
    }

    /// Runs one subcommand on this container that must succeed.
    pub(crate) fn must(&self, subcommand: &[&str]) -> Done {
        let done = self.run(subcommand.iter().copied().chain([self.id.as_str()]));
        assert_eq!(done.code, Some(0), "{subcommand:?}: {}", done.stderr);
        done
    }

    /// Creates the container and answers with the pid that the pid file tells.
    pub(crate) fn create(&self) -> Pid {
        let (bundle, pid_file) = (self.path("bundle"), self.path("init.pid"));
        let (bundle, pid_file) = (bundle.to_str().unwrap(), pid_file.to_str().unwrap());
        self.must(&["create", "--bundle", bundle, "--pid-file", pid_file]);
        read_pid(Path::new(pid_file))
    }

    /// Creates and starts.
    pub(crate) fn start(&self) -> Pid {
        let pid = self.create();
        self.must(&["start"]);
        pid
    }

    /// What `state` says, or `None` when it says that there is no container.
    pub(crate) fn status(&self) -> Option<String> {
        let done = self.run(["state", &self.id]);
        if done.code != Some(0) {
            assert!(done.stderr.contains("does not exist"), "{}", done.stderr);
            return None;
        }
        let state: Value = serde_json::from_str(&done.stdout).unwrap();
        Some(state["status"].as_str().unwrap().to_owned())
    }

    /// Nothing of the container is left: no state, no cgroup.
    pub(crate) fn assert_no_trace(&self) {
        assert!(!self.path("root").join(&self.id).exists(), "state is left");
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten() {
            let left = hierarchy.unwrap().path().join("engine-test").join(&self.id);
            assert!(!left.exists(), "{} is left", left.display());
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Honest again, whatever the test was about.
        let _rules_may_not_exist = fs::remove_file(self.path("engine.rules"));
        let _wraps_may_not_exist = fs::remove_file(self.path("engine.wraps"));
        if self.path("root").join(&self.id).exists() {
            let mut command = self.command();
            let output: Output = command.args(["delete", "--force", &self.id]).output().unwrap();
            if !output.status.success() && !std::thread::panicking() {
                panic!("cannot clean up: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}

/// A configuration as containerd writes it, with the host's programs shown.
pub(crate) fn configuration(id: &str, script: &str) -> Value {
    let shown = SHOWN.iter().filter(|path| Path::new(path).exists());
    let binds =
        shown.map(|path| json!({"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}));
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
    ];
    mounts.extend(binds);
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
        },
        "root": {"path": "rootfs"},
        "hostname": "inside",
        "mounts": mounts,
        "linux": {
            "cgroupsPath": format!("/engine-test/{id}"),
            "namespaces": namespaces,
            "maskedPaths": ["/proc/version"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}

/// Reads a pid file.
pub(crate) fn read_pid(path: &Path) -> Pid {
    Pid::from_raw(fs::read_to_string(path).unwrap().parse().unwrap())
}

/// Waits, as a shim does, for a process that has fallen to us.
pub(crate) fn reap(pid: Pid) -> WaitStatus {
    waitpid(pid, None).unwrap()
}

/// Whether a process of that number is there, be it a zombie.
pub(crate) fn is_there(pid: Pid) -> bool {
    kill(pid, None::<Signal>).is_ok()
}

/// The number behind `name` in `/proc/PID/status`.
pub(crate) fn status_field(pid: Pid, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

/// Waits until `condition` holds; a failure names what was waited for.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        poll(&mut [], PollTimeout::from(2_u8)).unwrap();
    }
}
