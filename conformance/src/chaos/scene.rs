//! Where a plan stands: what the model knows of each container, which shims live, which faults are in force.
//!
//! Generators and players ask the same scene what makes sense next, and what does not is left out by both: so every part of a plan is a
//! plan.

use std::{collections::BTreeMap, sync::LazyLock};

use fault_injector::fault::{Action, Fault, Misstep, Obligation, Party, Seam, Signal};

use super::{
    excuse,
    plan::{Act, Name, Strike, is_common},
};
use crate::{
    history::{Answer, Code, Loss},
    model::{Excuse, InitPhase, Model},
    property::Stage,
    script::{Ask, Call, EXECS, Step, Who},
};

/// One container in the middle of a plan.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// What is known of it; also tells whether its shim stands still and whether events are taken.
    pub stage: Stage,
    /// Its shim, by its place among the scene's shims; `None` until it has one.
    pub shim: Option<usize>,
    /// A call that has no answer yet, and what its answer may be.
    pub open: Option<(Call, Excuse)>,
    /// Its connection is broken.
    pub cut: bool,
    /// Whether a process of it was stopped, past the shim.
    pub still: bool,
}

/// A shim process in the middle of a plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Daemon {
    /// It was ended by a fault.
    pub gone: bool,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    pod: Vec<Name>,
    parts: BTreeMap<Name, Part>,
    shims: Vec<Daemon>,
    strikes: Vec<Strike>,
    deaf: bool,
    /// containerd is dead or stands still.
    absent: bool,
}

impl Scene {
    /// The beginning of a plan in which these containers share a shim.
    pub fn new(pod: &[Name]) -> Self {
        Self { pod: pod.to_vec(), ..Self::default() }
    }

    /// What is known of `name`.
    pub fn part(&self, name: Name) -> &Part {
        static NOBODY: LazyLock<Part> = LazyLock::new(Part::default);
        self.parts.get(&name).unwrap_or(&NOBODY)
    }

    /// The same, to be told more.
    pub fn part_mut(&mut self, name: Name) -> &mut Part {
        self.parts.entry(name).or_default()
    }

    /// The containers that have been served.
    pub fn served(&self) -> impl Iterator<Item = Name> {
        self.parts.iter().filter(|(_, part)| part.shim.is_some()).map(|(name, _)| *name)
    }

    /// The faults in force.
    pub fn strikes(&self) -> &[Strike] {
        &self.strikes
    }

    /// Whether containerd is there and moves.
    pub fn has_containerd(&self) -> bool {
        !self.absent
    }

    /// Whether the shim of `name` was ended by a fault.
    pub fn is_gone(&self, name: Name) -> bool {
        self.shim_of(name).is_some_and(|shim| shim.gone)
    }

    fn shim_of(&self, name: Name) -> Option<Daemon> {
        self.shims.get(self.parts.get(&name)?.shim?).copied()
    }

    /// The served containers that share the shim of `name`, itself among them.
    pub fn mates(&self, name: Name) -> Vec<Name> {
        let shim = self.parts.get(&name).and_then(|part| part.shim);
        self.served().filter(|other| shim.is_some() && self.parts[other].shim == shim).collect()
    }

    /// `name` gets a shim: that of `mate`, or one of its own.
    pub fn serve(&mut self, name: Name, mate: Option<Name>) {
        let shared = mate.and_then(|mate| self.parts.get(&mate)?.shim);
        let shim = shared.unwrap_or_else(|| {
            self.shims.push(Daemon::default());
            self.shims.len() - 1
        });
        let deaf = self.deaf;
        let part = self.part_mut(name);
        part.shim = Some(shim);
        part.stage.deaf = deaf;
    }

    /// The container whose shim `name` is to share, when it is served now.
    pub fn expected_mate(&self, name: Name) -> Option<Name> {
        let mut mates = self.pod.iter().copied().filter(|mate| self.pod.contains(&name) && *mate != name);
        mates.find(|mate| self.shim_of(*mate).is_some_and(|shim| !shim.gone))
    }

    /// What may come between `call` of `name` and its answer now.
    pub fn excuse(&self, name: Name, call: Call) -> Excuse {
        let about = self.strikes.iter().filter(|strike| self.concerns(**strike, name));
        about.map(|strike| excuse::of(strike.fault, call)).fold(Excuse::default(), Excuse::or)
    }

    /// Whether the answer to the open call of `name` may still be kept back.
    pub fn may_be_kept_back(&self, name: Name) -> bool {
        let part = self.part(name);
        let Some((call, _)) = part.open else { return false };
        self.absent || part.stage.stopped || self.excuse(name, call).late
    }

