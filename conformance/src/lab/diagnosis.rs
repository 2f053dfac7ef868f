//! What every process was doing when a check ran into its limit.

use std::{fmt::Write as _, fs};

use super::process;

/// A page of text: each process of the world with what it waits for, and its descriptors.
pub fn take() -> String {
    let mut page = String::new();
    for stat in process::processes().unwrap_or_default() {
        let pid = stat.pid;
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let command = read("cmdline").replace('\0', " ");
        // Writing to a string cannot fail.
        _ = writeln!(page, "{pid} (parent {}) {} [{}] {}", stat.ppid, stat.comm, stat.state, command.trim());
        for thread in entries(&format!("/proc/{pid}/task")) {
            let waits =
                |file: &str| fs::read_to_string(format!("/proc/{pid}/task/{thread}/{file}")).unwrap_or_default();
            _ = writeln!(page, "  thread {thread}: {} {}", waits("wchan").trim(), waits("syscall").trim());
            for frame in waits("stack").lines().take(8) {
                _ = writeln!(page, "    {frame}");
            }
        }
        for descriptor in entries(&format!("/proc/{pid}/fd")) {
            let target = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).unwrap_or_default();
            _ = writeln!(page, "  descriptor {descriptor}: {}", target.display());
        }
    }
    page
}

/// The names in a directory that may be gone.
fn entries(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
