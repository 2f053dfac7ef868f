//! The seventeen calls of the Task API: what may be done is asked of the [task](crate::task), how it is done is a
//! [worker](super::work)'s business, and here the two meet.

use std::{collections::HashMap, ffi::OsString, time::SystemTime};

use containerd_shim_protos::{
    api,
    protobuf::{
        EnumOrUnknown, Message, MessageField,
        well_known_types::{any::Any, timestamp::Timestamp},
    },
    shim::oci::{CheckpointOptions, Options, ProcessDetails},
};
use tokio::{sync::oneshot, task::JoinSet};

use super::{
    Container, Done, Supervisor, Ticket,
    container::Side,
    kill_child,
    work::{self, CreateJob, ExecJob, KillJob},
};
use crate::{
    bundle::Bundle,
    cgroup::Cgroup,
    error::Error,
    runtime::{Engine, Runtime},
    service::{Reply, TaskCall},
    stdio::{Io, Paths},
    sys,
    task::{Exit, Next, Request, State, Status, Task, View, Who},
};

/// The highest signal number of Linux.
const SIGNAL_MAX: u32 = 64;

impl Supervisor {
    pub(super) fn call(&mut self, call: TaskCall, reply: Reply) {
        match call {
            TaskCall::State(request) => {
                let answer = self.state(&request);
                respond(reply, answer);
            }
            TaskCall::Create(request) => self.create(request, reply),
            TaskCall::Start(request) => self.start(&request, reply),
            TaskCall::Delete(request) => self.delete(&request.id, &request.exec_id, reply),
            TaskCall::Pids(request) => self.pids(&request, reply),
            TaskCall::Pause(request) => self.pause(&request.id, reply),
            TaskCall::Resume(request) => self.resume(&request.id, reply),
            TaskCall::Checkpoint(request) => self.checkpoint(request, reply),
            TaskCall::Kill(request) => self.kill(&request, reply),
            TaskCall::Exec(request) => {
                let answer = self.exec(request);
                respond(reply, answer);
            }
            TaskCall::ResizePty(request) => {
                let answer = self.resize(&request);
                respond(reply, answer);
            }
            TaskCall::CloseIO(request) => {
                let answer = self.close_io(&request);
                respond(reply, answer);
            }
            TaskCall::Update(request) => self.update(request, reply),
            TaskCall::Wait(request) => self.wait(&request, reply),
            TaskCall::Stats(request) => {
                let answer = self.stats(&request);
                respond(reply, answer);
            }
            TaskCall::Connect(request) => reply.ok(&self.connect(&request)),
            TaskCall::Shutdown(request) => self.shutdown(&request, reply),
        }
    }

    fn create(&mut self, request: api::CreateTaskRequest, reply: Reply) {
        match self.register(request) {
            Ok(job) => {
                self.births += 1;
                self.work(work::create(job, reply));
            }
            Err(error) => reply.fail(error),
        }
    }

    /// Enters a container that is to be created, so that its id is taken from now on.
    fn register(&mut self, request: api::CreateTaskRequest) -> Result<CreateJob, Error> {
        valid_id("container", &request.id)?;
        if self.containers.contains_key(&request.id) {
            return Err(Error::AlreadyExists(format!("container {}", request.id)));
        }
        self.admit_member(&request.id)?;
        if !request.checkpoint.is_empty() {
            return Err(Error::Unimplemented("create from a checkpoint".to_owned()));
        }
        let bundle = Bundle::new(&request.bundle);
        if !bundle.path().is_absolute() || !bundle.path().is_dir() {
            return Err(Error::NotFound(format!("bundle {:?}", request.bundle)));
        }
        let runtime = match runtime_options(request.options.as_ref())? {
            Some(options) => Runtime::choose(&options, &self.settings.namespace)?,
            // `start` has saved what it was given.
            None => Runtime::load(&bundle)
                .map_or_else(|| Runtime::choose(&Options::default(), &self.settings.namespace), Ok)?,
        };
        if runtime.knows(&request.id) {
            return Err(Error::AlreadyExists(format!("runtime has a container {}", request.id)));
        }
        let spec = bundle.spec()?;
        runtime.save(&bundle)?;
        let paths =
            Paths { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, terminal: request.terminal };
        self.serial += 1;
        let engine =
            Engine { runtime: runtime.into(), reaper: self.reaper.clone(), bundle, id: request.id.as_str().into() };
        let job = CreateJob {
            ticket: Ticket { id: request.id, serial: self.serial },
            namespace: self.settings.namespace.clone(),
            engine: engine.clone(),
            rootfs: request.rootfs.clone(),
            paths: paths.clone(),
        };
        let container = Container {
            serial: self.serial,
            task: Task::new(spec.shares_pids()),
            engine,
            rootfs: request.rootfs,
            init: Side { paths, ..Side::default() },
            execs: HashMap::new(),
            cgroup: None,
            out_of_memory: false,
            watch: JoinSet::new(),
        };
        self.containers.insert(job.ticket.id.clone(), container);
        self.record_members();
        Ok(job)
    }

