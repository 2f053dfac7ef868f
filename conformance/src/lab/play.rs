//! Plays a script in a lab; the model judges each answer.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{
    Container, Exec, Lab, NOTICE, Order, Pending, Process,
    message::{self, Request},
    process::{Identity, identify},
    program,
    stdio::Wiring,
};
use crate::{
    check::Stop,
    history::{Answer, Method},
    model::Excuse,
    property::Stage,
    script::{Ask, Call, EXECS, Script, Step, Who},
    wire::{EventsMode, Order as Command},
};

/// How long an exit may take to be told: the duty is [`NOTICE`], the rest is for a busy host.
pub(super) const PATIENCE: Duration = NOTICE.saturating_mul(5);

/// Plays `script`, leaving out what makes no sense where it stands.
///
/// # Errors
///
/// A violation at the first answer that the model does not permit.
pub async fn play(lab: &Lab, script: &Script) -> Result<(), Stop> {
    let mut actor = Actor::enter(lab, None, None).await?;
    let mut stage = Stage::default();
    for (number, &step) in script.steps.iter().enumerate() {
        if !stage.allows(step) || !actor.can(step) {
            lab.note(format!("step {}, {step}, is left out", number + 1));
            continue;
        }
        lab.note(format!("step {}: {step}", number + 1));
        actor.take(&mut stage, step).await?;
        stage.pass(step);
    }
    if stage.stopped {
        actor.container.signal_shim(Signal::SIGCONT)?;
    }
    actor.answered(&mut stage).await
}

