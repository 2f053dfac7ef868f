//! config.json: small, because every mount and namespace costs time, and complete enough for runc, crun and ours.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::program::{PAYLOAD, Program};

/// What differs between containers.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What init runs.
    pub program: Program,
    /// A terminal for init.
    pub terminal: bool,
    /// Init's environment.
    pub env: Vec<String>,
    /// Shares the world's PID namespace.
    pub host_pid: bool,
    /// Annotations, e.g. a group.
    pub annotations: BTreeMap<String, String>,
    /// Memory limit, bytes.
    pub memory: Option<u64>,
    /// How willing the kernel is to end it when memory is short.
    pub oom_score_adj: Option<i32>,
    /// Where its cgroup lies; `None` where none may be made.
    pub cgroup: Option<String>,
    /// Nests a user namespace, for runtimes that insist on one when they lack privileges.
    pub user_namespace: bool,
    /// The payload on the host's side.
    pub payload: String,
}

/// The OCI process for `program`.
pub fn process(program: &Program, terminal: bool, env: &[String]) -> Value {
    json!({
        "terminal": terminal,
        "user": { "uid": 0, "gid": 0 },
        "args": program.command_line(),
        "env": env,
        "cwd": "/",
        "capabilities": {
            "bounding": ["CAP_KILL", "CAP_SYS_PTRACE"],
            "effective": ["CAP_KILL", "CAP_SYS_PTRACE"],
            "permitted": ["CAP_KILL", "CAP_SYS_PTRACE"],
        },
        "noNewPrivileges": true,
    })
}

impl Spec {
    /// The text of config.json.
    pub fn config(&self) -> String {
        let mut namespaces = vec![json!({ "type": "mount" }), json!({ "type": "ipc" }), json!({ "type": "uts" })];
        if !self.host_pid {
            namespaces.push(json!({ "type": "pid" }));
        }
        let mut mounts = vec![
            json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] }),
            json!({
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            }),
            json!({ "destination": PAYLOAD, "type": "bind", "source": self.payload, "options": ["bind", "ro"] }),
        ];
        if self.terminal {
            mounts.push(json!({
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            }));
        }
        let mut linux = json!({});
        if self.user_namespace {
            namespaces.push(json!({ "type": "user" }));
            let mapping = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
            linux["uidMappings"] = mapping.clone();
            linux["gidMappings"] = mapping;
        }
        linux["namespaces"] = Value::Array(namespaces);
        if let Some(cgroup) = &self.cgroup {
            linux["cgroupsPath"] = json!(cgroup);
            let mut resources = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
            if let Some(memory) = self.memory {
                resources["memory"] = json!({ "limit": memory });
            }
            linux["resources"] = resources;
        }
        let mut process = process(&self.program, self.terminal, &self.env);
        if let Some(score) = self.oom_score_adj {
            process["oomScoreAdj"] = json!(score);
        }
        json!({
            "ociVersion": "1.0.2",
            "process": process,
            "root": { "path": "rootfs", "readonly": false },
            "hostname": "conformance",
            "mounts": mounts,
            "annotations": self.annotations,
            "linux": linux,
        })
        .to_string()
    }
}