    fn start(&mut self, request: &api::StartRequest, reply: Reply) {
        let who = Who::from(request.exec_id.as_str());
        let (ticket, container, _) = match self.ask(&request.id, &who, Request::Start) {
            Ok(asked) => asked,
            Err(error) => return reply.fail(error),
        };
        let (abort, aborted) = oneshot::channel();
        let (engine, pid) = (container.engine.clone(), container.task.pid());
        let Some(side) = container.side(&who) else { return };
        side.abort = Some(abort);
        let (paths, spec) = (side.paths.clone(), std::mem::take(&mut side.spec));
        match who {
            Who::Init => self.work(async move {
                let result = work::unless(aborted, engine.start()).await.map(|()| (pid, Io::default()));
                Done::Started { ticket, who: Who::Init, result, reply }
            }),
            Who::Exec(exec) => {
                self.births += 1;
                let namespace = self.settings.namespace.clone();
                self.work(work::exec(ExecJob { ticket, exec, namespace, engine, paths, spec }, aborted, reply));
            }
        }
    }

    pub(super) fn delete(&mut self, id: &str, exec_id: &str, reply: Reply) {
        let who = Who::from(exec_id);
        let (ticket, container, next) = match self.ask(id, &who, Request::Delete) {
            Ok(asked) => asked,
            Err(error) => return reply.fail(error),
        };
        match next {
            Next::Forgotten => {
                // The machine forgot it already; whoever waits for it never gets an exit.
                if let Some(side) = container.execs.remove(exec_id) {
                    for waiter in side.waiters {
                        waiter.fail(Error::NotFound(format!("{id}/{exec_id} was deleted")));
                    }
                }
                reply.ok(&api::DeleteResponse::default());
            }
            Next::Park => container.park_deleter(&who, reply),
            Next::KillFirst(pid) => {
                container.park_deleter(&who, reply);
                kill_child(pid);
            }
            Next::Answer | Next::Run | Next::Ended(_) => {
                container.park_deleter(&who, reply);
                self.remove(&ticket, &who);
            }
        }
    }

    /// Removes a process that has ended.
    pub(super) fn remove(&mut self, ticket: &Ticket, who: &Who) {
        let Some(container) = self.find(ticket) else { return };
        let mut streams: Vec<Io> = container.side(who).and_then(|side| side.io.take()).into_iter().collect();
        if *who == Who::Init {
            streams.extend(container.execs.values_mut().filter_map(|side| side.io.take()));
        }
        let (engine, ticket, who) = (container.engine.clone(), ticket.clone(), who.clone());
        self.work(async move {
            for io in streams {
                io.finish().await;
            }
            let result = match who {
                Who::Init => work::delete(&engine).await,
                Who::Exec(_) => Ok(()),
            };
            Done::Deleted { ticket, who, result }
        });
    }

    fn pause(&mut self, id: &str, reply: Reply) {
        match self.ask(id, &Who::Init, Request::Pause) {
            Ok((ticket, container, _)) => {
                let engine = container.engine.clone();
                self.work(async move { Done::Paused { ticket, result: engine.pause().await, reply } });
            }
            Err(error) => reply.fail(error),
        }
    }

    fn resume(&mut self, id: &str, reply: Reply) {
        match self.ask(id, &Who::Init, Request::Resume) {
            Ok((ticket, container, _)) => {
                let engine = container.engine.clone();
                self.work(async move { Done::Resumed { ticket, result: engine.resume().await, reply } });
            }
            Err(error) => reply.fail(error),
        }
    }

    fn checkpoint(&mut self, request: api::CheckpointTaskRequest, reply: Reply) {
        let options = checkpoint_options(request.options.as_ref(), &request.path);
        let asked = options.and_then(|options| {
            let (ticket, container, _) = self.ask(&request.id, &Who::Init, Request::Checkpoint)?;
            Ok((ticket, container.engine.clone(), options))
        });
        match asked {
            Ok((ticket, engine, options)) => self.work(async move {
                let result = engine.checkpoint(options).await;
                Done::Checkpointed { ticket, path: request.path, result, reply }
            }),
            Err(error) => reply.fail(error),
        }
    }

