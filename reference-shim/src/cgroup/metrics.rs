//! What a cgroup has used, in the messages of containerd's `cgroups` package.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use containerd_shim_protos::{
    cgroups::metrics as v1,
    cgroups_v2::metrics as v2,
    protobuf::{Message, well_known_types::any::Any},
};

use super::{keyed, number};

/// Nanoseconds in a tick of `cpuacct.stat`, which counts in hundredths of a second on every Linux.
const TICK_NS: u64 = 10_000_000;

pub(super) fn v1(controllers: &HashMap<String, PathBuf>) -> Option<Any> {
    let existing = |name: &str| controllers.get(name).filter(|directory| directory.is_dir());
    let mut metrics = v1::Metrics::new();
    metrics.pids = existing("pids").map(|directory| v1_pids(directory)).into();
    metrics.cpu = existing("cpuacct").map(|directory| v1_cpu(directory, existing("cpu"))).into();
    let memory = existing("memory");
    metrics.memory = memory.map(|directory| v1_memory(directory)).into();
    metrics.memory_oom_control = memory.map(|directory| v1_oom(directory)).into();
    metrics.blkio = existing("blkio").map(|directory| v1_blkio(directory)).into();
    let any = metrics.pids.is_some() || metrics.cpu.is_some() || metrics.memory.is_some();
    any.then(|| pack("io.containerd.cgroups.v1.Metrics", &metrics))
}

fn v1_pids(directory: &Path) -> v1::PidsStat {
    let mut pids = v1::PidsStat::new();
    pids.current = number(&directory.join("pids.current")).unwrap_or(0);
    // No limit is 0 here.
    pids.limit = number(&directory.join("pids.max")).filter(|limit| *limit != u64::MAX).unwrap_or(0);
    pids
}

fn v1_cpu(accounting: &Path, bandwidth: Option<&PathBuf>) -> v1::CPUStat {
    let ticks = keyed(&accounting.join("cpuacct.stat")).unwrap_or_default();
    let mut usage = v1::CPUUsage::new();
    usage.total = number(&accounting.join("cpuacct.usage")).unwrap_or(0);
    usage.user = value(&ticks, "user") * TICK_NS;
    usage.kernel = value(&ticks, "system") * TICK_NS;
    let per_cpu = fs::read_to_string(accounting.join("cpuacct.usage_percpu")).unwrap_or_default();
    usage.per_cpu = per_cpu.split_whitespace().filter_map(|value| value.parse().ok()).collect();
    let stat = bandwidth.and_then(|directory| keyed(&directory.join("cpu.stat")).ok()).unwrap_or_default();
    let mut throttling = v1::Throttle::new();
    throttling.periods = value(&stat, "nr_periods");
    throttling.throttled_periods = value(&stat, "nr_throttled");
    throttling.throttled_time = value(&stat, "throttled_time");
    let mut cpu = v1::CPUStat::new();
    cpu.usage = Some(usage).into();
    cpu.throttling = Some(throttling).into();
    cpu
}

