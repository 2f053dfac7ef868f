//! Scripts out of random numbers: each number chooses among the steps that make sense where the model stands.

use proptest::prelude::*;

use super::stage::Stage;
use crate::script::{Ask, Call, Script, Signal, Step, Who};

/// What a generator mixes into a life.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mix {
    /// Execs.
    pub execs: bool,
    /// Deaths of containerd, dropped connections, an events service that is away.
    pub restarts: bool,
    /// Signals and exits that come past the shim, and a shim that is stopped for a while.
    pub kills: bool,
}

/// The longest script before the end of its life.
const LONGEST: usize = 24;

/// Lives of one container in which `mix` happens.
pub fn lives(mix: Mix) -> BoxedStrategy<Script> {
    prop::collection::vec(any::<u32>(), 4..LONGEST).prop_map(move |choices| walk(mix, &choices)).boxed()
}

/// Takes one step for each choice.
fn walk(mix: Mix, choices: &[u32]) -> Script {
    let mut stage = Stage::default();
    let mut steps = Vec::new();
    for &choice in choices {
        if let Some(step) = choose(mix, &stage, choice) {
            stage.expect(step);
            steps.push(step);
        }
    }
    if stage.stopped {
        steps.push(Step::ContinueShim);
    }
    Script { steps }
}

/// The step of `mix` that this number chooses among those that make sense here; `None` when none does.
pub(crate) fn choose(mix: Mix, stage: &Stage, choice: u32) -> Option<Step> {
    let weighed: Vec<(Step, u32)> =
        stage.steps().map(|step| (step, weight(mix, stage, step))).filter(|(_, weight)| *weight > 0).collect();
    let total: u32 = weighed.iter().map(|(_, weight)| weight).sum();
    let mut left = choice.checked_rem(total)?;
    weighed
        .into_iter()
        .find(|(_, weight)| {
            let found = left < *weight;
            left = left.saturating_sub(*weight);
            found
        })
        .map(|(step, _)| step)
}

/// How likely a step is among those that make sense; what carries a life on is likely, and what is refused is never impossible.
fn weight(mix: Mix, stage: &Stage, step: Step) -> u32 {
    let fits = |who: Who| who == Who::Init || mix.execs;
    match step {
        Step::Call(call) if !fits(call.who) => 0,
        Step::Call(call) if stage.model.may_succeed(call) => accepted(stage, call),
        Step::Call(_) => 2,
        Step::RestartDuring(call) if mix.restarts && fits(call.who) && stage.model.may_succeed(call) => 2,
        Step::Restart | Step::Redial | Step::EventsRefuse | Step::EventsStall if mix.restarts => 10,
        // An outage that does not end soon loses events, which is no news.
        Step::EventsServe => 200,
        Step::ContinueShim => 100,
        Step::Exit(who) if fits(who) => 4,
        Step::KillInit if mix.kills => 12,
        Step::StopShim if mix.kills => 8,
        Step::RestartDuring(_)
        | Step::Restart
        | Step::Redial
        | Step::EventsRefuse
        | Step::EventsStall
        | Step::Exit(_)
        | Step::KillInit
        | Step::StopShim => 0,
    }
}

fn accepted(stage: &Stage, call: Call) -> u32 {
    match (call.ask, call.who) {
        (Ask::Create, _) => 200,
        (Ask::Start, Who::Init) => 120,
        (Ask::Start | Ask::Exec, Who::Exec(_)) => 20,
        (Ask::Wait, who) if stage.model.will_exit(who) => 40,
        (Ask::Wait, _) => 6,
        (Ask::Delete, Who::Init) => 8,
        (Ask::Delete, Who::Exec(_)) => 12,
        (Ask::Pause | Ask::Resume, _) => 14,
        (Ask::Kill(Signal::Kill), _) => 8,
        (Ask::Kill(Signal::Term), _) => 3,
        (
            Ask::State
            | Ask::Pids
            | Ask::Connect
            | Ask::CloseIo
            | Ask::ResizePty
            | Ask::Stats
            | Ask::Update
            | Ask::Shutdown,
            _,
        )
        | (Ask::Exec, Who::Init) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Mix = Mix { execs: true, restarts: true, kills: true };

    fn plays(script: &Script) -> usize {
        let mut stage = Stage::default();
        let sensible = script.steps.iter().filter(|step| {
            let allowed = stage.allows(**step);
            if allowed {
                stage.expect(**step);
            }
            allowed
        });
        sensible.count()
    }

    proptest! {
        #[test]
        fn every_step_makes_sense_where_it_stands(script in lives(ALL)) {
            prop_assert_eq!(plays(&script), script.steps.len());
        }

        #[test]
        fn a_subsequence_can_be_played(script in lives(ALL), keep in prop::collection::vec(any::<bool>(), LONGEST + 1)) {
            let steps = script.steps.iter().zip(keep).filter_map(|(step, keep)| keep.then_some(*step)).collect();
            plays(&Script { steps });
        }

        #[test]
        fn a_mix_holds_only_what_it_names(script in lives(Mix::default())) {
            let own = |step: &Step| match step {
                Step::Call(Call { who, .. }) | Step::Exit(who) => *who == Who::Init,
                Step::RestartDuring(_)
                | Step::Restart
                | Step::KillInit
                | Step::StopShim
                | Step::ContinueShim
                | Step::Redial
                | Step::EventsRefuse
                | Step::EventsStall
                | Step::EventsServe => false,
            };
            prop_assert!(script.steps.iter().all(own));
        }
    }
}
