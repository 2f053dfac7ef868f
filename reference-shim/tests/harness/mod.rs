//! A containerd in miniature: a directory, an events service, and bundles with the host's root file system.

#![expect(dead_code, reason = "each test binary uses its own part of this")]
#![expect(unreachable_pub, reason = "every test binary is a crate of its own")]
#![expect(clippy::unwrap_used, reason = "tests may, and this is a part of them")]

use std::{
    fs::{self, File},
    io::Read,
    os::unix::{
        fs::{MetadataExt, OpenOptionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use containerd_shim_protos::{
    api,
    events::task as events,
    protobuf::{
        Message, MessageField,
        well_known_types::{any::Any, empty::Empty},
    },
    sandbox_async::SandboxClient,
    shim::events::ForwardRequest,
    shim_async::{Events, TaskClient, create_events},
    types::mount::Mount,
};
use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use ttrpc::{
    asynchronous::{Client, Server, TtrpcContext},
    context::{self, Context},
};

/// The longest that anything may take here.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Whether life cycles can be tried here; says so loudly if not.
fn can_run() -> bool {
    let runc = ["/usr/bin/runc", "/usr/sbin/runc"].iter().any(|path| Path::new(path).exists());
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !(runc && root) {
        eprintln!("SKIPPED: needs root and runc");
    }
    runc && root
}

/// Waits for a condition.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LIMIT, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An event as containerd sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub topic: String,
    /// The process: the container's id, or container/exec.
    pub id: String,
    pub status: u32,
}

impl Told {
    pub fn new(topic: &str, id: &str, status: u32) -> Self {
        Self { topic: topic.to_owned(), id: id.to_owned(), status }
    }
}

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Told>>>);

#[async_trait]
impl Events for Ear {
    async fn forward(&self, context: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let envelope = request.envelope.unwrap();
        assert!(context.metadata["containerd-namespace-ttrpc"].iter().eq([&envelope.namespace]));
        assert_eq!(context.timeout_nano, 5_000_000_000);
        self.0.lock().unwrap().push(hear(&envelope.topic, &envelope.event));
        Ok(Default::default())
    }
}

fn hear(topic: &str, event: &Any) -> Told {
    let bytes = event.value.as_slice();
    let name = topic.strip_prefix("/tasks/").unwrap();
    let process = |container: String, exec: String| {
        if exec.is_empty() || exec == container { container } else { format!("{container}/{exec}") }
    };
    let (kind, id, status) = match name {
        "create" => {
            let event = events::TaskCreate::parse_from_bytes(bytes).unwrap();
            ("TaskCreate", event.container_id, 0)
        }
        "start" => ("TaskStart", events::TaskStart::parse_from_bytes(bytes).unwrap().container_id, 0),
        "exec-added" => {
            let event = events::TaskExecAdded::parse_from_bytes(bytes).unwrap();
            ("TaskExecAdded", process(event.container_id, event.exec_id), 0)
        }
        "exec-started" => {
            let event = events::TaskExecStarted::parse_from_bytes(bytes).unwrap();
            ("TaskExecStarted", process(event.container_id, event.exec_id), 0)
        }
        "exit" => {
            let event = events::TaskExit::parse_from_bytes(bytes).unwrap();
            ("TaskExit", process(event.container_id, event.id), event.exit_status)
        }
        "delete" => {
            let event = events::TaskDelete::parse_from_bytes(bytes).unwrap();
            ("TaskDelete", process(event.container_id, event.id), event.exit_status)
        }
        "paused" => ("TaskPaused", events::TaskPaused::parse_from_bytes(bytes).unwrap().container_id, 0),
        "resumed" => ("TaskResumed", events::TaskResumed::parse_from_bytes(bytes).unwrap().container_id, 0),
        "oom" => ("TaskOOM", events::TaskOOM::parse_from_bytes(bytes).unwrap().container_id, 0),
        other => panic!("unknown topic {other}"),
    };
    assert_eq!(event.type_url, format!("containerd.events.{kind}"));
    Told::new(name, &id, status)
}

/// What would be containerd's: removed, with everything that was started here, when dropped.
pub struct World {
    pub directory: TempDir,
    pub namespace: String,
    ear: Ear,
    server: Option<Server>,
    /// More environment for the shim.
    pub environment: Vec<(String, String)>,
}

impl World {
    /// One in which containers can be run; nothing where that cannot be tried.
    pub async fn with_runc() -> Option<Self> {
        if can_run() { Some(Self::new().await) } else { None }
    }

    pub async fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut world = Self {
            directory: TempDir::new().unwrap(),
            namespace: format!("refshim-{}-{serial}", std::process::id()),
            ear: Ear::default(),
            server: None,
            environment: Vec::new(),
        };
        world.listen().await;
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// containerd takes events.
    pub async fn listen(&mut self) {
        let address = format!("unix://{}", self.path("c.sock.ttrpc").display());
        let services = create_events(Arc::new(self.ear.clone()));
        let mut server = Server::new().bind(&address).unwrap().register_service(services);
        server.start().await.unwrap();
        self.server = Some(server);
    }

    /// containerd is away.
    pub async fn deafen(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.shutdown().await.unwrap();
        }
        drop(fs::remove_file(self.path("c.sock.ttrpc")));
    }

    pub fn told(&self) -> Vec<Told> {
        self.ear.0.lock().unwrap().clone()
    }

    /// What was told of one process, in order.
    pub fn told_of(&self, id: &str) -> Vec<(String, u32)> {
        let told = self.told().into_iter().filter(|told| told.id == id);
        told.map(|told| (told.topic, told.status)).collect()
    }

    /// A bundle whose container runs this program of the host's.
    pub fn bundle(&self, id: &str, args: &[&str]) -> Bundle {
        self.bundle_with(id, args, |_| {})
    }

    pub fn bundle_with(&self, id: &str, args: &[&str], change: impl FnOnce(&mut Value)) -> Bundle {
        let path = self.path(id);
        fs::create_dir_all(path.join("rootfs")).unwrap();
        mkfifo(&path.join("log"), Mode::S_IRWXU).unwrap();
        let log = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path.join("log")).unwrap();
        let mut spec = spec(&self.namespace, id, args);
        change(&mut spec);
        fs::write(path.join("config.json"), spec.to_string()).unwrap();
        Bundle { id: id.to_owned(), path, log }
    }

    /// Executes the shim as containerd does.
    pub fn command(&self, bundle: &Bundle, action: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_containerd-shim-reference-v1"));
        command.args(["-namespace", &self.namespace, "-address", self.path("c.sock").to_str().unwrap()]);
        command.args(["-publish-binary", "/bin/false", "-id", &bundle.id]).args(action);
        command.env("TTRPC_ADDRESS", self.path("c.sock.ttrpc")).env("MAX_SHIM_VERSION", "2").env("GOMAXPROCS", "2");
        command.envs(self.environment.iter().cloned()).current_dir(&bundle.path).stdin(Stdio::null()).process_group(0);
        command
    }

    pub fn start(&self, bundle: &Bundle) -> Output {
        self.command(bundle, &["start"]).output().unwrap()
    }

    /// Starts a shim and connects to it.
    pub async fn shim(&self, bundle: &Bundle) -> Shim {
        let output = self.start(bundle);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stderr, b"");
        let address = String::from_utf8(output.stdout).unwrap();
        assert_eq!(fs::read_to_string(bundle.path.join("address")).unwrap(), address);
        Shim::connect(&address).await
    }

    /// A shim with a running container.
    pub async fn running(&self, id: &str, args: &[&str]) -> (Bundle, Shim) {
        let bundle = self.bundle(id, args);
        let shim = self.shim(&bundle).await;
        let pid = shim.create(&bundle).await;
        assert_eq!(shim.begin(id, "").await.unwrap(), pid);
        (bundle, shim)
    }

    /// Deletes the container, lets the shim leave and looks for what it left.
    pub async fn end(&self, bundle: &Bundle, shim: &Shim) {
        shim.delete(&bundle.id, "").await.unwrap();
        self.leave(bundle, shim).await;
    }

    /// Lets the shim leave and looks for what it left.
    pub async fn leave(&self, bundle: &Bundle, shim: &Shim) {
        shim.leave().await;
        self.nothing_left(bundle);
    }

    pub fn nothing_left(&self, bundle: &Bundle) {
        assert!(!bundle.has_mounts());
        assert!(self.runtime_is_empty());
        for hierarchy in ["memory", "pids"] {
            let cgroup = format!("/sys/fs/cgroup/{hierarchy}/{}/{}", self.namespace, bundle.id);
            assert!(fs::metadata(&cgroup).is_err(), "{cgroup}");
        }
    }

    /// Executes `delete` and reads its answer.
    pub async fn delete(&self, bundle: &Bundle) -> api::DeleteResponse {
        let mut command = self.command(bundle, &["-bundle", bundle.path.to_str().unwrap(), "delete"]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        api::DeleteResponse::parse_from_bytes(&output.stdout).unwrap()
    }

    /// The runtime knows no container of ours.
    pub fn runtime_is_empty(&self) -> bool {
        let root = Path::new("/run/containerd/runc").join(&self.namespace);
        fs::read_dir(root).map_or(true, |mut entries| entries.next().is_none())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // After a test that failed, the shim and its containers are still there.
        for pid in fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
        {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if line.contains(&format!("-namespace\0{}\0", self.namespace)) {
                let _ = kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL);
            }
        }
        let root = Path::new("/run/containerd/runc").join(&self.namespace);
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            drop(
                Command::new("runc")
                    .arg("--root")
                    .arg(&root)
                    .args(["delete", "--force"])
                    .arg(entry.file_name())
                    .status(),
            );
            drop(Command::new("umount").arg(self.path(entry.file_name().to_str().unwrap()).join("rootfs")).status());
        }
        drop(fs::remove_dir(root));
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            drop(fs::remove_dir(hierarchy.path().join(&self.namespace)));
        }
    }
}

