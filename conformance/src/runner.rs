//! Runs checks in worlds, several at a time, and tells what happens.
//!
//! Workers are plain threads: each makes a world, waits for its word with a hard limit, and ends it. A world that hangs costs one worker
//! its limit and nobody anything else.

use std::{
    io::{ErrorKind, PipeReader, PipeWriter, Read, Write as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, Ordering},
        mpsc::Sender,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::{
    io::ioctl_fionbio,
    process::{PidfdFlags, pidfd_open},
};

use crate::{
    check::{Body, Check, Verdict},
    clock, drive, entry,
    history::{History, Moment},
    lab::{
        Ending, Job, Word,
        cgroups::Groups,
        deadline,
        world::{DYING, Isolation},
    },
    lie::Lie,
    property,
    script::Script,
    subject::Subject,
    tenancy::{self, Tenancy},
};

/// How many cases of a property a lie is told in, at least: not every script does what the lie is about. The first that notices is enough.
const CASES_UNDER_A_LIE: u32 = 64;

/// What a worker is given to do.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// The check.
    pub check: &'static Check,
    /// The lie to tell meanwhile.
    pub lie: Option<Lie>,
}

/// What was done with a task.
#[derive(Debug, Clone)]
pub struct Done {
    /// How the check ended.
    pub ending: Ending,
    /// When the task was begun.
    pub begun: Moment,
    /// When it ended.
    pub ended: Moment,
}

/// Something that happened in a run.
#[derive(Debug)]
pub enum News {
    /// A worker turned to this task.
    Started {
        /// Its place among the tasks.
        index: usize,
    },
    /// A task has ended.
    Ended {
        /// Its place among the tasks.
        index: usize,
        /// What was done.
        done: Box<Done>,
    },
    /// All workers have ended.
    Over,
}

/// The choices of a run that are not the subject's.
#[derive(Debug, Clone, Copy)]
pub struct Choices {
    /// How many tasks run at once.
    pub jobs: usize,
    /// Where every random choice comes from.
    pub seed: u64,
    /// How many cases each property tries.
    pub cases: u32,
}

/// The hold that others have on a run.
#[derive(Debug)]
pub struct Control {
    draining: AtomicBool,
    signal: AtomicI32,
    /// Its writer is dropped when everything must end; whoever polls the reader then sees a hang-up.
    ended: PipeReader,
    end: Mutex<Option<PipeWriter>>,
    tenancy: Tenancy,
}

impl Control {
    /// A run that may go on, with its place on this host.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn new() -> Result<Self> {
        let (ended, end) = std::io::pipe().context("make a pipe")?;
        Ok(Self {
            draining: AtomicBool::new(false),
            signal: AtomicI32::new(0),
            ended,
            end: Mutex::new(Some(end)),
            tenancy: Tenancy::begin(),
        })
    }

    /// What the run holds on this host.
    pub fn tenancy(&self) -> &Tenancy {
        &self.tenancy
    }

    /// Starts nothing more; what runs may end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Starts nothing more and ends the worlds under way, because of this signal.
    pub fn interrupt(&self, signal: i32) {
        self.signal.store(signal, Ordering::Relaxed);
        self.drain();
        drop(self.end.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The signal that interrupted.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal),
        }
    }

    fn is_interrupted(&self) -> bool {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Whether nothing more is to be started.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Carries out `tasks`, until they are done or `control` says otherwise.
pub fn run(subject: &Subject, tasks: &[Task], choices: Choices, control: &Control, news: &Sender<News>) {
    let queue = Mutex::new(tasks.iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..choices.jobs {
            let (news, next) = (news.clone(), &next);
            scope.spawn(move || {
                while !control.is_draining()
                    && let Some((index, &task)) = next()
                {
                    // Nobody listens any more when the renderer has failed; the worlds still end in order.
                    _ = news.send(News::Started { index });
                    let done = Box::new(carry_out(subject, task, choices, control));
                    _ = news.send(News::Ended { index, done });
                }
            });
        }
    });
    _ = news.send(News::Over);
}

