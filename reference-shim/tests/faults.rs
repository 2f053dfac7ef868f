//! What happens when the runtime or the shim misbehave at a chosen moment: a script stands in for the runtime.

#![expect(clippy::unwrap_used, reason = "tests may, and so may what helps them")]

mod harness;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use containerd_shim_protos::{
    api,
    protobuf::{Message, MessageField, well_known_types::any::Any},
    shim::oci::Options,
};
use harness::{Bundle, World, code, limit, until};
use ttrpc::Code;

/// A runtime that runs this shell script, with `$verb` set, and then the real one with all arguments.
fn runtime(world: &World, script: &str) -> PathBuf {
    let path = world.path("runtime");
    let find = r#"for word; do case "$word" in create|start|delete|kill|exec|ps|state) verb=$word; break;; esac; done"#;
    fs::write(&path, format!("#!/bin/bash\n{find}\n{script}\nexec runc \"$@\"\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn create(bundle: &Bundle, runtime: &Path) -> api::CreateTaskRequest {
    let binary_name = runtime.to_str().unwrap().to_owned();
    let options = Options { binary_name, ..Default::default() };
    let type_url = "containerd.runc.v1.Options".to_owned();
    let any = Any { type_url, value: options.write_to_bytes().unwrap(), ..Default::default() };
    api::CreateTaskRequest { options: MessageField::some(any), ..bundle.create() }
}

#[tokio::test]
async fn a_slow_creation_holds_up_nobody_else() {
    let Some(world) = World::with_runc().await else { return };
    let gate = world.path("gate");
    let wait = format!("[ $verb = create ] && while [ ! -e {} ]; do sleep 0.01; done", gate.display());
    let runtime = runtime(&world, &wait);
    let (a, b) = (world.bundle("a", &["/bin/true"]), world.bundle("b", &["/bin/true"]));
    let shim = world.shim(&a).await;
    let slow = tokio::spawn({
        let (shim, request) = (shim.clone(), create(&a, &runtime));
        async move { shim.client.create(limit(), &request).await }
    });
    let begin = Instant::now();
    until("the creation", || a.path.join("runtime.json").exists()).await;
    assert_eq!(code(shim.state("a", "").await), Code::NOT_FOUND);
    assert_eq!(code(shim.client.create(limit(), &create(&a, &runtime)).await), Code::ALREADY_EXISTS);
    shim.create(&b).await;
    shim.begin("b", "").await.unwrap();
    assert_eq!(shim.wait("b", "").await.unwrap(), 0);
    shim.delete("b", "").await.unwrap();
    shim.shutdown().await;
    assert!(begin.elapsed() < Duration::from_secs(5));
    fs::write(&gate, "").unwrap();
    slow.await.unwrap().unwrap();
    shim.delete("a", "").await.unwrap();
    shim.leave().await;
    world.nothing_left(&a);
}

#[tokio::test]
async fn a_creation_whose_caller_goes_is_undone() {
    let Some(world) = World::with_runc().await else { return };
    let runtime = runtime(&world, "[ $verb = create ] && { runc \"$@\"; sleep 1000; }");
    let bundle = world.bundle("a", &["/bin/true"]);
    let shim = world.shim(&bundle).await;
    let short = ttrpc::context::with_duration(Duration::from_millis(700));
    assert!(shim.client.create(short, &create(&bundle, &runtime)).await.is_err());
    assert_eq!(code(shim.delete("a", "").await), Code::NOT_FOUND);
    world.nothing_left(&bundle);
    assert_eq!(world.told(), []);
    shim.leave().await;
}

#[tokio::test]
async fn a_creation_under_way_when_the_shim_dies_does_not_finish_behind_our_back() {
    let Some(world) = World::with_runc().await else { return };
    let held = world.path("held");
    let script =
        format!("[ $verb = create ] && {{ touch {0}; while [ -e {0} ]; do sleep 0.01; done; }}", held.display());
    let runtime = runtime(&world, &script);
    let bundle = world.bundle("a", &["/bin/true"]);
    let shim = world.shim(&bundle).await;
    let call = tokio::spawn({
        let (shim, request) = (shim.clone(), create(&bundle, &runtime));
        async move { shim.client.create(limit(), &request).await }
    });
    until("the creation", || held.exists()).await;
    shim.die().await;
    assert!(call.await.unwrap().is_err());
    let begin = Instant::now();
    let deleted = world.delete(&bundle).await;
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(deleted.exit_status, 137);
    fs::remove_file(&held).unwrap();
    world.nothing_left(&bundle);
    assert_eq!(processes_with(runtime.to_str().unwrap()), 0);
}

#[tokio::test]
async fn an_exit_is_told_although_the_runtime_hangs_in_start() {
    let Some(world) = World::with_runc().await else { return };
    let runtime = runtime(&world, "[ $verb = start ] && sleep 1000");
    let bundle = world.bundle("a", &["/bin/sleep", "1000"]);
    let shim = world.shim(&bundle).await;
    shim.client.create(limit(), &create(&bundle, &runtime)).await.unwrap();
    let begin = tokio::spawn({
        let shim = shim.clone();
        async move { shim.begin("a", "").await }
    });
    shim.end("a").await;
    assert_eq!(code(begin.await.unwrap()), Code::FAILED_PRECONDITION);
    shim.delete("a", "").await.unwrap();
    shim.leave().await;
    world.nothing_left(&bundle);
}

#[tokio::test]
async fn a_runtime_that_lies_about_the_pid_is_not_believed() {
    let Some(world) = World::with_runc().await else { return };
    let lie = r#"[ $verb = create ] && { runc "$@" || exit 1; for word; do [ "$flag" = --pid-file ] && echo 1 > "$word"; flag=$word; done; exit 0; }"#;
    let runtime = runtime(&world, lie);
    let bundle = world.bundle("a", &["/bin/true"]);
    let shim = world.shim(&bundle).await;
    assert_eq!(code(shim.client.create(limit(), &create(&bundle, &runtime)).await), Code::UNKNOWN);
    assert_eq!(world.told(), []);
    world.nothing_left(&bundle);
    shim.leave().await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nobody() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle("a", &["/bin/sleep", "1000"]);
    let shim = world.shim(&bundle).await;
    shim.create(&bundle).await;
    shim.begin("a", "").await.unwrap();
    // Each is worth a line; together they are more than a FIFO holds.
    for _ in 0..2000 {
        shim.shutdown().await;
    }
    assert!(shim.is_alive());
    shim.end("a").await;
    shim.delete("a", "").await.unwrap();
    shim.leave().await;
}

/// Whatever the shim was at when it died: the moments are spread over a whole life.
#[tokio::test]
async fn a_shim_killed_at_any_moment_leaves_what_delete_can_remove() {
    for moment in (0..160).step_by(8) {
        let Some(world) = World::with_runc().await else { return };
        let bundle = world.bundle("a", &["/bin/sleep", "1000"]);
        let shim = world.shim(&bundle).await;
        let mut life = tokio::spawn({
            let (shim, request) = (shim.clone(), bundle.create());
            async move {
                shim.client.create(limit(), &request).await?;
                shim.begin("a", "").await?;
                shim.exec("a", "e", &["/bin/sleep", "1000"]).await?;
                shim.begin("a", "e").await?;
                shim.kill("a", "", 9).await?;
                shim.wait("a", "").await?;
                shim.delete("a", "").await
            }
        });
        let over = tokio::time::timeout(Duration::from_millis(moment), &mut life).await.is_ok();
        shim.die().await;
        if !over {
            drop(life.await.unwrap());
        }
        world.delete(&bundle).await;
        world.nothing_left(&bundle);
        let path = bundle.path.to_str().unwrap();
        assert_eq!(processes_with(path), 0, "after {moment} ms");
        assert!(!shim.socket().exists());
    }
}

fn processes_with(text: &str) -> usize {
    let lines = fs::read_dir("/proc").unwrap().flatten().map(|entry| fs::read_to_string(entry.path().join("cmdline")));
    lines.filter(|line| line.as_ref().is_ok_and(|line| line.contains(text))).count()
}
