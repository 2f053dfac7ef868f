//! Each catalogued fault takes effect, is counted, and heals.

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of an integration test for code that is none")]

mod struck;
mod taken;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use fault_injector::catalogue::{self, FAULTS};
use fault_injector::fault::{
    Action, Direction, Errno, Fault, Heal, Leftover, Misstep, Point, Seam, Signal, Strike, Tamper, Trigger,
};
use fault_injector::frame::{Decoder, Frame, Kind, Piece};
use fault_injector::guard::Guard;
use fault_injector::seam::events;
use fault_injector::seam::gate::Gate;
use fault_injector::seam::listener::Listener;
use fault_injector::seam::process::Process;
use fault_injector::seam::runtime::Runtime;
use fault_injector::seam::socket::Proxy;
use fault_injector::seam::syscall::Aim;
use fault_injector::seam::wire::{Heard, Wire};
use rstest::rstest;
use struck::Stage;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Runs one test for each id, and keeps the ids for [`every_fault_is_covered`].
macro_rules! each_bites_and_heals {
    ($($id:literal)*) => {
        const COVERED: &[&str] = &[$($id),*];

        #[rstest]
        #[tokio::test]
        async fn bites_and_heals(#[values($($id),*)] id: &str) {
            let fault = catalogue::find(id).unwrap();
            match fault.does {
                Action::Signal(_, signal) => signalled(fault, signal),
                Action::Frame(direction, tamper) => match fault.seam {
                    Seam::Events => event_frame(fault, tamper).await,
                    Seam::TaskSocket => task_frame(fault, direction, tamper).await,
                    Seam::Process | Seam::Runtime | Seam::Containerd | Seam::Resource | Seam::Disk | Seam::Syscall => {
                        panic!("{id}: no frames here")
                    }
                },
                Action::Refuse(leftover) => refused(fault, leftover).await,
                Action::Runtime(misstep) => misstepped(fault, misstep).await,
                Action::Syscall(strike) => struck_at_a_call(fault, strike),
                Action::Limit(limit) => taken::limited(fault, limit),
                Action::Damage(damage) => taken::damaged(fault, damage),
            }
        }
    };
}

each_bites_and_heals! {
    "process/kill-shim" "process/stop-shim" "process/terminate-shim"
    "process/kill-init" "process/stop-init" "process/terminate-init"
    "process/kill-exec" "process/stop-exec" "process/terminate-exec"
    "process/kill-runtime" "process/stop-runtime" "process/terminate-runtime"
    "containerd/kill" "containerd/stop" "containerd/terminate"
    "task-socket/hold-request" "task-socket/stall-requests" "task-socket/split-requests"
    "task-socket/duplicate-request"
    "task-socket/drop-mid-header" "task-socket/drop-mid-request" "task-socket/drop-after-request"
    "task-socket/half-close" "task-socket/half-close-mid-request"
    "task-socket/corrupt-length-short" "task-socket/corrupt-length-long" "task-socket/corrupt-length-oversize"
    "task-socket/corrupt-stream-even" "task-socket/corrupt-stream-unknown"
    "task-socket/corrupt-type-unknown" "task-socket/corrupt-type-data"
    "task-socket/corrupt-flags" "task-socket/corrupt-payload"
    "task-socket/hold-answer" "task-socket/stall-answers" "task-socket/split-answers"
    "task-socket/drop-before-answer" "task-socket/drop-mid-answer"
    "events/refused" "events/missing" "events/stalled" "events/vanished" "events/died"
    "runtime/create-delayed" "runtime/create-fails" "runtime/create-hangs"
    "runtime/create-dies-before" "runtime/create-dies-after"
    "runtime/start-delayed" "runtime/start-fails" "runtime/start-hangs"
    "runtime/start-dies-before" "runtime/start-dies-after"
    "runtime/exec-delayed" "runtime/exec-fails" "runtime/exec-hangs"
    "runtime/exec-dies-before" "runtime/exec-dies-after"
    "runtime/kill-delayed" "runtime/kill-fails" "runtime/kill-hangs"
    "runtime/kill-dies-before" "runtime/kill-dies-after"
    "runtime/delete-delayed" "runtime/delete-fails" "runtime/delete-hangs"
    "runtime/delete-dies-before" "runtime/delete-dies-after"
    "syscall/kill" "syscall/eagain" "syscall/eintr" "syscall/eio" "syscall/emfile" "syscall/enomem" "syscall/enospc"
    "resource/descriptors" "resource/processes" "resource/memory" "resource/time"
    "disk/full" "disk/read-only" "disk/socket-gone" "disk/address-gone" "disk/bundle-gone"
}

