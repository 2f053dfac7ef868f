//! `start` in every era: what it is given, what it answers, what it leaves when nobody can use it.

use std::{fs, os::unix::fs::FileTypeExt as _, path::Path, time::Duration};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use crate::{
    check::{Body, Check, Stop},
    containerd,
    contract::{log, start},
    history::{Method, Ran, ShimFact, Status},
    lab::{Container, Lab, NOTICE, Order, deadline, process, program},
    lie::Lie,
    wire::{Bootstrap, Form, Input, Twist},
};

/// One row without needs.
macro_rules! check {
    ($id:literal, $clause:expr, $notices:expr, $lab:ident => $story:expr) => {
        Check { id: $id, clause: &$clause, needs: &[], notices: $notices, body: Body::Example(|$lab| Box::pin($story)) }
    };
}

/// A start that must succeed, and a container that must run.
const LIVES: &[Lie] = &[Lie::StartFails, Lie::Refused(Method::Create), Lie::ExitStatus(Method::Wait)];
/// A start that must end, and leave nothing where it fails.
const ENDS: &[Lie] = &[Lie::StartHangs, Lie::LeftProcess];
/// One shim where there must be one.
const ONE_SHIM: &[Lie] = &[Lie::AddressChanges, Lie::StartFails];

pub(super) const CHECKS: &[Check] = &[
    check!("bootstrap/flags", start::FLAGS, LIVES, lab => twisted(lab, Twist::default())),
    check!("bootstrap/debug", start::DEBUG, LIVES, lab => debug(lab)),
    check!("bootstrap/in-bundle", start::IN_BUNDLE, ONE_SHIM, lab => in_bundle(lab)),
    check!("bootstrap/large-environment", start::ENVIRONMENT, LIVES, lab => large_environment(lab)),
    check!("bootstrap/small-environment", start::ENVIRONMENT, LIVES, lab => small_environment(lab)),
    check!("bootstrap/no-events-address", start::WITHOUT_EVENTS_ADDRESS, &[Lie::StartFails], lab => no_events_address(lab)),
    check!("bootstrap/stdin-empty", start::ANY_INPUT, ENDS, lab => stdin(lab, Given::Nothing)),
    check!("bootstrap/stdin-options", start::ANY_INPUT, ENDS, lab => stdin(lab, Given::Options)),
    check!("bootstrap/stdin-params", start::ANY_INPUT, ENDS, lab => stdin(lab, Given::Params)),
    check!("bootstrap/stdin-params-of-another", start::ANY_INPUT, ENDS, lab => stdin(lab, Given::ParamsOfAnother)),
    check!("bootstrap/stdin-truncated", start::ANY_INPUT, ENDS, lab => stdin(lab, Given::Truncated)),
    check!("bootstrap/stdin-10-mb", start::READS_TO_END, ENDS, lab => stdin(lab, Given::TenMegabytes)),
    check!("bootstrap/legacy-options", start::LEGACY_OPTIONS, LIVES, lab => twisted(lab, Twist::default())),
    check!("bootstrap/params", start::BOOTSTRAP_PARAMS, LIVES, lab => twisted(lab, Twist::default())),
    check!("bootstrap/options-do-not-join", start::FLAGS_DECIDE, &[Lie::ShimPid], lab => options_do_not_join(lab)),
    check!("bootstrap/socket-directory", start::SOCKET_DIRECTORY, &[Lie::StartFails], lab => socket_directory(lab)),
    check!("bootstrap/answer-form", start::ANSWER_FORM, &[Lie::StartFails, Lie::AnswerTwice], lab => answer_form(lab)),
    check!("bootstrap/json-version", start::JSON_VERSION, &[Lie::StartFails, Lie::AnswerTwice], lab => answer_form(lab)),
    check!("bootstrap/lets-go", start::LETS_GO, &[Lie::StartHeldOpen], lab => lets_go(lab)),
    check!("bootstrap/address", start::ADDRESS, &[Lie::StartFails, Lie::AddressChanges], lab => address(lab)),
    check!("bootstrap/task-service", start::TASK_SERVICE, LIVES, lab => twisted(lab, Twist::default())),
    check!("bootstrap/socket-length", start::SOCKET_LENGTH, &[Lie::StartFails], lab => socket_length(lab)),
    check!("bootstrap/socket-name", start::SOCKET_NAME, &[Lie::StartFails], lab => socket_name(lab)),
    check!("bootstrap/two-namespaces", start::FLAGS_DECIDE, &[Lie::ShimDead, Lie::State(Status::Stopped)], lab => two_namespaces(lab)),
    check!("bootstrap/bundle-files", start::BUNDLE_FILES, LIVES, lab => bundle_files(lab)),
    check!("bootstrap/address-file", start::ADDRESS_FILE, &[Lie::StartFails, Lie::AddressChanges], lab => address_file(lab)),
    check!("bootstrap/config-garbage", start::FAILS_CLEANLY, ENDS, lab => broken_config(lab, Some("{ this is no JSON"))),
    check!("bootstrap/config-empty", start::FAILS_CLEANLY, ENDS, lab => broken_config(lab, Some(""))),
    check!("bootstrap/config-is-a-directory", start::FAILS_CLEANLY, ENDS, lab => broken_config(lab, None)),
    check!("bootstrap/failure-says-why", start::FAILURE_SAYS_WHY, &[Lie::StartHangs, Lie::StartSilent], lab => failure_says_why(lab)),
    check!("bootstrap/same-id-at-once", start::SAME_SHIM, ONE_SHIM, lab => same_id_at_once(lab)),
    check!("bootstrap/again-with-task", start::SAME_SHIM, &[Lie::AddressChanges, Lie::StartFails, Lie::ShimDead], lab => again_with_task(lab)),
    check!("bootstrap/pod-annotation", start::GROUP, ONE_SHIM, lab => pod_annotation(lab)),
    check!("bootstrap/group-key", start::GROUP_KEY, ONE_SHIM, lab => group_key(lab)),
    check!("bootstrap/start-killed-at-once", start::INTERRUPTED, LIVES, lab => start_killed(lab, Instant::AtOnce)),
    check!("bootstrap/start-killed-with-socket", start::INTERRUPTED, LIVES, lab => start_killed(lab, Instant::WithSocket)),
    check!("bootstrap/stale-files", start::INTERRUPTED, LIVES, lab => stale_files(lab)),
    check!("bootstrap/unusable-answer", start::UNUSABLE, UNUSABLE_LIES, lab => unusable_answer(lab)),
    check!("bootstrap/unusable-answer-in-group", start::UNUSABLE, &[Lie::ShimDead, Lie::State(Status::Stopped)], lab => unusable_answer_in_group(lab)),
    check!("bootstrap/given-up", start::UNUSABLE, &[Lie::LeftProcess], lab => given_up(lab)),
    check!("bootstrap/info-with-options", start::INFO_UNWRAPPED, &[Lie::PrintsNothing], lab => info_with_options(lab)),
    check!("bootstrap/asked-leaves-nothing", start::ASKED_LEAVES_NOTHING, &[Lie::LeftProcess, Lie::LeftSocket, Lie::LeftFile], lab => asked_leaves_nothing(lab)),
    check!("bootstrap/detached", start::DETACHED, &[Lie::ShimHolds], lab => detached(lab)),
    check!("bootstrap/log-absent", log::ABSENT, ENDS, lab => log_absent(lab)),
];

