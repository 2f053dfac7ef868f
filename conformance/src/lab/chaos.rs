//! Plays a plan in a lab: several containers in turns, faults that begin and end between their steps.
//!
//! The model judges each answer by what the faults in force excuse. In the end everything is healed, and then nothing is excused any
//! more: every shim that lives carries its containers to the end of their lives, and whatever a dead one left is cleaned up by `delete`.

mod fault;

use std::{collections::BTreeMap, future::Future, pin::Pin, time::Duration};

use anyhow::Result;
use fault_injector::fault::Seam;
use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::{
    InForce, Lab, NOTICE, Order,
    play::{Actor, PATIENCE, events},
    program,
};
use crate::{
    chaos::{
        plan::{Act, Name, Plan, Strike},
        scene::{Scene, cuts, lasts},
    },
    check::{Need, Stop},
    history::{Answer, Loss},
    model::{Excuse, InitPhase},
    script::{Ask, Call, EXECS, Signal as Sent, Step, Who},
    wire::EventsMode,
};

/// How long a call that a fault may hold up is waited for before the story goes on without its answer.
const HELD_UP: Duration = NOTICE;
/// The group of the containers that share a shim.
const POD: &str = "pod";

/// Plays `plan`, leaving out what makes no sense where it stands.
///
/// # Errors
///
/// A violation at the first answer that neither the model nor a fault permits.
pub async fn play(lab: &Lab, plan: &Plan) -> Result<(), Stop> {
    let mut director = Director::new(lab, plan).await?;
    let played = director.go_through().await;
    match played {
        // Whatever cannot be done to a shim that has died by itself is no trouble of the suite: the invariants judge the death.
        Err(Stop::Error(reason)) if director.has_lost_a_shim() => Err(Stop::Inconclusive(reason)),
        played => played,
    }
}

type Answering<'l> = Pin<Box<dyn Future<Output = Result<Answer>> + 'l>>;

struct Director<'l> {
    lab: &'l Lab,
    plan: &'l Plan,
    scene: Scene,
    actors: BTreeMap<Name, Actor<'l>>,
    /// The answers of the scene's open calls.
    open: BTreeMap<Name, Answering<'l>>,
    /// The faults in force.
    held: Vec<(Strike, InForce<'l>)>,
    /// Whether the runtime obeys rules here.
    has_rules: bool,
}

impl<'l> Director<'l> {
    async fn go_through(&mut self) -> Result<(), Stop> {
        let plan = self.plan;
        for (number, act) in plan.acts.iter().enumerate() {
            self.collect(act).await?;
            if !self.scene.allows(act) || !self.can(act) {
                self.lab.note(format!("act {}, {act}, is left out", number + 1));
                continue;
            }
            self.lab.note(format!("act {}: {act}", number + 1));
            self.perform(act).await?;
        }
        self.lab.note("everything is healed");
        self.heal_all().await?;
        self.live_on().await
    }

    /// Whether a shim is gone that nothing in the plan has ended.
    fn has_lost_a_shim(&self) -> bool {
        let lost = |(name, actor): (&Name, &Actor<'l>)| {
            !self.scene.is_gone(*name) && matches!(actor.container.shim_is_alive(), Ok(false))
        };
        self.actors.iter().any(lost)
    }

    /// Prepares the seams, which must come before the first shim; only those that are needed, for the shims of other plans to be as near to
    /// the world as they are otherwise.
    async fn new(lab: &'l Lab, plan: &'l Plan) -> Result<Self, Stop> {
        let strikes_at = |seam: Seam| plan.strikes().any(|strike| strike.fault.seam == seam);
        let has_rules = strikes_at(Seam::Runtime) && lab.job().lacks(Need::RuntimeRules).is_none();
        if has_rules {
            lab.need(Need::RuntimeRules)?;
        }
        if strikes_at(Seam::Events) {
            lab.front_events().await?;
        }
        let scene = Scene::new(&plan.pod);
        Ok(Self { lab, plan, scene, actors: BTreeMap::new(), open: BTreeMap::new(), held: Vec::new(), has_rules })
    }

    /// Whether this host can carry out the act.
    fn can(&self, act: &Act) -> bool {
        match act {
            Act::Step { of, step, .. } => self.actors.get(of).is_none_or(|actor| actor.can(*step)),
            Act::Inject(strike) => fault::can(self, *strike),
            Act::Heal(_) => true,
        }
    }

    async fn perform(&mut self, act: &Act) -> Result<(), Stop> {
        match act {
            Act::Inject(strike) => {
                let held = fault::begin(self, *strike).await?;
                self.held.push((*strike, held));
                self.scene.pass(act);
            }
            Act::Heal(strike) => self.heal(*strike).await?,
            Act::Step { of, step, unawaited } => {
                if act.about().is_some() {
                    self.enter(*of).await?;
                }
                self.step(*of, *step, *unawaited).await?;
                self.scene.pass(act);
            }
        }
        Ok(())
    }

