//! The thread that is asked before each call takes effect, and its hold for others.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::errno::Errno as SystemErrno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, FileId, Subject};
use super::calls;
use super::identity::{Family, Role};
use super::point::{Point, normalised};
use crate::fault::{Action, Errno, Fault, Strike, Trigger, Unfit};
use crate::guard::{Bites, Guard};
use crate::sys::{passed, seccomp};

/// One call that a shim made, or was about to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Where in its life.
    pub point: Point,
    /// The errors that its manual page knows.
    pub errnos: Vec<Errno>,
    /// Whether a crash right before it may leave the world otherwise than a crash before the next one.
    pub crash: bool,
}

impl Seen {
    /// Whether `strike` may happen to it.
    pub fn admits(&self, strike: Strike) -> bool {
        match strike {
            Strike::Kill => self.crash,
            Strike::Fail(errno) => self.errnos.contains(&errno),
        }
    }
}

/// Which calls a fault is aimed at; what is `None` may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aim {
    /// The phase.
    pub phase: Option<String>,
    /// The system call's name.
    pub call: Option<String>,
    /// What it is about, normalised.
    pub subject: Option<String>,
}

impl Aim {
    /// Every call of a phase.
    pub fn phase(phase: &str) -> Self {
        Self { phase: Some(phase.to_owned()), ..Self::default() }
    }

    /// The same, about this alone.
    #[must_use]
    pub fn about(self, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..self }
    }

    /// The calls among which `point` is the k-th.
    pub fn at(point: &Point) -> Self {
        Self { phase: Some(point.phase.clone()), call: Some(point.call.clone()), subject: Some(point.subject.clone()) }
    }

    fn takes(&self, point: &Point) -> bool {
        let agrees = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        agrees(&self.phase, &point.phase) && agrees(&self.call, &point.call) && agrees(&self.subject, &point.subject)
    }
}

/// A call that was struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struck {
    /// Which.
    pub point: Point,
    /// The process that made it.
    pub pid: i32,
    /// What it was for.
    pub role: Role,
}

