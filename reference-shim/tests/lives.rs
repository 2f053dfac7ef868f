//! Containers from their creation to their end, with runc.

mod harness;

use std::{
    fs,
    time::{Duration, Instant},
};

use containerd_shim_protos::{
    api,
    cgroups::metrics::Metrics,
    protobuf::{Message, MessageField, well_known_types::any::Any},
};
use harness::{World, code, exec_request, is_alive, limit, process, until};
use nix::sys::signal::Signal;
use serde_json::json;
use ttrpc::Code;

#[tokio::test]
async fn a_life_is_told_in_order() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle("a", &["/bin/sh", "-c", "exit 7"]);
    let shim = world.shim(&bundle).await;
    let pid = shim.create(&bundle).await;
    assert!(is_alive(pid));
    assert_eq!(shim.status("a", "").await, api::Status::CREATED);
    assert_eq!(code(shim.client.create(limit(), &bundle.create()).await), Code::ALREADY_EXISTS);
    assert_eq!(code(shim.delete("b", "").await), Code::NOT_FOUND);
    let waiter = tokio::spawn({
        let shim = shim.clone();
        async move { shim.wait("a", "").await }
    });
    assert_eq!(shim.begin("a", "").await.unwrap(), pid);
    assert_eq!(waiter.await.unwrap().unwrap(), 7);
    assert_eq!(shim.status("a", "").await, api::Status::STOPPED);
    assert_eq!(code(shim.kill("a", "", 9).await), Code::NOT_FOUND);
    let deleted = shim.delete("a", "").await.unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
    assert_eq!(code(shim.delete("a", "").await), Code::NOT_FOUND);
    world.leave(&bundle, &shim).await;
    let topics = ["create", "start", "exit", "delete"].map(str::to_owned);
    let expected: Vec<_> = topics.into_iter().zip([0, 0, 7, 7]).collect();
    assert_eq!(world.told_of("a"), expected);
    let after = world.delete(&bundle).await;
    assert_eq!((after.pid, after.exit_status, after.exited_at), (pid, 7, deleted.exited_at));
}

#[tokio::test]
async fn fast_exits_are_told_after_their_starts() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim) = world.running("a", &["/bin/sleep", "1000"]).await;
    let before = shim.descriptors();
    let lives = (0..20).map(|index| {
        let (shim, exec) = (shim.clone(), format!("e{index}"));
        tokio::spawn(async move {
            shim.exec("a", &exec, &["/bin/true"]).await.unwrap();
            let wait = shim.wait("a", &exec);
            let begin = shim.begin("a", &exec);
            let (status, pid) = tokio::join!(wait, begin);
            assert_eq!(status.unwrap(), 0);
            assert_eq!(shim.delete("a", &exec).await.unwrap().pid, pid.unwrap());
        })
    });
    for life in lives.collect::<Vec<_>>() {
        life.await.unwrap();
    }
    assert_eq!((shim.zombies(), shim.descriptors()), (0, before));
    for index in 0..20 {
        let expected = ["exec-added", "exec-started", "exit", "delete"].map(|topic| (topic.to_owned(), 0));
        let id = format!("a/e{index}");
        until("the events", || world.told_of(&id).len() == 4).await;
        assert_eq!(world.told_of(&id), expected);
    }
    shim.end("a").await;
    world.end(&bundle, &shim).await;
}

#[tokio::test]
async fn execs_end_before_init() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim) = world.running("a", &["/bin/sleep", "1000"]).await;
    for exec in ["e1", "e2"] {
        shim.exec("a", exec, &["/bin/sleep", "1000"]).await.unwrap();
        assert_eq!(code(shim.exec("a", exec, &["/bin/true"]).await), Code::ALREADY_EXISTS);
        assert_eq!(code(shim.kill("a", exec, 9).await), Code::FAILED_PRECONDITION);
        shim.begin("a", exec).await.unwrap();
    }
    shim.exec("a", "never", &["/bin/true"]).await.unwrap();
    let never = tokio::spawn({
        let shim = shim.clone();
        async move { shim.wait("a", "never").await }
    });
    let pids = shim.client.pids(limit(), &api::PidsRequest { id: "a".to_owned(), ..Default::default() }).await.unwrap();
    assert_eq!(pids.processes.len(), 3);
    assert_eq!(pids.processes.iter().filter(|process| process.info.is_some()).count(), 2);
    shim.kill("a", "", 9).await.unwrap();
    for who in ["e1", "e2", ""] {
        assert_eq!(shim.wait("a", who).await.unwrap(), 137);
    }
    assert_eq!(code(never.await.unwrap()), Code::FAILED_PRECONDITION);
    assert_eq!(code(shim.begin("a", "never").await), Code::FAILED_PRECONDITION);
    world.end(&bundle, &shim).await;
    let exits: Vec<_> = world.told().into_iter().filter(|told| told.topic == "exit").map(|told| told.id).collect();
    assert_eq!(exits.len(), 3);
    assert_eq!(exits[2], "a");
}

