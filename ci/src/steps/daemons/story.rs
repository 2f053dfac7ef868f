//! The story that each daemon goes through with the shim, one named step after the other.

use std::{
    path::Path,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    Installed, Plan, left,
    stage::{LIMIT, Running, Stage},
    talk::Via,
};
use crate::{command, deadline, host};

/// A step: its name, and what is done and demanded in it.
type Step = (&'static str, fn(&mut Stage<'_>) -> Result<()>);

/// What every daemon goes through, in order; each step brings its own container and takes it away.
const STEPS: &[Step] = &[
    ("run/output-and-code", run_output_and_code),
    ("run/input", run_input),
    ("run/terminal", run_terminal),
    ("image/run-on-mounts", run_on_mounts),
    ("image/shim-killed", mounts_go_without_the_shim),
    ("task/listed-and-executed-in", listed_and_executed_in),
    ("task/exec-on-terminal", exec_on_terminal),
    ("task/paused-and-resumed", paused_and_resumed),
    ("task/processes-and-metrics", processes_and_metrics),
    ("task/killed-and-deleted", killed_and_deleted),
    ("daemon-killed/container-runs-on", container_runs_on),
    ("daemon-killed/exit-arrives-later", exit_arrives_later),
    ("daemon-killed/exit-meanwhile", exit_meanwhile),
    ("daemon-killed/many-times", many_times),
    ("daemon-killed/during-exec", killed_during_exec),
    ("daemon-killed/during-start", killed_during_start),
    ("shim-killed/daemon-cleans-up", daemon_cleans_up),
    ("shim-killed/while-no-daemon-lives", shim_killed_while_no_daemon_lives),
];

/// Where a step cannot hold: its name, the daemon's key or the runtime's name, and what was seen.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "daemon-killed/during-start",
        "s16",
        "containerd 1.6 keeps a connection to a shim without a task, and so the shim, for ever",
    ),
    (
        "daemon-killed/during-start",
        "io.containerd.runc.v2",
        "the shim of 2.1.9 stays for ever when nobody is left to read its address",
    ),
];

/// How long a shim that nobody ever called may stay.
const UNUSED: Duration = Duration::from_secs(60);

/// A script that lasts until it is killed.
const LASTS: &str = "exec sleep 86400";