fn v1_memory(directory: &Path) -> v1::MemoryStat {
    let stat = keyed(&directory.join("memory.stat")).unwrap_or_default();
    let get = |key| value(&stat, key);
    let mut memory = v1::MemoryStat::new();
    memory.cache = get("cache");
    memory.rss = get("rss");
    memory.rss_huge = get("rss_huge");
    memory.mapped_file = get("mapped_file");
    memory.dirty = get("dirty");
    memory.writeback = get("writeback");
    memory.pg_pg_in = get("pgpgin");
    memory.pg_pg_out = get("pgpgout");
    memory.pg_fault = get("pgfault");
    memory.pg_maj_fault = get("pgmajfault");
    memory.inactive_anon = get("inactive_anon");
    memory.active_anon = get("active_anon");
    memory.inactive_file = get("inactive_file");
    memory.active_file = get("active_file");
    memory.unevictable = get("unevictable");
    memory.hierarchical_memory_limit = get("hierarchical_memory_limit");
    memory.hierarchical_swap_limit = get("hierarchical_memsw_limit");
    memory.total_cache = get("total_cache");
    memory.total_rss = get("total_rss");
    memory.total_rss_huge = get("total_rss_huge");
    memory.total_mapped_file = get("total_mapped_file");
    memory.total_dirty = get("total_dirty");
    memory.total_writeback = get("total_writeback");
    memory.total_pg_pg_in = get("total_pgpgin");
    memory.total_pg_pg_out = get("total_pgpgout");
    memory.total_pg_fault = get("total_pgfault");
    memory.total_pg_maj_fault = get("total_pgmajfault");
    memory.total_inactive_anon = get("total_inactive_anon");
    memory.total_active_anon = get("total_active_anon");
    memory.total_inactive_file = get("total_inactive_file");
    memory.total_active_file = get("total_active_file");
    memory.total_unevictable = get("total_unevictable");
    memory.usage = Some(v1_entry(directory, "memory")).into();
    memory.swap = Some(v1_entry(directory, "memory.memsw")).into();
    memory.kernel = Some(v1_entry(directory, "memory.kmem")).into();
    memory.kernel_tcp = Some(v1_entry(directory, "memory.kmem.tcp")).into();
    memory
}

fn v1_entry(directory: &Path, name: &str) -> v1::MemoryEntry {
    let read = |what: &str| number(&directory.join(format!("{name}.{what}"))).unwrap_or(0);
    let mut entry = v1::MemoryEntry::new();
    entry.limit = read("limit_in_bytes");
    entry.usage = read("usage_in_bytes");
    entry.max = read("max_usage_in_bytes");
    entry.failcnt = read("failcnt");
    entry
}

fn v1_oom(directory: &Path) -> v1::MemoryOomControl {
    let control = keyed(&directory.join("memory.oom_control")).unwrap_or_default();
    let mut oom = v1::MemoryOomControl::new();
    oom.oom_kill_disable = value(&control, "oom_kill_disable");
    oom.under_oom = value(&control, "under_oom");
    oom.oom_kill = value(&control, "oom_kill");
    oom
}

fn v1_blkio(directory: &Path) -> v1::BlkIOStat {
    let mut blkio = v1::BlkIOStat::new();
    blkio.io_service_bytes_recursive = v1_transfers(&directory.join("blkio.throttle.io_service_bytes_recursive"));
    blkio.io_serviced_recursive = v1_transfers(&directory.join("blkio.throttle.io_serviced_recursive"));
    blkio
}

/// Lines of `MAJOR:MINOR OPERATION VALUE`.
fn v1_transfers(path: &Path) -> Vec<v1::BlkIOEntry> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (device, op, value) = (fields.next()?, fields.next()?, fields.next()?);
            let (major, minor) = device.split_once(':')?;
            let mut entry = v1::BlkIOEntry::new();
            entry.major = major.parse().ok()?;
            entry.minor = minor.parse().ok()?;
            entry.op = op.to_owned();
            entry.value = value.parse().ok()?;
            Some(entry)
        })
        .collect()
}

pub(super) fn v2(directory: &Path) -> Option<Any> {
    if !directory.is_dir() {
        return None;
    }
    let mut metrics = v2::Metrics::new();
    let mut pids = v2::PidsStat::new();
    pids.current = number(&directory.join("pids.current")).unwrap_or(0);
    pids.limit = number(&directory.join("pids.max")).filter(|limit| *limit != u64::MAX).unwrap_or(0);
    metrics.pids = Some(pids).into();
    metrics.cpu = Some(v2_cpu(directory)).into();
    metrics.memory = Some(v2_memory(directory)).into();
    metrics.memory_events = Some(v2_memory_events(directory)).into();
    metrics.io = Some(v2_io(directory)).into();
    Some(pack("io.containerd.cgroups.v2.Metrics", &metrics))
}