    /// Starts a shim for `name`, unless it has one.
    async fn enter(&mut self, name: Name) -> Result<(), Stop> {
        if self.actors.contains_key(&name) {
            return Ok(());
        }
        let group = self.plan.pod.contains(&name).then_some(POD);
        let actor = Actor::enter(self.lab, Some(name.letter()), group).await?;
        let shim = actor.container.shim()?;
        // Who shares a shim is seen, not believed: a shim may have no groups, and a dead one is replaced.
        let mate = self.actors.iter().find(|(_, other)| other.container.shim().is_ok_and(|other| other == shim));
        let mate = mate.map(|(mate, _)| *mate);
        self.scene.serve(name, mate);
        self.actors.insert(name, actor);
        Ok(())
    }

    fn actor(&mut self, name: Name) -> Result<(&mut Actor<'l>, &mut crate::property::Stage)> {
        let actor = self.actors.get_mut(&name).ok_or_else(|| anyhow::anyhow!("container {name} was never served"))?;
        Ok((actor, &mut self.scene.part_mut(name).stage))
    }

    async fn step(&mut self, of: Name, step: Step, unawaited: bool) -> Result<(), Stop> {
        match step {
            Step::Call(call) if call.ask == Ask::Wait => self.wait(of, call).await?,
            Step::Call(call) => self.call(of, call, unawaited).await?,
            Step::RestartDuring(call) => {
                let (actor, stage) = self.actor(of)?;
                let pending = actor.begin(stage, call).await?;
                self.open_call(of, call, Box::pin(pending.answer()));
                self.restart().await?;
            }
            Step::Restart => self.restart().await?,
            Step::Exit(who) => self.actor(of)?.0.tell_to_exit(who)?,
            Step::KillInit => self.actor(of)?.0.strike(Who::Init, Signal::SIGKILL)?,
            Step::StopShim => self.actor(of)?.0.container.signal_shim(Signal::SIGSTOP)?,
            Step::ContinueShim => self.actor(of)?.0.container.signal_shim(Signal::SIGCONT)?,
            Step::Redial => self.actor(of)?.0.redial().await?,
            Step::EventsRefuse => events(self.lab, EventsMode::Refuse).await?,
            Step::EventsStall => events(self.lab, EventsMode::Stall).await?,
            Step::EventsServe => events(self.lab, EventsMode::Serve).await?,
        }
        Ok(())
    }

    async fn wait(&mut self, of: Name, call: Call) -> Result<(), Stop> {
        let part = self.scene.part(of);
        let undisturbed = !part.still && self.scene.excuse(of, call) == Excuse::default();
        let certain = part.stage.model.will_exit(call.who) && undisturbed;
        let (actor, stage) = self.actor(of)?;
        actor.wait(stage, call, certain).await
    }

    async fn call(&mut self, of: Name, call: Call, unawaited: bool) -> Result<(), Stop> {
        let before = self.bites();
        let (actor, stage) = self.actor(of)?;
        let pending = actor.begin(stage, call).await?;
        self.open_call(of, call, Box::pin(pending.answer()));
        if !unawaited {
            self.collect_of(of, Some(before)).await?;
        }
        self.notice_cut(of);
        Ok(())
    }

    fn open_call(&mut self, of: Name, call: Call, answer: Answering<'l>) {
        let excuse = self.scene.excuse(of, call);
        self.scene.part_mut(of).open = Some((call, excuse));
        self.open.insert(of, answer);
    }

    /// A connection on which a fault has struck may be broken.
    fn notice_cut(&mut self, of: Name) {
        let cut =
            self.held.iter().any(|(strike, held)| strike.on == Some(of) && cuts(strike.fault) && held.bites() > 0);
        if cut {
            self.scene.part_mut(of).cut = true;
        }
    }

    /// How often the faults in force have bitten.
    fn bites(&self) -> u32 {
        self.held.iter().map(|(_, held)| held.bites()).sum()
    }

    /// Takes the answer that stands in the way of `act`.
    async fn collect(&mut self, act: &Act) -> Result<(), Stop> {
        match act {
            Act::Heal(_) => Ok(()),
            // These calls are meant to be under way.
            Act::Step { step: Step::Restart, .. } => Ok(()),
            Act::Step { of, .. } => self.collect_of(*of, None).await,
            Act::Inject(strike) => match strike.on {
                Some(on) => {
                    for mate in self.scene.mates(on) {
                        self.collect_of(mate, None).await?;
                    }
                    Ok(())
                }
                None => Ok(()),
            },
        }
    }

