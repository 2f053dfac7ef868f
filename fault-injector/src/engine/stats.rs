//! `events --stats`: what the cgroups count, in the shape of runc's (`types.Event` in runc's `types/events.go`), from which
//! the Rust runc shim makes its metrics.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{
    Engine,
    cgroup::{Cgroup, V1, V2},
    cli,
    log::answer,
    refusal::Refusal,
    state::{StateDirectory, Status},
};

#[derive(Debug, Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    data: Stats,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Stats {
    cpu: Cpu,
    memory: Memory,
    pids: Pids,
    blkio: Empty,
    hugetlb: Empty,
    intel_rdt: Empty,
    network_interfaces: Option<Vec<Empty>>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Empty {}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
}

/// Nanoseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
struct CpuUsage {
    total: u64,
    percpu: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    periods: u64,
    throttled_periods: u64,
    /// Nanoseconds.
    throttled_time: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Memory {
    cache: u64,
    usage: MemoryEntry,
    swap: MemoryEntry,
    kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: MemoryEntry,
    raw: BTreeMap<String, u64>,
}

/// Bytes.
#[derive(Debug, Default, PartialEq, Serialize)]
struct MemoryEntry {
    limit: u64,
    usage: u64,
    max: u64,
    failcnt: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Pids {
    current: u64,
    /// 0 is no limit.
    limit: u64,
}

/// Prints one event with the statistics of now.
pub(super) fn events(engine: &Engine, arguments: &cli::Events) -> Result<()> {
    if !arguments.stats {
        bail!("only events --stats is supported by this engine");
    }
    let record = StateDirectory::new(&engine.root, &arguments.id)?.load()?;
    if record.status()? == Status::Stopped {
        return Err(Refusal::NotRunning { id: record.id }.into());
    }
    let data = match &record.cgroup {
        Cgroup::Absent => bail!("container {:?} has no cgroup to count in", record.id),
        Cgroup::V1(v1) => of_v1(v1),
        Cgroup::V2(v2) => of_v2(v2),
    };
    let event = Event { kind: "stats", id: &record.id, data };
    answer(&(serde_json::to_string(&event).context("cannot encode the statistics")? + "\n"))
}

fn of_v1(v1: &V1) -> Stats {
    let mut stats = Stats::default();
    if let Some(directory) = v1.directory("cpuacct") {
        stats.cpu.usage = CpuUsage {
            total: number(directory, "cpuacct.usage"),
            percpu: text(directory, "cpuacct.usage_percpu").split_whitespace().filter_map(parse).collect(),
            kernel: number(directory, "cpuacct.usage_sys"),
            user: number(directory, "cpuacct.usage_user"),
        };
    }
    if let Some(directory) = v1.directory("cpu") {
        let counted = pairs(&text(directory, "cpu.stat"));
        stats.cpu.throttling = Throttling {
            periods: value(&counted, "nr_periods"),
            throttled_periods: value(&counted, "nr_throttled"),
            throttled_time: value(&counted, "throttled_time"),
        };
    }
    if let Some(directory) = v1.directory("memory") {
        let raw = pairs(&text(directory, "memory.stat"));
        let entry = |name: &str| MemoryEntry {
            limit: number(directory, &format!("memory{name}.limit_in_bytes")),
            usage: number(directory, &format!("memory{name}.usage_in_bytes")),
            max: number(directory, &format!("memory{name}.max_usage_in_bytes")),
            failcnt: number(directory, &format!("memory{name}.failcnt")),
        };
        stats.memory = Memory {
            cache: value(&raw, "cache"),
            usage: entry(""),
            swap: entry(".memsw"),
            kernel: entry(".kmem"),
            kernel_tcp: entry(".kmem.tcp"),
            raw,
        };
    }
    if let Some(directory) = v1.directory("pids") {
        stats.pids = pids(directory);
    }
    stats
}

fn of_v2(v2: &V2) -> Stats {
    let directory = v2.path.as_path();
    let counted = pairs(&text(directory, "cpu.stat"));
    let nanoseconds = |name: &str| value(&counted, name) * 1000;
    let raw = pairs(&text(directory, "memory.stat"));
    let entry = |name: &str| MemoryEntry {
        limit: number_or_max(directory, &format!("{name}.max")),
        usage: number(directory, &format!("{name}.current")),
        max: number(directory, &format!("{name}.peak")),
        failcnt: value(&pairs(&text(directory, &format!("{name}.events"))), "max"),
    };
    Stats {
        cpu: Cpu {
            usage: CpuUsage {
                total: nanoseconds("usage_usec"),
                percpu: Vec::new(),
                kernel: nanoseconds("system_usec"),
                user: nanoseconds("user_usec"),
            },
            throttling: Throttling {
                periods: value(&counted, "nr_periods"),
                throttled_periods: value(&counted, "nr_throttled"),
                throttled_time: nanoseconds("throttled_usec"),
            },
        },
        memory: Memory {
            cache: value(&raw, "file"),
            usage: entry("memory"),
            swap: entry("memory.swap"),
            raw,
            ..Memory::default()
        },
        pids: pids(directory),
        ..Stats::default()
    }
}

fn pids(directory: &Path) -> Pids {
    Pids { current: number(directory, "pids.current"), limit: parse(text(directory, "pids.max").trim()).unwrap_or(0) }
}

/// A file that a kernel does not have, or has no more, counts nothing; as in runc, statistics are what is there.
fn text(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap_or_default()
}

fn number(directory: &Path, file: &str) -> u64 {
    parse(text(directory, file).trim()).unwrap_or(0)
}

/// Version 2 writes `max` where there is no limit; runc reports the largest number.
fn number_or_max(directory: &Path, file: &str) -> u64 {
    match text(directory, file).trim() {
        "max" => u64::MAX,
        digits => parse(digits).unwrap_or(0),
    }
}

fn parse(digits: &str) -> Option<u64> {
    digits.parse().ok()
}

fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, digits) = line.split_once(' ')?;
        Some((name.to_owned(), parse(digits)?))
    };
    text.lines().filter_map(pair).collect()
}

fn value(pairs: &BTreeMap<String, u64>, name: &str) -> u64 {
    pairs.get(name).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_line_by_line() {
        let counted = pairs("usage_usec 12\nbroken\nuser_usec 7\n");
        assert_eq!((value(&counted, "usage_usec"), value(&counted, "user_usec")), (12, 7));
        assert_eq!(value(&counted, "absent"), 0);
    }

    #[test]
    fn nothing_counted_has_all_fields() {
        let text = serde_json::to_value(Stats::default()).unwrap();
        for field in ["cpu", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
            assert!(text.get(field).is_some(), "{field}");
        }
        assert!(text["cpu"]["throttling"].get("throttledPeriods").is_some());
        assert!(text["memory"].get("kernelTCP").is_some());
    }
}