/// A shim that nobody can use must be seen to be gone.
const UNUSABLE_LIES: &[Lie] = &[Lie::LeftProcess, Lie::LeftSocket];

/// How long a shim may take to notice that nobody will ever connect. containerd has closed the log and removed the bundle by then; the
/// rest is for shims that look now and then.
const UNUSED: Duration = Duration::from_secs(10);

/// What `start` finds on its standard input.
#[derive(Debug, Clone, Copy)]
enum Given {
    /// Not even a pipe.
    Nothing,
    /// The options as an `Any`: containerd up to 2.2.
    Options,
    /// `BootstrapParams`: containerd since 2.3.
    Params,
    /// The same with an id that is not that of the flags.
    ParamsOfAnother,
    /// `BootstrapParams` of which the end is missing.
    Truncated,
    /// More than any containerd sends.
    TenMegabytes,
}

impl Given {
    fn input(self, lab: &Lab, id: &str) -> Result<Input, Stop> {
        let params = |id: &str| containerd::params(lab.setup(), id, &lab.options());
        Ok(match self {
            Self::Nothing => Input::Bytes(Vec::new()),
            Self::Options => Input::Bytes(lab.options()),
            Self::Params => Input::Bytes(params(id)?),
            Self::ParamsOfAnother => Input::Bytes(params("somebody-else")?),
            Self::Truncated => {
                let mut bytes = params(id)?;
                bytes.truncate(bytes.len() / 2);
                Input::Bytes(bytes)
            }
            Self::TenMegabytes => Input::Zeros(10 << 20),
        })
    }
}

