//! More processes in a container.

use std::fs;

use nix::sys::{signal::Signal, wait::WaitStatus};
use serde_json::{Value, json};

use crate::fixture::{Engine, is_root, read_pid, reap, status_field};

#[test]
fn an_exec_that_waits_answers_with_the_status_of_its_process() {
    if !is_root("exec") {
        return;
    }
    let engine = Engine::with("exec sleep 100");
    let init = engine.start();
    let done = engine.run(["exec", &engine.id, "sh", "-c", "hostname; exit 6"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(6), "inside\n"), "{}", done.stderr);
    let killed = engine.run(["exec", &engine.id, "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.code, Some(137));
    engine.must(&["delete", "--force"]);
    reap(init);
}

#[test]
fn a_detached_exec_falls_to_the_caller() {
    if !is_root("exec --detach") {
        return;
    }
    let engine = Engine::with("exec sleep 100");
    let init = engine.start();
    let process =
        json!({"args": ["sh", "-c", "exit 3"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 1, "gid": 2}});
    fs::write(engine.path("process.json"), process.to_string()).unwrap();
    let (file, pid_file) = (engine.path("process.json"), engine.path("exec.pid"));
    let (file, pid_file) = (file.to_str().unwrap(), pid_file.to_str().unwrap());
    engine.must(&["exec", "--process", file, "--detach", "--pid-file", pid_file]);
    let pid = read_pid(pid_file.as_ref());
    assert_eq!(status_field(pid, "PPid"), std::process::id().to_string());
    assert_eq!(reap(pid), WaitStatus::Exited(pid, 3));
    engine.must(&["delete", "--force"]);
    assert_eq!(reap(init), WaitStatus::Signaled(init, Signal::SIGKILL, false));
}

#[test]
fn a_program_that_is_missing_fails_exec() {
    if !is_root("exec of a missing program") {
        return;
    }
    let engine = Engine::with("exec sleep 100");
    let init = engine.start();
    let done = engine.run(["exec", "--detach", &engine.id, "no-such"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("executable file not found"), "{}", done.stderr);
    let pids: Vec<i32> = serde_json::from_str(&engine.must(&["ps", "--format", "json"]).stdout).unwrap();
    assert_eq!(pids, [init.as_raw()]);
    engine.must(&["delete", "--force"]);
    reap(init);
}

#[test]
fn the_user_has_its_ids_and_no_capability() {
    if !is_root("ids") {
        return;
    }
    let engine = Engine::with("exec sleep 100");
    let init = engine.start();
    let done =
        engine.run(["exec", "--user", "7:8", &engine.id, "sh", "-c", "id -u; id -g; grep CapEff /proc/self/status"]);
    assert_eq!(done.stdout.split_whitespace().collect::<Vec<_>>(), ["7", "8", "CapEff:", "0000000000000000"]);
    engine.must(&["delete", "--force"]);
    reap(init);
}

#[test]
fn statistics_have_the_shape_of_runcs() {
    if !is_root("statistics") {
        return;
    }
    let engine = Engine::with("exec sleep 100");
    let init = engine.start();
    let done = engine.run(["events", "--stats", &engine.id]);
    if done.stderr.contains("no cgroup") {
        println!("skipped: no cgroups here: {}", done.stderr.trim());
    } else {
        let event: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(event["type"], "stats");
        assert_eq!(event["id"], engine.id.as_str());
        assert!(event["data"]["memory"]["usage"]["limit"].is_u64());
    }
    engine.must(&["delete", "--force"]);
    reap(init);
}
