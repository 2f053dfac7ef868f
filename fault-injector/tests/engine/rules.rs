//! The engine misbehaving.

use std::{fs, process::Stdio};

use fault_injector::engine::rules::{Action, LogLine, Nth, Rule, WRONG_PID, When};
use nix::sys::{signal::Signal, wait::WaitStatus};

use crate::fixture::{Engine, eventually, is_root, read_pid, reap};

fn obey(engine: &Engine, rules: &[Rule]) {
    fs::write(engine.path("engine.rules"), serde_json::to_string(rules).unwrap()).unwrap();
    fs::write(engine.path("engine.log"), "").unwrap();
}

fn rule(subcommand: &str, when: When, action: Action) -> Rule {
    Rule { subcommand: subcommand.to_owned(), nth: Nth::Every, when, action }
}

fn lines(engine: &Engine) -> Vec<LogLine> {
    let text = fs::read_to_string(engine.path("engine.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_nth_call_fails_and_the_log_tells() {
    let engine = Engine::with("");
    let message = "no space left on device".to_owned();
    let fails = Rule { nth: Nth::At(2), ..rule("list", When::Before, Action::Exit { code: 3, message }) };
    obey(&engine, &[fails]);
    let codes = [0, 1, 2].map(|_| engine.run(["list"]).code);
    assert_eq!(codes, [Some(0), Some(3), Some(0)]);
    let told: Vec<_> = lines(&engine).into_iter().map(|line| (line.exit_code, line.rules)).collect();
    assert_eq!(told, [(Some(0), vec![]), (Some(3), vec![0]), (Some(0), vec![])]);
    let log = fs::read_to_string(engine.path("log.json")).unwrap();
    assert!(log.contains("no space left on device"), "{log}");
}

#[test]
fn parallel_calls_are_counted_once_each() {
    let engine = Engine::with("");
    let fails =
        Rule { nth: Nth::At(5), ..rule("list", When::Before, Action::Exit { code: 3, message: String::new() }) };
    obey(&engine, &[fails]);
    let spawn = |_| engine.command().arg("list").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let children: Vec<_> = (0..12).map(spawn).collect();
    let failed = children.into_iter().filter_map(|mut child| child.wait().unwrap().code().filter(|&code| code == 3));
    assert_eq!(failed.count(), 1);
}

#[test]
fn a_killed_call_dies_of_the_signal_and_is_told() {
    let engine = Engine::with("");
    obey(&engine, &[rule("list", When::Before, Action::KillSelf)]);
    assert_eq!(engine.run(["list"]).code, None);
    assert_eq!(lines(&engine)[0].exit_code, None);
}

#[test]
fn a_held_call_goes_on_when_the_path_exists() {
    let engine = Engine::with("");
    let until_path_exists = engine.path("go");
    obey(&engine, &[rule("list", When::Before, Action::Hold { until_path_exists })]);
    let mut child = engine.command().arg("list").stdout(Stdio::null()).spawn().unwrap();
    eventually("the call is counted", || engine.path("engine.counts").exists());
    assert!(child.try_wait().unwrap().is_none());
    fs::write(engine.path("go"), "").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn garbage_is_around_the_answer() {
    let engine = Engine::with("");
    obey(&engine, &[rule("list", When::Before, Action::GarbageStdout)]);
    let done = engine.run(["list", "--format", "json"]);
    assert_eq!(done.code, Some(0));
    assert!(serde_json::from_str::<serde_json::Value>(&done.stdout).is_err(), "{}", done.stdout);
}

#[test]
fn a_wrapped_runtime_does_the_work() {
    let engine = Engine::with("");
    fs::write(engine.path("engine.wraps"), "/bin/echo\n").unwrap();
    let done = engine.run(["list"]);
    assert!(done.stdout.ends_with("--log-format json list\n"), "{}", done.stdout);
    obey(&engine, &[rule("list", When::After, Action::SucceedThenExit { code: 9 })]);
    let done = engine.run(["list"]);
    assert_eq!(done.code, Some(9));
    assert!(done.stdout.ends_with("list\n"), "{}", done.stdout);
}

#[test]
fn malformed_rules_are_an_error_and_not_honesty() {
    let engine = Engine::with("");
    fs::write(engine.path("engine.rules"), "[{]").unwrap();
    let done = engine.run(["list"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("malformed"), "{}", done.stderr);
}

#[test]
fn a_create_that_dies_after_its_work_leaves_a_container_to_delete() {
    if !is_root("a dying create") {
        return;
    }
    let engine = Engine::with("exec sleep 100");
    obey(&engine, &[rule("create", When::After, Action::KillSelf)]);
    let (bundle, pid_file) = (engine.path("bundle"), engine.path("init.pid"));
    let [bundle, pid_file] = [&bundle, &pid_file].map(|path| path.to_str().unwrap());
    let done = engine.run(["create", "--bundle", bundle, "--pid-file", pid_file, &engine.id]);
    assert_eq!(done.code, None);
    assert_eq!(engine.status().as_deref(), Some("created"));
    let init = read_pid(pid_file.as_ref());
    engine.must(&["delete", "--force"]);
    assert_eq!(reap(init), WaitStatus::Signaled(init, Signal::SIGKILL, false));
    engine.assert_no_trace();
}

#[test]
fn pid_files_lie_or_vanish() {
    if !is_root("pid files") {
        return;
    }
    for (action, told) in [(Action::WrongPidFile, Some(WRONG_PID)), (Action::NoPidFile, None)] {
        let engine = Engine::with("exec sleep 100");
        obey(&engine, &[rule("create", When::Before, action)]);
        let (bundle, pid_file) = (engine.path("bundle"), engine.path("init.pid"));
        let [bundle, pid_file] = [&bundle, &pid_file].map(|path| path.to_str().unwrap());
        engine.must(&["create", "--bundle", bundle, "--pid-file", pid_file]);
        let read = fs::read_to_string(pid_file).ok().map(|text| text.parse().unwrap());
        assert_eq!(read, told);
        let state: serde_json::Value = serde_json::from_str(&engine.must(&["state"]).stdout).unwrap();
        let init = nix::unistd::Pid::from_raw(i32::try_from(state["pid"].as_i64().unwrap()).unwrap());
        engine.must(&["delete", "--force"]);
        reap(init);
    }
}
