//! The binary is executed, answers, and leaves nothing behind.

mod harness;

use std::{fs, io::Write, path::Path, process::Stdio};

use assert_cmd::Command;
use containerd_shim_protos::{
    bootstrap_api::{BootstrapParams, BootstrapResult},
    protobuf::Message,
    types::introspection::RuntimeInfo,
};
use harness::{Shim, World};
use rstest::rstest;

fn shim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_containerd-shim-reference-v1"))
}

#[test]
fn version_needs_nothing_else() {
    let output = shim().arg("-v").assert().success().get_output().clone();
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(output.stderr, b"");
}

#[test]
fn info_is_the_message_itself() {
    let output = shim().arg("-info").current_dir("/").assert().success().get_output().clone();
    let info = RuntimeInfo::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!(info.name, "io.containerd.reference.v1");
}

#[rstest]
#[case::unknown_flag(&["-bogus", "start"])]
#[case::no_namespace(&["-id", "i", "start"])]
#[case::no_id(&["-namespace", "n", "start"])]
#[case::unknown_action(&["-namespace", "n", "-id", "i", "sing"])]
fn a_bad_command_line_says_why(#[case] args: &[&str]) {
    let output = shim().args(args).assert().code(2).get_output().clone();
    assert_eq!(output.stdout, b"");
    assert_ne!(output.stderr, b"");
}

#[tokio::test]
async fn with_a_configuration_that_cannot_be_read_nothing_is_started() {
    let world = World::new().await;
    let bundle = world.bundle("a", &["/bin/true"]);
    fs::write(bundle.path.join("config.json"), "{").unwrap();
    let output = world.start(&bundle);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("config.json"));
    assert!(!bundle.path.join("address").exists());
}

#[tokio::test]
async fn a_start_and_a_shutdown_leave_nothing() {
    let world = World::new().await;
    let bundle = world.bundle("a", &["/bin/true"]);
    let shim = world.shim(&bundle).await;
    assert_eq!(shim.threads(), 1);
    shim.leave().await;
}

#[tokio::test]
async fn a_second_start_finds_the_first_shim() {
    let world = World::new().await;
    let (a, b) = (grouped(&world, "a"), grouped(&world, "b"));
    let first = world.shim(&a).await;
    let second = world.shim(&b).await;
    assert_eq!((first.pid, &first.address), (second.pid, &second.address));
    first.leave().await;
}

#[tokio::test]
async fn many_starts_at_once_make_one_shim() {
    let world = World::new().await;
    let bundles: Vec<_> = (0..20).map(|index| grouped(&world, &format!("b{index}"))).collect();
    let start = |bundle| world.command(bundle, &["start"]).stdout(Stdio::piped()).spawn().unwrap();
    let children: Vec<_> = bundles.iter().map(start).collect();
    let mut addresses = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        addresses.push(String::from_utf8(output.stdout).unwrap());
    }
    addresses.dedup();
    assert_eq!(addresses.len(), 1);
    let shim = Shim::connect(&addresses[0]).await;
    shim.leave().await;
}

#[tokio::test]
async fn a_dead_shim_is_replaced() {
    let world = World::new().await;
    let bundle = world.bundle("a", &["/bin/true"]);
    let first = world.shim(&bundle).await;
    first.die().await;
    let second = world.shim(&bundle).await;
    assert_eq!(first.address, second.address);
    second.leave().await;
}

#[tokio::test]
async fn parameters_are_answered_with_a_result() {
    let world = World::new().await;
    let bundle = world.bundle("a", &["/bin/true"]);
    let mut params = BootstrapParams::new();
    params.instance_id = "a".to_owned();
    params.namespace = world.namespace.clone();
    let directory = world.path("s");
    params.socket_dir = Some(directory.to_str().unwrap().to_owned());
    let mut command = world.command(&bundle, &["start"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&params.write_to_bytes().unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let result = BootstrapResult::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    let shim = Shim::connect(&result.address).await;
    assert!(shim.socket().starts_with(Path::new(&directory)));
    shim.leave().await;
}

#[tokio::test]
async fn a_shim_that_cannot_start_leaves_nothing() {
    let mut world = World::new().await;
    let bundle = world.bundle("a", &["/bin/true"]);
    let shim = world.shim(&bundle).await;
    shim.leave().await;
    world.environment.push(("REFERENCE_SHIM_EXIT_POLICY".to_owned(), "nonsense".to_owned()));
    let output = world.start(&bundle);
    assert_eq!(output.status.code(), Some(1));
    assert!(!shim.socket().exists());
}

fn grouped(world: &World, id: &str) -> harness::Bundle {
    world.bundle_with(id, &["/bin/true"], |spec| {
        spec["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "a-pod"});
    })
}