/// When a `start` is killed.
#[derive(Debug, Clone, Copy)]
enum Instant {
    /// As soon as it runs.
    AtOnce,
    /// When a socket has appeared.
    WithSocket,
}

/// A `start` that is otherwise than usual serves a container from Create to its end.
async fn twisted(lab: &Lab, twist: Twist) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::exits_with(3))).await?;
    let (ran, answer) = container.execute_start_twisted(twist).await?;
    container.adopt(&ran, answer).await?;
    lives(&container, 3).await
}

async fn lives(container: &Container<'_>, status: u32) -> Result<(), Stop> {
    container.create().await?;
    container.start().await?;
    container.wait().await?.reports(status)?;
    Ok(())
}

/// `-debug`, whatever containerd's own level is.
async fn debug(lab: &Lab) -> Result<(), Stop> {
    twisted(lab, Twist { debug: true, ..Twist::default() }).await
}

/// The group stands in config.json alone, and nothing but the working directory says where that lies.
async fn in_bundle(lab: &Lab) -> Result<(), Stop> {
    let first = lab.serve(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let second = lab.serve(Order::new(program::sleeps()).group("pod")).await?;
    one_shim(&first, &second)
}

/// containerd passes on its whole environment, which is the operator's.
async fn large_environment(lab: &Lab) -> Result<(), Stop> {
    let mut with: Vec<(String, String)> =
        (0..200).map(|number| (format!("OPERATORS_{number}"), "=; $(false) \u{fc}".to_owned())).collect();
    with.push(("LONG".to_owned(), "x".repeat(64 << 10)));
    with.push(("lower.case-and-signs".to_owned(), String::new()));
    twisted(lab, Twist { with, ..Twist::default() }).await
}

/// What containerd 1.6 sets, and no more.
async fn small_environment(lab: &Lab) -> Result<(), Stop> {
    let without = ["MAX_SHIM_VERSION", "GRPC_ADDRESS", "NAMESPACE"].map(str::to_owned).to_vec();
    twisted(lab, Twist { without, ..Twist::default() }).await
}

/// Nobody says where events go; a start by hand.
async fn no_events_address(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps())).await?;
    let twist = Twist { without: vec!["TTRPC_ADDRESS".to_owned()], ..Twist::default() };
    let (ran, answer) = container.execute_start_twisted(twist).await?;
    container.adopt(&ran, answer).await
}

/// start ends. It has failed and left nothing, or the shim serves this very container.
async fn stdin(lab: &Lab, given: Given) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::exits_with(3))).await?;
    let input = given.input(lab, container.id())?;
    let (ran, answer) = container.execute_start_twisted(Twist::fed(input)).await?;
    match (ran.code, answer) {
        (None, _) => Err(hangs(&format!("{given:?} on its standard input"))),
        (Some(0), Ok(bootstrap)) => {
            container.adopt(&ran, Ok(bootstrap)).await?;
            lives(&container, 3).await
        }
        // That it then leaves is another duty, `start/unusable-answer`.
        (Some(0), Err(reason)) => Err(Stop::NotApplicable(format!("containerd cannot use the answer: {reason}"))),
        (Some(_), _) => {
            container.forget().await?;
            lab.left_nothing("a failed start", NOTICE, false).await
        }
    }
}

/// Two containers are started with the same bytes on standard input; taken for parameters, they would name one and the same.
async fn options_do_not_join(lab: &Lab) -> Result<(), Stop> {
    let usual = [lab.serve(Order::new(program::sleeps())).await?, lab.serve(Order::new(program::sleeps())).await?];
    if usual[0].bootstrap()?.address == usual[1].bootstrap()?.address {
        return Err(Stop::NotApplicable("the shim serves all containers in one process".to_owned()));
    }
    let mut containers = Vec::new();
    for _ in 0..2 {
        let container = lab.bundle(Order::new(program::sleeps())).await?;
        let (ran, answer) = container.execute_start_twisted(Twist::fed(Input::Bytes(lab.options()))).await?;
        // A shim may insist on what this containerd speaks.
        if matches!(ran.code, Some(code) if code != 0) {
            return Err(Stop::Skipped("start refuses what an older containerd says".to_owned()));
        }
        container.adopt(&ran, answer).await?;
        containers.push(container);
    }
    if containers[0].shim()? != containers[1].shim()? {
        return Ok(());
    }
    Err(Stop::violated(
        "containers that have nothing to do with each other share a shim",
        "a shim for each",
        format!("process {} for both", containers[0].shim()?.pid),
    ))
}