/// Carries out one task: an example in one world, a property in as many as it takes.
pub fn carry_out(subject: &Subject, task: Task, choices: Choices, control: &Control) -> Done {
    let begun = clock::now();
    let Task { check, lie } = task;
    if let Some(reason) = subject.excuse(check.clause) {
        return Done { ending: without_history(Verdict::NotApplicable { reason }), begun, ended: begun };
    }
    let play = |script: Option<Script>| in_world(&subject.job(check.id, script, lie, tenancy::unique()), control);
    let ending = match (&check.body, lie) {
        (Body::Example(_), _) => play(None),
        (Body::Property(strategy), None) => {
            let mut play = |script: &Script| play(Some(script.clone()));
            property::run(check, &strategy(), choices.seed, choices.cases, &mut play)
        }
        // That the lie is noticed is all that matters: a script that notices it is neither made smaller nor kept.
        (Body::Property(strategy), Some(_)) => {
            let (strategy, seed) = (strategy(), property::sub_seed(choices.seed, check.id));
            let cases = choices.cases.max(CASES_UNDER_A_LIE);
            let endings = property::scripts(&strategy, seed, cases).map(|(_, script)| play(Some(script)));
            last_until(endings, |ending| ending.verdict != Verdict::Held).unwrap_or_else(|| play(None))
        }
    };
    Done { ending, begun, ended: clock::now() }
}

/// The first that is `wanted`, or else the last.
fn last_until<T>(all: impl Iterator<Item = T>, wanted: impl Fn(&T) -> bool) -> Option<T> {
    let mut last = None;
    for one in all {
        let found = wanted(&one);
        last = Some(one);
        if found {
            break;
        }
    }
    last
}

/// Runs one job in a world of its own.
pub fn in_world(job: &Job, control: &Control) -> Ending {
    in_world_heard(job, control).0
}

/// The same, with all that the world had said before its end.
pub fn in_world_heard(job: &Job, control: &Control) -> (Ending, Vec<Word>) {
    let (ending, words) = attempt(job, control).unwrap_or_else(|e| (error(format!("{e:#}")), Vec::new()));
    match clear_cgroups(&job.unique) {
        Ok(()) => (ending, words),
        Err(e) => (error(format!("{e:#}")), words),
    }
}

/// An ending of which nothing was observed.
fn without_history(verdict: Verdict) -> Ending {
    Ending { verdict, history: History::default(), log: String::new(), diagnosis: None }
}

fn error(reason: String) -> Ending {
    without_history(Verdict::Error { reason })
}

/// The processes of a world that was ended by force die a moment after its keeper, and hold their cgroups until then.
fn clear_cgroups(unique: &str) -> Result<()> {
    let groups = Groups::of_world(unique)?;
    let cleared = deadline::until_blocking(DYING, || groups.remove().left.is_empty().then_some(()));
    cleared.with_context(|| format!("cgroups cannot be removed: {:?}", groups.remove().left))
}

fn attempt(job: &Job, control: &Control) -> Result<(Ending, Vec<Word>)> {
    if control.is_interrupted() {
        return Ok((interrupted(), Vec::new()));
    }
    let mut said = world(job, entry::WORLD, control)?;
    if let Some(Word::Ended(ending)) = said.words.pop() {
        return Ok((*ending, said.words));
    }
    let complaint = said.complaint.trim();
    let ending = match said.end {
        End::Itself => error(format!("the world ended without a verdict: {complaint}")),
        End::Limit => error(format!("the world did not end within {} ms: {complaint}", limit(job).as_millis())),
        End::Interrupted => interrupted(),
    };
    Ok((ending, said.words))
}

fn interrupted() -> Ending {
    without_history(Verdict::Inconclusive { reason: "interrupted".to_owned() })
}

/// How a world came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Itself,
    /// It was ended at its limit.
    Limit,
    /// It was ended because the run was interrupted.
    Interrupted,
}

/// What a world said until its end.
#[derive(Debug)]
pub struct Said {
    /// Its words.
    pub words: Vec<Word>,
    /// Its standard error.
    pub complaint: String,
    /// How it ended.
    pub end: End,
}

fn limit(job: &Job) -> Duration {
    Duration::from_millis(job.limit_ms) + drive::TEARDOWN.mul_f64(2.0 * job.timeout_scale.max(1.0))
}