#[tokio::test]
async fn an_exec_that_cannot_start_can_be_deleted() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim) = world.running("a", &["/bin/sleep", "1000"]).await;
    shim.exec("a", "e", &["/nonexistent"]).await.unwrap();
    let waiter = tokio::spawn({
        let shim = shim.clone();
        async move { shim.wait("a", "e").await }
    });
    let Err(ttrpc::Error::RpcStatus(status)) = shim.begin("a", "e").await else { panic!("started") };
    assert!(status.message.contains("/nonexistent"), "{}", status.message);
    assert_eq!(code(waiter.await.unwrap()), Code::FAILED_PRECONDITION);
    assert_eq!(code(shim.wait("a", "e").await), Code::FAILED_PRECONDITION);
    assert_eq!(code(shim.begin("a", "e").await), Code::FAILED_PRECONDITION);
    assert_eq!(shim.status("a", "e").await, api::Status::CREATED);
    shim.delete("a", "e").await.unwrap();
    assert_eq!(code(shim.state("a", "e").await), Code::NOT_FOUND);
    shim.end("a").await;
    world.end(&bundle, &shim).await;
    assert_eq!(world.told_of("a/e"), [("exec-added".to_owned(), 0)]);
}

#[tokio::test]
async fn a_created_container_exits_before_it_is_deleted() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle("a", &["/bin/true"]);
    let shim = world.shim(&bundle).await;
    let pid = shim.create(&bundle).await;
    let deleted = shim.delete("a", "").await.unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
    world.leave(&bundle, &shim).await;
    let topics: Vec<_> = world.told_of("a").into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(topics, ["create", "exit", "delete"]);
}

#[tokio::test]
async fn pause_update_stats_resume() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim) = world.running("a", &["/bin/sleep", "1000"]).await;
    let id = || "a".to_owned();
    shim.client.pause(limit(), &api::PauseRequest { id: id(), ..Default::default() }).await.unwrap();
    assert_eq!(shim.status("a", "").await, api::Status::PAUSED);
    let pause = shim.client.pause(limit(), &api::PauseRequest { id: id(), ..Default::default() }).await;
    assert_eq!(code(pause), Code::FAILED_PRECONDITION);
    assert_eq!(code(shim.exec("a", "e", &["/bin/true"]).await), Code::FAILED_PRECONDITION);
    shim.client.resume(limit(), &api::ResumeRequest { id: id(), ..Default::default() }).await.unwrap();
    let mut update = api::UpdateTaskRequest { id: id(), ..Default::default() };
    assert_eq!(code(shim.client.update(limit(), &update).await), Code::INVALID_ARGUMENT);
    let value = json!({"pids": {"limit": 77}}).to_string().into_bytes();
    update.resources = MessageField::some(Any { value, ..Any::default() });
    shim.client.update(limit(), &update).await.unwrap();
    let stats = shim.client.stats(limit(), &api::StatsRequest { id: id(), ..Default::default() }).await.unwrap();
    assert_eq!(stats.stats.type_url, "io.containerd.cgroups.v1.Metrics");
    let metrics = Metrics::parse_from_bytes(&stats.stats.value).unwrap();
    assert_eq!((metrics.pids.current, metrics.pids.limit), (1, 77));
    let checkpoint = api::CheckpointTaskRequest {
        id: id(),
        path: world.path("image").to_str().unwrap().to_owned(),
        ..Default::default()
    };
    assert_eq!(code(shim.client.checkpoint(limit(), &checkpoint).await), Code::UNKNOWN);
    // A frozen container can be killed.
    shim.client.pause(limit(), &api::PauseRequest { id: id(), ..Default::default() }).await.unwrap();
    shim.end("a").await;
    world.end(&bundle, &shim).await;
    let topics: Vec<_> = world.told_of("a").into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(topics, ["create", "start", "paused", "resumed", "paused", "exit", "delete"]);
}

