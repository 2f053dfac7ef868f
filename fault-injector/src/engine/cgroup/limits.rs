//! OCI limits as writes to control files: which file, which text, in which order. Pure.

use super::super::spec::{Cpu, Memory, Resources};

/// One write to one file of one version 1 hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct V1Setting {
    pub(super) controller: &'static str,
    pub(super) file: &'static str,
    pub(super) value: String,
}

/// One write to one file of the version 2 directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct V2Setting {
    pub(super) file: String,
    pub(super) value: String,
}

/// The writes for version 1, in order; `memory_limit` is the limit in force, in bytes.
pub(super) fn v1(resources: &Resources, memory_limit: Option<i64>) -> Vec<V1Setting> {
    let mut settings = Vec::new();
    let mut set = |controller, file, value: Option<String>| {
        if let Some(value) = value {
            settings.push(V1Setting { controller, file, value });
        }
    };
    let Resources { memory, cpu, pids, unified: _ } = resources;
    let limit = ("memory.limit_in_bytes", memory.limit.map(|bytes| bytes.to_string()));
    let swap = ("memory.memsw.limit_in_bytes", memory.swap.map(|bytes| bytes.to_string()));
    // The kernel wants limit <= memory+swap at every moment, so the upper bound grows first and shrinks last.
    let grows = memory.limit.is_some_and(|new| new < 0 || memory_limit.is_some_and(|old| new > old));
    let ordered = if grows { [swap, limit] } else { [limit, swap] };
    for (file, value) in ordered {
        set("memory", file, value);
    }
    set("memory", "memory.soft_limit_in_bytes", memory.reservation.map(|bytes| bytes.to_string()));
    set("cpu", "cpu.shares", cpu.shares.filter(|&shares| shares > 0).map(|shares| shares.to_string()));
    set("cpu", "cpu.cfs_period_us", cpu.period.filter(|&period| period > 0).map(|period| period.to_string()));
    set("cpu", "cpu.cfs_quota_us", cpu.quota.filter(|&quota| quota != 0).map(|quota| quota.to_string()));
    set("cpuset", "cpuset.cpus", non_empty(cpu.cpus.as_ref()));
    set("cpuset", "cpuset.mems", non_empty(cpu.mems.as_ref()));
    set("pids", "pids.max", pids.limit.map(number_or_max));
    settings
}

/// The writes for version 2, in order.
pub(super) fn v2(resources: &Resources) -> Vec<V2Setting> {
    let mut settings = Vec::new();
    let mut set = |file: &str, value: Option<String>| {
        if let Some(value) = value {
            settings.push(V2Setting { file: file.to_owned(), value });
        }
    };
    let Resources { memory, cpu, pids, unified } = resources;
    set("memory.max", memory.limit.map(number_or_max));
    set("memory.low", memory.reservation.map(number_or_max));
    set("memory.swap.max", swap_alone(memory));
    set("cpu.weight", cpu.shares.filter(|&shares| shares > 0).map(|shares| weight(shares).to_string()));
    set("cpu.max", bandwidth(cpu));
    set("cpuset.cpus", non_empty(cpu.cpus.as_ref()));
    set("cpuset.mems", non_empty(cpu.mems.as_ref()));
    set("pids.max", pids.limit.map(number_or_max));
    for (file, value) in unified {
        set(file, Some(value.clone()));
    }
    settings
}

fn non_empty(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

fn number_or_max(number: i64) -> String {
    if number > 0 { number.to_string() } else { "max".to_owned() }
}

/// OCI counts memory and swap together, version 2 counts swap alone.
fn swap_alone(memory: &Memory) -> Option<String> {
    let swap = memory.swap?;
    if swap < 0 {
        return Some("max".to_owned());
    }
    memory.limit.filter(|&limit| limit >= 0).map(|limit| (swap - limit).max(0).to_string())
}

/// `cpu.max` is quota and period in one file.
fn bandwidth(cpu: &Cpu) -> Option<String> {
    let quota = cpu.quota.filter(|&quota| quota != 0);
    let period = cpu.period.filter(|&period| period > 0);
    if quota.is_none() && period.is_none() {
        return None;
    }
    let quota = quota.map_or_else(|| "max".to_owned(), number_or_max);
    Some(period.map_or_else(|| quota.clone(), |period| format!("{quota} {period}")))
}

/// Shares 2..=262144 laid onto weights 1..=10000 by a straight line, as all runtimes do.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: serde_json::Value) -> Resources {
        serde_json::from_value(json).unwrap()
    }

    fn v1_lines(resources: &Resources, memory_limit: Option<i64>) -> Vec<String> {
        let line = |setting: V1Setting| format!("{}={}", setting.file, setting.value);
        v1(resources, memory_limit).into_iter().map(line).collect()
    }

    fn v2_lines(resources: &Resources) -> Vec<String> {
        let line = |setting: V2Setting| format!("{}={}", setting.file, setting.value);
        v2(resources).into_iter().map(line).collect()
    }

    #[test]
    fn nothing_asked_nothing_written() {
        let none = resources(serde_json::json!({"devices": [{"allow": false}]}));
        assert!(none.is_empty());
        assert_eq!(v1(&none, None), []);
        assert_eq!(v2(&none), []);
    }

    #[test]
    fn memory_grows_from_above_and_shrinks_from_below() {
        let asked = resources(serde_json::json!({"memory": {"limit": 100, "swap": 200}}));
        let limit = "memory.limit_in_bytes=100".to_owned();
        let swap = "memory.memsw.limit_in_bytes=200".to_owned();
        assert_eq!(v1_lines(&asked, Some(50)), [swap.clone(), limit.clone()]);
        assert_eq!(v1_lines(&asked, Some(500)), [limit, swap]);
    }

    #[test]
    fn version_2_says_it_in_its_own_words() {
        let asked = resources(serde_json::json!({
            "memory": {"limit": 100, "swap": 250},
            "cpu": {"shares": 1024, "quota": 5000, "period": 10000},
            "pids": {"limit": -1},
            "unified": {"io.weight": "7"},
        }));
        let expected = [
            "memory.max=100",
            "memory.swap.max=150",
            "cpu.weight=39",
            "cpu.max=5000 10000",
            "pids.max=max",
            "io.weight=7",
        ];
        assert_eq!(v2_lines(&asked), expected);
    }

    #[test]
    fn weights_reach_both_ends() {
        assert_eq!((weight(2), weight(262_144)), (1, 10_000));
    }
}