    fn kill(&mut self, request: &api::KillRequest, reply: Reply) {
        if request.signal > SIGNAL_MAX {
            return reply.fail(Error::InvalidArgument(format!("signal {}", request.signal)));
        }
        let who = Who::from(request.exec_id.as_str());
        match self.ask(&request.id, &who, Request::Kill { all: request.all }) {
            Err(error) => reply.fail(error),
            Ok((_, _, Next::Answer)) => reply.done(),
            // An exec is a process to the shim and nothing to the runtime.
            Ok((_, container, _)) if who != Who::Init => {
                let pid = container.task.view(&who).map_or(0, |exec| exec.pid);
                let result = sys::send_signal(pid, request.signal).map_err(Error::io("signal", pid.to_string()));
                super::answer(reply, result);
            }
            Ok((_, container, _)) => {
                let job = container.kill_job(request.signal, request.all);
                tokio::spawn(async move { super::answer(reply, work::kill(job).await) });
            }
        }
    }

    fn exec(&mut self, request: api::ExecProcessRequest) -> Result<api::Empty, Error> {
        let id = request.id.as_str();
        let (_, container, _) = self.ask(id, &Who::Init, Request::Exec)?;
        valid_id("exec", &request.exec_id)?;
        let spec = request.spec.into_option().filter(|spec| !spec.value.is_empty());
        let spec = spec.ok_or_else(|| Error::InvalidArgument(format!("exec {} without a spec", request.exec_id)))?;
        let effects = container
            .task
            .add_exec(&request.exec_id)
            .map_err(|refusal| Error::refused(refusal, id, &request.exec_id))?;
        let paths =
            Paths { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, terminal: request.terminal };
        container.execs.insert(request.exec_id, Side { paths, spec: spec.value, ..Side::default() });
        let ticket = Ticket { id: id.to_owned(), serial: container.serial };
        self.apply(&ticket, effects);
        Ok(api::Empty::default())
    }

    fn resize(&mut self, request: &api::ResizePtyRequest) -> Result<api::Empty, Error> {
        let who = Who::from(request.exec_id.as_str());
        let (_, container, _) = self.ask(&request.id, &who, Request::ResizePty)?;
        let over = container.task.view(&who).is_some_and(|process| process.exit.is_some());
        let Some(side) = container.side(&who) else {
            return Ok(api::Empty::default());
        };
        if side.paths.terminal && over {
            return Err(Error::FailedPrecondition(format!("{}: process has ended", request.id)));
        }
        // Without a terminal, or before there is one, nothing has a size.
        if let Some(terminal) = side.io.as_ref().and_then(|io| io.terminal()) {
            terminal.resize(request.width, request.height).map_err(Error::io("resize", &request.id))?;
        }
        Ok(api::Empty::default())
    }

    fn close_io(&mut self, request: &api::CloseIORequest) -> Result<api::Empty, Error> {
        let who = Who::from(request.exec_id.as_str());
        let (_, container, _) = self.ask(&request.id, &who, Request::CloseIo)?;
        if let Some(side) = container.side(&who).filter(|_| request.stdin) {
            side.stdin_closed = true;
            if let Some(io) = side.io.as_mut() {
                io.close_stdin();
            }
        }
        Ok(api::Empty::default())
    }

    fn update(&mut self, request: api::UpdateTaskRequest, reply: Reply) {
        let asked = self.ask(&request.id, &Who::Init, Request::Update).map(|(_, found, _)| found.engine.clone());
        let resources = request.resources.into_option().map(|resources| resources.value);
        match asked.and_then(|engine| Ok((engine, valid_resources(resources)?))) {
            Ok((engine, resources)) => {
                tokio::spawn(async move { super::answer(reply, engine.update(&resources).await) });
            }
            Err(error) => reply.fail(error),
        }
    }

    fn wait(&mut self, request: &api::WaitRequest, reply: Reply) {
        let who = Who::from(request.exec_id.as_str());
        match self.ask(&request.id, &who, Request::Wait) {
            Ok((_, _, Next::Ended(exit))) => reply.ok(&wait_response(exit)),
            Ok((_, container, _)) => {
                if let Some(side) = container.side(&who) {
                    side.waiters.push(reply);
                }
            }
            Err(error) => reply.fail(error),
        }
    }

