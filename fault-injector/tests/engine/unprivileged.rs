//! Without privilege: as root of a user namespace that maps one id, as in a world without root; and with a user namespace
//! of the container's own.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Output},
};

use nix::unistd::{Gid, Uid, chown};
use serde_json::json;

use crate::fixture::{Engine, configuration, is_root, reap};

/// Nobody's ids.
const ID: u32 = 12_345;

/// A whole life, with a shell as the reaper. Prints the exit statuses that matter.
const LIFE: &str = r#"
run() { ./engine --root root --log log.json --log-format json "$@"; }
run create --bundle bundle --pid-file init.pid c </dev/null >/dev/null 2>&1; echo "create $?"
run start c; echo "start $?"
run exec c sh -c 'exit 5'; echo "exec $?"
run kill c KILL; echo "kill $?"
while [ "$(run state c | grep -c stopped)" = 0 ]; do :; done
run delete c; echo "delete $?"
ls root
"#;

#[test]
fn one_mapped_id_is_enough_for_a_whole_life() {
    if !is_root("the unprivileged life, which begins by giving root up,") {
        return;
    }
    let engine = Engine::with("exec sleep 100");
    // The user can neither enter the build directory nor follow a link into it.
    fs::remove_file(engine.path("engine")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_conformance-engine"), engine.path("engine")).unwrap();
    fs::set_permissions(engine.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in ["", "bundle", "bundle/rootfs", "bundle/config.json"] {
        chown(&engine.path(path), Some(Uid::from_raw(ID)), Some(Gid::from_raw(ID))).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["-Ur", "-pfmn", "--mount-proc", "--kill-child", "sh", "-c", LIFE]);
    command.uid(ID).gid(ID).current_dir(engine.directory.path());
    let output = command.output().unwrap();
    if is_forbidden(&output) {
        println!("skipped: no user namespaces here: {}", String::from_utf8_lossy(&output.stderr).trim());
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = ["create 0", "start 0", "exec 5", "kill 0", "delete 0"];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{}", String::from_utf8_lossy(&output.stderr));
}

fn is_forbidden(output: &Output) -> bool {
    !output.status.success() && output.stdout.is_empty() && String::from_utf8_lossy(&output.stderr).contains("unshare")
}

#[test]
fn a_container_in_its_own_user_namespace_is_entered_by_exec() {
    if !is_root("a user namespace") {
        return;
    }
    let engine = Engine::with("");
    let mut configuration = configuration(&engine.id, "exec sleep 100");
    let namespaces = configuration["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
    let mappings = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    configuration["linux"]["uidMappings"] = mappings.clone();
    configuration["linux"]["gidMappings"] = mappings;
    engine.configure(&configuration);
    fs::set_permissions(engine.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let rootfs = engine.path("bundle/rootfs");
    chown(&rootfs, Some(Uid::from_raw(200_000)), Some(Gid::from_raw(200_000))).unwrap();
    let init = engine.start();
    let done = engine.run(["exec", &engine.id, "sh", "-c", "id -u; cat /proc/self/uid_map"]);
    assert_eq!(done.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "0", "200000", "1000"], "{}", done.stderr);
    engine.must(&["delete", "--force"]);
    reap(init);
}