#[tokio::test]
async fn nonsense_is_refused_and_harms_nobody() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim) = world.running("a", &["/bin/sleep", "1000"]).await;
    let mut request = exec_request("a", "e", &["/bin/true"]);
    request.spec = MessageField::none();
    assert_eq!(code(shim.client.exec(limit(), &request).await), Code::INVALID_ARGUMENT);
    let request = exec_request("a", "../e", &["/bin/true"]);
    assert_eq!(code(shim.client.exec(limit(), &request).await), Code::INVALID_ARGUMENT);
    let request = exec_request("a", "", &["/bin/true"]);
    assert_eq!(code(shim.client.exec(limit(), &request).await), Code::INVALID_ARGUMENT);
    assert_eq!(code(shim.kill("a", "", 200).await), Code::INVALID_ARGUMENT);
    shim.kill("a", "", 0).await.unwrap();
    let mut request = bundle.create();
    request.id = "b".to_owned();
    let type_url = "containerd.runc.v1.CheckpointOptions".to_owned();
    request.options = MessageField::some(Any { type_url, ..Any::default() });
    assert_eq!(code(shim.client.create(limit(), &request).await), Code::INVALID_ARGUMENT);
    request.bundle = "/nonexistent".to_owned();
    request.options = MessageField::none();
    assert_eq!(code(shim.client.create(limit(), &request).await), Code::NOT_FOUND);
    // Init would ignore it.
    shim.exec("a", "e", &["/bin/sleep", "1000"]).await.unwrap();
    shim.begin("a", "e").await.unwrap();
    shim.kill("a", "e", 34).await.unwrap();
    assert_eq!(shim.wait("a", "e").await.unwrap(), 128 + 34);
    shim.end("a").await;
    world.end(&bundle, &shim).await;
}

#[tokio::test]
async fn a_failed_create_leaves_nothing() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle("a", &["/nonexistent"]);
    let shim = world.shim(&bundle).await;
    let Err(ttrpc::Error::RpcStatus(status)) = shim.client.create(limit(), &bundle.create()).await else {
        panic!("created");
    };
    assert!(status.message.contains("/nonexistent"), "{}", status.message);
    assert_eq!(code(shim.begin("a", "").await), Code::NOT_FOUND);
    let mut request = bundle.create();
    request.stdout = "/nonexistent/fifo".to_owned();
    assert_ne!(code(shim.client.create(limit(), &request).await), Code::OK);
    world.nothing_left(&bundle);
    assert_eq!(world.told(), []);
    world.leave(&bundle, &shim).await;
}

#[tokio::test]
async fn events_wait_for_containerd() {
    let Some(mut world) = World::with_runc().await else { return };
    world.deafen().await;
    let (bundle, shim) = world.running("a", &["/bin/sh", "-c", "exit 3"]).await;
    assert_eq!(shim.wait("a", "").await.unwrap(), 3);
    assert_eq!(shim.status("a", "").await, api::Status::STOPPED);
    assert_eq!(world.told(), []);
    world.listen().await;
    let expected: Vec<_> =
        [("create", 0), ("start", 0), ("exit", 3)].map(|(topic, status)| (topic.to_owned(), status)).into();
    until("the events", || world.told_of("a").len() == 3).await;
    assert_eq!(world.told_of("a"), expected);
    world.end(&bundle, &shim).await;
}

#[tokio::test]
async fn without_containerd_the_shim_leaves_all_the_same() {
    let Some(mut world) = World::with_runc().await else { return };
    let (bundle, shim) = world.running("a", &["/bin/true"]).await;
    shim.wait("a", "").await.unwrap();
    world.deafen().await;
    shim.delete("a", "").await.unwrap();
    shim.shutdown().await;
    shim.gone(Duration::from_secs(20)).await;
    world.nothing_left(&bundle);
}

#[tokio::test]
async fn delete_cleans_up_after_a_dead_shim() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim) = world.running("a", &["/bin/sh", "-c", "trap '' TERM; sleep 1000"]).await;
    let pid = shim.state("a", "").await.unwrap().pid;
    shim.die().await;
    let begin = Instant::now();
    let (deleted, again) = tokio::join!(world.delete(&bundle), world.delete(&bundle));
    assert!(begin.elapsed() < Duration::from_secs(5));
    for deleted in [deleted, again] {
        assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
    }
    assert!(!is_alive(pid));
    world.nothing_left(&bundle);
    assert!(!shim.socket().exists());
    world.delete(&bundle).await;
}

#[tokio::test]
async fn delete_tells_the_truth_about_an_exit_that_nobody_fetched() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim) = world.running("a", &["/bin/sh", "-c", "exit 5"]).await;
    shim.wait("a", "").await.unwrap();
    let exited_at = shim.state("a", "").await.unwrap().exited_at;
    shim.die().await;
    let deleted = world.delete(&bundle).await;
    assert_eq!((deleted.exit_status, deleted.exited_at), (5, exited_at));
    world.nothing_left(&bundle);
}

#[tokio::test]
async fn delete_of_a_container_that_never_was() {
    let world = World::new().await;
    let bundle = world.bundle("a", &["/bin/true"]);
    assert_eq!(world.delete(&bundle).await.exit_status, 137);
}

#[tokio::test]
async fn delete_lets_a_living_shim_do_it() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim) = world.running("a", &["/bin/sleep", "1000"]).await;
    let deleted = world.delete(&bundle).await;
    assert_eq!(deleted.exit_status, 137);
    shim.gone(Duration::from_secs(3)).await;
    world.nothing_left(&bundle);
    let topics: Vec<_> = world.told_of("a").into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(topics, ["create", "start", "exit", "delete"]);
}

