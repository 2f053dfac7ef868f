//! Puts the shards of a run together, and notices what is missing, doubled or foreign.

use std::collections::BTreeMap;

use super::{
    Signature,
    results::{Finding, Results, Shard},
};

/// Why results cannot be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There are none.
    #[error("there is nothing to merge")]
    Nothing,
    /// Results of different runs: their sum would mean nothing.
    #[error("{file} is of another run: {what} is {theirs}, not {ours} as in {first}")]
    Foreign {
        /// The file.
        file: String,
        /// What differs.
        what: &'static str,
        /// What it is there.
        theirs: String,
        /// What it is elsewhere.
        ours: String,
        /// Where.
        first: String,
    },
    /// It was interrupted.
    #[error("{file} is partial, shard {shard} was interrupted: run it again")]
    Partial {
        /// The file.
        file: String,
        /// Its shard.
        shard: Shard,
    },
    /// Two files hold the same plans.
    #[error("shard {shard} is there twice, in {first} and {file}")]
    Doubled {
        /// The shard.
        shard: Shard,
        /// One file.
        first: String,
        /// The other one.
        file: String,
    },
    /// Not all plans were played.
    #[error("missing shards: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Missing(Vec<Shard>),
}

/// The results of the whole run, from those of its shards; each comes with the name of its file.
///
/// # Errors
///
/// [`Refusal`].
pub fn merge(shards: &[(String, Results)]) -> Result<Results, Refusal> {
    let ((first, base), rest) = shards.split_first().ok_or(Refusal::Nothing)?;
    for (file, results) in rest {
        is_of_the_same_run((first, base), (file, results))?;
    }
    let mut held: BTreeMap<Shard, &str> = BTreeMap::new();
    for (file, results) in shards {
        let shard = results.shard;
        if !results.complete {
            return Err(Refusal::Partial { file: file.clone(), shard });
        }
        if let Some(first) = held.insert(shard, file) {
            return Err(Refusal::Doubled { shard, first: first.to_owned(), file: file.clone() });
        }
    }
    let of = base.shard.of;
    let missing: Vec<Shard> =
        (1..=of).map(|index| Shard { index, of }).filter(|shard| !held.contains_key(shard)).collect();
    if !missing.is_empty() {
        return Err(Refusal::Missing(missing));
    }
    let mut sum = Results { complete: true, ..Results::new(base.run.clone(), Shard::WHOLE) };
    for (_, results) in shards {
        add(&mut sum, results);
    }
    sum.findings.sort_by_key(|finding| finding.number);
    Ok(sum)
}

fn is_of_the_same_run((first, base): (&str, &Results), (file, other): (&str, &Results)) -> Result<(), Refusal> {
    let (ours, theirs) = (&base.run, &other.run);
    let plans = |plans: Option<u64>| plans.map_or_else(|| "as many as time allows".to_owned(), |n| n.to_string());
    let facts = [
        ("the seed", format!("{:#x}", ours.seed), format!("{:#x}", theirs.seed)),
        ("the shim's sha256", ours.shim.sha256.clone(), theirs.shim.sha256.clone()),
        ("the engine", ours.engine.clone(), theirs.engine.clone()),
        ("the profile", ours.profile.clone(), theirs.profile.clone()),
        ("the exit policy", format!("{:?}", ours.exit_policy), format!("{:?}", theirs.exit_policy)),
        ("the isolation", format!("{:?}", ours.isolation), format!("{:?}", theirs.isolation)),
        ("whether the shim got -debug", ours.debug.to_string(), theirs.debug.to_string()),
        ("the number of shards", base.shard.of.to_string(), other.shard.of.to_string()),
        ("the number of plans", plans(ours.plans), plans(theirs.plans)),
        ("what a seed draws", ours.draws.clone(), theirs.draws.clone()),
    ];
    match facts.into_iter().find(|(_, ours, theirs)| ours != theirs) {
        None => Ok(()),
        Some((what, ours, theirs)) => {
            Err(Refusal::Foreign { file: file.to_owned(), what, theirs, ours, first: first.to_owned() })
        }
    }
}

