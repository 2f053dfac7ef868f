//! Plans out of one number: the seed of a run and the number of a plan make the plan, the same on every machine.

use fault_injector::{
    catalogue::FAULTS,
    dice::Dice,
    fault::{Action, Fault, Misstep, Party, Seam},
};

use super::{
    excuse,
    plan::{Act, Name, Plan, Strike},
    scene::{Scene, lasts},
};
use crate::{
    property::{Mix, choose},
    script::{Ask, Call, Step},
};

/// How many containers a plan may have, as often as they stand here.
const CROWDS: [u32; 8] = [1, 2, 2, 3, 3, 3, 4, 5];
/// The least number of acts, and how many more there may be for each container.
const ACTS: (u32, u32) = (8, 9);
/// How many faults may be in force at once.
const STRIKES: usize = 3;
/// One act in so many begins a fault, if one can begin.
const STRIKE_EVERY: u32 = 5;
/// One call in so many is not waited for.
const UNAWAITED_EVERY: u32 = 4;
/// All but one fault in so many are met by a call at once.
const BAIT_OF: u32 = 5;
/// One container in so many is only looked at when its shim is started.
const LOOKED_AT_EVERY: u32 = 2;
/// How many acts a fault lasts at most.
const LASTS: u32 = 7;
/// How often something is looked for that makes sense here.
const TRIES: u32 = 6;

const SEAMS: [Seam; 6] =
    [Seam::Process, Seam::TaskSocket, Seam::TaskSocket, Seam::Events, Seam::Runtime, Seam::Containerd];

const MIX: Mix = Mix { execs: true, restarts: true, kills: true };

/// The plan with this number in the run of this seed.
pub fn draw(seed: u64, number: u64) -> Plan {
    let mut author = Author::new(Dice::new(seed ^ Dice::new(number).roll()));
    author.write();
    Plan { pod: author.pod, acts: author.acts }
}

struct Author {
    dice: Dice,
    cast: Vec<Name>,
    pod: Vec<Name>,
    scene: Scene,
    acts: Vec<Act>,
    /// What is to be healed, and before which act at the latest.
    debts: Vec<(Strike, usize)>,
}

impl Author {
    fn new(mut dice: Dice) -> Self {
        let crowd = *dice.pick(&CROWDS) as usize;
        let cast: Vec<Name> = Name::all().take(crowd).collect();
        let together = if crowd > 1 && dice.below(3) > 0 { 2 + dice.below(cast.len() as u32 - 1) as usize } else { 0 };
        let pod = cast[..together].to_vec();
        Self { scene: Scene::new(&pod), dice, cast, pod, acts: Vec::new(), debts: Vec::new() }
    }

    fn write(&mut self) {
        let (least, each) = ACTS;
        let length = least + self.dice.below(each * self.cast.len() as u32);
        for _ in 0..length {
            self.pay();
            let strikes = self.dice.below(STRIKE_EVERY) == 0 && self.debts.len() < STRIKES;
            if !(strikes && self.strike()) {
                self.step();
            }
        }
    }

    /// Heals what has lasted long enough.
    fn pay(&mut self) {
        let now = self.acts.len();
        let (due, later) = std::mem::take(&mut self.debts).into_iter().partition(|(_, due)| *due <= now);
        self.debts = later;
        for (strike, _) in due {
            self.act(Act::Heal(strike));
        }
    }

    /// Begins a fault and provokes it; whether one could begin.
    fn strike(&mut self) -> bool {
        let hangs = |strike: &Strike| strike.fault.does == Action::Runtime(Misstep::Hang);
        let is_held_up = self.scene.strikes().iter().any(hangs) && self.dice.below(2) == 0;
        let seam = if is_held_up { Seam::Process } else { *self.dice.pick(&SEAMS) };
        let faults = FAULTS.iter().filter(|fault| fault.seam == seam);
        let upon = |fault: &'static Fault| self.cast.iter().map(move |name| Strike::new(fault, *name));
        let mut strikes: Vec<Strike> = faults.flat_map(upon).collect();
        strikes.retain(|strike| self.scene.allows(&Act::Inject(*strike)));
        // A runtime that is held up is a rare guest.
        let at_work = |strike: &&Strike| matches!(strike.fault.does, Action::Signal(Party::Runtime, _));
        let rare: Vec<Strike> = strikes.iter().filter(at_work).copied().collect();
        if !rare.is_empty() {
            strikes = rare;
        }
        for _ in 0..TRIES.min(u32::try_from(strikes.len()).unwrap_or(TRIES)) {
            let strike = *self.dice.pick(&strikes);
            let bait = self.bait(strike);
            // Where nothing can be called that meets it, it would lie in wait in vain.
            if matches!(strike.fault.does, Action::Runtime(_) | Action::Frame(..))
                && seam != Seam::Events
                && bait.is_none()
            {
                continue;
            }
            self.act(Act::Inject(strike));
            if lasts(strike.fault) {
                self.debts.push((strike, self.acts.len() + 1 + self.dice.below(LASTS) as usize));
            }
            if let Some((of, call)) = bait
                && self.dice.below(BAIT_OF) > 0
            {
                self.act(Act::step(of, Step::Call(call)));
            }
            return true;
        }
        false
    }