    /// Whether `act` makes sense here.
    pub fn allows(&self, act: &Act) -> bool {
        match act {
            Act::Step { step, .. } if is_common(*step) => self.allows_common(*step),
            Act::Step { of, step, .. } => self.allows_step(*of, *step),
            Act::Inject(strike) => !self.strikes.contains(strike) && self.allows_strike(*strike),
            Act::Heal(strike) => self.strikes.contains(strike),
        }
    }

    fn allows_common(&self, step: Step) -> bool {
        let at = |seam: Seam| self.strikes.iter().any(|strike| strike.fault.seam == seam);
        let every = |wanted: &dyn Fn(&Part) -> bool| self.parts.values().all(wanted);
        if self.absent || self.served().next().is_none() {
            return false;
        }
        match step {
            Step::Restart => {
                !at(Seam::TaskSocket)
                    && !at(Seam::Events)
                    && every(&|part| !part.stage.stopped && (part.open.is_none() || !part.stage.model.has_lost()))
            }
            Step::EventsRefuse | Step::EventsStall => !self.deaf && !at(Seam::Events),
            Step::EventsServe => self.deaf,
            Step::Call(_)
            | Step::RestartDuring(_)
            | Step::Exit(_)
            | Step::KillInit
            | Step::StopShim
            | Step::ContinueShim
            | Step::Redial => false,
        }
    }

    fn allows_step(&self, of: Name, step: Step) -> bool {
        let part = self.part(of);
        if part.shim.is_none() {
            return self.is_calm() && matches!(step, Step::Call(_)) && part.stage.allows(step);
        }
        if self.is_gone(of) || !part.stage.allows(step) {
            return false;
        }
        let on_socket = self.has_strike(of, |fault| fault.seam == Seam::TaskSocket);
        let quiet = !self.absent && part.open.is_none();
        match step {
            Step::Call(call) => quiet && !part.cut && self.may_be_lost(part, call, self.excuse(of, call).loss),
            Step::RestartDuring(_) => {
                let others = self.parts.values().all(|part| part.open.is_none());
                quiet && !part.cut && others && self.allows_common(Step::Restart)
            }
            Step::Redial => quiet && !on_socket,
            Step::Exit(_) | Step::KillInit => true,
            // A containerd that came back would find it standing still.
            Step::StopShim => !self.absent && self.mates(of).iter().all(|mate| self.part(*mate).open.is_none()),
            // What a fault has stopped goes on when the fault is healed.
            Step::ContinueShim => !self.has_strike(of, |fault| stops(fault, Party::Shim)),
            Step::Restart | Step::EventsRefuse | Step::EventsStall | Step::EventsServe => false,
        }
    }

    /// Whether the story can go on when the answer to `call` is lost, if it may be.
    fn may_be_lost(&self, part: &Part, call: Call, loss: bool) -> bool {
        !loss || !matches!(call.ask, Ask::Create | Ask::Shutdown | Ask::Wait) && !part.stage.model.has_lost()
    }

    fn allows_strike(&self, strike: Strike) -> bool {
        let fault = strike.fault;
        if let Some(on) = strike.on {
            let part = self.part(on);
            if let Action::Signal(Party::Runtime, _) = fault.does {
                return self.is_held_up(on);
            }
            let quiet = self.mates(on).iter().all(|mate| self.part(*mate).open.is_none());
            if part.shim.is_none() || self.is_gone(on) || part.stage.stopped || !quiet {
                return false;
            }
            return match fault.does {
                Action::Signal(Party::Shim, Signal::Stop) => !self.absent,
                Action::Signal(party, signal) => reaches(part, party, signal),
                // Which call is struck must be known beforehand: that is for crash points.
                Action::Syscall(_) => false,
                // What is owed then is not known to plans yet; each has a check of its own.
                Action::Limit(_) | Action::Damage(_) => false,
                Action::Frame(..) | Action::Refuse(_) | Action::Runtime(_) => {
                    let busy = self.has_strike(on, |other| other.seam == fault.seam);
                    !busy && !part.cut && !self.absent && !part.stage.model.has_lost()
                }
            };
        }
        let again = self.strikes.iter().any(|other| other.fault.seam == fault.seam && other.fault.when == fault.when);
        match fault.seam {
            Seam::Runtime => !again,
            Seam::Events => !self.absent && !self.deaf && !self.any_strike(Seam::Events),
            Seam::Containerd => !self.any_strike(Seam::TaskSocket) && self.allows_common(Step::Restart),
            Seam::Process | Seam::TaskSocket | Seam::Resource | Seam::Disk | Seam::Syscall => false,
        }
    }

    /// Whether the call of `on` is the only one under way, and the runtime is held up for it.
    fn is_held_up(&self, on: Name) -> bool {
        let open: Vec<Name> =
            self.parts.iter().filter(|(_, part)| part.open.is_some()).map(|(name, _)| *name).collect();
        let hangs = |strike: &Strike| strike.fault.does == Action::Runtime(Misstep::Hang);
        open == [on] && !self.absent && !self.part(on).stage.stopped && self.strikes.iter().any(hangs)
    }

