//! What goes in and out of containers, with runc.

#![expect(clippy::unwrap_used, reason = "tests may, and so may what helps them")]

mod harness;

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    time::Duration,
};

use containerd_shim_protos::api;
use harness::{Shim, World, code, exec_request, is_alive, limit, process, until};
use ttrpc::Code;

fn reader(path: &str) -> File {
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap()
}

/// Reads until the end.
async fn drain(mut file: File) -> Vec<u8> {
    let mut content = Vec::new();
    until("the end of the output", || {
        let mut chunk = [0; 65536];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => return true,
                Ok(length) => content.extend_from_slice(&chunk[..length]),
                Err(_) => return false,
            }
        }
    })
    .await;
    content
}

async fn close_stdin(shim: &Shim, id: &str, exec: &str) {
    let (id, exec_id) = (id.to_owned(), exec.to_owned());
    let request = api::CloseIORequest { id, exec_id, stdin: true, ..Default::default() };
    shim.client.close_io(limit(), &request).await.unwrap();
}

#[tokio::test]
async fn input_ends_when_it_is_closed_and_output_arrives_in_full() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle("a", &["/bin/sh", "-c", "cat; echo end >&2"]);
    let shim = world.shim(&bundle).await;
    let mut request = bundle.create();
    (request.stdin, request.stdout, request.stderr) = (bundle.fifo("in"), bundle.fifo("out"), bundle.fifo("err"));
    let (out, err) = (reader(&request.stdout), reader(&request.stderr));
    shim.client.create(limit(), &request).await.unwrap();
    shim.begin("a", "").await.unwrap();
    let state = shim.state("a", "").await.unwrap();
    assert_eq!((&state.stdin, &state.stdout, &state.stderr), (&request.stdin, &request.stdout, &request.stderr));
    let mut stdin = File::options().write(true).open(&request.stdin).unwrap();
    let sent = vec![b'x'; 1 << 20];
    let writing = tokio::task::spawn_blocking(move || {
        stdin.write_all(&sent).unwrap();
        // Still open when the client asks for the end.
        stdin
    });
    let reading = tokio::spawn(drain(out));
    let stdin = writing.await.unwrap();
    close_stdin(&shim, "a", "").await;
    close_stdin(&shim, "a", "").await;
    assert_eq!(shim.wait("a", "").await.unwrap(), 0);
    drop(stdin);
    assert_eq!(reading.await.unwrap().len(), 1 << 20);
    assert_eq!(drain(err).await, b"end\n");
    world.end(&bundle, &shim).await;
}

#[tokio::test]
async fn readers_may_leave_and_come_back() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle("a", &["/bin/sh", "-c", "echo one; read x; echo two; read x; exit 4"]);
    let shim = world.shim(&bundle).await;
    let mut request = bundle.create();
    (request.stdin, request.stdout) = (bundle.fifo("in"), bundle.fifo("out"));
    let first = reader(&request.stdout);
    shim.client.create(limit(), &request).await.unwrap();
    drop(first);
    shim.begin("a", "").await.unwrap();
    fs::write(&request.stdin, "\n").unwrap();
    fs::write(&request.stdin, "\n").unwrap();
    assert_eq!(shim.wait("a", "").await.unwrap(), 4);
    assert_eq!(drain(reader(&request.stdout)).await, b"one\ntwo\n");
    world.end(&bundle, &shim).await;
}

#[tokio::test]
async fn nobody_reads() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle("a", &["/bin/true"]);
    let shim = world.shim(&bundle).await;
    let mut request = bundle.create();
    request.stdout = bundle.fifo("out");
    assert_eq!(code(shim.client.create(limit(), &request).await), Code::DEADLINE_EXCEEDED);
    assert!(!bundle.has_mounts());
    assert!(world.runtime_is_empty());
    assert_eq!(world.told(), []);
    // A caller that goes takes its creation with it.
    let short = ttrpc::context::with_duration(Duration::from_millis(200));
    assert!(shim.client.create(short, &request).await.is_err());
    shim.delete("a", "").await.unwrap_err();
    shim.leave().await;
}

#[tokio::test]
async fn files_are_appended_to() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle("a", &["/bin/sh", "-c", "echo one; echo two >&2"]);
    let shim = world.shim(&bundle).await;
    let path = world.path("logs/of a/log");
    let mut request = bundle.create();
    request.stdout = format!("file://{}", path.to_str().unwrap().replace(' ', "%20"));
    shim.client.create(limit(), &request).await.unwrap();
    shim.begin("a", "").await.unwrap();
    shim.wait("a", "").await.unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "one\ntwo\n");
    world.end(&bundle, &shim).await;
}