    fn state(&mut self, request: &api::StateRequest) -> Result<api::StateResponse, Error> {
        let who = Who::from(request.exec_id.as_str());
        let (_, container, _) = self.ask(&request.id, &who, Request::State)?;
        let View { status, pid, exit } =
            container.task.view(&who).unwrap_or(View { status: Status::Unknown, pid: 0, exit: None });
        let bundle = container.engine.bundle.path().to_string_lossy().into_owned();
        let paths = container.side(&who).map(|side| side.paths.clone()).unwrap_or_default();
        Ok(api::StateResponse {
            id: if request.exec_id.is_empty() { request.id.clone() } else { request.exec_id.clone() },
            bundle,
            pid,
            status: EnumOrUnknown::new(wire_status(status)),
            stdin: paths.stdin,
            stdout: paths.stdout,
            stderr: paths.stderr,
            terminal: paths.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: timestamp(exit.map(|exit| exit.at)),
            exec_id: request.exec_id.clone(),
            ..api::StateResponse::default()
        })
    }

    fn pids(&mut self, request: &api::PidsRequest, reply: Reply) {
        let (_, container, _) = match self.ask(&request.id, &Who::Init, Request::Pids) {
            Ok(asked) => asked,
            Err(error) => return reply.fail(error),
        };
        if container.is_over() {
            return reply.ok(&api::PidsResponse::default());
        }
        let mut known: Vec<(u32, Option<Any>)> = vec![(container.task.pid(), None)];
        known.extend(container.task.running_execs().map(|(id, pid)| (pid, Some(process_details(id)))));
        let engine = container.engine.clone();
        tokio::spawn(async move {
            // containerd takes an empty or failing answer for a leaked shim, so what is known is answered in any case.
            let listed = engine.ps().await.unwrap_or_else(|error| {
                log!("{error}");
                Vec::new()
            });
            let others: Vec<u32> =
                listed.into_iter().filter(|pid| known.iter().all(|(known, _)| known != pid)).collect();
            let all = known.into_iter().chain(others.into_iter().map(|pid| (pid, None)));
            let processes =
                all.map(|(pid, info)| api::ProcessInfo { pid, info: info.into(), ..api::ProcessInfo::default() });
            reply.ok(&api::PidsResponse { processes: processes.collect(), ..api::PidsResponse::default() });
        });
    }

    fn stats(&mut self, request: &api::StatsRequest) -> Result<api::StatsResponse, Error> {
        let (_, container, _) = self.ask(&request.id, &Who::Init, Request::Stats)?;
        let stats = container.cgroup.as_ref().and_then(Cgroup::metrics);
        let stats = stats.ok_or_else(|| Error::NotFound(format!("cgroup of {}", request.id)))?;
        Ok(api::StatsResponse { stats: Some(stats).into(), ..api::StatsResponse::default() })
    }

    /// Also the probe of a containerd that has started again, so it never fails.
    fn connect(&self, request: &api::ConnectRequest) -> api::ConnectResponse {
        let task_pid = self.containers.get(&request.id).map_or(0, |container| container.task.pid());
        api::ConnectResponse { shim_pid: std::process::id(), task_pid, ..api::ConnectResponse::default() }
    }

    /// Leaves if nothing is held. Which container it is about, or that it be "now", changes nothing.
    fn shutdown(&mut self, request: &api::ShutdownRequest, reply: Reply) {
        if self.is_empty() {
            self.leaving = true;
        } else {
            log!("shutdown after {}: stays for {} containers", request.id, self.containers.len());
            let half_made = |container: &Container| container.task.state() == State::Creating;
            self.shutdown_missed = self.pod.is_none() && self.containers.values().all(half_made);
        }
        reply.done();
    }

    /// Asks the machine of this container, if there is one.
    fn ask(&mut self, id: &str, who: &Who, request: Request) -> Result<(Ticket, &mut Container, Next), Error> {
        let container = self.containers.get_mut(id).ok_or_else(|| Error::NotFound(format!("container {id}")))?;
        let next =
            container.task.request(who, request).map_err(|refusal| Error::refused(refusal, id, who.exec_id()))?;
        Ok((Ticket { id: id.to_owned(), serial: container.serial }, container, next))
    }
}

impl Container {
    pub(super) fn kill_job(&self, signal: u32, all: bool) -> KillJob {
        let frozen = self.task.state() == State::Paused;
        KillJob { engine: self.engine.clone(), pid: self.task.pid(), frozen, signal, all }
    }

    fn park_deleter(&mut self, who: &Who, reply: Reply) {
        if let Some(side) = self.side(who) {
            side.deleters.push(reply);
        }
    }
}

