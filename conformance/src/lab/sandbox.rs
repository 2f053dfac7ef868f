//! Sandboxes: the messages of the Sandbox API, and the verbs.

use anyhow::{Context as _, Result};
use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, PingRequest, PlatformRequest, PlatformResponse, SandboxMetricsRequest,
    SandboxMetricsResponse, SandboxStatusRequest, SandboxStatusResponse, ShutdownSandboxRequest, StartSandboxRequest,
    StartSandboxResponse, StopSandboxRequest, WaitSandboxRequest, WaitSandboxResponse,
};
use protobuf::{Message as _, MessageField, well_known_types::any::Any};

use super::{Container, Lab, Order, Pending, containers::Role, message, program};
use crate::{
    check::Stop,
    contract::Release,
    history::{Answer, Exit, Method, Reply, SandboxFacts},
    lie::Lie,
    wire::{self, CallOutcome, Outcome},
};

/// The service of all calls about sandboxes.
pub(super) const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// A service that no shim has.
const NOBODYS: &str = "conformance.nobody.v1.Nobody";

/// The state of a sandbox in which containers can be made; any other string means that it is not ready (contract SBX-11).
pub const READY: &str = "SANDBOX_READY";

/// Whether this is a call of the Sandbox service.
pub(super) const fn is_about(method: Method) -> bool {
    matches!(
        method,
        Method::CreateSandbox
            | Method::StartSandbox
            | Method::Platform
            | Method::StopSandbox
            | Method::WaitSandbox
            | Method::SandboxStatus
            | Method::PingSandbox
            | Method::ShutdownSandbox
            | Method::SandboxMetrics
    )
}

/// The request of a call whose only argument is the sandbox; empty for one of another service.
pub(super) fn plain(method: Method, id: &str) -> Vec<u8> {
    macro_rules! with_id {
        ($message:ident) => {{
            let mut message = $message::new();
            id.clone_into(&mut message.sandbox_id);
            message::bytes(&message)
        }};
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are of another service")]
    match method {
        Method::CreateSandbox => with_id!(CreateSandboxRequest),
        Method::StartSandbox => with_id!(StartSandboxRequest),
        Method::Platform => with_id!(PlatformRequest),
        Method::StopSandbox => with_id!(StopSandboxRequest),
        Method::WaitSandbox => with_id!(WaitSandboxRequest),
        Method::SandboxStatus => with_id!(SandboxStatusRequest),
        Method::PingSandbox => with_id!(PingRequest),
        Method::ShutdownSandbox => with_id!(ShutdownSandboxRequest),
        Method::SandboxMetrics => with_id!(SandboxMetricsRequest),
        _ => Vec::new(),
    }
}

/// Reads an answer of the Sandbox service.
pub(super) fn reply(reply: &mut Reply, method: Method, payload: &[u8]) -> Result<()> {
    let mut facts = SandboxFacts::default();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others say nothing, or are of another service")]
    match method {
        Method::StartSandbox => {
            let message = StartSandboxResponse::parse_from_bytes(payload)?;
            reply.pid = Some(message.pid);
            facts.created = message::wall_time(&message.created_at);
        }
        Method::Platform => {
            let message = PlatformResponse::parse_from_bytes(payload)?;
            facts.platform = message.platform.into_option().map(|platform| (platform.os, platform.architecture));
        }
        Method::WaitSandbox => {
            let message = WaitSandboxResponse::parse_from_bytes(payload)?;
            reply.exit = Some(Exit { status: message.exit_status, at: message::wall_time(&message.exited_at) });
        }
        Method::SandboxStatus => {
            let message = SandboxStatusResponse::parse_from_bytes(payload)?;
            reply.pid = Some(message.pid);
            facts.created = message::wall_time(&message.created_at);
            facts.exited = message::wall_time(&message.exited_at);
            facts.id = message.sandbox_id;
            facts.state = message.state;
        }
        Method::SandboxMetrics => {
            let message = SandboxMetricsResponse::parse_from_bytes(payload)?;
            if let Some(metric) = message.metrics.into_option() {
                reply.stats = metric.data.as_ref().map(|data| (data.type_url.clone(), data.value.len()));
                facts.id = metric.id;
            }
        }
        _ => {}
    }
    reply.sandbox = Some(facts);
    Ok(())
}

/// How far a sandbox has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its shim serves and has heard nothing of it.
    Unknown,
    /// CreateSandbox was answered.
    Created,
    /// StartSandbox was answered.
    Ready,
    /// StopSandbox was answered.
    Stopped,
}

/// A sandbox of the lab: a bundle, a shim, and what calls make of it.
#[derive(Clone)]
pub struct Sandbox<'l> {
    host: Container<'l>,
}