#[test]
fn every_fault_is_covered() {
    let catalogued: BTreeSet<_> = FAULTS.iter().map(|fault| fault.id).collect();
    assert_eq!(COVERED.iter().copied().collect::<BTreeSet<_>>(), catalogued);
}

#[test]
fn ids_are_unique_and_shaped() {
    let ids: BTreeSet<_> = FAULTS.iter().map(|fault| fault.id).collect();
    assert_eq!(ids.len(), FAULTS.len());
    for fault in FAULTS {
        let (seam, what) = fault.id.split_once('/').unwrap();
        assert_eq!(seam, fault.seam.slug(), "{}", fault.id);
        assert!(!what.is_empty() && what.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", fault.id);
    }
}

#[test]
fn every_row_makes_sense() {
    for fault in FAULTS {
        assert_eq!(fault.check(), Ok(()));
        assert!(!fault.summary.is_empty() && !fault.summary.ends_with('.'), "{}", fault.id);
        if let (Action::Runtime(_), Trigger::Before(subcommand) | Trigger::After(subcommand)) = (fault.does, fault.when)
        {
            assert!(fault.id.starts_with(&format!("runtime/{subcommand}-")), "{}", fault.id);
            assert_eq!(fault.id.ends_with("-after"), matches!(fault.when, Trigger::After(_)), "{}", fault.id);
        }
        let unique: BTreeSet<_> = fault.excuses.iter().collect();
        assert_eq!(unique.len(), fault.excuses.len(), "{} excuses something twice", fault.id);
    }
}

// Signals.

fn signalled(fault: &Fault, signal: Signal) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let (_child, process) = Sleeper::spawn();
    let again = Process::reopen(process.identity()).unwrap();

    let guard = process.inject(fault, deadline).unwrap();
    assert!(guard.bites() >= 1);
    match signal {
        Signal::Kill | Signal::Terminate => {
            assert_eq!(fault.heal(), Heal::Restart);
            again.wait_exit(deadline).unwrap();
            drop(guard);
            let (_next, restarted) = Sleeper::spawn();
            assert!(!restarted.has_exited().unwrap());
        }
        Signal::Stop => {
            assert_eq!(fault.heal(), Heal::Guard);
            assert_eq!(again.facts().unwrap().state, 'T');
            drop(guard);
            assert_ne!(again.facts().unwrap().state, 'T');
        }
    }
}

struct Sleeper(Child);