/// Asked before each system call of a shim that is executed by [`super::launch()`].
///
/// When it is dropped, or its process ends, every call in the table fails with ENOSYS for the shim, the runtime and the containers: it must
/// outlive them.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    path: PathBuf,
    /// Its end is the thread's.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    shim: FileId,
    aliases: Vec<(String, &'static str)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    helper_phase: String,
    daemon_phase: String,
    counts: HashMap<(String, &'static str, String), u32>,
    seen: Vec<Seen>,
    armed: Vec<Armed>,
    next: u64,
    struck: Vec<Struck>,
    shims: Vec<(i32, Role)>,
    troubles: Vec<String>,
}

#[derive(Debug)]
struct Armed {
    number: u64,
    aim: Aim,
    strike: Strike,
    when: Trigger,
    occasions: u32,
    bites: Bites,
}

impl Supervisor {
    /// Listens at `path` for shims whose executable is `shim`. In what calls are about, each of `aliases` stands for a text that differs
    /// from life to life.
    ///
    /// # Errors
    ///
    /// When the socket or the thread cannot be made, or the shim cannot be found.
    pub fn listen(path: impl Into<PathBuf>, shim: &Path, aliases: Vec<(String, &'static str)>) -> io::Result<Self> {
        let path = path.into();
        let door = UnixListener::bind(&path)?;
        let (stop, stopped) = UnixStream::pair()?;
        let shared = Arc::new(Shared { shim: FileId::of(shim)?, aliases, state: Mutex::default() });
        let watch = Watch::new(shared.clone(), door, stopped);
        let thread = thread::Builder::new().name("supervisor".to_owned()).spawn(move || watch.run())?;
        Ok(Self { shared, path, stop: Some(stop), thread: Some(thread) })
    }

    /// Where the launcher finds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on calls belong to this phase: those of helpers to the first, those of a daemon to the second.
    pub fn enter(&self, helper: &str, daemon: &str) {
        let mut state = self.shared.state();
        helper.clone_into(&mut state.helper_phase);
        daemon.clone_into(&mut state.daemon_phase);
    }

    /// Puts a fault in force for the calls aimed at; occasions are counted from now.
    ///
    /// # Errors
    ///
    /// [`Unfit`] when it is none for system calls.
    pub fn inject(&self, fault: &Fault, aim: Aim) -> Result<Guard, Unfit> {
        fault.check()?;
        let Action::Syscall(strike) = fault.does else {
            return Err(Unfit::new(fault, "system calls suffer no such action"));
        };
        let mut state = self.shared.state();
        let number = state.next;
        state.next += 1;
        let shared = self.shared.clone();
        let (guard, bites) = Guard::new(fault.id, move || shared.state().armed.retain(|armed| armed.number != number));
        state.armed.push(Armed { number, aim, strike, when: fault.when, occasions: 0, bites });
        Ok(guard)
    }

    /// Every call so far, in the order in which they were made.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// Every call that was struck.
    pub fn struck(&self) -> Vec<Struck> {
        self.shared.state().struck.clone()
    }

    /// Every process that is the shim, or was.
    pub fn shims(&self) -> Vec<(i32, Role)> {
        self.shared.state().shims.clone()
    }

    /// What went wrong with the supervision itself; whatever was observed then proves nothing.
    pub fn troubles(&self) -> Vec<String> {
        self.shared.state().troubles.clone()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the supervisor of system calls panicked");
        }
        // A path that is gone already, or with its whole directory, is as good as removed.
        _ = std::fs::remove_file(&self.path);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self, text: &str) -> String {
        let known = self.aliases.iter().fold(text.to_owned(), |text, (name, alias)| text.replace(name, alias));
        normalised(&known)
    }
}

impl State {
    /// Counts a call, and says what happens to it.
    fn decide(
        &mut self,
        call: &'static str,
        subject: String,
        of: &Subject,
        caller: Caller,
        role: Role,
    ) -> Option<Strike> {
        let phase = match role {
            Role::Helper => &self.helper_phase,
            Role::Daemon => &self.daemon_phase,
        };
        let count = self.counts.entry((phase.clone(), call, subject.clone())).or_default();
        *count += 1;
        let point = Point { phase: phase.clone(), call: call.to_owned(), subject, k: *count };
        let seen = Seen { point, errnos: of.errnos.clone(), crash: of.crash };
        let strike = self.armed.iter_mut().find_map(|armed| armed.strikes(&seen));
        if strike.is_some() {
            self.struck.push(Struck { point: seen.point.clone(), pid: caller.tgid, role });
        }
        self.seen.push(seen);
        strike
    }
}

impl Armed {
    fn strikes(&mut self, seen: &Seen) -> Option<Strike> {
        if !self.aim.takes(&seen.point) || !seen.admits(self.strike) {
            return None;
        }
        self.occasions += 1;
        let due = match self.when {
            Trigger::Now => true,
            Trigger::Nth(n) => self.occasions == n,
            Trigger::Before(_) | Trigger::After(_) => false,
        };
        if due {
            self.bites.count();
        }
        due.then_some(self.strike)
    }
}

/// What the thread waits for.
enum Source {
    /// Launchers that come in.
    Door(UnixListener),
    /// A launcher whose listener is still to come.
    Arriving(UnixStream, i32),
    /// The calls of one launched process and of all that descends from it.
    Calls(OwnedFd),
}

impl AsFd for Source {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Door(door) => door.as_fd(),
            Self::Arriving(stream, _) => stream.as_fd(),
            Self::Calls(listener) => listener.as_fd(),
        }
    }
}

struct Watch {
    shared: Arc<Shared>,
    stopped: UnixStream,
    sources: Vec<Source>,
    family: Family,
}

impl Watch {
    fn new(shared: Arc<Shared>, door: UnixListener, stopped: UnixStream) -> Self {
        let family = Family::new(shared.shim);
        Self { shared, stopped, sources: vec![Source::Door(door)], family }
    }

    fn run(mut self) {
        loop {
            match self.ready() {
                Ok(Some(ready)) => self.serve(&ready),
                Ok(None) => return,
                Err(error) => return self.trouble(format!("wait for system calls: {error}")),
            }
        }
    }

