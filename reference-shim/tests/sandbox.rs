//! Sandboxes and their members, with runc.

#![expect(clippy::unwrap_used, reason = "tests may, and so may what helps them")]

mod harness;

use std::{fs, process::Command, time::Duration};

use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, ShutdownSandboxRequest, StartSandboxRequest, WaitSandboxRequest,
};
use harness::{Bundle, Shim, World, is_alive, limit, until};
use ttrpc::Code;

const ID: &str = "pod";

/// A shim that holds a sandbox, with this network namespace, and the pid of its process.
async fn sandbox(world: &World, network: &str) -> (Bundle, Shim, u32) {
    let bundle = world.bundle(ID, &[]);
    fs::remove_file(bundle.path.join("config.json")).unwrap();
    let shim = world.shim(&bundle).await;
    let create = CreateSandboxRequest {
        sandbox_id: ID.to_owned(),
        bundle_path: bundle.path.to_str().unwrap().to_owned(),
        netns_path: network.to_owned(),
        ..Default::default()
    };
    shim.sandbox.create_sandbox(limit(), &create).await.unwrap();
    let start = StartSandboxRequest { sandbox_id: ID.to_owned(), ..Default::default() };
    let pid = shim.sandbox.start_sandbox(limit(), &start).await.unwrap().pid;
    (bundle, shim, pid)
}

async fn shut_down(shim: &Shim) {
    let shutdown = ShutdownSandboxRequest { sandbox_id: ID.to_owned(), ..Default::default() };
    shim.sandbox.shutdown_sandbox(limit(), &shutdown).await.unwrap();
    shim.gone(Duration::from_secs(3)).await;
}

fn namespace(pid: u32, kind: &str) -> std::path::PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

#[tokio::test]
async fn a_sandbox_keeps_the_namespaces_of_a_pod() {
    let Some(world) = World::with_runc().await else { return };
    let mut holder = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().unwrap();
    until("the namespace", || namespace(holder.id(), "net") != namespace(std::process::id(), "net")).await;
    let (_bundle, shim, pid) = sandbox(&world, &format!("/proc/{}/ns/net", holder.id())).await;
    assert_eq!(namespace(pid, "net"), namespace(holder.id(), "net"));
    for kind in ["ipc", "uts"] {
        assert_ne!(namespace(pid, kind), namespace(shim.pid, kind));
    }
    shut_down(&shim).await;
    assert!(!is_alive(pid));
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[tokio::test]
async fn a_network_namespace_that_is_not_there_fails_the_start() {
    let world = World::new().await;
    let bundle = world.bundle(ID, &[]);
    let shim = world.shim(&bundle).await;
    let create = CreateSandboxRequest {
        sandbox_id: ID.to_owned(),
        bundle_path: bundle.path.to_str().unwrap().to_owned(),
        netns_path: "/nonexistent".to_owned(),
        ..Default::default()
    };
    shim.sandbox.create_sandbox(limit(), &create).await.unwrap();
    let start = StartSandboxRequest { sandbox_id: ID.to_owned(), ..Default::default() };
    assert_eq!(harness::code(shim.sandbox.start_sandbox(limit(), &start).await), Code::UNKNOWN);
    shut_down(&shim).await;
}

#[tokio::test]
async fn a_sandbox_dies_with_its_shim_and_delete_ends_the_members() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim, pid) = sandbox(&world, "").await;
    let member = world.bundle("a", &["/bin/sleep", "1000"]);
    let init = shim.create(&member).await;
    shim.begin("a", "").await.unwrap();
    shim.die().await;
    until("the sandbox to die", || !is_alive(pid)).await;
    assert!(is_alive(init));
    world.delete(&bundle).await;
    assert!(!is_alive(init));
    world.nothing_left(&member);
    assert!(!shim.socket().exists());
}

#[tokio::test]
async fn delete_shuts_down_a_living_sandbox() {
    let Some(world) = World::with_runc().await else { return };
    let (bundle, shim, pid) = sandbox(&world, "").await;
    let member = world.bundle("a", &["/bin/sleep", "1000"]);
    shim.create(&member).await;
    let waiter = tokio::spawn({
        let shim = shim.clone();
        let wait = WaitSandboxRequest { sandbox_id: ID.to_owned(), ..Default::default() };
        async move { shim.sandbox.wait_sandbox(limit(), &wait).await.unwrap().exit_status }
    });
    world.delete(&bundle).await;
    assert_eq!(waiter.await.unwrap(), 137);
    shim.gone(Duration::from_secs(3)).await;
    assert!(!is_alive(pid));
    world.nothing_left(&member);
}

#[tokio::test]
async fn a_shim_that_leaves_with_init_stays_for_a_sandbox() {
    let Some(mut world) = World::with_runc().await else { return };
    world.environment.push(("REFERENCE_SHIM_EXIT_POLICY".to_owned(), "on-init-exit".to_owned()));
    let (_bundle, shim, _) = sandbox(&world, "").await;
    let member = world.bundle("a", &["/bin/true"]);
    shim.create(&member).await;
    shim.begin("a", "").await.unwrap();
    shim.wait("a", "").await.unwrap();
    shim.delete("a", "").await.unwrap();
    shim.shutdown().await;
    assert!(shim.is_alive());
    shut_down(&shim).await;
    world.nothing_left(&member);
}