impl Lab {
    /// A sandbox that has got so far.
    ///
    /// # Errors
    ///
    /// `NotApplicable` when the shim has no Sandbox service; a violation when it refuses.
    pub async fn sandbox_at(&self, stage: Stage) -> Result<Sandbox<'_>, Stop> {
        let order = Order::new(program::sleeps()).id("pod").pod("pod", "sandbox");
        let sandbox = Sandbox { host: self.serve(order).await? };
        self.offers_sandboxes(&sandbox.host).await?;
        let steps = [Method::CreateSandbox, Method::StartSandbox, Method::StopSandbox];
        let wanted = match stage {
            Stage::Unknown => 0,
            Stage::Created => 1,
            Stage::Ready => 2,
            Stage::Stopped => 3,
        };
        for step in steps.into_iter().take(wanted) {
            sandbox.ask(step).await?.done(step.name())?;
        }
        Ok(sandbox)
    }

    /// A sandbox that is ready.
    ///
    /// # Errors
    ///
    /// As [`Self::sandbox_at`].
    pub async fn sandbox(&self) -> Result<Sandbox<'_>, Stop> {
        self.sandbox_at(Stage::Ready).await
    }

    /// A sandbox whose bundle has no config.json, and whose shim serves.
    ///
    /// # Errors
    ///
    /// `NotApplicable` when the shim has no Sandbox service; a violation when `start` fails.
    pub async fn sandbox_without_config(&self) -> Result<Sandbox<'_>, Stop> {
        // A shim without sandboxes need not start without a configuration.
        self.offers_sandboxes(&self.serve(Order::new(program::sleeps())).await?).await?;
        let order = Order::new(program::sleeps()).id("pod").without_config();
        Ok(Sandbox { host: self.serve(order).await? })
    }

    /// Ends a sandbox however far it got, as containerd would. Refusals are in the history.
    pub(super) async fn end_sandbox(&self, host: &Container<'_>) -> Result<()> {
        let sandbox = Sandbox { host: host.clone() };
        if host.shim().is_ok_and(super::process::Identity::is_alive) {
            sandbox.ask(Method::StopSandbox).await?;
            if !matches!(sandbox.ask(Method::ShutdownSandbox).await?, Answer::Done(_)) {
                host.call(Method::Shutdown).await?;
            }
            // A shim that stays is in the history.
            _ = host.shim_gone(self.leave_limit()).await;
        }
        // Judged by the invariants.
        _ = host.execute_delete().await;
        if let Err(Stop::Violated(violation)) = host.forget().await {
            self.note(violation.to_string());
        }
        Ok(())
    }

    /// A shim without the service answers its calls as it does those of a service that nobody has.
    async fn offers_sandboxes(&self, host: &Container<'_>) -> Result<(), Stop> {
        let ours = self.call_raw(host, SERVICE, Method::PingSandbox.name()).await?;
        if let Answer::Refused { code, .. } = ours
            && let Answer::Refused { code: nobodys, .. } = self.call_raw(host, NOBODYS, "Nothing").await?
            && code == nobodys
        {
            return Err(Stop::NotApplicable("the shim does not offer the Sandbox API".to_owned()));
        }
        Ok(())
    }

    /// Calls `method` of `service`, which the history knows nothing of.
    async fn call_raw(&self, host: &Container<'_>, service: &str, method: &str) -> Result<Answer> {
        let order = wire::Order::Call {
            id: host.id().to_owned(),
            service: Some(service.to_owned()),
            method: method.to_owned(),
            payload: plain(Method::PingSandbox, host.id()),
            deadline_ms: u64::try_from(self.scaled(super::CALL).as_millis()).unwrap_or(u64::MAX),
            tell_deadline: false,
        };
        let Outcome::Called(outcome) = self.obey(order).await? else {
            anyhow::bail!("fake containerd answers a call with something else");
        };
        // The messages of these answers are not looked at.
        let outcome = if let CallOutcome::Response(_) = outcome { CallOutcome::Response(Vec::new()) } else { outcome };
        let answer = message::answer(Method::PingSandbox, outcome);
        self.note(format!("{service}/{method} is answered with {answer}"));
        Ok(answer)
    }

    /// Calls a method of the Sandbox service that no shim can have.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn call_unknown(&self, host: &Container<'_>) -> Result<Answer> {
        let answer = self.call_raw(host, SERVICE, "NoSuchMethod").await?;
        Ok(if self.lie() == Some(Lie::UnknownServed) { Answer::Done(Box::default()) } else { answer })
    }
}

