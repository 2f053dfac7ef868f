//! Plays a script in a lab; the model judges each answer.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal;
use serde_json::json;

use super::{
    Container, Exec, Lab, NOTICE, Order, Pending, Process,
    message::{self, Request},
    process::identify,
    program,
    stdio::Wiring,
};
use crate::{
    check::Stop,
    history::{Answer, Method},
    property::Stage,
    script::{Ask, Call, EXECS, Script, Step, Who},
    wire::{EventsMode, Order as Command},
};

/// How long an exit may take to be told: the duty is [`NOTICE`], the rest is for a busy host.
const PATIENCE: Duration = NOTICE.saturating_mul(5);

/// Plays `script`, leaving out what makes no sense where it stands.
///
/// # Errors
///
/// A violation at the first answer that the model does not permit.
pub async fn play(lab: &Lab, script: &Script) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::exits_when("init"))).await?;
    let mut player = Player {
        lab,
        container,
        execs: [const { None }; EXECS],
        init_pid: None,
        stage: Stage::default(),
        waits: Vec::new(),
    };
    for (number, &step) in script.steps.iter().enumerate() {
        if !player.stage.allows(step) || !player.can(step) {
            lab.note(format!("step {}, {step}, is left out", number + 1));
            continue;
        }
        lab.note(format!("step {}: {step}", number + 1));
        player.take(step).await?;
    }
    player.finish().await
}