fn logger(world: &World, name: &str, script: &str) -> String {
    let path = world.path(name);
    fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn loggers_take_both_streams() {
    let Some(world) = World::with_runc().await else { return };
    let output = world.path("logged");
    let script = format!(
        "printf x >&5; exec 5>&-; cat <&3 > {0}.out & cat <&4 > {0}.err; wait; echo $CONTAINER_ID $1 $2 >> {0}.out",
        output.display()
    );
    let program = logger(&world, "logger", &script);
    let bundle = world.bundle("a", &["/bin/sh", "-c", "echo one; echo two >&2"]);
    let shim = world.shim(&bundle).await;
    let mut request = bundle.create();
    request.stdout = format!("binary-v2://{program}?key=value");
    shim.client.create(limit(), &request).await.unwrap();
    shim.begin("a", "").await.unwrap();
    shim.wait("a", "").await.unwrap();
    shim.delete("a", "").await.unwrap();
    assert_eq!(fs::read_to_string(output.with_extension("out")).unwrap(), "one\na key value\n");
    assert_eq!(fs::read_to_string(output.with_extension("err")).unwrap(), "two\n");
    shim.leave().await;
}

#[tokio::test]
async fn a_logger_that_dies_is_not_ready() {
    let Some(world) = World::with_runc().await else { return };
    let program = logger(&world, "logger", "exit 1");
    let bundle = world.bundle("a", &["/bin/true"]);
    let shim = world.shim(&bundle).await;
    for scheme in ["binary", "binary-v2"] {
        let mut request = bundle.create();
        request.stdout = format!("{scheme}://{program}");
        assert_eq!(code(shim.client.create(limit(), &request).await), Code::UNKNOWN);
    }
    assert!(!bundle.has_mounts());
    shim.leave().await;
}

#[tokio::test]
async fn a_terminal_is_copied_and_resized() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle("a", &["/bin/sleep", "1000"]);
    let shim = world.shim(&bundle).await;
    shim.create(&bundle).await;
    shim.begin("a", "").await.unwrap();
    let mut request = exec_request("a", "e", &[]);
    let mut spec = process(&["/bin/sh", "-c", "read x; stty size; echo got $x; cat; exit 5"]);
    spec["terminal"] = true.into();
    request.spec.as_mut().unwrap().value = spec.to_string().into_bytes();
    (request.stdin, request.stdout, request.terminal) = (bundle.fifo("in"), bundle.fifo("out"), true);
    request.stderr = "/nonexistent".to_owned();
    let out = reader(&request.stdout);
    shim.client.exec(limit(), &request).await.unwrap();
    let (id, exec_id) = ("a".to_owned(), "e".to_owned());
    let size = api::ResizePtyRequest { id, exec_id, width: 91, height: 17, ..Default::default() };
    shim.client.resize_pty(limit(), &size).await.unwrap();
    shim.begin("a", "e").await.unwrap();
    shim.client.resize_pty(limit(), &size).await.unwrap();
    fs::write(&request.stdin, "hello\n").unwrap();
    close_stdin(&shim, "a", "e").await;
    assert_eq!(shim.wait("a", "e").await.unwrap(), 5);
    assert_eq!(code(shim.client.resize_pty(limit(), &size).await), Code::FAILED_PRECONDITION);
    shim.delete("a", "e").await.unwrap();
    let shown = String::from_utf8(drain(out).await).unwrap();
    assert!(shown.contains("17 91") && shown.contains("got hello"), "{shown}");
    shim.end("a").await;
    world.end(&bundle, &shim).await;
}

#[tokio::test]
async fn nothing_of_the_shim_is_open_in_a_container() {
    let Some(world) = World::with_runc().await else { return };
    let bundle = world.bundle("a", &["/bin/sleep", "1000"]);
    let shim = world.shim(&bundle).await;
    let pid = shim.create(&bundle).await;
    shim.begin("a", "").await.unwrap();
    until("sleep", || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("sleep"))).await;
    assert!(is_alive(pid));
    let open: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(|fd| fd.file_name()).collect();
    assert_eq!(open, ["0", "1", "2"]);
    shim.end("a").await;
    world.end(&bundle, &shim).await;
}
