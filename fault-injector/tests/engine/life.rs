//! From `create` to `delete`.

use std::{fs, process::Stdio};

use nix::{
    sys::{
        signal::Signal,
        time::{TimeSpec, TimeValLike as _},
        wait::WaitStatus,
    },
    time::{ClockId, ClockNanosleepFlags, clock_nanosleep},
};
use serde_json::{Value, json};

use crate::fixture::{Engine, configuration, eventually, is_root, is_there, read_pid, reap, status_field};

#[test]
fn a_life_has_four_states_and_leaves_no_trace() {
    if !is_root("a life") {
        return;
    }
    let engine = Engine::with("exit 7");
    assert_eq!(engine.status(), None);
    let init = engine.create();
    assert_eq!(engine.status().as_deref(), Some("created"));
    assert_eq!(status_field(init, "PPid"), std::process::id().to_string());
    engine.must(&["start"]);
    assert_eq!(reap(init), WaitStatus::Exited(init, 7));
    assert_eq!(engine.status().as_deref(), Some("stopped"));
    engine.must(&["delete"]);
    assert_eq!(engine.status(), None);
    engine.assert_no_trace();
}

#[test]
fn refusals_are_worded_as_shims_expect() {
    if !is_root("refusals") {
        return;
    }
    let engine = Engine::with("exec sleep 100");
    let id = engine.id.clone();
    let unknown = engine.run(["kill", &id, "9"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("does not exist"), "{}", unknown.stderr);
    let init = engine.start();
    let bundle = engine.path("bundle");
    let again = engine.run(["create", "--bundle", bundle.to_str().unwrap(), &id]);
    assert!(again.stderr.contains("already exists"), "{}", again.stderr);
    let running = engine.run(["delete", &id]);
    assert!(running.stderr.contains("running"), "{}", running.stderr);
    let kill = engine.run(["kill", &id, "KILL"]);
    assert_eq!(kill.code, Some(0));
    assert_eq!(reap(init), WaitStatus::Signaled(init, Signal::SIGKILL, false));
    let stopped = engine.run(["kill", &id, "9"]);
    assert_eq!(stopped.code, Some(1));
    assert!(stopped.stderr.contains("container not running"), "{}", stopped.stderr);
    assert_eq!(engine.run(["kill", "--all", &id, "9"]).code, Some(0));
    let log = fs::read_to_string(engine.path("log.json")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    assert_eq!(last["msg"].as_str().unwrap(), stopped.stderr.trim());
}

#[test]
fn real_time_signals_arrive() {
    if !is_root("real-time signals") {
        return;
    }
    let engine = Engine::with("trap 'exit 5' RTMIN+3; : >/ready; while :; do sleep 0.01; done");
    let init = engine.start();
    eventually("the trap is set", || engine.path("bundle/rootfs/ready").exists());
    assert_eq!(engine.run(["kill", &engine.id, "SIGRTMIN+3"]).code, Some(0));
    assert_eq!(reap(init), WaitStatus::Exited(init, 5));
}

#[test]
fn a_program_that_is_missing_fails_create_and_leaves_no_trace() {
    if !is_root("a missing program") {
        return;
    }
    for (program, reason) in [("no-such", "executable file not found"), ("/no/such", "no such file or directory")] {
        let engine = Engine::with("");
        let mut configuration = configuration(&engine.id, "");
        configuration["process"]["args"] = json!([program]);
        engine.configure(&configuration);
        let bundle = engine.path("bundle");
        let done = engine.run(["create", "--bundle", bundle.to_str().unwrap(), &engine.id]);
        assert_eq!(done.code, Some(1));
        assert!(done.stderr.contains(reason), "{}", done.stderr);
        engine.assert_no_trace();
    }
}

#[test]
fn a_program_that_cannot_be_executed_fails_start() {
    if !is_root("a program of no format") {
        return;
    }
    let engine = Engine::with("");
    fs::write(engine.path("bundle/rootfs/noise"), "\u{7f}noise").unwrap();
    fs::set_permissions(engine.path("bundle/rootfs/noise"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let mut configuration = configuration(&engine.id, "");
    configuration["process"]["args"] = json!(["/noise"]);
    engine.configure(&configuration);
    let init = engine.create();
    let done = engine.run(["start", &engine.id]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("/noise"), "{}", done.stderr);
    assert_eq!(reap(init), WaitStatus::Exited(init, 1));
}

#[test]
fn the_container_sees_its_own_world_and_three_descriptors() {
    if !is_root("the container's world") {
        return;
    }
    let engine = Engine::with(
        "{ hostname; echo $$; ls /proc/self/fd | wc -l; ls /dev/null; cat /proc/version | wc -c; } >/seen 2>&1",
    );
    let init = engine.start();
    assert_eq!(reap(init), WaitStatus::Exited(init, 0));
    let seen = fs::read_to_string(engine.path("bundle/rootfs/seen")).unwrap();
    // The fourth descriptor is the directory that `ls` reads.
    assert_eq!(seen.lines().collect::<Vec<_>>(), ["inside", "1", "4", "/dev/null", "0"]);
}

#[test]
fn a_container_that_was_never_started_can_be_deleted() {
    if !is_root("delete of a created container") {
        return;
    }
    let engine = Engine::with("exit 0");
    let init = engine.create();
    engine.must(&["delete"]);
    assert_eq!(reap(init), WaitStatus::Signaled(init, Signal::SIGKILL, false));
    assert!(!is_there(init));
    engine.assert_no_trace();
}

#[test]
fn a_frozen_container_says_so_and_dies_when_killed() {
    if !is_root("pause") {
        return;
    }
    let engine = Engine::with("exec sleep 100");
    let init = engine.start();
    let paused = engine.run(["pause", &engine.id]);
    if paused.stderr.contains("no cgroup") {
        println!("skipped: no cgroups here: {}", paused.stderr.trim());
        assert_eq!(engine.run(["delete", "--force", &engine.id]).code, Some(0));
        reap(init);
        return;
    }
    assert_eq!(paused.code, Some(0), "{}", paused.stderr);
    assert_eq!(engine.status().as_deref(), Some("paused"));
    assert_eq!(engine.run(["exec", &engine.id, "true"]).code, Some(1));
    engine.must(&["resume"]);
    assert_eq!(engine.status().as_deref(), Some("running"));
    engine.must(&["pause"]);
    assert_eq!(engine.run(["kill", &engine.id, "KILL"]).code, Some(0));
    assert_eq!(reap(init), WaitStatus::Signaled(init, Signal::SIGKILL, false));
    engine.must(&["delete"]);
    engine.assert_no_trace();
}

#[test]
fn a_create_that_is_killed_anywhere_leaves_nothing_that_delete_cannot_find() {
    if !is_root("killed creates") {
        return;
    }
    // Not every delay hits another step, but all must be harmless.
    for delay_us in (0..6000).step_by(250) {
        let engine = Engine::with("exec sleep 100");
        let (bundle, pid_file) = (engine.path("bundle"), engine.path("init.pid"));
        let mut command = engine.command();
        command.arg("create").arg("--bundle").arg(bundle).arg("--pid-file").arg(&pid_file).arg(&engine.id);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut create = command.spawn().unwrap();
        clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::empty(), &TimeSpec::microseconds(delay_us))
            .unwrap();
        create.kill().unwrap();
        create.wait().unwrap();
        engine.must(&["delete", "--force"]);
        engine.assert_no_trace();
        if pid_file.exists() {
            reap(read_pid(&pid_file));
        }
    }
}