    /// Takes the answer to the open call of `name`. Where a fault may hold it up it is given some time at most: when `before` is the number
    /// of bites before the call was made, until one more shows that it is held up; otherwise none.
    async fn collect_of(&mut self, name: Name, before: Option<u32>) -> Result<(), Stop> {
        let Some(mut answering) = self.open.remove(&name) else { return Ok(()) };
        let answer = if !self.scene.may_be_kept_back(name) {
            Some(answering.await?)
        } else {
            let limit = before.map_or(Duration::ZERO, |_| self.lab.scaled(HELD_UP));
            let held_up =
                super::deadline::until(limit, || before.is_none_or(|before| self.bites() > before).then_some(()));
            tokio::select! {
                biased;
                answer = &mut answering => Some(answer?),
                _ = held_up => {
                    self.open.insert(name, answering);
                    None
                }
            }
        };
        match answer {
            Some(answer) => self.answered(name, &answer),
            None => Ok(()),
        }
    }

    /// Judges the answer to the open call of `name`.
    fn answered(&mut self, name: Name, answer: &Answer) -> Result<(), Stop> {
        if let Some((call, excuse)) = self.scene.part_mut(name).open.take() {
            let (actor, stage) = self.actor(name)?;
            actor.judge(stage, call, answer, excuse)?;
        }
        self.notice_cut(name);
        Ok(())
    }

    /// Ends a fault; what it kept back is due.
    async fn heal(&mut self, strike: Strike) -> Result<(), Stop> {
        let mut has_bitten = false;
        if let Some(at) = self.held.iter().position(|(held, _)| *held == strike) {
            let (_, held) = self.held.remove(at);
            has_bitten = fault::end(self, strike, held).await? > 0;
        }
        let was_cut = strike.on.filter(|on| cuts(strike.fault) && has_bitten && !self.scene.is_gone(*on));
        self.scene.pass(&Act::Heal(strike));
        let about = |name: &Name| strike.on.is_none_or(|on| self.scene.mates(on).contains(name));
        let names: Vec<Name> = self.open.keys().copied().filter(about).collect();
        for name in names {
            self.due(name).await?;
        }
        if let Some(name) = was_cut {
            self.actor(name)?.0.redial().await?;
        }
        Ok(())
    }

    /// Expects the answer to the open call of `name`, unless another fault may still keep it back or it may be lost.
    async fn due(&mut self, name: Name) -> Result<(), Stop> {
        let Some((call, excuse)) = self.scene.part(name).open else { return Ok(()) };
        if !excuse.late || self.scene.may_be_kept_back(name) {
            return Ok(());
        }
        let Some(answering) = self.open.remove(&name) else { return Ok(()) };
        let limit = self.lab.scaled(if excuse.loss { HELD_UP } else { PATIENCE });
        match timeout(limit, answering).await {
            Ok(answer) => self.answered(name, &answer?),
            Err(_) if excuse.loss => self.answered(name, &Answer::Lost(Loss::Deadline)),
            Err(_) => Err(Stop::violated(
                format!("{name}: {call} was not answered after the fault was healed"),
                format!("an answer within {} ms", limit.as_millis()),
                "none",
            )),
        }
    }

    /// containerd is killed; the next one finds every shim that lives.
    async fn restart(&mut self) -> Result<(), Stop> {
        self.lab.kill_containerd().await?;
        self.hear_out().await?;
        self.lab.start_containerd().await?;
        self.reattached()
    }

    /// Takes what is known of every call whose connection ended with containerd.
    async fn hear_out(&mut self) -> Result<(), Stop> {
        for (name, answering) in std::mem::take(&mut self.open) {
            let answer = answering.await?;
            self.answered(name, &answer)?;
        }
        for actor in self.actors.values_mut() {
            actor.hear_out().await?;
        }
        Ok(())
    }

    /// Lets go of the calls of `name`, whose shim is dead.
    async fn forget_calls(&mut self, name: Name) -> Result<(), Stop> {
        self.scene.part_mut(name).open = None;
        if let Some(answering) = self.open.remove(&name) {
            answering.await?;
        }
        if let Some(actor) = self.actors.get_mut(&name) {
            actor.hear_out().await?;
        }
        Ok(())
    }

    fn reattached(&self) -> Result<(), Stop> {
        for (name, actor) in &self.actors {
            if !self.scene.is_gone(*name) {
                self.lab.reattached(&actor.container)?;
            }
        }
        Ok(())
    }