    fn any_strike(&self, seam: Seam) -> bool {
        self.strikes.iter().any(|strike| strike.fault.seam == seam)
    }

    fn has_strike(&self, on: Name, wanted: impl Fn(&Fault) -> bool) -> bool {
        let mates = self.mates(on);
        let about = |strike: &&Strike| match strike.fault.seam {
            Seam::TaskSocket => strike.on == Some(on),
            Seam::Process | Seam::Resource | Seam::Disk => strike.on.is_some_and(|on| mates.contains(&on)),
            Seam::Events | Seam::Runtime | Seam::Containerd | Seam::Syscall => false,
        };
        self.strikes.iter().filter(about).any(|strike| wanted(strike.fault))
    }

    /// Whether a shim can be started without anything in its way.
    fn is_calm(&self) -> bool {
        let stopped = self.parts.values().any(|part| part.stage.stopped);
        let lasting = self.strikes.iter().any(|strike| strike.fault.seam != Seam::Process || lasts(strike.fault));
        !self.absent && !self.deaf && !stopped && !lasting
    }

    /// What becomes of everything but the model's opinion of answers.
    pub fn pass(&mut self, act: &Act) {
        match act {
            Act::Step { of, step, .. } => self.pass_step(*of, *step),
            Act::Inject(strike) => {
                self.begin(*strike);
                if lasts(strike.fault) {
                    self.strikes.push(*strike);
                }
                self.excuse_open_calls(*strike);
            }
            Act::Heal(strike) => {
                self.strikes.retain(|other| other != strike);
                self.end(*strike);
            }
        }
    }

    fn pass_step(&mut self, of: Name, step: Step) {
        match step {
            Step::Restart | Step::RestartDuring(_) => {
                self.deaf = false;
                for part in self.parts.values_mut() {
                    part.stage.pass(Step::Restart);
                    part.cut = false;
                }
            }
            Step::EventsRefuse | Step::EventsStall | Step::EventsServe => {
                self.deaf = step != Step::EventsServe;
                self.parts.values_mut().for_each(|part| part.stage.pass(step));
            }
            Step::StopShim | Step::ContinueShim => {
                for mate in self.mates(of) {
                    self.part_mut(mate).stage.pass(step);
                }
            }
            Step::Redial => self.part_mut(of).cut = false,
            Step::Call(_) | Step::Exit(_) | Step::KillInit => self.part_mut(of).stage.pass(step),
        }
    }

    fn begin(&mut self, strike: Strike) {
        match (strike.fault.does, strike.on) {
            (Action::Signal(Party::Shim, Signal::Stop), Some(on)) => self.pass_step(on, Step::StopShim),
            (Action::Signal(Party::Shim, Signal::Kill | Signal::Terminate), Some(on)) => {
                if let Some(shim) = self.part(on).shim {
                    self.shims[shim].gone = true;
                }
            }
            (Action::Signal(Party::Init | Party::Exec, Signal::Stop), Some(on)) => self.part_mut(on).still = true,
            (Action::Signal(party @ (Party::Init | Party::Exec), signal), Some(on)) => {
                let stage = &mut self.part_mut(on).stage;
                if let Some(who) = struck(&stage.model, party) {
                    let model = &stage.model;
                    stage.model = if signal == Signal::Kill { model.killed(who) } else { model.terminated(who) };
                }
            }
            (Action::Signal(Party::Containerd, _), _) => self.absent = true,
            (
                Action::Signal(..)
                | Action::Frame(..)
                | Action::Refuse(_)
                | Action::Runtime(_)
                | Action::Limit(_)
                | Action::Damage(_)
                | Action::Syscall(_),
                _,
            ) => {}
        }
    }

    /// What is under way when a fault begins may meet it as well.
    fn excuse_open_calls(&mut self, strike: Strike) {
        let open: Vec<(Name, Call)> =
            self.parts.iter().filter_map(|(name, part)| Some((*name, part.open?.0))).collect();
        for (name, call) in open {
            let met = self.concerns(strike, name);
            if let Some((_, excuse)) = self.part_mut(name).open.as_mut().filter(|_| met) {
                *excuse = excuse.or(excuse::of(strike.fault, call));
            }
        }
    }

    /// Whether `strike` may come between a call of `name` and its answer.
    fn concerns(&self, strike: Strike, name: Name) -> bool {
        match strike.fault.seam {
            Seam::TaskSocket => strike.on == Some(name),
            Seam::Process | Seam::Resource | Seam::Disk => strike.on.is_some_and(|on| self.mates(name).contains(&on)),
            Seam::Events | Seam::Runtime | Seam::Containerd | Seam::Syscall => true,
        }
    }