pub(super) fn respond(reply: Reply, answer: Result<impl Message, Error>) {
    match answer {
        Ok(message) => reply.ok(&message),
        Err(error) => reply.fail(error),
    }
}

pub(super) fn wait_response(exit: Exit) -> api::WaitResponse {
    api::WaitResponse { exit_status: exit.status, exited_at: timestamp(Some(exit.at)), ..api::WaitResponse::default() }
}

pub(super) fn delete_response(process: Option<View>) -> api::DeleteResponse {
    let exit = process.and_then(|process| process.exit);
    api::DeleteResponse {
        pid: process.map_or(0, |process| process.pid),
        exit_status: exit.map_or(0, |exit| exit.status),
        exited_at: timestamp(exit.map(|exit| exit.at)),
        ..api::DeleteResponse::default()
    }
}

pub(super) fn timestamp(at: Option<SystemTime>) -> MessageField<Timestamp> {
    at.map(Into::into).into()
}

fn wire_status(status: Status) -> api::Status {
    match status {
        Status::Unknown => api::Status::UNKNOWN,
        Status::Created => api::Status::CREATED,
        Status::Running => api::Status::RUNNING,
        Status::Pausing => api::Status::PAUSING,
        Status::Paused => api::Status::PAUSED,
        Status::Stopped => api::Status::STOPPED,
    }
}

/// Ids become file names, so they are held to containerd's own rule (`pkg/identifiers`).
pub(super) fn valid_id(kind: &str, id: &str) -> Result<(), Error> {
    let words = || id.split(['.', '_', '-']);
    let valid =
        id.len() <= 76 && words().all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()));
    if valid { Ok(()) } else { Err(Error::InvalidArgument(format!("{kind} id {id:?}"))) }
}

/// The JSON text of an update.
fn valid_resources(resources: Option<Vec<u8>>) -> Result<Vec<u8>, Error> {
    let resources = resources.unwrap_or_default();
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&resources) {
        Ok(_) => Ok(resources),
        Err(cause) => Err(Error::InvalidArgument(format!("resources: {cause}"))),
    }
}

/// runc's options, if these are; the generic ones of other runtimes say nothing that is needed here.
pub(crate) fn runtime_options(options: Option<&Any>) -> Result<Option<Options>, Error> {
    let Some(options) = options.filter(|options| !options.type_url.is_empty() || !options.value.is_empty()) else {
        return Ok(None);
    };
    match options.type_url.rsplit('/').next().unwrap_or_default() {
        "containerd.runc.v1.Options" => Options::parse_from_bytes(&options.value)
            .map(Some)
            .map_err(|cause| Error::InvalidArgument(format!("options: {cause}"))),
        "runtimeoptions.v1.Options" => Ok(None),
        other => Err(Error::InvalidArgument(format!("options of type {other:?}"))),
    }
}

/// The runtime's flags for a checkpoint.
fn checkpoint_options(options: Option<&Any>, path: &str) -> Result<Vec<OsString>, Error> {
    let options = match options.filter(|options| !options.type_url.is_empty()) {
        None => CheckpointOptions::default(),
        Some(any) if any.type_url.ends_with("containerd.runc.v1.CheckpointOptions") => {
            CheckpointOptions::parse_from_bytes(&any.value)
                .map_err(|cause| Error::InvalidArgument(format!("options: {cause}")))?
        }
        Some(any) => return Err(Error::InvalidArgument(format!("options of type {:?}", any.type_url))),
    };
    let image = if path.is_empty() { options.image_path } else { path.to_owned() };
    let switches = [
        (!options.exit, "--leave-running"),
        (options.open_tcp, "--tcp-established"),
        (options.external_unix_sockets, "--ext-unix-sk"),
        (options.terminal, "--shell-job"),
        (options.file_locks, "--file-locks"),
    ];
    let values =
        [("--image-path", image), ("--work-path", options.work_path), ("--manage-cgroups-mode", options.cgroups_mode)];
    let namespaces = options.empty_namespaces.into_iter().map(|namespace| ("--empty-ns", namespace));
    let values = values.into_iter().chain(namespaces).filter(|(_, value)| !value.is_empty());
    let set = switches.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag.into());
    Ok(set.chain(values.flat_map(|(flag, value)| [flag.into(), value.into()])).collect())
}

fn process_details(exec: &str) -> Any {
    let details = ProcessDetails { exec_id: exec.to_owned(), ..ProcessDetails::default() };
    Any {
        type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
        // A short string always encodes.
        value: details.write_to_bytes().unwrap_or_default(),
        ..Any::default()
    }
}
