//! Against real children: who is signalled, what is learned, what heals.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use super::*;
use crate::fault::{Leftover, Party, Seam, Trigger};

/// Never the answer, only the end of a test that would hang.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A child that ends with the test, whatever the test does.
struct Sleeper(Child);

impl Sleeper {
    fn spawn() -> (Self, Process) {
        let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let process = Process::open(child.id().cast_signed()).unwrap();
        (Self(child), process)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn killing_waits_for_the_exit_and_does_not_reap() {
    let (mut sleeper, process) = Sleeper::spawn();
    process.kill_and_wait(soon()).unwrap();
    assert_eq!(process.facts().unwrap().state, 'Z');
    assert_eq!(sleeper.0.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    assert!(matches!(process.facts(), Err(ProcessError::Gone { .. })));
    assert!(matches!(process.threads(), Err(ProcessError::Gone { .. })));
    assert!(matches!(process.signal(Signal::SIGTERM), Err(ProcessError::Gone { .. })));
    process.kill_and_wait(soon()).unwrap();
}

#[test]
fn a_process_that_does_not_exit_is_told_apart_from_one_that_did() {
    let (_sleeper, process) = Sleeper::spawn();
    assert!(!process.has_exited().unwrap());
    assert!(matches!(process.wait_exit(Instant::now()), Err(ProcessError::Deadline { what: "exit", .. })));
}

#[test]
fn a_stopped_process_stands_still_until_the_guard_goes() {
    let (_sleeper, process) = Sleeper::spawn();
    let identity = process.identity();
    let stopped = process.stop(soon()).unwrap();
    assert!(stopped.process().threads().unwrap().iter().all(|thread| thread.state == 'T'));
    drop(stopped);
    // SIGCONT takes effect before kill(2) returns, so there is nothing to wait for.
    assert_ne!(Process::reopen(identity).unwrap().facts().unwrap().state, 'T');
}

#[test]
fn every_thread_stands_still() {
    const PARK: &str = "FAULT_INJECTOR_PARK";
    if std::env::var_os(PARK).is_some() {
        return park_four_threads();
    }
    // A shell has one thread only; `cargo test` itself has many, but must not be stopped, so a copy of it is.
    let me = std::env::current_exe().unwrap();
    let child = Command::new(me)
        .args(["--exact", "seam::process::tests::every_thread_stands_still", "--nocapture"])
        .env(PARK, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut sleeper = Sleeper(child);
    wait_for_line(sleeper.0.stdout.take().unwrap(), "parked");
    let process = Process::open(sleeper.0.id().cast_signed()).unwrap();
    let stopped = process.stop(soon()).unwrap();
    let threads = stopped.process().threads().unwrap();
    assert!(threads.len() >= 5, "{threads:?}");
    assert!(threads.iter().all(|thread| thread.state == 'T'), "{threads:?}");
    assert_eq!(usize::try_from(stopped.process().facts().unwrap().threads).unwrap(), threads.len());
}

fn wait_for_line(output: impl std::io::Read, wanted: &str) {
    use std::io::BufRead;
    let mut lines = std::io::BufReader::new(output).lines();
    assert!(lines.any(|line| line.unwrap().contains(wanted)));
}

/// What the copy does.
fn park_four_threads() {
    let barrier = std::sync::Barrier::new(5);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                let _ends_with_the_test = std::io::stdin().lines().count();
            });
        }
        barrier.wait();
        println!("parked");
    });
}

#[test]
fn a_pid_that_is_in_use_again_is_not_touched() {
    let (_sleeper, process) = Sleeper::spawn();
    let Identity { pid, start_ticks } = process.identity();
    let earlier = Identity { pid, start_ticks: start_ticks - 1 };
    assert!(matches!(Process::reopen(earlier), Err(ProcessError::Gone { pid: gone }) if gone == pid));
    assert_eq!(Process::reopen(process.identity()).unwrap().identity(), process.identity());
}

#[test]
fn facts_come_from_proc() {
    let (_sleeper, process) = Sleeper::spawn();
    let facts = process.facts().unwrap();
    assert_eq!(facts.identity, process.identity());
    assert_eq!(facts.parent, std::process::id().cast_signed());
    assert_eq!((facts.comm.as_str(), facts.threads), ("sleep", 1));
    let descriptors = process.descriptors().unwrap();
    assert_eq!(descriptors[0], Descriptor { number: 0, target: FDTarget::Path("/dev/null".into()) });
}

#[test]
fn a_fault_that_is_no_signal_is_refused() {
    let (_sleeper, process) = Sleeper::spawn();
    let refuse = Fault {
        id: "test/refuse",
        summary: "",
        seam: Seam::Events,
        when: Trigger::Now,
        does: Action::Refuse(Leftover::Path),
        excuses: &[],
    };
    assert!(matches!(process.inject(&refuse, soon()), Err(ProcessError::Unfit(_))));

    let (_sleeper, process) = Sleeper::spawn();
    let mismatch = Fault { does: Action::Signal(Party::Init, fault::Signal::Kill), ..refuse };
    assert!(matches!(process.inject(&mismatch, soon()), Err(ProcessError::Unfit(_))));
}
