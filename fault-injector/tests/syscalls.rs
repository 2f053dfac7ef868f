//! The supervisor of system calls against a real program with threads and children.

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of an integration test for code that is none")]

mod struck;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;

use fault_injector::catalogue;
use fault_injector::fault::Trigger;
use fault_injector::seam::syscall::{Aim, Point, THREAD};
use nix::sys::signal::Signal;
use struck::{EACH, Stage, THREADS};

#[test]
fn launched_by_a_test() {
    struck::launched();
}

#[test]
fn program_of_a_test() {
    struck::program();
}

#[test]
fn one_call_of_many_threads_fails_and_no_other() {
    let stage = Stage::new();
    let fault = catalogue::find("syscall/enospc").unwrap().at(Trigger::Nth(37));
    let guard = stage.supervisor.inject(&fault, Aim::phase("helper")).unwrap();
    let ran = stage.run("threads");
    assert!(ran.status.success());
    assert_eq!(ran.of("failed"), Some("1"));
    assert_eq!(guard.heal(), 1);
    assert_eq!(stage.supervisor.struck().len(), 1);
    assert_eq!(stage.supervisor.troubles(), [""; 0]);
    let made = stage.supervisor.seen().iter().filter(|seen| seen.point.call.starts_with("mkdir")).count();
    assert_eq!(made, usize::try_from(THREADS * EACH).unwrap());
}

#[test]
fn every_call_fails_while_the_fault_lasts_but_not_those_of_children() {
    let stage = Stage::new();
    let fault = catalogue::find("syscall/enomem").unwrap().at(Trigger::Now);
    let guard = stage.supervisor.inject(&fault, Aim::phase("helper").about("<stage>/.tmp<r>")).unwrap();
    let ran = stage.run("calls");
    assert_eq!(guard.heal(), 0, "nothing is about that");
    assert_eq!((ran.of("mkdir"), ran.of("child")), (Some("ok"), Some("ok")));

    let guard = stage.supervisor.inject(&fault, Aim { call: Some("mkdir".to_owned()), ..Aim::default() }).unwrap();
    let ran = stage.run("calls");
    assert_eq!((ran.of("mkdir"), ran.of("child"), ran.of("open")), (Some("12"), Some("ok"), Some("ok")));
    assert_eq!(guard.heal(), 1);
    assert_eq!(stage.run("calls").of("mkdir"), Some("ok"), "healed");
}

#[test]
fn the_process_dies_before_the_call_at_which_it_is_killed() {
    let stage = Stage::new();
    let recorded = {
        assert!(stage.run("calls").status.success());
        stage.supervisor.seen()
    };
    let mkdir = recorded.iter().find(|seen| seen.point.call.starts_with("mkdir")).unwrap();
    let fault = catalogue::find("syscall/kill").unwrap();
    let guard = stage.supervisor.inject(fault, Aim::at(&mkdir.point)).unwrap();
    let ran = stage.run("calls");
    assert_eq!(ran.status.signal(), Some(Signal::SIGKILL as i32));
    assert_eq!((ran.of("open"), ran.of("mkdir")), (Some("ok"), None));
    assert_eq!(guard.heal(), 1);
}

#[test]
fn two_lives_have_the_same_points() {
    let points = || -> BTreeSet<Point> {
        let stage = Stage::new();
        assert!(stage.run("calls").status.success());
        stage.supervisor.seen().into_iter().filter(|seen| seen.crash).map(|seen| seen.point).collect()
    };
    let (first, second) = (points(), points());
    assert_eq!(first, second);
    assert!(first.iter().any(|point| point.subject == "<stage>/.tmp<r>/directory"), "{first:?}");
    assert!(first.iter().all(|point| point.subject != THREAD), "a thread is no place for a crash");
}