    /// A call that would meet this fault.
    fn bait(&mut self, strike: Strike) -> Option<(Name, Call)> {
        let mut baits = Vec::new();
        for name in self.scene.served().filter(|name| strike.on.is_none_or(|on| on == *name)) {
            let part = self.scene.part(name);
            let meets = |call: &Call| excuse::touches(strike.fault, *call) && part.stage.model.may_succeed(*call);
            let waits = |call: &Call| matches!(call.ask, Ask::Wait | Ask::Shutdown | Ask::Connect);
            let calls = Call::all().filter(meets).filter(|call| !waits(call));
            let calls = calls.filter(|call| self.scene.allows(&Act::step(name, Step::Call(*call))));
            baits.extend(calls.map(|call| (name, call)));
        }
        (!baits.is_empty()).then(|| *self.dice.pick(&baits))
    }

    /// A step of some container.
    fn step(&mut self) {
        for _ in 0..TRIES {
            let of = *self.dice.pick(&self.cast);
            if self.scene.part(of).shim.is_none() && self.dice.below(LOOKED_AT_EVERY) == 0 {
                // Faults of Create need a shim that serves already.
                if self.act(Act::step(of, Step::Call(Call::init(Ask::Connect)))) {
                    return;
                }
                continue;
            }
            let roll = self.dice.roll();
            #[expect(clippy::cast_possible_truncation, reason = "one half of a random number is one as well")]
            let Some(step) = choose(MIX, &self.scene.part(of).stage, roll as u32) else {
                continue;
            };
            let is_call = |step| matches!(step, Step::Call(call) if call.ask != Ask::Wait);
            let act = if is_call(step) {
                Act::Step { of, step, unawaited: self.dice.below(UNAWAITED_EVERY) == 0 }
            } else {
                Act::step(of, step)
            };
            if self.act(act) {
                return;
            }
        }
    }

    /// Writes an act down if it makes sense here.
    fn act(&mut self, act: Act) -> bool {
        let allowed = self.scene.allows(&act);
        if allowed {
            self.scene.expect(&act);
            self.acts.push(act);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::LazyLock};

    use proptest::prelude::*;

    use super::*;
    use crate::property::Divisible as _;

    const DRAWN: u64 = 250;

    /// How many acts of `plan` make sense where they stand.
    fn played(plan: &Plan) -> usize {
        let mut scene = Scene::new(&plan.pod);
        let sensible = plan.acts.iter().filter(|act| {
            let allowed = scene.allows(act);
            if allowed {
                scene.expect(act);
            }
            allowed
        });
        sensible.count()
    }

    static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| (0..DRAWN).map(|number| draw(1, number)).collect());

    #[test]
    fn a_seed_and_a_number_draw_the_same_plan_again_and_others_draw_others() {
        for number in 0..50 {
            assert_eq!(draw(7, number), draw(7, number));
            assert_ne!(draw(7, number), draw(7, number + 1));
            assert_ne!(draw(7, number), draw(8, number));
        }
    }

    #[test]
    fn every_act_makes_sense_where_it_stands_and_is_read_back() {
        for plan in PLANS.iter().take(100) {
            assert_eq!(played(plan), plan.acts.len(), "{plan}");
            assert_eq!(plan.to_string().parse().as_ref(), Ok(plan));
        }
    }

    #[test]
    fn plans_use_every_seam_many_containers_pods_and_calls_that_are_not_waited_for() {
        let plans = &*PLANS;
        let struck: BTreeSet<&str> =
            plans.iter().flat_map(|plan| plan.strikes().map(|strike| strike.fault.id).collect::<Vec<_>>()).collect();
        let drawn = FAULTS.iter().filter(|fault| SEAMS.contains(&fault.seam));
        let all: BTreeSet<&str> = drawn.map(|fault| fault.id).collect();
        let missing: Vec<_> = all.difference(&struck).collect();
        assert!(missing.len() * 10 < all.len(), "never drawn: {missing:?}");
        assert!(plans.iter().any(|plan| plan.pod.len() > 2));
        assert!(plans.iter().any(|plan| plan.names().len() > 4));
        let unawaited = |act: &Act| matches!(act, Act::Step { unawaited: true, .. });
        assert!(plans.iter().any(|plan| plan.acts.iter().any(unawaited)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_part_of_a_plan_is_a_plan(number in 0..100usize, keep in prop::collection::vec(any::<bool>(), 64)) {
            let mut plan = PLANS[number].clone();
            for at in (0..plan.pieces()).rev() {
                if !keep[at % keep.len()] {
                    plan = plan.without(at..at + 1);
                }
            }
            prop_assert!(played(&plan) <= plan.acts.len());
            prop_assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan));
        }
    }
}