/// Makes a world for `job` as the hidden subcommand `entry`, and hears it to its end.
///
/// # Errors
///
/// When it cannot be executed or heard.
pub fn world(job: &Job, entry: &str, control: &Control) -> Result<Said> {
    let own = std::env::current_exe().context("find the suite's own executable")?;
    if job.isolation == Isolation::None {
        let place = std::env::temp_dir();
        control.tenancy().settle_in(&place).with_context(|| format!("take a place in {}", place.display()))?;
    }
    anyhow::ensure!(own.exists(), "the suite's own executable was replaced while it ran: run it again");
    let mut child = Command::new(own)
        .args([entry, &std::process::id().to_string()])
        // What a terminal sends to the runner's group is the runner's to pass on.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("execute a world")?;
    let mut stdin = child.stdin.take().context("a world has no stdin")?;
    let job_text = serde_json::to_vec(job).context("encode a job")?;
    let handed_over = stdin.write_all(&job_text);
    drop(stdin);
    let heard = hear(&mut child, limit(job), control);
    end_world(&mut child)?;
    let said = heard?;
    if said.words.is_empty() && said.complaint.is_empty() {
        handed_over.context("hand over the job")?;
    }
    Ok(said)
}

/// Has the keeper take its world down, so that it is the last to go. For a keeper that has ended by itself this does nothing.
fn end_world(keeper: &mut Child) -> Result<()> {
    let gone = watch(keeper)?;
    let pid = i32::try_from(keeper.id()).context("a world's pid is over 31 bits")?;
    kill(Pid::from_raw(pid), Signal::SIGTERM).context("end a world")?;
    let until = Instant::now() + 2 * DYING;
    while !wait(&[gone.as_fd()], until.saturating_duration_since(Instant::now()))?.contains(&true)
        && Instant::now() < until
    {}
    keeper.kill().context("end a world")?;
    keeper.wait().context("wait for a world")?;
    Ok(())
}

/// A descriptor that is readable once `child` has ended.
fn watch(child: &Child) -> Result<OwnedFd> {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    pidfd_open(pid.context("a world has no pid")?, PidfdFlags::empty()).context("watch a world")
}

/// Reads what a world says until it has ended, its limit passes or the run is interrupted.
fn hear(child: &mut Child, limit: Duration, control: &Control) -> Result<Said> {
    let until = Instant::now() + limit;
    let gone = watch(child)?;
    let mut stdout = Stream::new(child.stdout.take().context("a world has no stdout")?)?;
    let mut stderr = Stream::new(child.stderr.take().context("a world has no stderr")?)?;
    let end = loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break End::Limit;
        }
        let mut watched = vec![gone.as_fd(), control.ended.as_fd()];
        watched.extend(stdout.open());
        watched.extend(stderr.open());
        let ready = wait(&watched, left)?;
        // A world that says much must never wait for a runner that waits for it.
        stdout.read()?;
        stderr.read()?;
        match ready[..] {
            [true, ..] => break End::Itself,
            [_, true, ..] => break End::Interrupted,
            _ => {}
        }
    };
    // What it said before it ended lies in the pipes.
    stdout.read()?;
    stderr.read()?;
    let said = stdout.text();
    Ok(Said {
        words: said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
        complaint: stderr.text(),
        end,
    })
}

/// Waits until one of `watched` can be read or hangs up, at most `limit`; which of them.
fn wait(watched: &[BorrowedFd<'_>], limit: Duration) -> Result<Vec<bool>> {
    let mut watched: Vec<PollFd<'_>> = watched.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    match poll(&mut watched, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
        Ok(_) => Ok(watched.iter().map(|fd| fd.any().unwrap_or(false)).collect()),
        Err(Errno::EINTR) => Ok(vec![false; watched.len()]),
        Err(e) => Err(e).context("wait for a world"),
    }
}

/// One of a world's output streams, read without ever waiting.
struct Stream<S> {
    /// `None` after its end.
    source: Option<S>,
    bytes: Vec<u8>,
}

impl<S: Read + AsFd> Stream<S> {
    fn new(source: S) -> Result<Self> {
        ioctl_fionbio(&source, true).context("prepare to read what a world says")?;
        Ok(Self { source: Some(source), bytes: Vec::new() })
    }

    fn open(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there.
    fn read(&mut self) -> Result<()> {
        let Some(source) = &mut self.source else { return Ok(()) };
        match source.read_to_end(&mut self.bytes) {
            Ok(_) => self.source = None,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e).context("read what a world says"),
        }
        Ok(())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