struct Player<'l> {
    lab: &'l Lab,
    container: Container<'l>,
    execs: [Option<Exec<'l>>; EXECS],
    init_pid: Option<u32>,
    stage: Stage,
    /// Waits that were sent while their process lived.
    waits: Vec<(Who, Pending<'l>)>,
}

impl<'l> Player<'l> {
    /// Whether this host can carry out the step.
    fn can(&self, step: Step) -> bool {
        let (Step::Call(call) | Step::RestartDuring(call)) = step else {
            return true;
        };
        let needs_cgroups = matches!(call.ask, Ask::Pause | Ask::Resume | Ask::Stats | Ask::Update);
        !needs_cgroups || self.lab.job().cgroups
    }

    async fn take(&mut self, step: Step) -> Result<(), Stop> {
        match step {
            Step::Call(call) if call.ask == Ask::Wait => self.wait(call).await?,
            Step::Call(call) => {
                let request = self.request(call)?;
                let answer = self.lab.call(request).await?;
                self.judge(call, &answer)?;
                let model = &self.stage.model;
                self.waits.retain(|(who, _)| model.may_exist(*who));
            }
            Step::RestartDuring(call) => self.restart_during(call).await?,
            Step::Restart => self.restart().await?,
            Step::Exit(who) => self.tell_to_exit(who)?,
            Step::KillInit => self.kill_init()?,
            Step::StopShim => self.container.signal_shim(signal::SIGSTOP)?,
            Step::ContinueShim => self.container.signal_shim(signal::SIGCONT)?,
            Step::Redial => {
                self.container.redial().await?;
                // The former connection lives as long as a call on it does, and nobody listens to those any more.
                self.waits.clear();
            }
            Step::EventsRefuse => self.events(EventsMode::Refuse).await?,
            Step::EventsStall => self.events(EventsMode::Stall).await?,
            Step::EventsServe => self.events(EventsMode::Serve).await?,
        }
        self.stage.pass(step);
        Ok(())
    }

    /// Narrows the model by an answer, or accuses.
    fn judge(&mut self, call: Call, answer: &Answer) -> Result<(), Stop> {
        if call == Call::init(Ask::Create)
            && let Answer::Done(reply) = answer
        {
            self.init_pid = reply.pid;
        }
        match self.stage.model.after(call, answer) {
            Some(next) => {
                self.stage.model = next;
                Ok(())
            }
            None => Err(Stop::violated(
                format!("{call} was answered as no state of the task permits"),
                self.stage.model.permits(call).to_string(),
                answer.to_string(),
            )),
        }
    }

    /// Wait: for the answer where the process ends for certain, otherwise only until the call is on the wire.
    async fn wait(&mut self, call: Call) -> Result<(), Stop> {
        let pending = self.process(call.who).begin(Method::Wait).await?;
        if !self.stage.model.will_exit(call.who) {
            self.waits.push((call.who, pending));
            return Ok(());
        }
        let answer = pending.answer_within(self.lab.scaled(PATIENCE), "the process has ended").await?;
        self.judge(call, &answer)?;
        self.answered().await
    }

    /// Waits whose process has ended for certain must be answered. Those whose process is known no more are nobody's duty (contract
    /// TASK-18).
    async fn answered(&mut self) -> Result<(), Stop> {
        let model = self.stage.model.clone();
        self.waits.retain(|(who, _)| model.may_exist(*who));
        let (due, open) = std::mem::take(&mut self.waits).into_iter().partition(|(who, _)| model.has_exited(*who));
        self.waits = open;
        for (who, pending) in due {
            let duty = "its process has ended, and another Wait has told it";
            let answer = pending.answer_within(self.lab.scaled(PATIENCE), duty).await?;
            self.judge(Call { ask: Ask::Wait, who }, &answer)?;
        }
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), Stop> {
        self.lab.kill_containerd().await?;
        self.hear_out().await?;
        self.lab.start_containerd().await?;
        self.lab.reattached(&self.container).map(drop)
    }

    async fn restart_during(&mut self, call: Call) -> Result<(), Stop> {
        let request = self.request(call)?;
        let pending = self.lab.begin(request).await?;
        self.lab.kill_containerd().await?;
        let answer = pending.answer().await?;
        self.judge(call, &answer)?;
        self.hear_out().await?;
        self.lab.start_containerd().await?;
        self.lab.reattached(&self.container).map(drop)
    }

    /// Collects the ends of Waits whose connection is gone: they are known to nobody any more (contract LIFE-13).
    async fn hear_out(&mut self) -> Result<(), Stop> {
        for (_, pending) in std::mem::take(&mut self.waits) {
            pending.answer().await?;
        }
        Ok(())
    }

    async fn events(&self, mode: EventsMode) -> Result<(), Stop> {
        self.lab.obey(Command::Events(mode)).await?;
        Ok(())
    }

    fn tell_to_exit(&self, who: Who) -> Result<()> {
        let word = self.lab.places().shared.join(name(who));
        std::fs::write(&word, b"").with_context(|| format!("write {}", word.display()))
    }

    /// SIGKILL to init, when it still is the shim's child: a number alone may be somebody else's.
    fn kill_init(&self) -> Result<()> {
        let shim = self.container.shim()?;
        let init = self.init_pid.and_then(identify);
        match init {
            Some(init) if init.parent().is_ok_and(|parent| parent == shim.pid) => match init.signal(signal::SIGKILL) {
                // It ended between the look and the signal: nothing is left to kill.
                Err(_) if !init.is_alive() => Ok(()),
                signalled => signalled,
            },
            Some(_) | None => Ok(()),
        }
    }

    fn process(&self, who: Who) -> Process<'l> {
        match who {
            Who::Init => (*self.container).clone(),
            Who::Exec(_) => self.container.exec_named(&name(who)),
        }
    }

    fn request(&mut self, call: Call) -> Result<Request> {
        let process = self.process(call.who);
        let target = process.target();
        let plain = |method| message::plain(method, target);
        Ok(match call.ask {
            Ask::Create => self.container.create_request()?,
            Ask::Exec => self.exec_request(call.who)?,
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
    fn exec_request(&mut self, who: Who) -> Result<Request> {
        let Who::Exec(slot) = who else {
            anyhow::bail!("init is no exec");
        };
        if self.stage.model.is_absent(slot) {
            let word = self.lab.places().shared.join(name(who));
            match std::fs::remove_file(&word) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("remove {}", word.display()));
                }
                Ok(()) | Err(_) => {}
            }
            self.execs[slot] = Some(self.container.plan_exec(&name(who), Wiring::Null)?);
        }
        let exec = match &self.execs[slot] {
            Some(exec) => exec.clone(),
            None => self.container.plan_exec(&name(who), Wiring::Null)?,
        };
        Ok(exec.request(&program::exits_when(&name(who))))
    }

    /// Lets a stopped shim go on, and expects the Waits whose processes have ended for certain.
    async fn finish(mut self) -> Result<(), Stop> {
        if self.stage.stopped {
            self.container.signal_shim(signal::SIGCONT)?;
        }
        self.answered().await
    }
}

/// The name of a process's word, and of an exec.
fn name(who: Who) -> String {
    match who {
        Who::Init => "init".to_owned(),
        Who::Exec(exec) => format!("e{exec}"),
    }
}