fn add(sum: &mut Results, more: &Results) {
    sum.plans.held += more.plans.held;
    sum.plans.violated += more.plans.violated;
    sum.plans.inconclusive += more.plans.inconclusive;
    sum.plans.error += more.plans.error;
    for (fault, bites) in &more.faults {
        let all = sum.faults.entry(fault.clone()).or_default();
        all.injected += bites.injected;
        all.bitten += bites.bitten;
    }
    for (counts, more) in [(&mut sum.calls, &more.calls), (&mut sum.troubles, &more.troubles)] {
        for (name, count) in more {
            *counts.entry(name.clone()).or_default() += count;
        }
    }
    for finding in &more.findings {
        let same = |known: &&mut Finding| signature(known) == signature(finding);
        match sum.findings.iter_mut().find(same) {
            Some(known) => known.seen += finding.seen,
            None => sum.findings.push(finding.clone()),
        }
    }
    sum.ms += more.ms;
}

fn signature(finding: &Finding) -> Signature {
    Signature::new(&finding.clause, &finding.violation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chaos::results::{Bites, Reproduction, tests::results},
        check::Violation,
    };

    fn shards(names: &[&str]) -> Vec<(String, Results)> {
        names.iter().enumerate().map(|(at, shard)| (format!("{at}.json"), results(shard))).collect()
    }

    fn finding(happened: &str, number: u64) -> Finding {
        let violation = Violation { happened: happened.to_owned(), expected: String::new(), actual: String::new() };
        Finding {
            clause: "a/b".to_owned(),
            violation,
            number,
            seen: 2,
            plan: "create".parse().unwrap(),
            smallest: "create".parse().unwrap(),
            reproduces: Reproduction { violated: 7, of: 50 },
            capture: None,
        }
    }

    #[test]
    fn shards_in_any_order_add_up() {
        let mut shards = shards(&["2/3", "1/3", "3/3"]);
        for (_, results) in &mut shards {
            results.plans.held = 2;
            results.calls.insert("Kill".to_owned(), 3);
            results.faults.insert("events/stalled".to_owned(), Bites { injected: 2, bitten: 1 });
        }
        shards[0].1.findings = vec![finding("a: it fell", 4), finding("a: it rose", 7)];
        shards[1].1.findings = vec![finding("b: it fell", 3)];
        let sum = merge(&shards).unwrap();
        assert_eq!((sum.plans.held, sum.calls["Kill"], sum.ms), (6, 9, 3000));
        assert_eq!(sum.faults["events/stalled"], Bites { injected: 6, bitten: 3 });
        assert_eq!(sum.findings.iter().map(|finding| finding.seen).collect::<Vec<_>>(), [4, 2]);
        assert_eq!(sum.shard, Shard::WHOLE);
        assert_eq!(merge(&[("sum".to_owned(), sum.clone())]), Ok(sum));
    }

    #[test]
    fn missing_doubled_partial_and_foreign_shards_are_refused_by_name() {
        let told = |shards: &[(String, Results)]| merge(shards).unwrap_err().to_string();
        assert_eq!(told(&shards(&["1/4", "3/4"])), "missing shards: 2/4, 4/4");
        assert_eq!(told(&shards(&["1/2", "1/2"])), "shard 1/2 is there twice, in 0.json and 1.json");
        let mut partial = shards(&["1/2", "2/2"]);
        partial[1].1.complete = false;
        assert_eq!(told(&partial), "1.json is partial, shard 2/2 was interrupted: run it again");
        let mut foreign = shards(&["1/2", "2/2"]);
        foreign[1].1.run.seed = 8;
        assert_eq!(told(&foreign), "1.json is of another run: the seed is 0x8, not 0x7 as in 0.json");
        let mut foreign = shards(&["1/2", "2/2"]);
        foreign[1].1.run.shim.sha256 = "11".to_owned();
        assert!(told(&foreign).contains("the shim's sha256 is 11, not 00ff"));
        assert!(told(&shards(&["1/2", "2/3"])).contains("the number of shards is 3, not 2"));
        assert_eq!(merge(&[]), Err(Refusal::Nothing));
    }
}