#[tokio::test]
async fn delete_leaves_the_rest_of_the_group_alone() {
    let Some(world) = World::with_runc().await else { return };
    let group = |spec: &mut serde_json::Value| spec["annotations"] = json!({"io.containerd.runc.v2.group": "g"});
    let a = world.bundle_with("a", &["/bin/sleep", "1000"], group);
    let b = world.bundle_with("b", &["/bin/sleep", "1000"], group);
    let shim = world.shim(&a).await;
    world.shim(&b).await;
    for bundle in [&a, &b] {
        shim.create(bundle).await;
        shim.begin(&bundle.id, "").await.unwrap();
    }
    world.delete(&a).await;
    assert!(shim.is_alive());
    assert_eq!(shim.status("b", "").await, api::Status::RUNNING);
    fs::remove_dir_all(&a.path).unwrap();
    shim.exec("b", "e", &["/bin/true"]).await.unwrap();
    shim.begin("b", "e").await.unwrap();
    assert_eq!(shim.wait("b", "e").await.unwrap(), 0);
    let c = world.bundle_with("c", &["/bin/true"], group);
    assert_eq!(world.shim(&c).await.pid, shim.pid);
    shim.kill("b", "", 9).await.unwrap();
    shim.wait("b", "").await.unwrap();
    shim.shutdown().await;
    assert!(shim.is_alive());
    world.end(&b, &shim).await;
}

#[tokio::test]
async fn by_policy_the_shim_leaves_with_init() {
    let Some(mut world) = World::with_runc().await else { return };
    world.environment.push(("REFERENCE_SHIM_EXIT_POLICY".to_owned(), "on-init-exit".to_owned()));
    let (bundle, shim) = world.running("a", &["/bin/sh", "-c", "sleep 0.2; exit 6"]).await;
    assert_eq!(shim.wait("a", "").await.unwrap(), 6);
    shim.gone(Duration::from_secs(1)).await;
    let topics: Vec<_> = world.told_of("a").into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(topics, ["create", "start", "exit"]);
    assert_eq!(world.delete(&bundle).await.exit_status, 6);
    world.nothing_left(&bundle);
}

#[tokio::test]
async fn orphans_are_buried_and_crowds_are_counted() {
    let Some(world) = World::with_runc().await else { return };
    let shared = |spec: &mut serde_json::Value| {
        spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "ipc"}]);
    };
    let script = "for i in $(seq 1000); do (true &) ; done; for i in $(seq 150); do sleep 1000 & done; echo; exit 8";
    let bundle = world.bundle_with("a", &["/bin/sh", "-c", script], shared);
    let shim = world.shim(&bundle).await;
    shim.create(&bundle).await;
    shim.begin("a", "").await.unwrap();
    assert_eq!(shim.wait("a", "").await.unwrap(), 8);
    until("orphans to be buried", || shim.zombies() == 0).await;
    let cgroup = format!("/sys/fs/cgroup/pids/{}/a/cgroup.procs", world.namespace);
    until("the rest to be killed", || fs::read_to_string(&cgroup).unwrap_or_default().is_empty()).await;
    world.end(&bundle, &shim).await;
    assert_eq!(world.told_of("a").len(), 4);
}

#[tokio::test]
async fn a_signal_to_leave_waits_for_the_containers() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim) = world.running("a", &["/bin/sleep", "1000"]).await;
    shim.signal(Signal::SIGTERM);
    shim.end("a").await;
    shim.delete("a", "").await.unwrap();
    shim.gone(Duration::from_secs(3)).await;
    world.nothing_left(&bundle);
}

#[tokio::test]
async fn memory_that_runs_out_is_told() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle_with("a", &["/bin/sh", "-c", "x=$(tail /dev/zero)"], |spec| {
        spec["linux"]["resources"]["memory"] = json!({"limit": 8 << 20, "swap": 8 << 20});
        spec["process"] = process(&["/usr/bin/tail", "/dev/zero"]);
        spec["mounts"][1] = json!({"destination": "/dev", "type": "bind", "source": "/dev", "options": ["bind"]});
        spec["mounts"].as_array_mut().unwrap().remove(2);
    });
    let shim = world.shim(&bundle).await;
    shim.create(&bundle).await;
    shim.begin("a", "").await.unwrap();
    assert_eq!(shim.wait("a", "").await.unwrap(), 137);
    world.end(&bundle, &shim).await;
    let topics: Vec<_> = world.told_of("a").into_iter().map(|(topic, _)| topic).collect();
    let oom = topics.iter().position(|topic| topic == "oom").unwrap();
    assert!(oom < topics.iter().position(|topic| topic == "exit").unwrap());
}