/// The parameters name a directory, and there the socket lies.
async fn socket_directory(lab: &Lab) -> Result<(), Stop> {
    let directory = lab.places().base.join("s");
    let neighbour = lab.neighbour("named", |setup| setup.sockets.clone_from(&directory)).await?;
    let container = neighbour.serve(Order::new(program::sleeps())).await?;
    let socket = container.socket()?;
    ends(&container).await?;
    if socket.starts_with(&directory) {
        return Ok(());
    }
    Err(Stop::violated(
        "the socket lies elsewhere than the parameters say",
        directory.display().to_string(),
        socket.display().to_string(),
    ))
}

/// Nothing beside the answer, and the answer once.
async fn answer_form(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps())).await?;
    let (ran, answer) = container.execute_start().await?;
    container.adopt(&ran, answer).await?;
    let bootstrap = container.bootstrap()?;
    // An address is trimmed by every containerd, the other forms are read whole.
    let said = match bootstrap.form {
        Form::Bare => ran.stdout.trim() == bootstrap.address,
        Form::Json => is_whole_json(&ran.stdout, &bootstrap),
        Form::Protobuf => ran.stdout.matches(&bootstrap.address).count() == 1,
    };
    if said {
        return Ok(());
    }
    Err(Stop::violated("start prints more than one answer", "one, and nothing else", format!("{:?}", ran.stdout)))
}

fn is_whole_json(stdout: &str, bootstrap: &Bootstrap) -> bool {
    let Ok(answer) = serde_json::from_str::<serde_json::Value>(stdout) else { return false };
    let version = answer["version"].as_u64();
    version.is_some_and(|version| (2..=3).contains(&version)) && answer["address"] == bootstrap.address.as_str()
}

/// Nobody holds what start had for its output.
async fn lets_go(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps())).await?;
    let (ran, answer) = container.execute_start().await?;
    let held = ran.held_open;
    container.adopt(&ran, answer).await?;
    if held {
        let expected = "its end when start ends";
        return Err(Stop::violated("the shim holds the output of start", expected, "it stays open"));
    }
    Ok(())
}

/// The address leads to a socket.
async fn address(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    let socket = container.socket()?;
    let is_socket = fs::symlink_metadata(&socket).is_ok_and(|found| found.file_type().is_socket());
    if socket.is_absolute() && is_socket {
        return Ok(());
    }
    Err(Stop::violated("the address leads nowhere", "a socket at an absolute path", socket.display().to_string()))
}

/// id, namespace and the place of the bundle are as long as containerd permits, or longer than any socket's path.
async fn socket_length(lab: &Lab) -> Result<(), Stop> {
    const LONGEST: usize = 76;
    let deep = format!("deep/{}", "d/".repeat(100));
    let neighbour = lab.neighbour(&deep, |setup| setup.namespace = "n".repeat(LONGEST)).await?;
    let container = neighbour.serve(Order::new(program::exits_with(0)).id(&"i".repeat(LONGEST))).await?;
    let length = container.socket()?.as_os_str().len();
    ends(&container).await?;
    if length <= 107 {
        return Ok(());
    }
    Err(Stop::violated("the socket's path is too long", "at most 107 bytes", length.to_string()))
}

/// The same container of the same containerd, in a bundle elsewhere, has the same socket.
async fn socket_name(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps()).id("c")).await?;
    let here = container.bootstrap()?.address;
    container.shutdown().await?;
    container.shim_gone(lab.leave_limit()).await?;
    let neighbour = lab.neighbour("elsewhere", |_| {}).await?;
    let moved = neighbour.serve(Order::new(program::sleeps()).id("c")).await?;
    let there = moved.bootstrap()?.address;
    ends(&moved).await?;
    if here == there {
        return Ok(());
    }
    Err(Stop::violated("the socket's path depends on where the bundle lies", here, there))
}