    /// Heals every fault, and takes every answer that is still due.
    async fn heal_all(&mut self) -> Result<(), Stop> {
        for strike in self.scene.strikes().to_vec() {
            if lasts(strike.fault) {
                self.heal(strike).await?;
            }
        }
        let names: Vec<Name> = self.actors.keys().copied().collect();
        for &name in &names {
            let part = self.scene.part(name);
            if part.stage.stopped && !self.scene.is_gone(name) {
                self.perform(&Act::step(name, Step::ContinueShim)).await?;
            }
        }
        if names.iter().any(|name| self.scene.part(*name).stage.deaf) {
            self.perform(&Act::step(Name::default(), Step::EventsServe)).await?;
        }
        for name in names {
            self.collect_of(name, None).await?;
            if self.scene.part(name).cut && !self.scene.is_gone(name) {
                self.perform(&Act::step(name, Step::Redial)).await?;
            }
        }
        Ok(())
    }

    /// Every shim that lives is as good as new, and of one that is dead nothing is left.
    async fn live_on(&mut self) -> Result<(), Stop> {
        let names: Vec<Name> = self.actors.keys().copied().collect();
        let mut pod_lives = false;
        for name in names {
            if self.scene.is_gone(name) {
                self.clean_up(name).await?;
            } else {
                pod_lives |= self.plan.pod.contains(&name);
                self.end_life(name).await?;
            }
        }
        if pod_lives { self.newcomer().await } else { Ok(()) }
    }

    /// What containerd does when a connection ends by itself: the `delete` action takes down what there was.
    async fn clean_up(&mut self, name: Name) -> Result<(), Stop> {
        let (actor, stage) = self.actor(name)?;
        let existed = stage.model.is_in(&[InitPhase::Created, InitPhase::Running, InitPhase::Paused]);
        if existed {
            actor.container.cleaned().await?;
            actor.container.forget().await?;
        }
        Ok(())
    }

    /// Carries the container on from wherever it is to the end of its life.
    async fn end_life(&mut self, name: Name) -> Result<(), Stop> {
        let model = |director: &Self| director.scene.part(name).stage.model.clone();
        let ask = |ask| Call::init(ask);
        self.ask(name, ask(Ask::State)).await?;
        if model(self).is_in(&[InitPhase::Absent]) {
            self.ask(name, ask(Ask::Create)).await?;
        }
        if model(self).is_in(&[InitPhase::Created]) {
            self.ask(name, ask(Ask::Start)).await?;
        }
        if !model(self).may_exist(Who::Init) {
            return Ok(());
        }
        self.wake(name).await?;
        self.add(name).await?;
        self.ask(name, ask(Ask::Kill(Sent::Kill))).await?;
        if !model(self).will_exit(Who::Init) {
            self.wake(name).await?;
        }
        let (actor, stage) = self.actor(name)?;
        if stage.model.may_exist(Who::Init) {
            actor.wait(stage, ask(Ask::Wait), true).await?;
            self.ask(name, ask(Ask::Delete)).await?;
        }
        Ok(())
    }

    /// Resumes what may be paused.
    async fn wake(&mut self, name: Name) -> Result<(), Stop> {
        let paused = |director: &Self| {
            let phases =
                [InitPhase::Absent, InitPhase::Created, InitPhase::Running, InitPhase::Stopped, InitPhase::Deleted];
            !director.scene.part(name).stage.model.is_in(&phases)
        };
        if paused(self) {
            self.ask(name, Call::init(Ask::Resume)).await?;
        }
        Ok(())
    }

    /// An exec from its beginning to its end, where there certainly is a place for it.
    async fn add(&mut self, name: Name) -> Result<(), Stop> {
        let model = &self.scene.part(name).stage.model;
        let free = (0..EXECS).find(|exec| model.is_absent(*exec));
        let (true, Some(exec)) = (model.is_in(&[InitPhase::Running]) && !model.may_end(Who::Init), free) else {
            return Ok(());
        };
        for ask in [Ask::Exec, Ask::Start, Ask::Kill(Sent::Kill)] {
            self.ask(name, Call::exec(ask, exec)).await?;
        }
        let (actor, stage) = self.actor(name)?;
        actor.wait(stage, Call::exec(Ask::Wait, exec), true).await?;
        self.ask(name, Call::exec(Ask::Delete, exec)).await
    }

    /// A call that nothing excuses.
    async fn ask(&mut self, name: Name, call: Call) -> Result<(), Stop> {
        let (actor, stage) = self.actor(name)?;
        let answer = actor.begin(stage, call).await?.answer().await?;
        actor.judge(stage, call, &answer, Excuse::default())
    }

    /// A new container of the pod lives a whole life in the shim that has been through all of it.
    async fn newcomer(&self) -> Result<(), Stop> {
        let task = self.lab.run(Order::new(program::sleeps()).id("newcomer").group(POD)).await?;
        task.is(crate::history::Status::Running).await?;
        task.end().await?;
        task.delete().await.map(drop)
    }
}