fn v2_cpu(directory: &Path) -> v2::CPUStat {
    let stat = keyed(&directory.join("cpu.stat")).unwrap_or_default();
    let mut cpu = v2::CPUStat::new();
    cpu.usage_usec = value(&stat, "usage_usec");
    cpu.user_usec = value(&stat, "user_usec");
    cpu.system_usec = value(&stat, "system_usec");
    cpu.nr_periods = value(&stat, "nr_periods");
    cpu.nr_throttled = value(&stat, "nr_throttled");
    cpu.throttled_usec = value(&stat, "throttled_usec");
    cpu
}

fn v2_memory(directory: &Path) -> v2::MemoryStat {
    let stat = keyed(&directory.join("memory.stat")).unwrap_or_default();
    let get = |key| value(&stat, key);
    let read = |name: &str| number(&directory.join(name)).unwrap_or(0);
    let mut memory = v2::MemoryStat::new();
    memory.anon = get("anon");
    memory.file = get("file");
    memory.kernel_stack = get("kernel_stack");
    memory.slab = get("slab");
    memory.sock = get("sock");
    memory.shmem = get("shmem");
    memory.file_mapped = get("file_mapped");
    memory.file_dirty = get("file_dirty");
    memory.file_writeback = get("file_writeback");
    memory.anon_thp = get("anon_thp");
    memory.inactive_anon = get("inactive_anon");
    memory.active_anon = get("active_anon");
    memory.inactive_file = get("inactive_file");
    memory.active_file = get("active_file");
    memory.unevictable = get("unevictable");
    memory.slab_reclaimable = get("slab_reclaimable");
    memory.slab_unreclaimable = get("slab_unreclaimable");
    memory.pgfault = get("pgfault");
    memory.pgmajfault = get("pgmajfault");
    memory.usage = read("memory.current");
    memory.usage_limit = read("memory.max");
    memory.swap_usage = read("memory.swap.current");
    memory.swap_limit = read("memory.swap.max");
    memory
}

fn v2_memory_events(directory: &Path) -> v2::MemoryEvents {
    let counters = keyed(&directory.join("memory.events")).unwrap_or_default();
    let mut events = v2::MemoryEvents::new();
    events.low = value(&counters, "low");
    events.high = value(&counters, "high");
    events.max = value(&counters, "max");
    events.oom = value(&counters, "oom");
    events.oom_kill = value(&counters, "oom_kill");
    events
}

/// Lines of `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N ...`.
fn v2_io(directory: &Path) -> v2::IOStat {
    let text = fs::read_to_string(directory.join("io.stat")).unwrap_or_default();
    let mut io = v2::IOStat::new();
    io.usage = text
        .lines()
        .filter_map(|line| {
            let (device, fields) = line.split_once(' ')?;
            let (major, minor) = device.split_once(':')?;
            let fields: HashMap<&str, u64> = fields
                .split(' ')
                .filter_map(|field| field.split_once('='))
                .filter_map(|(key, value)| Some((key, value.parse().ok()?)))
                .collect();
            let get = |key| fields.get(key).copied().unwrap_or(0);
            let mut entry = v2::IOEntry::new();
            entry.major = major.parse().ok()?;
            entry.minor = minor.parse().ok()?;
            (entry.rbytes, entry.wbytes) = (get("rbytes"), get("wbytes"));
            (entry.rios, entry.wios) = (get("rios"), get("wios"));
            Some(entry)
        })
        .collect();
    io
}

fn value(values: &HashMap<String, u64>, key: &str) -> u64 {
    values.get(key).copied().unwrap_or(0)
}

fn pack(type_url: &str, message: &impl Message) -> Any {
    Any {
        type_url: type_url.to_owned(),
        // Encoding into memory fails only beyond 2 GiB.
        value: message.write_to_bytes().unwrap_or_default(),
        ..Any::default()
    }
}
