//! The nine calls of the Sandbox API: what may be done is asked of the [sandbox](crate::sandbox), and here it is done.

use std::{
    env::consts,
    path::{Path, PathBuf},
    time::SystemTime,
};

use containerd_shim_protos::{
    protobuf::{MessageField, well_known_types::any::Any},
    sandbox_api::{
        CreateSandboxRequest, CreateSandboxResponse, PlatformResponse, SandboxMetricsResponse, SandboxStatusResponse,
        StartSandboxResponse, WaitSandboxResponse,
    },
    types::platform::Platform,
};
use nix::sys::signal::Signal;

use super::{
    Container, Supervisor,
    calls::{respond, timestamp, valid_id},
    kill_child, work,
};
use crate::{
    bundle::{Bundle, ExitRecord, InitRecord, MemberRecord},
    cgroup::Cgroup,
    command::pause,
    error::Error,
    process,
    sandbox::{Next, Request, Sandbox, Step},
    service::{Reply, SandboxCall},
    task::Exit,
};

/// The sandbox and what belongs to it beside its state.
pub(super) struct Pod {
    id: String,
    bundle: Bundle,
    /// Of the network namespace; empty for the shim's own.
    network: PathBuf,
    created_at: SystemTime,
    sandbox: Sandbox,
    /// Callers of `WaitSandbox`.
    waiters: Vec<Reply>,
    /// Callers of `StopSandbox` and `ShutdownSandbox`.
    enders: Vec<Reply>,
    /// One of them was of `ShutdownSandbox`.
    shutdown: bool,
}

impl Pod {
    pub(super) fn is_closing(&self) -> bool {
        self.sandbox.is_closing()
    }

    fn status(&self) -> SandboxStatusResponse {
        // The names are those of Kubernetes; containerd takes any other state for not ready.
        let state = if self.sandbox.is_ready() { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" };
        SandboxStatusResponse {
            sandbox_id: self.id.clone(),
            pid: self.sandbox.pid(),
            state: state.to_owned(),
            created_at: timestamp(Some(self.created_at)),
            exited_at: timestamp(self.sandbox.exit().map(|exit| exit.at)),
            ..SandboxStatusResponse::default()
        }
    }
}

impl Supervisor {
    pub(super) fn sandbox_call(&mut self, call: SandboxCall, reply: Reply) {
        match call {
            SandboxCall::CreateSandbox(request) => {
                let answer = self.create_sandbox(&request);
                respond(reply, answer);
            }
            SandboxCall::StartSandbox(request) => {
                let answer = self.start_sandbox(&request.sandbox_id);
                respond(reply, answer);
            }
            SandboxCall::Platform(request) => {
                let answer = self.ask_sandbox(&request.sandbox_id, Request::Look).map(|_| platform());
                respond(reply, answer);
            }
            SandboxCall::StopSandbox(request) => self.stop_sandbox(&request.sandbox_id, false, reply),
            SandboxCall::WaitSandbox(request) => self.wait_sandbox(&request.sandbox_id, reply),
            SandboxCall::SandboxStatus(request) => {
                let answer = self.ask_sandbox(&request.sandbox_id, Request::Look).map(|(pod, _)| pod.status());
                respond(reply, answer);
            }
            SandboxCall::PingSandbox(request) => {
                let answer = self.ask_sandbox(&request.sandbox_id, Request::Ping).map(drop);
                super::answer(reply, answer);
            }
            SandboxCall::ShutdownSandbox(request) => self.shutdown_sandbox(&request.sandbox_id, reply),
            SandboxCall::SandboxMetrics(request) => {
                let answer = self.sandbox_metrics(&request.sandbox_id);
                respond(reply, answer);
            }
        }
    }

    fn create_sandbox(&mut self, request: &CreateSandboxRequest) -> Result<CreateSandboxResponse, Error> {
        valid_id("sandbox", &request.sandbox_id)?;
        if let Some(pod) = &self.pod {
            return Err(Error::AlreadyExists(format!("sandbox {}", pod.id)));
        }
        let bundle = Bundle::new(&request.bundle_path);
        if !bundle.path().is_absolute() || !bundle.path().is_dir() {
            return Err(Error::NotFound(format!("bundle {:?}", request.bundle_path)));
        }
        bundle.write_members(&[])?;
        self.pod = Some(Pod {
            id: request.sandbox_id.clone(),
            bundle,
            network: Path::new(&request.netns_path).into(),
            created_at: SystemTime::now(),
            sandbox: Sandbox::new(),
            waiters: Vec::new(),
            enders: Vec::new(),
            shutdown: false,
        });
        Ok(CreateSandboxResponse::default())
    }

    fn start_sandbox(&mut self, id: &str) -> Result<StartSandboxResponse, Error> {
        let namespace = self.settings.namespace.clone();
        let (pod, _) = self.ask_sandbox(id, Request::Start)?;
        let pid = pause::start(&namespace, id, &pod.network)?;
        pod.sandbox.started(pid);
        let record = process::start_time(pid).map(|start_time| InitRecord { pid, start_time });
        if let Some(Err(error)) = record.map(|record| pod.bundle.write_init(&record)) {
            // It dies with the shim in any case.
            log!("{id}: {error}");
        }
        let created_at = timestamp(Some(pod.created_at));
        Ok(StartSandboxResponse { pid, created_at, ..StartSandboxResponse::default() })
    }

    fn wait_sandbox(&mut self, id: &str, reply: Reply) {
        match self.ask_sandbox(id, Request::Wait) {
            Ok((_, Next::Ended(exit))) => reply.ok(&wait_response(exit)),
            Ok((pod, Next::Park | Next::Run)) => pod.waiters.push(reply),
            Err(error) => reply.fail(error),
        }
    }

