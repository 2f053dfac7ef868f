//! The command line.

use std::{process::ExitCode, sync::atomic::AtomicBool, sync::mpsc};

use crate::{
    checks,
    lab::{Engine, ExitPolicy, Job, world::Isolation},
    runner::{self, News},
    wire::Daemon,
};

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let shim = std::env::args().nth(1).unwrap_or_default();
    let engine = std::env::args().nth(2).map_or(Engine::Ours, |p| Engine::Path(p.into()));
    let jobs: Vec<Job> = checks::all()
        .enumerate()
        .map(|(i, c)| Job {
            check: c.id.to_owned(),
            script: None,
            lie: None,
            shim: shim.clone().into(),
            engine: engine.clone(),
            daemon: Daemon::V2_1,
            exit_policy: ExitPolicy::OnShutdown,
            isolation: Isolation::Full,
            unique: format!("{}-{i}", std::process::id()),
            unprivileged: false,
            cgroups: true,
            timeout_scale: 1.0,
            limit_ms: 60000,
            env: vec![],
            debug: false,
        })
        .collect();
    let (tx, rx) = mpsc::channel();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| runner::run(&jobs, 2, &stop, &tx));
        for news in rx.iter() {
            match news {
                News::Ended { index, ending, took } => {
                    anstream::println!("{} {:?} {took:?}", jobs[index].check, ending.verdict);
                    if std::env::var("V").is_ok() {
                        for r in &ending.history.records {
                            anstream::println!("  {:9.2} {}", r.at.ms_since(ending.history.records[0].at), r.what);
                        }
                        anstream::println!("{}", ending.log);
                    }
                }
                News::Started { .. } => {}
                News::Over => break,
            }
        }
    });
    ExitCode::SUCCESS
}