impl<'l> Sandbox<'l> {
    /// The bundle of its id, and its shim.
    pub fn host(&self) -> &Container<'l> {
        &self.host
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.host.id()
    }

    /// Any call about it, with its usual arguments.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn ask(&self, method: Method) -> Result<Answer> {
        self.begin(method).await?.answer().await
    }

    /// The same, returning as soon as the call is on the wire.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn begin(&self, method: Method) -> Result<Pending<'l>> {
        if method == Method::CreateSandbox {
            return self.begin_create(self.create_message(), "").await;
        }
        self.host.lab().begin(message::plain(method, self.host.target())).await
    }

    /// CreateSandbox as Kubernetes has it sent: with a pod's configuration, which names nothing, and an annotation.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn create_for_kubernetes(&self) -> Result<Answer> {
        let mut message = self.create_message();
        let mut options = Any::new();
        "runtime.v1.PodSandboxConfig".clone_into(&mut options.type_url);
        message.options = MessageField::some(options);
        message.annotations.insert("io.kubernetes.cri.sandbox-name".to_owned(), "pod".to_owned());
        self.begin_create(message, "with a pod's configuration").await?.answer().await
    }

    async fn begin_create(&self, message: CreateSandboxRequest, args: &str) -> Result<Pending<'l>> {
        // From here on it may exist.
        self.host.takes(Role::Sandbox);
        let payload = message::bytes(&message);
        let request = message::request(Method::CreateSandbox, self.host.target(), args.to_owned(), payload);
        self.host.lab().begin(request).await
    }

    fn create_message(&self) -> CreateSandboxRequest {
        let mut message = CreateSandboxRequest::new();
        self.id().clone_into(&mut message.sandbox_id);
        message.bundle_path = self.host.bundle().display().to_string();
        message
    }

    /// A call about another sandbox, which the shim does not have.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn ask_about_another(&self, method: Method) -> Result<Answer> {
        self.host.container_named("another").call(method).await
    }

    /// StopSandbox with a time that the sandbox may take.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn stop_within(&self, seconds: u32) -> Result<Answer> {
        let mut message = StopSandboxRequest::new();
        self.id().clone_into(&mut message.sandbox_id);
        message.timeout_secs = seconds;
        let args = format!("within {seconds} s");
        let request = message::request(Method::StopSandbox, self.host.target(), args, message::bytes(&message));
        self.host.lab().call(request).await
    }

    /// SandboxStatus with everything the shim cares to tell.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn verbose_status(&self) -> Result<Answer> {
        let mut message = SandboxStatusRequest::new();
        self.id().clone_into(&mut message.sandbox_id);
        message.verbose = true;
        let args = "verbose".to_owned();
        let request = message::request(Method::SandboxStatus, self.host.target(), args, message::bytes(&message));
        self.host.lab().call(request).await
    }

    /// SandboxStatus: the answer, and what it says of the sandbox.
    ///
    /// # Errors
    ///
    /// A violation when it is refused.
    pub async fn status(&self) -> Result<(Reply, SandboxFacts), Stop> {
        let reply = self.ask(Method::SandboxStatus).await?.done("SandboxStatus")?;
        let facts = reply.sandbox.clone().context("an answer of the Sandbox service without its facts")?;
        Ok((*reply, facts))
    }

    /// SandboxStatus, which must say that it is ready, or that it is not.
    ///
    /// # Errors
    ///
    /// A violation when it is refused or says something else.
    pub async fn is_ready(&self, ready: bool) -> Result<(Reply, SandboxFacts), Stop> {
        let (reply, facts) = self.status().await?;
        if (facts.state == READY) == ready {
            return Ok((reply, facts));
        }
        let expected = if ready { READY.to_owned() } else { format!("anything but {READY}") };
        Err(Stop::violated("the sandbox is in the wrong state", expected, format!("{:?}", facts.state)))
    }

    /// StopSandbox, which must succeed.
    ///
    /// # Errors
    ///
    /// A violation when it is refused.
    pub async fn stop(&self) -> Result<(), Stop> {
        self.ask(Method::StopSandbox).await?.done("StopSandbox").map(drop)
    }

    /// WaitSandbox; how it ended.
    ///
    /// # Errors
    ///
    /// A violation when it is refused.
    pub async fn wait(&self) -> Result<Exit, Stop> {
        self.ask(Method::WaitSandbox).await?.exit("WaitSandbox")
    }

    /// A container of this sandbox of which the shim has heard nothing, with a connection of its own.
    ///
    /// # Errors
    ///
    /// A violation when the shim cannot be reached.
    pub async fn joined(&self, order: Order) -> Result<Container<'l>, Stop> {
        let lab = self.host.lab();
        let member = lab.bundle(order.pod(self.id(), "container")).await?;
        let bootstrap = self.host.bootstrap()?;
        // Before version 3 each member has a `start` of its own, which finds the shim by the pod (contract SBX-14).
        let started = bootstrap.version < 3 && lab.setup().profile.release >= Release::V2_0;
        member.takes(Role::Member { started });
        if started {
            member.start_shim().await?;
        } else {
            let (id, sandbox) = (member.id().to_owned(), self.id().to_owned());
            lab.obey(wire::Order::Member { id, sandbox }).await?;
            member.reached_at(bootstrap).await?;
        }
        Ok(member)
    }

    /// A running member.
    ///
    /// # Errors
    ///
    /// A violation when the shim refuses.
    pub async fn member(&self, order: Order) -> Result<Container<'l>, Stop> {
        let member = self.joined(order).await?;
        member.create().await?;
        member.start().await?;
        Ok(member)
    }

    /// Executes `delete` for whatever containerd executes it when the shim is gone: for the sandbox, and for members with a `start`.
    ///
    /// # Errors
    ///
    /// A violation when one of them fails.
    pub async fn cleaned(&self, members: &[Container<'l>]) -> Result<(), Stop> {
        for member in members.iter().filter(|member| member.role() == Role::Member { started: true }) {
            member.cleaned().await?;
        }
        self.host.cleaned().await?;
        for member in members {
            member.forget().await?;
        }
        self.host.forget().await
    }
}
