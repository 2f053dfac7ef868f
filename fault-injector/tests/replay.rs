//! Same seed, same plan; a printed plan parses back; a simpler plan is simpler.

use fault_injector::catalogue::{self, FAULTS};
use fault_injector::fault::Fault;
use fault_injector::plan::{Dice, Plan, PlanError, Scope, Span};
use proptest::prelude::*;
use rstest::rstest;

fn any_plan() -> impl Strategy<Value = Plan> {
    let span = (0..FAULTS.len(), 0u32..1000, 1u32..1000).prop_map(|(at, from, steps)| Span {
        fault: &FAULTS[at],
        from,
        until: from + steps,
    });
    (any::<u64>(), proptest::collection::vec(span, 0..10)).prop_map(|(seed, spans)| Plan { seed, spans })
}

proptest! {
    #[test]
    fn a_printed_plan_parses_back(plan in any_plan()) {
        prop_assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan.clone()));
        let json = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }

    #[test]
    fn the_same_seed_draws_the_same_plan_within_its_scope(
        seed: u64, faults in 1..FAULTS.len(), steps in 1u32..40, spans_max in 1u32..6,
    ) {
        let faults: Vec<&'static Fault> = FAULTS.iter().take(faults).collect();
        let scope = Scope { faults: &faults, steps, spans_max };
        let plan = Plan::draw(seed, &scope);
        prop_assert_eq!(&plan, &Plan::draw(seed, &scope));

        prop_assert!(!plan.spans.is_empty() && plan.spans.len() <= spans_max as usize);
        prop_assert!(plan.spans.iter().all(|span| span.from < span.until && span.until <= steps));
        prop_assert!(plan.spans.iter().all(|span| faults.contains(&span.fault)));
        prop_assert!(plan.spans.is_sorted_by_key(|span| span.from));
        for (at, span) in plan.spans.iter().enumerate() {
            let again = plan.spans[at + 1..].iter().filter(|other| other.fault == span.fault);
            prop_assert!(again.into_iter().all(|other| other.from >= span.until), "on top of itself: {}", plan);
        }
        let begun: usize = (0..steps).map(|step| plan.beginning(step).count()).sum();
        let ended: usize = (0..=steps).map(|step| plan.ending(step).count()).sum();
        prop_assert_eq!((begun, ended), (plan.spans.len(), plan.spans.len()));
    }

    #[test]
    fn simplifying_ends(plan in any_plan()) {
        let size = |plan: &Plan| plan.spans.iter().map(|span| u64::from(1 + span.until - span.from)).sum::<u64>();
        for simpler in plan.simpler() {
            prop_assert!(size(&simpler) < size(&plan));
            prop_assert_eq!(simpler.seed, plan.seed);
        }
    }
}

/// A change of the generator makes every recorded seed worthless. This notices.
#[test]
fn what_a_seed_draws_is_pinned() {
    let faults: Vec<_> = ["process/kill-shim", "task-socket/half-close", "events/refused", "containerd/kill"]
        .map(|id| catalogue::find(id).unwrap())
        .to_vec();
    let scope = Scope { faults: &faults, steps: 12, spans_max: 3 };
    let drawn: Vec<_> = (0..4).map(|seed| Plan::draw(seed, &scope).to_string()).collect();
    let pinned = [
        "seed=0 task-socket/half-close@0..2 task-socket/half-close@2..5 containerd/kill@4..9",
        "seed=1 containerd/kill@10..11 events/refused@11..12",
        "seed=2 events/refused@7..9 task-socket/half-close@8..10",
        "seed=3 events/refused@7..8",
    ];
    assert_eq!(drawn, pinned);
}

#[test]
fn the_dice_are_splitmix64() {
    // The first numbers of the reference implementation for seed 1234567.
    let mut dice = Dice::new(1_234_567);
    let rolled = [dice.roll(), dice.roll(), dice.roll()];
    assert_eq!(rolled, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
}

#[test]
fn every_fault_is_drawn_by_some_seed() {
    let faults: Vec<_> = FAULTS.iter().collect();
    let scope = Scope { faults: &faults, steps: 5, spans_max: 4 };
    let mut missing: Vec<_> = FAULTS.iter().map(|fault| fault.id).collect();
    for seed in 0..1000 {
        let plan = Plan::draw(seed, &scope);
        missing.retain(|id| plan.spans.iter().all(|span| span.fault.id != *id));
    }
    assert_eq!(missing, [""; 0]);
}

#[rstest]
#[case("", PlanError::Seed(String::new()))]
#[case("7 events/refused@1..2", PlanError::Seed("7 events/refused@1..2".to_owned()))]
#[case("seed=-1", PlanError::Seed("seed=-1".to_owned()))]
#[case("seed=1 events/refused", PlanError::Span("events/refused".to_owned()))]
#[case("seed=1 events/refused@2..2", PlanError::Span("events/refused@2..2".to_owned()))]
#[case("seed=1 events/refused@x..2", PlanError::Span("events/refused@x..2".to_owned()))]
#[case("seed=1 events/none@1..2", PlanError::Fault("events/none".to_owned()))]
fn a_line_that_is_no_plan_says_why(#[case] line: &str, #[case] error: PlanError) {
    assert_eq!(line.parse::<Plan>(), Err(error));
}