/// The same id in two namespaces is two containers, and what happens to one is nothing to the other.
async fn two_namespaces(lab: &Lab) -> Result<(), Stop> {
    let ours = lab.run(Order::new(program::sleeps()).id("same")).await?;
    let neighbour = lab.neighbour("other", |setup| setup.namespace = "other".to_owned()).await?;
    let theirs = neighbour.run(Order::new(program::sleeps()).id("same")).await?;
    if ours.shim()? == theirs.shim()? {
        let actual = format!("process {} for both", ours.shim()?.pid);
        return Err(Stop::violated("one shim serves the same id of two namespaces", "a shim for each", actual));
    }
    theirs.end().await?;
    ends(&theirs).await?;
    if !ours.shim_is_alive()? {
        return Err(Stop::violated("the shim of another namespace has gone", "a living shim", "none"));
    }
    ours.is(Status::Running).await?;
    ours.end().await?;
    Ok(())
}

/// Nothing but the four is there before, and none of containerd's own names after.
async fn bundle_files(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::exits_with(3))).await?;
    let (ran, answer) = container.execute_start().await?;
    container.adopt(&ran, answer).await?;
    lives(&container, 3).await?;
    let bundle = container.bundle();
    let binary = bundle.join("shim-binary-path");
    let text = fs::read(&binary).with_context(|| format!("read {}", binary.display()))?;
    if text != lab.setup().shim.as_os_str().as_encoded_bytes() {
        return Err(Stop::violated(
            "the shim writes into a file of containerd's",
            lab.setup().shim.display().to_string(),
            String::from_utf8_lossy(&text),
        ));
    }
    let mut foreign = vec!["sandbox"];
    if !lab.setup().profile.bootstrap_json {
        foreign.push("bootstrap.json");
    }
    match foreign.into_iter().find(|name| bundle.join(name).exists()) {
        None => Ok(()),
        Some(name) => Err(Stop::violated("the shim makes a file that is containerd's", format!("no {name}"), "one")),
    }
}

/// Where this containerd will look when it comes back; in a group in each bundle.
async fn address_file(lab: &Lab) -> Result<(), Stop> {
    for _ in 0..2 {
        let container = lab.serve(Order::new(program::sleeps()).group("pod")).await?;
        let (expected, file) = (container.bootstrap()?.address, container.bundle().join("address"));
        let text = fs::read_to_string(&file).map_err(|e| {
            Stop::violated("the shim writes no address into its bundle", format!("{expected:?}"), e.to_string())
        })?;
        if text != expected {
            let what = "the file address says something else than start";
            return Err(Stop::violated(what, format!("{expected:?}"), format!("{text:?}")));
        }
    }
    Ok(())
}

/// Either start fails and leaves nothing, or Create says what is wrong.
async fn broken_config(lab: &Lab, text: Option<&str>) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps()).without_config()).await?;
    let config = container.bundle().join("config.json");
    match text {
        Some(text) => fs::write(&config, text)?,
        None => fs::create_dir(&config)?,
    }
    let (ran, answer) = container.execute_start().await?;
    match ran.code {
        Some(0) => {
            container.adopt(&ran, answer).await?;
            lab.call(container.create_request()?).await?.declined("Create with a broken config.json")
        }
        Some(_) => lab.left_nothing("a failed start", NOTICE, false).await,
        None => Err(hangs("a broken config.json")),
    }
}

/// All that a user gets to see.
async fn failure_says_why(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps()).without_config()).await?;
    fs::write(container.bundle().join("config.json"), "{ this is no JSON")?;
    let (ran, answer) = container.execute_start().await?;
    match ran.code {
        Some(0) => {
            container.adopt(&ran, answer).await?;
            Err(Stop::Skipped("the shim starts with a broken config.json".to_owned()))
        }
        Some(_) if says_something(lab, &ran) => Ok(()),
        Some(code) => Err(Stop::violated("a failed start says nothing", "a reason", format!("rc {code} and silence"))),
        None => Err(hangs("a broken config.json")),
    }
}

fn says_something(lab: &Lab, ran: &Ran) -> bool {
    let silent = lab.lie() == Some(Lie::StartSilent);
    !silent && [&ran.stdout, &ran.stderr].into_iter().any(|said| !said.trim().is_empty())
}