impl Sleeper {
    fn spawn() -> (Self, Process) {
        let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let process = Process::open(child.id().cast_signed()).unwrap();
        (Self(child), process)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

// Frames on the task socket, through a proxy and before a server that writes down what reaches it.

async fn task_frame(fault: &Fault, direction: Direction, tamper: Tamper) {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::listen(&directory);
    let path = directory.path().join("proxy");
    let proxy = Proxy::listen(&path, directory.path().join("server"), Gate::new(Seam::TaskSocket)).unwrap();
    let mut client = Wire::connect(&path).await.unwrap();

    // Without a fault, frames pass as they are.
    client.send(&call(1)).await.unwrap();
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(1))));
    assert_eq!(server.bytes(call(1).to_bytes().len()).await, call(1).to_bytes());

    let guard = proxy.inject(fault).unwrap();
    client.send(&call(3)).await.unwrap();
    let guard = match (direction, tamper) {
        (_, Tamper::Hold) => held(guard, &mut client).await,
        (_, Tamper::Stall) => stalled(guard, &mut client).await,
        (Direction::Requests, other) => on_request(guard, other, &mut client, &mut server).await,
        (Direction::Answers, other) => on_answer(guard, other, &mut client).await,
    };
    assert!(guard.is_none_or(|guard| guard.heal() >= 1));

    // With the fault gone, a connection serves again.
    let mut client = Wire::connect(&path).await.unwrap();
    client.send(&call(1)).await.unwrap();
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(1))));
    proxy.close().await.unwrap();
}

async fn held(guard: Guard, client: &mut Wire) -> Option<Guard> {
    guard.bitten(1, soon()).await.unwrap();
    client.send(&call(5)).await.unwrap();
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(5))), "a later frame overtakes");
    assert_eq!(client.hear(shortly()).await.unwrap(), Heard::Silence);
    assert!(guard.heal() >= 1);
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(3))));
    None
}

async fn stalled(guard: Guard, client: &mut Wire) -> Option<Guard> {
    guard.bitten(1, soon()).await.unwrap();
    client.send(&call(5)).await.unwrap();
    assert_eq!(client.hear(shortly()).await.unwrap(), Heard::Silence);
    assert!(guard.heal() >= 1);
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(3))));
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(5))));
    None
}

async fn on_request(guard: Guard, tamper: Tamper, client: &mut Wire, server: &mut Server) -> Option<Guard> {
    let whole = call(3).to_bytes();
    match tamper {
        Tamper::Split => {
            assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(3))));
            let chunks = server.chunks(whole.len()).await;
            assert_eq!(chunks.concat(), whole);
            assert!(chunks.len() > whole.len() / 2, "{} bytes came in {} pieces", whole.len(), chunks.len());
        }
        Tamper::Duplicate => {
            assert_eq!(server.bytes(2 * whole.len()).await, whole.repeat(2));
            assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(3))));
            assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(3))));
        }
        Tamper::Cut(point) => {
            let part = &whole[..call(3).bytes_before(point)];
            assert_eq!(server.bytes_to_end().await, part);
            assert_eq!(client.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
        }
        Tamper::HalfClose(point) => {
            let part = &whole[..call(3).bytes_before(point)];
            assert_eq!(server.bytes_to_end().await, part);
            if point == Point::AfterFrame {
                assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(3))), "answers still come");
            }
            assert_eq!(client.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
        }
        Tamper::Corrupt(corruption) => {
            let corrupted = call(3).corrupted(corruption).to_bytes();
            assert_ne!(corrupted, whole);
            assert_eq!(server.bytes(corrupted.len()).await, corrupted);
        }
        Tamper::Hold | Tamper::Stall | Tamper::Leave(_) => panic!("{tamper:?} is looked at elsewhere"),
    }
    Some(guard)
}

async fn on_answer(guard: Guard, tamper: Tamper, client: &mut Wire) -> Option<Guard> {
    let answer = echo(&call(3));
    match tamper {
        Tamper::Split => assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(answer)),
        Tamper::Duplicate => {
            assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(answer.clone()));
            assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(answer));
        }
        Tamper::Cut(point) | Tamper::HalfClose(point) => {
            let part = answer.to_bytes()[..answer.bytes_before(point)].to_vec();
            assert_eq!(client.hear(soon()).await.unwrap(), Heard::End(part));
        }
        Tamper::Corrupt(_) | Tamper::Hold | Tamper::Stall | Tamper::Leave(_) => panic!("{tamper:?} is not catalogued"),
    }
    Some(guard)
}