    /// What happened to each source; `None` when it is time to stop.
    fn ready(&self) -> io::Result<Option<Vec<PollFlags>>> {
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut watched = vec![watch(self.stopped.as_fd())];
        watched.extend(self.sources.iter().map(|source| watch(source.as_fd())));
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Ok(_) => break,
                Err(SystemErrno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let flags = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        let [stopped, sources @ ..] = watched.as_slice() else { return Ok(None) };
        Ok(flags(stopped).is_empty().then(|| sources.iter().map(flags).collect()))
    }

    fn serve(&mut self, ready: &[PollFlags]) {
        let mut kept = Vec::new();
        for (source, flags) in std::mem::take(&mut self.sources).into_iter().zip(ready) {
            if flags.is_empty() {
                kept.push(source);
                continue;
            }
            match self.turn_to(source, *flags) {
                Ok(sources) => kept.extend(sources),
                Err(error) => self.trouble(error.to_string()),
            }
        }
        self.sources = kept;
    }

    /// Deals with one source; what it leaves to wait for.
    fn turn_to(&mut self, source: Source, flags: PollFlags) -> io::Result<Vec<Source>> {
        match source {
            Source::Door(door) => {
                let (stream, _) = door.accept()?;
                let launcher = getsockopt(&stream, PeerCredentials)?.pid();
                Ok(vec![Source::Door(door), Source::Arriving(stream, launcher)])
            }
            Source::Arriving(stream, launcher) => self.take_listener(stream, launcher),
            // Without readers and with nothing to read: the last process under this filter is gone.
            Source::Calls(_) if !flags.contains(PollFlags::POLLIN) => Ok(Vec::new()),
            Source::Calls(listener) => {
                self.answer(&listener)?;
                Ok(vec![Source::Calls(listener)])
            }
        }
    }

    fn take_listener(&mut self, mut stream: UnixStream, launcher: i32) -> io::Result<Vec<Source>> {
        let mut text = [0; 512];
        match passed::receive(stream.as_fd(), &mut text)? {
            (_, Some(listener)) => {
                seccomp::hand_over_directly(listener.as_fd());
                self.family.launched(launcher);
                // A launcher that was killed meanwhile needs no answer.
                _ = stream.write_all(&[0]);
                Ok(vec![Source::Calls(listener)])
            }
            // It was killed before it came so far.
            (0, None) => Ok(Vec::new()),
            (length, None) => Err(io::Error::other(String::from_utf8_lossy(&text[..length]).into_owned())),
        }
    }

    /// Answers one call.
    fn answer(&mut self, listener: &OwnedFd) -> io::Result<()> {
        let notification = match seccomp::receive(listener.as_fd()) {
            Ok(notification) => notification,
            // Its caller died between the poll and here.
            Err(SystemErrno::ENOENT | SystemErrno::EINTR) => return Ok(()),
            Err(errno) => return Err(named("receive a system call", errno)),
        };
        let strike = self.judge(listener, &notification);
        let error = match strike {
            Some((Strike::Kill, caller)) => {
                return match kill(Pid::from_raw(caller.tgid), Signal::SIGKILL) {
                    Ok(()) | Err(SystemErrno::ESRCH) => Ok(()),
                    Err(errno) => Err(named("kill the caller of a system call", errno)),
                };
            }
            Some((Strike::Fail(errno), _)) => Some(system(errno)),
            None => None,
        };
        match seccomp::answer(listener.as_fd(), notification.id, error) {
            Ok(()) | Err(SystemErrno::ENOENT) => Ok(()),
            Err(errno) => Err(named("answer a system call", errno)),
        }
    }

    fn judge(&mut self, listener: &OwnedFd, notification: &libc::seccomp_notif) -> Option<(Strike, Caller)> {
        let call = calls::numbered(notification.data.nr)?;
        let tid = i32::try_from(notification.pid).ok().filter(|&tid| tid > 0)?;
        // Who cannot be looked at any more is dead, and whatever is answered reaches nobody.
        let caller = self.family.caller(tid).ok()?;
        let role = self.family.role(caller, call, &notification.data.args);
        if role.is_none() {
            self.shared.state().shims = self.family.shims();
        }
        let role = role?;
        let subject = match caller.subject(call, &notification.data.args, role) {
            Ok(subject) => subject?,
            Err(error) => {
                if seccomp::is_waiting(listener.as_fd(), notification.id) && !is_bad_argument(&error) {
                    self.trouble(format!("look at {} of process {}: {error}", call.name, caller.tgid));
                }
                return None;
            }
        };
        if !seccomp::is_waiting(listener.as_fd(), notification.id) {
            return None;
        }
        let text = self.shared.named(&subject.text);
        let strike = self.shared.state().decide(call.name, text, &subject, caller, role)?;
        Some((strike, caller))
    }

    fn trouble(&self, what: String) {
        self.shared.state().troubles.push(what);
    }
}

/// Whether the caller itself made a mistake (a closed descriptor, a wild pointer): its call fails without our help.
fn is_bad_argument(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(SystemErrno::EIO as i32)
}

const fn system(errno: Errno) -> SystemErrno {
    match errno {
        Errno::Eagain => SystemErrno::EAGAIN,
        Errno::Eintr => SystemErrno::EINTR,
        Errno::Eio => SystemErrno::EIO,
        Errno::Emfile => SystemErrno::EMFILE,
        Errno::Enomem => SystemErrno::ENOMEM,
        Errno::Enospc => SystemErrno::ENOSPC,
    }
}

fn named(what: &str, errno: SystemErrno) -> io::Error {
    io::Error::other(format!("{what}: {errno}"))
}