pub struct Bundle {
    pub id: String,
    pub path: PathBuf,
    pub log: File,
}

impl Bundle {
    pub fn fifo(&self, name: &str) -> String {
        let path = self.path.join(name);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A request to create the container, on the host's root file system.
    pub fn create(&self) -> api::CreateTaskRequest {
        let mut mount = Mount::new();
        mount.type_ = "bind".to_owned();
        mount.source = "/".to_owned();
        mount.options = vec!["bind".to_owned(), "ro".to_owned()];
        api::CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.path.to_str().unwrap().to_owned(),
            rootfs: vec![mount],
            ..Default::default()
        }
    }

    pub fn has_mounts(&self) -> bool {
        let rootfs = self.path.join("rootfs");
        fs::read_to_string("/proc/self/mountinfo").unwrap().contains(rootfs.to_str().unwrap())
    }

    /// What the shim wrote into its log.
    pub fn logged(&mut self) -> String {
        let mut text = vec![0; 65536];
        let length = self.log.read(&mut text).unwrap_or(0);
        String::from_utf8_lossy(&text[..length]).into_owned()
    }
}

fn spec(namespace: &str, id: &str, args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": process(args),
        "root": {"path": "rootfs", "readonly": true},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {
            "cgroupsPath": format!("/{namespace}/{id}"),
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "resources": {"devices": [{"allow": true, "access": "rwm"}]},
        },
    })
}

