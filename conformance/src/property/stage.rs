//! Where a script stands: what the model knows, and what was done to the world around the task.

use crate::{
    model::Model,
    script::{Ask, Call, EXECS, Step, Who},
};

/// What is known in the middle of a script.
#[derive(Debug, Clone, Default)]
pub struct Stage {
    /// The task.
    pub model: Model,
    /// Whether the shim is stopped.
    pub stopped: bool,
    /// Whether the events service does not serve.
    pub deaf: bool,
}

impl Stage {
    /// Whether `step` makes sense here. What does not is left out, by generators and by players alike, so every subsequence of a script
    /// can be played.
    pub fn allows(&self, step: Step) -> bool {
        match step {
            Step::Call(call) => !self.stopped && self.model.invites(call),
            Step::RestartDuring(call) => {
                let fits = !matches!(call.ask, Ask::Create | Ask::Shutdown | Ask::Wait);
                fits && !self.stopped && !self.model.has_lost() && self.model.invites(call)
            }
            Step::Restart | Step::Redial | Step::StopShim => !self.stopped,
            Step::Exit(who) => !self.model.will_exit(who) || who == Who::Init,
            Step::KillInit => self.model.may_succeed(Call::init(Ask::Wait)) || !self.model.will_exit(Who::Init),
            Step::ContinueShim => self.stopped,
            Step::EventsRefuse | Step::EventsStall => !self.deaf,
            Step::EventsServe => self.deaf,
        }
    }

    /// What becomes of everything but the model's opinion of answers.
    pub fn pass(&mut self, step: Step) {
        match step {
            Step::Exit(who) => self.model = self.model.told_to_exit(who),
            Step::KillInit => self.model = self.model.killed(Who::Init),
            Step::StopShim => self.stopped = true,
            Step::ContinueShim => self.stopped = false,
            Step::EventsRefuse | Step::EventsStall => self.deaf = true,
            // A new containerd serves.
            Step::EventsServe | Step::Restart | Step::RestartDuring(_) => self.deaf = false,
            Step::Call(_) | Step::Redial => {}
        }
    }

    /// The same, with the answer that a generator expects.
    pub fn expect(&mut self, step: Step) {
        if let Step::Call(call) | Step::RestartDuring(call) = step {
            self.model = self.model.expecting(call);
        }
        self.pass(step);
    }

    /// Every step that makes sense here.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let calls = || Call::all();
        let exits = std::iter::once(Who::Init).chain((0..EXECS).map(Who::Exec));
        calls()
            .map(Step::Call)
            .chain(calls().map(Step::RestartDuring))
            .chain(exits.map(Step::Exit))
            .chain([
                Step::Restart,
                Step::KillInit,
                Step::StopShim,
                Step::ContinueShim,
                Step::Redial,
                Step::EventsRefuse,
                Step::EventsStall,
                Step::EventsServe,
            ])
            .filter(|step| self.allows(*step))
    }
}
