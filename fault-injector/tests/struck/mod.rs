//! A stand-in for a shim: this test's own executable, run by the launcher under a supervisor.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use fault_injector::seam::syscall::{Supervisor, launch};
use tempfile::TempDir;

/// The test of each file that executes [`launched`].
pub(crate) const LAUNCHER: &str = "launched_by_a_test";
/// The test of each file that executes [`program`].
pub(crate) const PROGRAM: &str = "program_of_a_test";

const SUPERVISOR: &str = "STRUCK_SUPERVISOR";
const PLACE: &str = "STRUCK_PLACE";
const PART: &str = "STRUCK_PART";

/// How many threads make directories, and how many each.
pub(crate) const THREADS: u32 = 8;
pub(crate) const EACH: u32 = 40;

/// A supervisor in a directory of its own.
pub(crate) struct Stage {
    pub(crate) directory: TempDir,
    pub(crate) supervisor: Supervisor,
}

/// What the program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    /// What it said about each of its calls.
    pub(crate) said: Vec<String>,
}

impl Ran {
    /// What it said of the call `name`.
    pub(crate) fn of(&self, name: &str) -> Option<&str> {
        self.said.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own = std::env::current_exe().unwrap();
        let aliases = vec![(directory.path().display().to_string(), "<stage>")];
        let supervisor = Supervisor::listen(directory.path().join("door"), &own, aliases).unwrap();
        supervisor.enter("helper", "daemon");
        Self { directory, supervisor }
    }

    /// Runs this part of the program to its end.
    pub(crate) fn run(&self, part: &str) -> Ran {
        let place = tempfile::tempdir_in(self.directory.path()).unwrap();
        let output = own_test(LAUNCHER)
            .env(SUPERVISOR, self.supervisor.path())
            .env(PLACE, place.path())
            .env(PART, part)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.lines().filter_map(|line| line.split_once("said ")).map(|(_, what)| what.to_owned()).collect();
        Ran { status: output.status, said }
    }
}

fn own_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments(name));
    command
}

fn arguments(name: &str) -> [&str; 4] {
    ["--exact", name, "--nocapture", "--test-threads=1"]
}

/// Becomes [`program`] under the supervisor; without one it is a test that shows nothing.
pub(crate) fn launched() {
    let Some(supervisor) = std::env::var_os(SUPERVISOR) else { return };
    let own = std::env::current_exe().unwrap();
    let args = arguments(PROGRAM).map(Into::into);
    panic!("{}", launch(Path::new(&supervisor), own.as_os_str(), args));
}

/// Makes calls and says how each went.
pub(crate) fn program() {
    let (Some(place), Some(part)) = (std::env::var_os(PLACE), std::env::var_os(PART)) else { return };
    let place = Path::new(&place);
    match part.to_str() {
        Some("calls") => calls(place),
        Some("threads") => threads(place),
        other => panic!("there is no part {other:?}"),
    }
}

/// One call of each kind, and a child's.
fn calls(place: &Path) {
    let file = place.join("file");
    say("open", File::create(&file).map(drop));
    say("mkdir", fs::create_dir(place.join("directory")));
    say("unlink", fs::remove_file(&file));
    say("thread", thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap()));
    let child = Command::new("mkdir").arg(place.join("by-a-child")).status();
    say("child", child.map(|status| assert!(status.success())));
}

fn threads(place: &Path) {
    let failed = AtomicU32::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let failed = &failed;
            scope.spawn(move || {
                for number in 0..EACH {
                    if fs::create_dir(place.join(format!("{thread}-{number}"))).is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    println!("said failed: {}", failed.into_inner());
}

fn say(call: &str, went: io::Result<()>) {
    match went {
        Ok(()) => println!("said {call}: ok"),
        Err(error) => println!("said {call}: {}", error.raw_os_error().unwrap_or(-1)),
    }
}