/// Answers every request, and writes down every byte.
struct Server {
    seen: mpsc::UnboundedReceiver<Option<Vec<u8>>>,
    _task: JoinSet<()>,
}

impl Server {
    fn listen(directory: &TempDir) -> Self {
        let listener = UnixListener::bind(directory.path().join("server")).unwrap();
        let (log, seen) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(attend(stream, log.clone()));
            }
        });
        Self { seen, _task: task }
    }

    async fn chunks(&mut self, bytes: usize) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        while chunks.iter().map(Vec::len).sum::<usize>() < bytes {
            chunks.push(self.next().await.expect("the connection goes on"));
        }
        chunks
    }

    async fn bytes(&mut self, bytes: usize) -> Vec<u8> {
        self.chunks(bytes).await.concat()
    }

    async fn bytes_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next().await {
            all.extend(chunk);
        }
        all
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        timeout_at(soon(), self.seen.recv()).await.expect("the server sees something").expect("the server runs")
    }
}

async fn attend(mut stream: UnixStream, log: mpsc::UnboundedSender<Option<Vec<u8>>>) {
    let mut decoder = Decoder::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        log.send(Some(buffer[..count].to_vec())).unwrap();
        decoder.feed(&buffer[..count]);
        while let Some(piece) = decoder.next_piece() {
            if let Piece::Frame(frame) = piece {
                // Written to a proxy that may have hung up, which is no concern of the server's.
                let _ = stream.write_all(&echo(&frame).to_bytes()).await;
            }
        }
    }
    log.send(None).unwrap();
}

// The service that takes events.

/// A service behind a gate, and the shim's connection to it.
struct Service {
    directory: TempDir,
    gate: Gate,
    /// The events that arrived.
    arrived: mpsc::UnboundedReceiver<Frame>,
    shim: Wire,
    _task: JoinSet<()>,
}

impl Service {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let gate = Gate::new(Seam::Events);
        let listener = Listener::bind(directory.path().join("events"), gate.clone()).unwrap();
        let (event, arrived) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let answer = move |request: &Frame| {
                event.send(request.clone()).unwrap();
                echo(request).payload
            };
            events::serve(listener, answer, std::future::pending()).await.unwrap();
        });
        let shim = Wire::connect(directory.path().join("events")).await.unwrap();
        let mut service = Self { directory, gate, arrived, shim, _task: task };
        service.takes_events().await;
        service
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("events")
    }

    async fn takes_events(&mut self) {
        self.shim.send(&call(1)).await.unwrap();
        assert_eq!(self.shim.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(1))));
        assert_eq!(self.arrived.try_recv(), Ok(call(1)));
    }

    /// Connects again, as soon as somebody listens.
    async fn comes_back(&mut self) {
        let path = self.path();
        let connecting = async {
            loop {
                match Wire::connect(&path).await {
                    Ok(wire) => return wire,
                    Err(error) => assert!(is_absence(error.kind()), "{error}"),
                }
                tokio::task::yield_now().await;
            }
        };
        self.shim = timeout_at(soon(), connecting).await.expect("the service comes back");
        self.takes_events().await;
    }
}

fn is_absence(kind: ErrorKind) -> bool {
    kind == ErrorKind::ConnectionRefused || kind == ErrorKind::NotFound
}