    /// Kills the members at once: containerd has asked them to end before, and they get no second chance.
    fn stop_sandbox(&mut self, id: &str, shutdown: bool, reply: Reply) {
        match self.ask_sandbox(id, Request::Stop) {
            Ok((pod, _)) => {
                pod.enders.push(reply);
                pod.shutdown |= shutdown;
                self.kill_members();
            }
            Err(error) => reply.fail(error),
        }
    }

    /// containerd sends it after a `CreateSandbox` that failed as well, and then nothing has to be stopped.
    fn shutdown_sandbox(&mut self, id: &str, reply: Reply) {
        if self.is_empty() {
            self.leaving = true;
            return reply.done();
        }
        self.stop_sandbox(id, true, reply);
    }

    /// What Kubernetes counts for a pod: the cgroup in which those of its containers lie.
    fn sandbox_metrics(&mut self, id: &str) -> Result<SandboxMetricsResponse, Error> {
        self.ask_sandbox(id, Request::Look)?;
        let mut response = SandboxMetricsResponse::new();
        let metric = response.metrics.mut_or_insert_default();
        metric.timestamp = timestamp(Some(SystemTime::now()));
        id.clone_into(&mut metric.id);
        metric.data = self.members_use();
        Ok(response)
    }

    /// The metrics of the one cgroup in which all members have theirs.
    fn members_use(&self) -> MessageField<Any> {
        let mut parents = self.containers.values().filter_map(|container| container.cgroup.as_ref()?.parent());
        let first = parents.next();
        let shared = first.filter(|first| parents.all(|other| other == *first));
        shared.as_ref().and_then(Cgroup::metrics).into()
    }

    /// Whether a container may be made here now: anywhere but in a sandbox that does not run.
    pub(super) fn admit_member(&mut self, container: &str) -> Result<(), Error> {
        match &mut self.pod {
            None => Ok(()),
            Some(pod) => {
                let asked = pod.sandbox.request(Request::Join);
                asked.map(drop).map_err(|refusal| Error::refused(refusal, container, ""))
            }
        }
    }

    /// Writes down whom `delete` has to think of when this shim is dead.
    pub(super) fn record_members(&self) {
        let Some(pod) = &self.pod else { return };
        let record = |(id, container): (&String, &Container)| MemberRecord {
            id: id.clone(),
            bundle: container.engine.bundle.path().into(),
        };
        let members: Vec<_> = self.containers.iter().map(record).collect();
        if let Err(error) = pod.bundle.write_members(&members) {
            log!("{}: {error}", pod.id);
        }
    }

    /// Kills whatever lives in a container.
    pub(super) fn kill_members(&self) {
        for container in self.containers.values().filter(|container| !container.is_over()) {
            let job = container.kill_job(Signal::SIGKILL as u32, true);
            let id = job.engine.id.clone();
            tokio::spawn(async move {
                if let Err(error) = work::kill(job).await {
                    // It is being made, and is killed then, or has just ended.
                    log!("{id}: {error}");
                }
            });
        }
    }

    /// Whether this was the process of the sandbox.
    pub(super) fn sandbox_exited(&mut self, pid: u32, exit: Exit) -> bool {
        let Some(pod) = self.pod.as_mut().filter(|pod| pod.sandbox.pid() == pid && pod.sandbox.exit().is_none()) else {
            return false;
        };
        if let Err(error) = pod.bundle.write_exit(&ExitRecord::new(pid, exit, true)) {
            log!("{}: {error}", pod.id);
        }
        pod.sandbox.exited(exit);
        pod.release(exit);
        true
    }

    /// Goes on with the end of a sandbox that somebody wanted.
    pub(super) fn end_sandbox(&mut self) {
        let members_live = self.containers.values().any(|container| !container.is_over());
        let Some(pod) = &mut self.pod else { return };
        match pod.sandbox.advance(members_live, SystemTime::now()) {
            Step::Nothing => {}
            Step::Kill(pid) => kill_child(pid),
            Step::Over(exit) => {
                pod.release(exit);
                pod.enders.drain(..).for_each(Reply::done);
                self.leaving |= pod.shutdown;
            }
        }
    }

    /// Asks the sandbox of this id, if it is there.
    fn ask_sandbox(&mut self, id: &str, request: Request) -> Result<(&mut Pod, Next), Error> {
        let pod = self.pod.as_mut().filter(|pod| pod.id == id);
        let pod = pod.ok_or_else(|| Error::NotFound(format!("sandbox {id}")))?;
        let next = pod.sandbox.request(request).map_err(|refusal| Error::refused(refusal, id, ""))?;
        Ok((pod, next))
    }
}

impl Pod {
    /// Answers whoever waits.
    fn release(&mut self, exit: Exit) {
        self.waiters.drain(..).for_each(|waiter| waiter.ok(&wait_response(exit)));
    }
}

fn wait_response(exit: Exit) -> WaitSandboxResponse {
    let exited_at = timestamp(Some(exit.at));
    WaitSandboxResponse { exit_status: exit.status, exited_at, ..WaitSandboxResponse::default() }
}

/// Where the containers run, in the words of the OCI, which are Go's.
fn platform() -> PlatformResponse {
    let architecture = match consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        other => other,
    };
    let platform = Platform { os: consts::OS.to_owned(), architecture: architecture.to_owned(), ..Platform::default() };
    PlatformResponse { platform: Some(platform).into(), ..PlatformResponse::default() }
}