/// Tells the story with each of the plan's daemons and prints how each step went.
pub(super) fn tell(plan: &Plan) -> Result<ExitCode> {
    let mut failures = 0;
    for installed in &plan.daemons {
        failures += tell_one(plan, installed).with_context(|| format!("daemon {}", installed.key))?;
    }
    println!("daemons: {} told, {failures} steps failed", plan.daemons.len());
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Answers how many steps failed.
fn tell_one(plan: &Plan, installed: &Installed) -> Result<usize> {
    let home = Path::new(left::HOMES).join(&installed.key);
    let mut stage = Stage::set(&home, installed, plan)?;
    let before = left::Inventory::take()?;
    stage.daemon.start()?;
    println!("{}", stage.ctr().done(&["version"])?.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut failures = 0;
    for (name, play) in STEPS.iter().filter(|(name, _)| name.contains(&plan.only)) {
        let is_about_us = |who: &str| who == installed.key || who == plan.runtime;
        if let Some((_, _, why)) = KNOWN.iter().find(|(step, who, _)| step == name && is_about_us(who)) {
            println!("SKIP  {}  {name:<36}  {why}", installed.key);
            continue;
        }
        let is_held = report(&installed.key, name, || play(&mut stage));
        if !is_held {
            failures += 1;
            println!("{}", indented(&stage.daemon.last_words()));
            if let Err(error) = stage.sweep() {
                println!("{}", indented(&format!("and could not be cleaned up: {error:#}")));
            }
        }
    }
    let is_held = report(&installed.key, "end/nothing-is-left", || {
        let bundles = stage.daemon.bundles()?;
        stage.daemon.stop()?;
        let left = left::all(&stage, &plan.namespace, &before, &bundles)?;
        ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        Ok(())
    });
    Ok(failures + usize::from(!is_held))
}

/// Plays one step and prints its line; answers whether it held.
fn report(key: &str, name: &str, play: impl FnOnce() -> Result<()>) -> bool {
    let start = Instant::now();
    let outcome = play();
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => println!("PASS  {key}  {name:<36}  {seconds:6.2} s"),
        Err(ref error) => println!("FAIL  {key}  {name:<36}  {seconds:6.2} s\n{}", indented(&format!("{error:#}"))),
    }
    outcome.is_ok()
}

fn indented(text: &str) -> String {
    text.lines()
        // The message of a failed start may hold the shim's answer, and that anything.
        .map(|line| format!("      {}", line.replace(char::is_control, "?")))
        .collect::<Vec<_>>()
        .join("\n")
}

fn run_output_and_code(stage: &mut Stage<'_>) -> Result<()> {
    let mut talk = stage.run("run-code", Via::Files, "echo out; echo err >&2", 7)?;
    talk.says("out\n", "err\n")?;
    talk.ends_with(7)
}

fn run_input(stage: &mut Stage<'_>) -> Result<()> {
    // More than all pipes and buffers on the way hold: when `ctr` reaches the end before the task is created, it never
    // tells anybody.
    let input = "a line of input\n".repeat(100_000);
    let done = stage.run_with_input("run-input", "cat; exit 6", &input)?;
    let (came, length) = (done.stdout == input, done.stdout.len());
    ensure!(came, "{length} of {} bytes came back, ending in {:?}", input.len(), command::ending(&done.stdout));
    ensure!(done.status.code() == Some(6), "{}, expected code 6; said {:?}", done.status, done.stderr);
    Ok(())
}

fn run_terminal(stage: &mut Stage<'_>) -> Result<()> {
    let mut talk = stage.run("run-tty", Via::Terminal, "tty", 5)?;
    talk.names_terminal()?;
    talk.ends_with(5)
}

fn run_on_mounts(stage: &mut Stage<'_>) -> Result<()> {
    let done = stage.run_on_mounts("image", r#"echo new >/written && test "$(cat /written)" = new && exit 8"#)?;
    ensure!(done.status.code() == Some(8), "{done:?}, expected code 8");
    Ok(())
}

fn mounts_go_without_the_shim(stage: &mut Stage<'_>) -> Result<()> {
    let running = stage.start_on_mounts("image-widow", LASTS)?;
    let of_ours = |points: Vec<String>| points.into_iter().find(|point| point.contains("/image-widow/"));
    ensure!(of_ours(host::mount_points()?).is_some(), "the root file system is mounted nowhere");
    stage.kill_shim(&running)?;
    task_is_gone(stage, "image-widow")?;
    stage.remove_container(&running)?;
    let left = of_ours(host::mount_points()?);
    ensure!(left.is_none(), "still mounted: {left:?}");
    Ok(())
}

fn listed_and_executed_in(stage: &mut Stage<'_>) -> Result<()> {
    let running = stage.start("listed", LASTS)?;
    exec_works(stage, &running)?;
    let code = stage.exec_code("listed", "kill -9 $$")?;
    ensure!(code == Some(137), "an exec that was killed ended with {code:?}, expected 137");
    stop_and_delete(stage, &running)
}

fn exec_on_terminal(stage: &mut Stage<'_>) -> Result<()> {
    let running = stage.start("exec-tty", LASTS)?;
    let mut talk = stage.exec("exec-tty", Via::Terminal, "tty", 4)?;
    talk.names_terminal()?;
    talk.ends_with(4)?;
    stop_and_delete(stage, &running)
}

fn paused_and_resumed(stage: &mut Stage<'_>) -> Result<()> {
    let running = stage.start("paused", LASTS)?;
    stage.ctr().done(&["task", "pause", "paused"])?;
    stage.ctr().becomes("paused", "PAUSED")?;
    stage.ctr().done(&["task", "resume", "paused"])?;
    stage.ctr().becomes("paused", "RUNNING")?;
    stop_and_delete(stage, &running)
}

fn processes_and_metrics(stage: &mut Stage<'_>) -> Result<()> {
    let running = stage.start("counted", LASTS)?;
    let listed = stage.ctr().done(&["task", "ps", "counted"])?;
    let pid = running.init.to_string();
    ensure!(listed.split_whitespace().any(|word| word == pid), "init {pid} is not in the list {listed:?}");
    let metrics = stage.ctr().done(&["task", "metrics", "counted"])?;
    ensure!(metrics.contains("memory.usage"), "the metrics tell no memory: {metrics:?}");
    stop_and_delete(stage, &running)
}

fn killed_and_deleted(stage: &mut Stage<'_>) -> Result<()> {
    let mut events = stage.events()?;
    let running = stage.start("killed", LASTS)?;
    events.arrive(&["/tasks/start", "\"killed\""])?;
    stage.ctr().done(&["task", "kill", "--signal", "SIGKILL", "killed"])?;
    stage.ctr().becomes("killed", "STOPPED")?;
    events.arrive(&["/tasks/exit", "\"killed\"", "\"exit_status\":137"])?;
    stage.delete(&running, 137)?;
    events.arrive(&["/tasks/delete", "\"killed\"", "\"exit_status\":137"])
}

fn container_runs_on(stage: &mut Stage<'_>) -> Result<()> {
    let running = stage.start("runs-on", LASTS)?;
    stage.daemon.kill()?;
    for (pid, what) in [(running.init, "init"), (running.shim, "shim")] {
        ensure!(host::process(pid)?.is_some(), "the {what} {pid} died with the daemon");
    }
    stage.daemon.start()?;
    same_task(stage, running.init, &running.id)?;
    let containers = stage.ctr().done(&["container", "ls", "--quiet"])?;
    ensure!(containers.lines().any(|id| id == running.id), "{} is not among the containers {containers:?}", running.id);
    exec_works(stage, &running)?;
    ensure!(host::process(running.shim)?.is_some(), "the shim {} was replaced", running.shim);
    stop_and_delete(stage, &running)
}

fn exit_arrives_later(stage: &mut Stage<'_>) -> Result<()> {
    let (running, gate) = stage.start_at_gate("later", 9)?;
    stage.daemon.kill()?;
    stage.daemon.start()?;
    let mut events = stage.events()?;
    let waiter = stage.ctr().background(&["task", "attach", "later"], Stdio::null())?;
    gate.open()?;
    let code = waiter.code()?;
    ensure!(code == Some(9), "who waited got {code:?}, expected 9");
    events.arrive(&["/tasks/exit", "\"later\"", "\"exit_status\":9"])?;
    // `ctr task attach` deletes the task that it saw ending.
    task_is_gone(stage, "later")?;
    stage.remove_container(&running)
}

fn exit_meanwhile(stage: &mut Stage<'_>) -> Result<()> {
    let (running, gate) = stage.start_at_gate("meanwhile", 9)?;
    let keeps_stopped = stage.daemon.keeps_stopped_tasks()?;
    stage.daemon.kill()?;
    gate.open()?;
    stage.gone(running.init, "init")?;
    stage.daemon.start()?;
    if keeps_stopped {
        stage.ctr().becomes("meanwhile", "STOPPED")?;
        return stage.delete(&running, 9);
    }
    // Since 1.7, containerd itself deletes at its start what has stopped meanwhile.
    task_is_gone(stage, "meanwhile")?;
    stage.remove_container(&running)
}

fn many_times(stage: &mut Stage<'_>) -> Result<()> {
    let running = stage.start("many", LASTS)?;
    for _ in 0..3 {
        stage.daemon.kill()?;
        stage.daemon.start()?;
        same_task(stage, running.init, &running.id)?;
    }
    exec_works(stage, &running)?;
    stop_and_delete(stage, &running)
}

fn killed_during_exec(stage: &mut Stage<'_>) -> Result<()> {
    let running = stage.start("torn", LASTS)?;
    let mut talk = stage.exec("torn", Via::Files, "echo begun", 3)?;
    talk.says("begun\n", "")?;
    stage.daemon.kill()?;
    talk.let_go()?;
    stage.daemon.start()?;
    same_task(stage, running.init, &running.id)?;
    exec_works(stage, &running)?;
    stop_and_delete(stage, &running)
}

fn killed_during_start(stage: &mut Stage<'_>) -> Result<()> {
    let start = stage.begin_to_start("unborn", LASTS)?;
    let begun = deadline::until("shim of unborn", LIMIT, || stage.shim_of("unborn"))?;
    stage.daemon.kill()?;
    drop(start);
    stage.daemon.start()?;
    // How far it came is open; that it can be removed is not. Where there is no task this fails, and the rest holds.
    stage.ctr().finish(&["task", "rm", "--force", "unborn"])?;
    let what = format!("end of the shim that nobody knows, which was {begun}");
    deadline::until(&what, UNUSED, || Ok(stage.shim_of("unborn")?.is_none().then_some(())))?;
    stage.remove_leavings("unborn")
}

fn daemon_cleans_up(stage: &mut Stage<'_>) -> Result<()> {
    let mut events = stage.events()?;
    let running = stage.start("widow", LASTS)?;
    stage.kill_shim(&running)?;
    events.arrive(&["/tasks/exit", "\"widow\"", "\"exit_status\":137"])?;
    task_is_gone(stage, "widow")?;
    stage.remove_container(&running)
}

fn shim_killed_while_no_daemon_lives(stage: &mut Stage<'_>) -> Result<()> {
    let running = stage.start("orphan", LASTS)?;
    stage.daemon.kill()?;
    stage.kill_shim(&running)?;
    stage.gone(running.shim, "shim")?;
    stage.daemon.start()?;
    task_is_gone(stage, "orphan")?;
    stage.remove_container(&running)
}

fn exec_works(stage: &Stage<'_>, running: &Running) -> Result<()> {
    let mut talk = stage.exec(&running.id, Via::Files, "echo inside; echo wrong >&2", 3)?;
    talk.says("inside\n", "wrong\n")?;
    talk.ends_with(3)
}

fn stop_and_delete(stage: &Stage<'_>, running: &Running) -> Result<()> {
    stage.ctr().done(&["task", "kill", "--signal", "SIGKILL", &running.id])?;
    stage.ctr().becomes(&running.id, "STOPPED")?;
    stage.delete(running, 137)
}

fn same_task(stage: &Stage<'_>, init: i32, id: &str) -> Result<()> {
    let task = stage.ctr().task(id)?.with_context(|| format!("the daemon does not list the task {id}"))?;
    ensure!(task.status == "RUNNING" && task.pid == init, "the daemon lists {task:?}, expected pid {init} running");
    Ok(())
}

fn task_is_gone(stage: &Stage<'_>, id: &str) -> Result<()> {
    deadline::until(&format!("end of task {id}"), LIMIT, || Ok(stage.ctr().task(id)?.is_none().then_some(())))
}