/// Eight starts of one container at the same time: one succeeds, and all that do come to one shim.
async fn same_id_at_once(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::exits_with(3))).await?;
    let mut starting = Vec::new();
    for _ in 0..8 {
        starting.push(container.begin_start(Twist::default()).await?);
    }
    let mut first: Option<(String, process::Identity)> = None;
    let mut lost = None;
    for given in starting {
        let (ran, answer) = container.start_ended(given).await?;
        // Who loses the race may say so.
        if matches!(ran.code, Some(code) if code != 0) {
            lost = Some(ran);
            continue;
        }
        container.adopt(&ran, answer).await?;
        let now = (container.bootstrap()?.address, container.shim()?);
        let (address, shim) = first.get_or_insert_with(|| now.clone());
        if now != (address.clone(), *shim) {
            let expected = format!("{address}, process {}", shim.pid);
            let actual = format!("{}, process {}", now.0, now.1.pid);
            return Err(Stop::violated("starts of one container come to different shims", expected, actual));
        }
    }
    if let (None, Some(ran)) = (&first, lost) {
        return Err(Stop::violated("every start at once fails", "one that succeeds", ran.stderr));
    }
    lives(&container, 3).await
}

/// A start of what runs already.
async fn again_with_task(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let (address, shim) = (task.bootstrap()?.address, task.shim()?);
    task.start_shim().await?;
    if task.bootstrap()?.address != address || task.shim()? != shim {
        let actual = format!("{}, process {}", task.bootstrap()?.address, task.shim()?.pid);
        return Err(Stop::violated(
            "another start brought a second shim",
            format!("{address}, process {}", shim.pid),
            actual,
        ));
    }
    if !task.shim_is_alive()? {
        return Err(Stop::violated("another start ended the shim", "a living shim", "none"));
    }
    task.is(Status::Running).await?;
    task.end().await?;
    Ok(())
}

/// The annotation of Kubernetes' pods makes a group as well.
async fn pod_annotation(lab: &Lab) -> Result<(), Stop> {
    const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
    let first = lab.serve(Order::new(program::sleeps()).id("pod").annotated(SANDBOX, "pod")).await?;
    let second = lab.serve(Order::new(program::sleeps()).annotated(SANDBOX, "pod")).await?;
    one_shim(&first, &second)
}

/// Of two annotations that disagree, the shim's own wins.
async fn group_key(lab: &Lab) -> Result<(), Stop> {
    const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
    let order = |sandbox: &str| Order::new(program::sleeps()).annotated(SANDBOX, sandbox).group("pod");
    let first = lab.serve(order("one").id("pod")).await?;
    let second = lab.serve(order("another")).await?;
    one_shim(&first, &second)
}

fn one_shim(first: &Container<'_>, second: &Container<'_>) -> Result<(), Stop> {
    let (one, other) = (first.bootstrap()?.address, second.bootstrap()?.address);
    if one == other && first.shim()? == second.shim()? {
        return Ok(());
    }
    Err(Stop::violated("members of a group have different shims", one, other))
}

/// The client's patience ends, and with it the helper; afterwards the same id is started as if nothing had been.
async fn start_killed(lab: &Lab, instant: Instant) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::exits_with(3))).await?;
    let mut given = container.begin_start(Twist::unusable()).await?;
    let helper = given.underway().await.flatten().and_then(process::identify);
    if let (Instant::WithSocket, Some(helper)) = (instant, helper) {
        let sockets = &lab.setup().sockets;
        let appeared = || fs::read_dir(sockets).is_ok_and(|mut entries| entries.next().is_some());
        // A start that is over before anything was seen has been caught at its end.
        _ = deadline::until(lab.scaled(NOTICE), || (appeared() || !helper.is_alive()).then_some(())).await;
    }
    if let Some(helper) = helper.filter(|helper| helper.is_alive()) {
        strike(&container, helper)?;
    }
    container.start_ended(given).await.map(drop)?;
    container.start_shim().await?;
    lives(&container, 3).await
}

/// SIGKILL to the helper, which then cannot take back the socket that it may have made.
fn strike(container: &Container<'_>, helper: process::Identity) -> Result<(), Stop> {
    helper.signal(Signal::SIGKILL)?;
    container.record_of_process(helper.pid, ShimFact::Signalled(libc::SIGKILL));
    Ok(())
}

