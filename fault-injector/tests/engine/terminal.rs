//! A terminal, as a shim gets it: the master arrives over a socket.

use std::{
    fs::File,
    io::{IoSliceMut, Read as _},
    os::{
        fd::AsRawFd as _,
        unix::net::{UnixListener, UnixStream},
    },
};

use nix::{
    cmsg_space,
    sys::{
        socket::{ControlMessageOwned, MsgFlags, recvmsg},
        wait::WaitStatus,
    },
};
use serde_json::json;

use crate::fixture::{Engine, configuration, is_root, read_pid, reap};

#[test]
fn the_master_arrives_and_the_process_has_a_terminal() {
    if !is_root("a terminal") {
        return;
    }
    let engine = Engine::with("");
    let mut configuration = configuration(&engine.id, "tty; stty size; test -c /dev/console; exit 4");
    configuration["process"]["terminal"] = json!(true);
    configuration["process"]["consoleSize"] = json!({"height": 33, "width": 99});
    engine.configure(&configuration);
    let (bundle, socket, pid_file) = (engine.path("bundle"), engine.path("console"), engine.path("init.pid"));
    let listener = UnixListener::bind(&socket).unwrap();
    let [bundle, socket, pid_file] = [&bundle, &socket, &pid_file].map(|path| path.to_str().unwrap());
    engine.must(&["create", "--bundle", bundle, "--console-socket", socket, "--pid-file", pid_file]);
    let mut master = receive(&listener.accept().unwrap().0);
    let init = read_pid(pid_file.as_ref());
    engine.must(&["start"]);
    assert_eq!(reap(init), WaitStatus::Exited(init, 4));
    let mut shown = Vec::new();
    // A terminal whose last user is gone ends with EIO.
    let _hung_up = master.read_to_end(&mut shown);
    assert_eq!(String::from_utf8_lossy(&shown), "/dev/pts/0\r\n33 99\r\n");
}

#[test]
fn a_terminal_without_a_socket_is_refused() {
    if !is_root("a terminal without a socket") {
        return;
    }
    let engine = Engine::with("");
    let mut configuration = configuration(&engine.id, "");
    configuration["process"]["terminal"] = json!(true);
    engine.configure(&configuration);
    let bundle = engine.path("bundle");
    let done = engine.run(["create", "--bundle", bundle.to_str().unwrap(), &engine.id]);
    assert!(done.stderr.contains("console socket"), "{}", done.stderr);
    engine.assert_no_trace();
}

fn receive(stream: &UnixStream) -> File {
    let mut text = [0; 64];
    let mut parts = [IoSliceMut::new(&mut text)];
    let mut space = cmsg_space!([std::os::fd::RawFd; 1]);
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    let fds = message.cmsgs().unwrap().find_map(|message| {
        let ControlMessageOwned::ScmRights(fds) = message else {
            return None;
        };
        Some(fds)
    });
    crate::sys::own(fds.unwrap()[0])
}