async fn event_frame(fault: &Fault, tamper: Tamper) {
    let mut service = Service::start().await;
    let guard = service.gate.inject(fault).unwrap();
    service.shim.send(&call(3)).await.unwrap();
    guard.bitten(1, soon()).await.unwrap();
    match tamper {
        Tamper::Stall => {
            assert_eq!(service.shim.hear(shortly()).await.unwrap(), Heard::Silence);
            assert!(service.arrived.try_recv().is_err());
            guard.heal();
            assert_eq!(service.shim.hear(soon()).await.unwrap(), Heard::Frame(echo(&call(3))));
            assert_eq!(service.arrived.try_recv(), Ok(call(3)));
        }
        Tamper::Cut(_) => {
            assert_eq!(service.shim.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
            assert!(service.arrived.try_recv().is_err(), "the event is forgotten");
            guard.heal();
        }
        Tamper::Leave(point) => {
            let answer = echo(&call(3));
            let part = answer.to_bytes()[..answer.bytes_before(point)].to_vec();
            assert_eq!(service.shim.hear(soon()).await.unwrap(), Heard::End(part));
            assert_eq!(service.arrived.try_recv(), Ok(call(3)), "the event did arrive");
            assert_eq!(absence(&service.path()).await, ErrorKind::ConnectionRefused);
            guard.heal();
        }
        Tamper::Hold | Tamper::HalfClose(_) | Tamper::Split | Tamper::Duplicate | Tamper::Corrupt(_) => {
            panic!("{} is not catalogued for events", fault.id)
        }
    }
    service.comes_back().await;
}

async fn refused(fault: &Fault, leftover: Leftover) {
    let mut service = Service::start().await;
    let guard = service.gate.inject(fault).unwrap();
    guard.bitten(1, soon()).await.unwrap();
    assert_eq!(service.shim.hear(soon()).await.unwrap(), Heard::End(Vec::new()), "open connections close");
    let expected = match leftover {
        Leftover::Path => ErrorKind::ConnectionRefused,
        Leftover::Nothing => ErrorKind::NotFound,
    };
    assert_eq!(absence(&service.path()).await, expected);
    drop(guard);
    service.comes_back().await;
}

async fn absence(path: &Path) -> ErrorKind {
    Wire::connect(path).await.expect_err("nobody listens").kind()
}

// The runtime, which is a script that writes down what it was asked for.

/// A link to the engine, which has the work done by a script.
struct Stand {
    directory: TempDir,
    runtime: Runtime,
}

impl Stand {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::write(&script, "#!/bin/sh\necho \"$1\" >> \"${0%/*}/done\"\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let engine = Path::new(env!("CARGO_BIN_EXE_conformance-engine"));
        let runtime = Runtime::link(directory.path().join("runtime"), engine, Some(&script)).unwrap();
        Self { directory, runtime }
    }

    fn execute(&self, subcommand: &str) -> tokio::process::Child {
        let mut command = tokio::process::Command::new(self.runtime.path());
        command.args([subcommand, "id"]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
    }

    async fn status(child: &mut tokio::process::Child) -> ExitStatus {
        timeout_at(soon(), child.wait()).await.expect("the runtime ends").unwrap()
    }

    /// The subcommands that did their work.
    fn work(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("done")).unwrap_or_default()
    }
}

async fn misstepped(fault: &Fault, misstep: Misstep) {
    let (subcommand, works) = match fault.when {
        Trigger::Before(subcommand) => (subcommand, false),
        Trigger::After(subcommand) => (subcommand, true),
        Trigger::Now | Trigger::Nth(_) => panic!("{} names no subcommand", fault.id),
    };
    let stand = Stand::new();
    let guard = stand.runtime.inject(fault).unwrap();
    assert!(Stand::status(&mut stand.execute("state")).await.success(), "others are left alone");
    assert_eq!((guard.bites(), stand.work().as_str()), (0, "state\n"));

    let began = Instant::now();
    let mut child = stand.execute(subcommand);
    let worked = match misstep {
        Misstep::Delay { ms } => {
            assert!(Stand::status(&mut child).await.success());
            assert!(began.elapsed() >= Duration::from_millis(ms.into()));
            true
        }
        Misstep::Fail { status } => {
            assert_eq!(Stand::status(&mut child).await.code(), Some(status.into()));
            works
        }
        Misstep::Hang => {
            guard.bitten(1, soon()).await.unwrap();
            assert!(timeout_at(shortly(), child.wait()).await.is_err(), "it hangs");
            assert_eq!(stand.work(), "state\n");
            assert_eq!(guard.heal(), 1);
            assert!(Stand::status(&mut child).await.success());
            return honest_again(&stand, subcommand).await;
        }
        Misstep::Die => {
            assert_eq!(Stand::status(&mut child).await.signal(), Some(9));
            works
        }
    };
    let expected = if worked { format!("state\n{subcommand}\n") } else { "state\n".to_owned() };
    assert_eq!(stand.work(), expected);
    guard.bitten(1, soon()).await.unwrap();
    assert_eq!(guard.heal(), 1);
    honest_again(&stand, subcommand).await;
}

#[tokio::test]
async fn who_is_held_is_told_apart_by_subcommand() {
    let stand = Stand::new();
    let inject = |id| stand.runtime.inject(catalogue::find(id).unwrap()).unwrap();
    let (create, start) = (inject("runtime/create-hangs"), inject("runtime/start-hangs"));
    let mut created = stand.execute("create");
    create.bitten(1, soon()).await.unwrap();
    assert_eq!(start.bites(), 0);
    let mut started = stand.execute("start");
    start.bitten(1, soon()).await.unwrap();

    assert_eq!(create.heal(), 1);
    assert!(Stand::status(&mut created).await.success());
    assert!(timeout_at(shortly(), started.wait()).await.is_err(), "only one fault has healed");
    assert_eq!(start.heal(), 1);
    assert!(Stand::status(&mut started).await.success());
    assert_eq!(stand.work(), "create\nstart\n");
}

async fn honest_again(stand: &Stand, subcommand: &str) {
    assert!(Stand::status(&mut stand.execute(subcommand)).await.success());
    let calls = stand.runtime.calls().unwrap();
    let [.., bitten, honest] = calls.as_slice() else { panic!("two calls at least") };
    assert_eq!((bitten.rules.as_slice(), honest.rules.as_slice()), (&[0][..], &[][..]));
    assert_eq!(honest.argv[1..], [subcommand, "id"]);
}

// Words.

fn call(stream: u32) -> Frame {
    Frame::unary(stream, "a.Service", "Method", b"a message")
}

fn echo(request: &Frame) -> Frame {
    Frame::new(Kind::Response, request.header.stream, request.payload.clone())
}

/// Never the answer, only the end of a test that would hang.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Long enough to see what should not happen.
fn shortly() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

// System calls.

#[test]
fn launched_by_a_test() {
    struck::launched();
}

#[test]
fn program_of_a_test() {
    struck::program();
}

fn struck_at_a_call(fault: &Fault, strike: Strike) {
    let aim = |subject: &str| Aim { subject: Some(subject.to_owned()), ..Aim::default() };
    let file = || aim("<stage>/.tmp<r>/file");
    let (aim, call, says) = match strike {
        Strike::Kill => (file(), "open", None),
        Strike::Fail(Errno::Eagain) => (aim("process"), "child", Some("11")),
        // The standard library opens again after EINTR.
        Strike::Fail(Errno::Eintr) => (file(), "open", Some("ok")),
        Strike::Fail(Errno::Eio) => (file(), "unlink", Some("5")),
        Strike::Fail(Errno::Emfile) => (file(), "open", Some("24")),
        Strike::Fail(Errno::Enomem) => (aim("<stage>/.tmp<r>/directory"), "mkdir", Some("12")),
        Strike::Fail(Errno::Enospc) => (aim("<stage>/.tmp<r>/directory"), "mkdir", Some("28")),
    };
    let stage = Stage::new();
    let guard = stage.supervisor.inject(fault, aim).unwrap();
    let ran = stage.run("calls");
    assert_eq!(ran.of(call), says);
    assert_eq!(ran.status.success(), strike != Strike::Kill);
    assert_eq!(fault.heal(), if strike == Strike::Kill { Heal::Restart } else { Heal::Guard });
    assert_eq!(guard.heal(), 1);
    assert_eq!(stage.run("calls").of(call), Some("ok"));
}