/// What a start that was killed between two steps leaves in its bundle.
async fn stale_files(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::exits_with(3))).await?;
    for name in [".address", "address"] {
        fs::write(container.bundle().join(name), "")?;
    }
    container.start_shim().await?;
    lives(&container, 3).await
}

/// containerd reads the answer, cannot use it, and forgets the container: no connection, no `delete`, only the bundle goes.
async fn unusable_answer(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps())).await?;
    let (ran, _) = container.execute_start_twisted(Twist::unusable()).await?;
    if ran.code.is_none() {
        return Err(hangs("nothing unusual"));
    }
    container.forget().await?;
    lab.left_nothing("an answer that containerd cannot use", UNUSED, false).await
}

/// The same for the second container of a group; the shim has the first one still.
async fn unusable_answer_in_group(lab: &Lab) -> Result<(), Stop> {
    let first = lab.run(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let second = lab.bundle(Order::new(program::sleeps()).group("pod")).await?;
    second.execute_start_twisted(Twist::unusable()).await.map(drop)?;
    second.forget().await?;
    first.is(Status::Running).await?;
    let third = lab.run(Order::new(program::exits_with(3)).group("pod")).await?;
    third.wait().await?.reports(3)?;
    if !first.shim_is_alive()? {
        return Err(Stop::violated("the shim of a running container has gone", "a living shim", "none"));
    }
    first.is(Status::Running).await?;
    Ok(())
}

/// The helper is killed when the client gives up, and the bundle goes; nobody learns of what it had begun.
async fn given_up(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps())).await?;
    let mut given = container.begin_start(Twist::unusable()).await?;
    if let Some(helper) = given.underway().await.flatten().and_then(process::identify) {
        strike(&container, helper)?;
    }
    container.start_ended(given).await.map(drop)?;
    container.forget().await?;
    // Whoever was killed between making a socket and a daemon could not take it back.
    lab.left_nothing("a start that was given up", UNUSED, true).await
}

/// The options that would be used, as containerd passes them.
async fn info_with_options(lab: &Lab) -> Result<(), Stop> {
    super::start::info_fed(lab, &lab.options()).await
}

/// A world in which nothing but questions were asked.
async fn asked_leaves_nothing(lab: &Lab) -> Result<(), Stop> {
    for question in ["-v", "-info"] {
        lab.execute_print(&[question], &[]).await?;
    }
    lab.left_nothing("-v and -info", NOTICE, false).await
}

/// Standard input and output are of nobody, and standard error is the log or nobody's as well.
async fn detached(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    let log = container.bundle().join("log");
    for (number, permitted) in
        [(0, &[Path::new("/dev/null")][..]), (1, &[Path::new("/dev/null"), &log]), (2, &[Path::new("/dev/null"), &log])]
    {
        let held = container.descriptor(number)?;
        if held.as_deref().is_some_and(|held| !permitted.contains(&held)) {
            return Err(Stop::violated(
                format!("the shim has something of its starter's as descriptor {number}"),
                format!("{permitted:?}, or nothing"),
                format!("{held:?}"),
            ));
        }
    }
    Ok(())
}

/// No FIFO for the log. containerd always makes one; a start by hand may not.
async fn log_absent(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::exits_with(3))).await?;
    fs::remove_file(container.bundle().join("log"))?;
    let (ran, answer) = container.execute_start().await?;
    match (ran.code, answer) {
        (None, _) => Err(hangs("a bundle without a log")),
        (Some(0), Ok(bootstrap)) => {
            container.adopt(&ran, Ok(bootstrap)).await?;
            lives(&container, 3).await
        }
        (Some(_), _) => lab.left_nothing("a start without a log", NOTICE, false).await,
    }
}

/// Ends what a neighbouring containerd has, of which nobody else takes care.
async fn ends(container: &Container<'_>) -> Result<(), Stop> {
    if container.state_is_known().await? {
        container.delete().await?;
    }
    container.shutdown().await?;
    container.shim_gone(container.lab().leave_limit()).await?;
    container.execute_delete().await?;
    container.forget().await
}

fn hangs(on: &str) -> Stop {
    Stop::violated(format!("start hangs on {on}"), "its end within 20 s", "none")
}
