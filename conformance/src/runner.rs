//! Runs checks in worlds, several at a time, and tells what happens.
//!
//! Workers are plain threads: each makes a world, waits for its word with a hard limit, and ends it. A world that hangs costs one worker
//! its limit and nobody anything else.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    check::Verdict,
    drive, entry,
    history::History,
    lab::{Ending, Job, Word, residue},
};

/// Something that happened in a run.
#[derive(Debug)]
pub enum News {
    /// A world was made for this job.
    Started {
        /// Its place among the jobs.
        index: usize,
    },
    /// A job has ended.
    Ended {
        /// Its place among the jobs.
        index: usize,
        /// How.
        ending: Box<Ending>,
        /// How long it took.
        took: Duration,
    },
    /// All workers have ended.
    Over,
}

/// Runs `jobs`, at most `workers` at a time, until they are done or `stop` is set; worlds under way are then ended at once.
pub fn run(jobs: &[Job], workers: usize, stop: &AtomicBool, news: &Sender<News>) {
    let queue = Mutex::new(jobs.iter().enumerate());
    thread::scope(|scope| {
        for _ in 0..workers {
            let news = news.clone();
            let queue = &queue;
            scope.spawn(move || {
                while let Some((index, job)) = next(queue) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // Nobody listens any more when the renderer has failed; the worlds still end in order.
                    _ = news.send(News::Started { index });
                    let begun = Instant::now();
                    let ending = Box::new(in_world(job, stop));
                    _ = news.send(News::Ended {
                        index,
                        ending,
                        took: begun.elapsed(),
                    });
                }
            });
        }
    });
    _ = news.send(News::Over);
}

fn next<'a>(queue: &Mutex<impl Iterator<Item = (usize, &'a Job)>>) -> Option<(usize, &'a Job)> {
    queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next()
}

/// Runs one job in a world of its own.
pub fn in_world(job: &Job, stop: &AtomicBool) -> Ending {
    let ending = attempt(job, stop).unwrap_or_else(|e| error(format!("{e:#}")));
    match residue::remove_cgroups(&job.unique) {
        Ok(left) if left.is_empty() => ending,
        Ok(left) => error(format!("cgroups cannot be removed: {left:?}")),
        Err(e) => error(format!("{e:#}")),
    }
}

fn error(reason: String) -> Ending {
    Ending {
        verdict: Verdict::Error { reason },
        history: History::default(),
        log: String::new(),
        diagnosis: None,
    }
}

fn attempt(job: &Job, stop: &AtomicBool) -> Result<Ending> {
    let own = std::env::current_exe().context("find the suite's own executable")?;
    let mut child = Command::new(own)
        .arg(entry::WORLD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("execute a world")?;
    let mut stdin = child.stdin.take().context("a world has no stdin")?;
    stdin
        .write_all(&serde_json::to_vec(job).context("encode a job")?)
        .context("hand over the job")?;
    drop(stdin);

    // Both are read by threads, so that a world that says much never waits for a runner that waits for it.
    let stdout = read_all(child.stdout.take().context("a world has no stdout")?);
    let stderr = read_all(child.stderr.take().context("a world has no stderr")?);
    let limit = Duration::from_millis(job.limit_ms) + drive::TEARDOWN.mul_f64(2.0 * job.timeout_scale.max(1.0));
    let ended = wait(&mut child, limit, stop)?;
    let said = stdout.join().unwrap_or_default();
    let complained = stderr.join().unwrap_or_default();
    let mut words = said.lines().filter_map(|line| serde_json::from_str(line).ok());
    if let Some(Word::Ended(ending)) = words.next_back() {
        return Ok(*ending);
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(Ending {
            verdict: Verdict::Inconclusive {
                reason: "interrupted".to_owned(),
            },
            ..error(String::new())
        });
    }
    Ok(error(match ended {
        true => format!("the world ended without a verdict: {}", complained.trim()),
        false => format!(
            "the world did not end within {} ms: {}",
            limit.as_millis(),
            complained.trim()
        ),
    }))
}

fn read_all(mut stream: impl std::io::Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is all there is.
        _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the end of a world; ends it when `limit` passes or the run is stopped. Whether it ended by itself.
fn wait(child: &mut Child, limit: Duration, stop: &AtomicBool) -> Result<bool> {
    let end = Instant::now() + limit;
    loop {
        if child.try_wait().context("wait for a world")?.is_some() {
            return Ok(true);
        }
        if Instant::now() >= end || stop.load(Ordering::Relaxed) {
            child.kill().context("end a world")?;
            child.wait().context("wait for a world")?;
            return Ok(false);
        }
        nix::poll::poll(&mut [], 5u16).context("wait for a world")?;
    }
}