    fn end(&mut self, strike: Strike) {
        match (strike.fault.does, strike.on) {
            (Action::Signal(Party::Shim, Signal::Stop), Some(on)) => self.pass_step(on, Step::ContinueShim),
            (Action::Signal(Party::Init | Party::Exec, Signal::Stop), Some(on)) => {
                let still = self.has_strike(on, |fault| stops(fault, Party::Init) || stops(fault, Party::Exec));
                self.part_mut(on).still = still;
            }
            (Action::Signal(Party::Containerd, Signal::Stop), _) => self.absent = false,
            (Action::Signal(Party::Containerd, _), _) => {
                self.absent = false;
                self.pass_step(Name::default(), Step::Restart);
            }
            // Whoever cut the connection dials again.
            (Action::Frame(..), Some(on)) if cuts(strike.fault) => self.part_mut(on).cut = false,
            (
                Action::Signal(..)
                | Action::Frame(..)
                | Action::Refuse(_)
                | Action::Runtime(_)
                | Action::Limit(_)
                | Action::Damage(_)
                | Action::Syscall(_),
                _,
            ) => {}
        }
    }

    /// The same with the answers that a generator expects.
    pub fn expect(&mut self, act: &Act) {
        if let Some(name) = act.about()
            && self.part(name).shim.is_none()
        {
            self.serve(name, self.expected_mate(name));
        }
        match act {
            Act::Step { of, step: Step::Call(call), .. } => self.expect_call(*of, *call),
            Act::Step { of, step: Step::RestartDuring(call), .. } => {
                let stage = &mut self.part_mut(*of).stage;
                stage.model = stage.model.expecting(*call);
            }
            Act::Heal(_) => self.expect_answers(),
            Act::Step { .. } | Act::Inject(_) => {}
        }
        self.pass(act);
    }

    fn expect_call(&mut self, of: Name, call: Call) {
        let excuse = self.excuse(of, call);
        let part = self.part_mut(of);
        let refused = Answer::Refused { code: Code::Unknown, message: String::new() };
        let model = &part.stage.model;
        let next = match excuse {
            Excuse { loss: true, .. } => {
                part.cut = true;
                model.after_excused(call, &Answer::Lost(Loss::Disconnected), excuse)
            }
            Excuse { late: true, .. } => {
                part.open = Some((call, excuse));
                None
            }
            Excuse { refusal: true, .. } => model.after_excused(call, &refused, excuse),
            Excuse { .. } => Some(model.expecting(call)),
        };
        if let Some(next) = next {
            self.part_mut(of).stage.model = next;
        }
    }

    /// Once a fault is healed, what it kept back is answered.
    fn expect_answers(&mut self) {
        for part in self.parts.values_mut() {
            if let Some((call, _)) = part.open.take() {
                part.stage.model = part.stage.model.expecting(call);
            }
        }
    }
}

/// Whether there is somebody for this signal to strike.
fn reaches(part: &Part, party: Party, signal: Signal) -> bool {
    let model = &part.stage.model;
    match (party, signal) {
        (Party::Shim, _) => true,
        // A process that stands still before its program runs holds up Start, and nobody promises the contrary.
        (Party::Init, Signal::Stop | Signal::Terminate) => model.is_in(&[InitPhase::Running]),
        (Party::Init, Signal::Kill) => model.is_in(&[InitPhase::Created, InitPhase::Running, InitPhase::Paused]),
        (Party::Exec, _) => struck(model, party).is_some(),
        (Party::Runtime | Party::Containerd, _) => false,
    }
}

/// The process that a signal to `party` strikes: the first exec that runs, as far as that is certain.
pub fn struck(model: &Model, party: Party) -> Option<Who> {
    match party {
        Party::Init => Some(Who::Init),
        Party::Exec => (0..EXECS).find(|exec| model.runs(*exec)).map(Who::Exec),
        Party::Shim | Party::Runtime | Party::Containerd => None,
    }
}

fn stops(fault: &Fault, party: Party) -> bool {
    fault.does == Action::Signal(party, Signal::Stop)
}

/// Whether a connection may be broken after this fault has struck it.
pub fn cuts(fault: &Fault) -> bool {
    fault.seam == Seam::TaskSocket && fault.excuses(Obligation::ConnectionLasts)
}

/// Whether there is something to be healed.
pub fn lasts(fault: &Fault) -> bool {
    match fault.does {
        Action::Signal(Party::Containerd, _) | Action::Signal(_, Signal::Stop) => true,
        Action::Signal(..) => false,
        Action::Frame(..)
        | Action::Refuse(_)
        | Action::Runtime(_)
        | Action::Limit(_)
        | Action::Damage(_)
        | Action::Syscall(_) => true,
    }
}