/// A container of a story, and the lab's hold on its processes. What is known of it is its stage, which belongs to the story.
pub(super) struct Actor<'l> {
    lab: &'l Lab,
    pub(super) container: Container<'l>,
    /// What stands before the words of its processes and in front of its calls, where there are several containers.
    name: Option<&'l str>,
    execs: [Option<Exec<'l>>; EXECS],
    /// As far as any answer named them.
    pids: BTreeMap<Who, u32>,
    /// Waits that were sent while their process lived.
    waits: Vec<(Who, Pending<'l>)>,
}

impl<'l> Actor<'l> {
    /// A container that is served and knows no task, called `name` and in the group `group`.
    pub(super) async fn enter(lab: &'l Lab, name: Option<&'l str>, group: Option<&str>) -> Result<Self, Stop> {
        let mut order = Order::new(program::exits_when(&word(name, Who::Init)));
        if let Some(name) = name {
            order = order.id(name);
        }
        if let Some(group) = group {
            order = order.group(group);
        }
        let container = lab.serve(order).await?;
        let execs = [const { None }; EXECS];
        Ok(Self { lab, container, name, execs, pids: BTreeMap::new(), waits: Vec::new() })
    }

    /// Whether this host can carry out the step.
    pub(super) fn can(&self, step: Step) -> bool {
        let (Step::Call(call) | Step::RestartDuring(call)) = step else {
            return true;
        };
        let needs_cgroups = matches!(call.ask, Ask::Pause | Ask::Resume | Ask::Stats | Ask::Update);
        !needs_cgroups || self.lab.job().cgroups
    }

    async fn take(&mut self, stage: &mut Stage, step: Step) -> Result<(), Stop> {
        match step {
            Step::Call(call) if call.ask == Ask::Wait => {
                let certain = stage.model.will_exit(call.who);
                self.wait(stage, call, certain).await?;
            }
            Step::Call(call) => {
                let request = self.request(stage, call)?;
                let answer = self.lab.call(request).await?;
                self.judge(stage, call, &answer, Excuse::default())?;
            }
            Step::RestartDuring(call) => {
                let pending = self.begin(stage, call).await?;
                self.lab.kill_containerd().await?;
                let answer = pending.answer().await?;
                self.judge(stage, call, &answer, Excuse::default())?;
                self.restarted().await?;
            }
            Step::Restart => {
                self.lab.kill_containerd().await?;
                self.restarted().await?;
            }
            Step::Exit(who) => self.tell_to_exit(who)?,
            Step::KillInit => self.strike(Who::Init, Signal::SIGKILL)?,
            Step::StopShim => self.container.signal_shim(Signal::SIGSTOP)?,
            Step::ContinueShim => self.container.signal_shim(Signal::SIGCONT)?,
            Step::Redial => self.redial().await?,
            Step::EventsRefuse => events(self.lab, EventsMode::Refuse).await?,
            Step::EventsStall => events(self.lab, EventsMode::Stall).await?,
            Step::EventsServe => events(self.lab, EventsMode::Serve).await?,
        }
        Ok(())
    }

    /// Sends `call` and returns as soon as it is on the wire.
    pub(super) async fn begin(&mut self, stage: &Stage, call: Call) -> Result<Pending<'l>> {
        let request = self.request(stage, call)?;
        self.lab.begin(request).await
    }

    /// Narrows the model by an answer, or accuses.
    pub(super) fn judge(&mut self, stage: &mut Stage, call: Call, answer: &Answer, excuse: Excuse) -> Result<(), Stop> {
        if let Answer::Done(reply) = answer
            && let Some(pid) = reply.pid.filter(|pid| *pid > 0)
        {
            self.pids.insert(call.who, pid);
        }
        let Some(next) = stage.model.after_excused(call, answer, excuse) else {
            let whose = self.name.map_or_else(String::new, |name| format!("{name}: "));
            return Err(Stop::violated(
                format!("{whose}{call} was answered as no state of the task permits"),
                stage.model.permits(call).to_string(),
                answer.to_string(),
            ));
        };
        stage.model = next;
        self.waits.retain(|(who, _)| stage.model.may_exist(*who));
        Ok(())
    }

    /// Wait: for the answer where the process ends for certain, otherwise only until the call is on the wire.
    pub(super) async fn wait(&mut self, stage: &mut Stage, call: Call, certain: bool) -> Result<(), Stop> {
        let pending = self.process(call.who).begin(Method::Wait).await?;
        if !certain {
            self.waits.push((call.who, pending));
            return Ok(());
        }
        let answer = pending.answer_within(self.lab.scaled(PATIENCE), "the process has ended").await?;
        self.judge(stage, call, &answer, Excuse::default())?;
        self.answered(stage).await
    }

    /// Waits whose process has ended for certain must be answered. Those whose process is known no more are nobody's duty (contract
    /// TASK-18).
    pub(super) async fn answered(&mut self, stage: &mut Stage) -> Result<(), Stop> {
        let model = stage.model.clone();
        self.waits.retain(|(who, _)| model.may_exist(*who));
        let (due, open) = std::mem::take(&mut self.waits).into_iter().partition(|(who, _)| model.has_exited(*who));
        self.waits = open;
        for (who, pending) in due {
            let duty = "its process has ended, and another Wait has told it";
            let answer = pending.answer_within(self.lab.scaled(PATIENCE), duty).await?;
            self.judge(stage, Call { ask: Ask::Wait, who }, &answer, Excuse::default())?;
        }
        Ok(())
    }

    /// containerd was killed; the next one finds the shim again.
    async fn restarted(&mut self) -> Result<(), Stop> {
        self.hear_out().await?;
        self.lab.start_containerd().await?;
        self.lab.reattached(&self.container).map(drop)
    }

    /// The connection is dropped and made anew.
    pub(super) async fn redial(&mut self) -> Result<()> {
        self.container.redial().await?;
        // The former connection lives as long as a call on it does, and nobody listens to those any more.
        self.waits.clear();
        Ok(())
    }

    /// Collects the ends of Waits whose connection is gone: they are known to nobody any more (contract LIFE-13).
    pub(super) async fn hear_out(&mut self) -> Result<(), Stop> {
        for (_, pending) in std::mem::take(&mut self.waits) {
            pending.answer().await?;
        }
        Ok(())
    }

    pub(super) fn tell_to_exit(&self, who: Who) -> Result<()> {
        let word = self.lab.places().shared.join(word(self.name, who));
        std::fs::write(&word, b"").with_context(|| format!("write {}", word.display()))
    }

    /// The process of `who`, when it still is the shim's child: a number alone may be somebody else's.
    pub(super) fn found(&self, who: Who) -> Result<Option<Identity>> {
        let shim = self.container.shim()?;
        let process = self.pids.get(&who).copied().and_then(identify);
        Ok(process.filter(|process| process.parent().is_ok_and(|parent| parent == shim.pid)))
    }

    /// A signal to the process of `who`, past the shim; none when it is not there any more.
    pub(super) fn strike(&self, who: Who, signal: Signal) -> Result<()> {
        match self.found(who)? {
            Some(process) => match process.signal(signal) {
                // It ended between the look and the signal: nothing is left to strike.
                Err(_) if !process.is_alive() => Ok(()),
                signalled => signalled,
            },
            None => Ok(()),
        }
    }

    fn process(&self, who: Who) -> Process<'l> {
        match who {
            Who::Init => (*self.container).clone(),
            Who::Exec(_) => self.container.exec_named(&exec_id(who)),
        }
    }

    fn request(&mut self, stage: &Stage, call: Call) -> Result<Request> {
        let process = self.process(call.who);
        let target = process.target();
        let plain = |method| message::plain(method, target);
        Ok(match call.ask {
            Ask::Create => self.container.create_request()?,
            Ask::Exec => self.exec_request(stage, call.who)?,
            Ask::Kill(signal) => message::kill(target, signal.number().unsigned_abs(), false),
            Ask::ResizePty => message::resize(target, 80, 25),
            Ask::CloseIo => message::close_stdin(target),
            Ask::Update => message::update(target, Some(&json!({ "memory": { "limit": 256 << 20 } }))),
            Ask::Start => plain(Method::Start),
            Ask::State => plain(Method::State),
            Ask::Wait => plain(Method::Wait),
            Ask::Delete => plain(Method::Delete),
            Ask::Pids => plain(Method::Pids),
            Ask::Pause => plain(Method::Pause),
            Ask::Resume => plain(Method::Resume),
            Ask::Connect => plain(Method::Connect),
            Ask::Stats => plain(Method::Stats),
            Ask::Shutdown => plain(Method::Shutdown),
        })
    }

    /// The request for a new exec; the word for its predecessor of the same name is taken back, unless that one may still be there.
    fn exec_request(&mut self, stage: &Stage, who: Who) -> Result<Request> {
        let Who::Exec(slot) = who else {
            anyhow::bail!("init is no exec");
        };
        let (id, word) = (exec_id(who), word(self.name, who));
        if stage.model.is_absent(slot) {
            let path = self.lab.places().shared.join(&word);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("remove {}", path.display()));
                }
                Ok(()) | Err(_) => {}
            }
            self.execs[slot] = Some(self.container.plan_exec(&id, Wiring::Null)?);
        }
        let exec = match &self.execs[slot] {
            Some(exec) => exec.clone(),
            None => self.container.plan_exec(&id, Wiring::Null)?,
        };
        Ok(exec.request(&program::exits_when(&word)))
    }
}

/// How the events service behaves from now on.
pub(super) async fn events(lab: &Lab, mode: EventsMode) -> Result<()> {
    lab.obey(Command::Events(mode)).await.map(drop)
}

/// The id of an exec.
fn exec_id(who: Who) -> String {
    match who {
        Who::Init => "init".to_owned(),
        Who::Exec(exec) => format!("e{exec}"),
    }
}

/// The word on which a process of the container `name` exits.
fn word(name: Option<&str>, who: Who) -> String {
    let id = exec_id(who);
    name.map_or_else(|| id.clone(), |name| format!("{name}-{id}"))
}