pub fn process(args: &[&str]) -> Value {
    json!({
        "args": args,
        "cwd": "/",
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "user": {"uid": 0, "gid": 0},
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
    })
}

/// A client of a shim.
#[derive(Clone)]
pub struct Shim {
    pub address: String,
    pub client: TaskClient,
    pub sandbox: SandboxClient,
    pub pid: u32,
}

impl Shim {
    pub async fn connect(address: &str) -> Self {
        let connection = Client::connect(address).await.unwrap();
        let (client, sandbox) = (TaskClient::new(connection.clone()), SandboxClient::new(connection));
        let pid = client.connect(limit(), &Default::default()).await.unwrap().shim_pid;
        Self { address: address.to_owned(), client, sandbox, pid }
    }

    pub async fn create(&self, bundle: &Bundle) -> u32 {
        self.client.create(limit(), &bundle.create()).await.unwrap().pid
    }

    pub async fn begin(&self, id: &str, exec: &str) -> ttrpc::Result<u32> {
        let request = api::StartRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..Default::default() };
        self.client.start(limit(), &request).await.map(|response| response.pid)
    }

    pub async fn wait(&self, id: &str, exec: &str) -> ttrpc::Result<u32> {
        let request = api::WaitRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..Default::default() };
        self.client.wait(limit(), &request).await.map(|response| response.exit_status)
    }

    pub async fn delete(&self, id: &str, exec: &str) -> ttrpc::Result<api::DeleteResponse> {
        let request = api::DeleteRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..Default::default() };
        self.client.delete(limit(), &request).await
    }

    pub async fn kill(&self, id: &str, exec: &str, signal: u32) -> ttrpc::Result<()> {
        let (id, exec_id) = (id.to_owned(), exec.to_owned());
        let request = api::KillRequest { id, exec_id, signal, ..Default::default() };
        self.client.kill(limit(), &request).await.map(drop)
    }

    pub async fn state(&self, id: &str, exec: &str) -> ttrpc::Result<api::StateResponse> {
        let request = api::StateRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..Default::default() };
        self.client.state(limit(), &request).await
    }

    pub async fn status(&self, id: &str, exec: &str) -> api::Status {
        self.state(id, exec).await.unwrap().status.unwrap()
    }

    pub async fn exec(&self, id: &str, exec: &str, args: &[&str]) -> ttrpc::Result<()> {
        self.client.exec(limit(), &exec_request(id, exec, args)).await.map(drop)
    }

    /// Kills init, which must then have ended so.
    pub async fn end(&self, id: &str) {
        self.kill(id, "", 9).await.unwrap();
        assert_eq!(self.wait(id, "").await.unwrap(), 137);
    }

    /// Kills the shim itself.
    pub async fn die(&self) {
        self.signal(Signal::SIGKILL);
        until("the shim to die", || !self.is_alive()).await;
    }

    /// Shuts the shim down, which must go with its socket.
    pub async fn leave(&self) {
        self.shutdown().await;
        self.gone(Duration::from_secs(3)).await;
    }

    pub async fn shutdown(&self) {
        self.client.shutdown(limit(), &Default::default()).await.unwrap();
    }

    pub fn is_alive(&self) -> bool {
        is_alive(self.pid)
    }

    /// Waits until the shim and its socket are gone.
    pub async fn gone(&self, limit: Duration) {
        let begin = Instant::now();
        until("the shim to leave", || !self.is_alive()).await;
        assert!(begin.elapsed() < limit, "left after {:?}", begin.elapsed());
        assert!(!self.socket().exists());
    }

    pub fn socket(&self) -> &Path {
        Path::new(self.address.strip_prefix("unix://").unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid.cast_signed()), signal).unwrap();
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap().count()
    }

    /// The shim's children that wait to be reaped.
    pub fn zombies(&self) -> usize {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).unwrap();
        children.split_whitespace().filter(|pid| !is_alive(pid.parse().unwrap())).count()
    }
}

pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z") && !rest.starts_with(" X"))
}

pub fn exec_request(id: &str, exec: &str, args: &[&str]) -> api::ExecProcessRequest {
    let mut spec = Any::new();
    spec.type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned();
    spec.value = process(args).to_string().into_bytes();
    api::ExecProcessRequest {
        id: id.to_owned(),
        exec_id: exec.to_owned(),
        spec: MessageField::some(spec),
        ..Default::default()
    }
}

pub fn limit() -> Context {
    context::with_duration(LIMIT)
}

/// The status code of a call that must fail.
pub fn code<T>(result: ttrpc::Result<T>) -> ttrpc::Code {
    match result {
        Ok(_) => ttrpc::Code::OK,
        Err(ttrpc::Error::RpcStatus(status)) => status.code(),
        Err(other) => panic!("{other}"),
    }
}
