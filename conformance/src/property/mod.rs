//! Properties: many scripts for one check, and the smallest of those that fail.
//!
//! A property has no body. The model judges each answer while a script is played, and the invariants judge the history; here it is only
//! decided which scripts are played. Everything random comes from the run's seed and the check's id, so that a check plays the same
//! scripts whatever else is selected.

mod corpus;
mod generate;
mod shrink;
mod stage;

use proptest::{
    strategy::{BoxedStrategy, Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

pub(crate) use self::generate::choose;
pub use self::{
    corpus::replayed,
    generate::{Mix, lives},
    shrink::{Divisible, fewest},
    stage::Stage,
};
use crate::{
    check::{Check, Verdict},
    clock,
    lab::Ending,
    script::Script,
};

/// How many worlds the search for a smaller script may cost, and how long it may last: a shim that loses events costs seconds a world.
const SHRINKS: u32 = 60;
const SHRINKING_MS: f64 = 45_000.0;

/// Plays the corpus of `check` and then `cases` scripts of `strategy`, each by `play` in a world of its own, until one is not held.
///
/// The ending is that of the last script. When the shim broke a duty, the script is made smaller first, its page is in the ending's
/// diagnosis, and it is kept in the corpus where there is one to write to.
pub fn run(
    check: &Check,
    strategy: &BoxedStrategy<Script>,
    seed: u64,
    cases: u32,
    play: &mut dyn FnMut(&Script) -> Ending,
) -> Ending {
    let seed = sub_seed(seed, check.id);
    let known = replayed(check.id).into_iter().map(|script| (None, script));
    let drawn = scripts(strategy, seed, cases);
    let mut held = None;
    for (case, script) in known.chain(drawn.map(|(case, script)| (Some(case), script))) {
        let ending = play(&script);
        match ending.verdict {
            Verdict::Held => held = Some(ending),
            Verdict::Violated { .. } => {
                let begun = clock::now();
                let mut left = SHRINKS;
                let mut may_go_on = || {
                    let enough = left == 0 || clock::now().ms_since(begun) > SHRINKING_MS;
                    left = left.saturating_sub(1);
                    !enough
                };
                let (script, mut ending) = shrink::smallest(script, ending, &mut may_go_on, play);
                let kept = corpus::keep(check.id, &script);
                let page = page(seed, case, &script, &kept);
                let more = ending.diagnosis.unwrap_or_default();
                ending.diagnosis = Some(format!("{page}\n{more}"));
                return ending;
            }
            Verdict::Waived { .. }
            | Verdict::Skipped { .. }
            | Verdict::NotApplicable { .. }
            | Verdict::Inconclusive { .. }
            | Verdict::Error { .. } => {
                return ending;
            }
        }
    }
    held.unwrap_or_else(|| Ending {
        verdict: Verdict::Skipped { reason: "no case was asked for".to_owned() },
        history: Default::default(),
        log: String::new(),
        diagnosis: None,
    })
}

/// The scripts that a seed draws, with their numbers.
pub fn scripts(strategy: &BoxedStrategy<Script>, seed: u64, cases: u32) -> impl Iterator<Item = (u32, Script)> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    // A strategy that rejects its own values draws nothing, and registry tests would see it.
    (0..cases).filter_map(move |case| Some((case, strategy.new_tree(&mut runner).ok()?.current())))
}

/// The seed of one check in a run (FNV-1a over the run's seed and the id: the same on every machine and for ever).
pub fn sub_seed(seed: u64, id: &str) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(id.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn page(seed: u64, case: Option<u32>, script: &Script, kept: &corpus::Kept) -> String {
    let origin =
        case.map_or_else(|| "a script of the corpus".to_owned(), |case| format!("case {case} of sub-seed {seed:#x}"));
    format!("{origin}, shrunk to {} steps, {kept}:\n\n{script}", script.steps.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::Body, checks};

    #[test]
    fn a_seed_draws_the_same_scripts_again_and_another_seed_draws_others() {
        let strategy = lives(Mix::default());
        let draw = |seed| scripts(&strategy, seed, 8).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn checks_draw_apart() {
        assert_ne!(sub_seed(7, "a/b"), sub_seed(7, "a/c"));
        assert_ne!(sub_seed(7, "a/b"), sub_seed(8, "a/b"));
    }

    #[test]
    fn every_property_draws_as_many_scripts_as_it_is_asked_for() {
        for check in checks::all() {
            if let Body::Property(strategy) = check.body {
                assert_eq!(scripts(&strategy(), 1, 16).count(), 16, "{}", check.id);
            }
        }
    }
}
