//! Falsehoods about an honest shim, told one at a time to prove that a check notices.
//!
//! A lie sits between the world and the history: it alters what the lab observes, so it needs no shim that misbehaves. A check names the
//! lies under which it must turn red; `conformance audit` tells them.

use serde::{Deserialize, Serialize};

use crate::history::{Answer, Code, Event, Exit, Loss, Method, Reply, Residue, Status, Topic, WallTime};

/// One falsehood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lie {
    /// Answers of this call carry an exit status that is one too high.
    ExitStatus(Method),
    /// Answers of this call carry an exit time that is a second too late.
    ExitTime(Method),
    /// Answers of this call carry a pid that is one too high.
    Pid(Method),
    /// State always says this.
    State(Status),
    /// State describes other stdio paths, another bundle and another id.
    Description,
    /// A containerd that is started again gets no answer from the shim.
    NotFoundAgain,
    /// Pids lists nobody.
    PidsEmpty,
    /// Stats carry no metrics.
    StatsEmpty,
    /// SandboxStatus says that the sandbox is ready, or that it is not.
    SandboxReady(bool),
    /// The sandbox has no time of creation and of exit.
    SandboxTimes,
    /// Platform says nothing.
    PlatformEmpty,
    /// A call that no shim can have is said to succeed.
    UnknownServed,
    /// Connect names another process than the shim's.
    ShimPid,
    /// Connect names another init than the container's.
    TaskPid,
    /// What this call refuses is said to succeed.
    Accepted(Method),
    /// What succeeds is said to be refused.
    Refused(Method),
    /// Refusals of this call carry this code.
    Code(Method, Code),
    /// This call is never answered.
    Unanswered(Method),
    /// The connection breaks at this call, as when the shim panics.
    Broken(Method),
    /// Events of this topic are lost.
    Dropped(Topic),
    /// Events of this topic come twice.
    Doubled(Topic),
    /// The first event of the first topic comes after the first of the second one.
    Swapped(Topic, Topic),
    /// Events of this topic carry an exit status that is one too high.
    EventExit(Topic),
    /// Events of this topic carry a pid that is one too high.
    EventPid(Topic),
    /// Events of execs do not say of which exec.
    EventExec,
    /// Events carry another namespace.
    EventNamespace,
    /// `start` fails.
    StartFails,
    /// `start` succeeds where it failed.
    StartSucceeds,
    /// `start` writes to standard error.
    StartChatters,
    /// The daemon keeps `start`'s output open.
    StartHeldOpen,
    /// `start` does not end.
    StartHangs,
    /// `start` prints its answer twice.
    AnswerTwice,
    /// `start` says nothing when it fails.
    StartSilent,
    /// `start` answers with another address each time.
    AddressChanges,
    /// `-v` and `-info` fail.
    PrintFails,
    /// `-v` and `-info` print nothing.
    PrintsNothing,
    /// `delete` fails.
    DeleteFails,
    /// `delete` does not end.
    DeleteHangs,
    /// `delete` prints nothing.
    DeleteSilent,
    /// `delete` tells a status of 0.
    DeleteClean,
    /// `delete` tells an exit of a minute ago.
    DeleteLate,
    /// A container that nothing has struck is seen to be dead.
    NeighbourDies,
    /// Calls that are made when a fault has healed are never answered.
    UnansweredWhenHealed,
    /// The shim is seen to be dead.
    ShimDead,
    /// The shim is seen to live on.
    ShimUndead,
    /// The shim is seen in the process group of `start`.
    ShimGroup,
    /// The parent of a container's process is another one than the shim.
    Parent,
    /// A process stays a zombie.
    Zombie,
    /// A process is left.
    LeftProcess,
    /// A mount is left.
    LeftMount,
    /// A cgroup is left.
    LeftCgroup,
    /// A socket is left.
    LeftSocket,
    /// A file is left.
    LeftFile,
    /// The last byte of every output is lost.
    OutputCut,
    /// Every output comes twice.
    OutputDoubled,
    /// Descriptors of the shim grow with each look.
    DescriptorsGrow,
    /// The shim holds something else than it does.
    ShimHolds,
    /// The shim uses a second of processor time for everything that is observed.
    Busy,
    /// The shim's socket may be used by anybody.
    SocketOpen,
    /// There is an abstract socket.
    AbstractSocket,
    /// Processes in containers see one more descriptor, variable or privilege.
    ContainerSees,
    /// The shim is seen to hold no log.
    LogUnheld,
    /// The runtime is seen to hold the socket that the shim serves on.
    ListenerLeaks,
    /// The kernel is seen to value the shim as it values containerd.
    OomScore,
    /// A counter in the container goes on although the task is paused.
    NotFrozen,
    /// A limit of a cgroup is as it was.
    LimitIgnored,
    /// What a [raw connection](crate::lab::raw) hears is not so.
    Raw(RawLie),
}

/// A falsehood about what the shim says on the raw connections of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RawLie {
    /// Nothing is said.
    Silent,
    /// Instead of an answer comes the end of the connection.
    Ends,
    /// The end of a connection never comes.
    Endless,
    /// Every answer comes twice.
    Doubled,
    /// Answers come on another stream than their requests.
    Stray,
    /// Success is said to be a refusal.
    Refused,
    /// Refusals are said to be successes.
    Accepted,
    /// Refusals carry this code.
    Code(Code),
    /// Refusals say nothing beside their code.
    Wordless,
    /// Answers tell of another process and of another container.
    Another,
    /// Answers tell an exit status that is one too high.
    ExitStatus,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "each place tells a few of the lies and leaves the others to other places"
)]
impl Lie {
    /// What becomes of an answer.
    pub fn answer(self, method: Method, answer: &mut Answer) {
        match self {
            Self::Accepted(m) if m == method && matches!(answer, Answer::Refused { .. }) => {
                *answer = Answer::Done(Box::default());
            }
            Self::Refused(m) if m == method && matches!(answer, Answer::Done(_)) => {
                *answer = Answer::Refused { code: Code::Unknown, message: "a lie".to_owned() };
            }
            Self::Code(m, lie) if m == method => {
                if let Answer::Refused { code, .. } = answer {
                    *code = lie;
                }
            }
            Self::Unanswered(m) if m == method => *answer = Answer::Lost(Loss::Deadline),
            Self::Broken(m) if m == method => *answer = Answer::Lost(Loss::Disconnected),
            _ => {
                if let Answer::Done(reply) = answer {
                    self.reply(method, reply);
                }
            }
        }
    }

    fn reply(self, method: Method, reply: &mut Reply) {
        match self {
            Self::ExitStatus(m) if m == method => reply.exit = reply.exit.map(worse),
            Self::ExitTime(m) if m == method => reply.exit = reply.exit.map(later),
            Self::Pid(m) if m == method => reply.pid = reply.pid.map(|pid| pid + 1),
            Self::State(status) if method == Method::State => reply.status = Some(status),
            Self::PidsEmpty if method == Method::Pids => reply.processes.clear(),
            Self::StatsEmpty if method == Method::Stats => reply.stats = None,
            Self::ShimPid if method == Method::Connect => reply.shim_pid = Some(1),
            Self::TaskPid if method == Method::Connect => reply.task_pid = reply.task_pid.map(|pid| pid + 1),
            Self::SandboxReady(ready) => {
                if let Some(sandbox) = reply.sandbox.as_mut().filter(|_| method == Method::SandboxStatus) {
                    let state = if ready { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" };
                    state.clone_into(&mut sandbox.state);
                }
            }
            Self::SandboxTimes => {
                if let Some(sandbox) = &mut reply.sandbox {
                    sandbox.created = WallTime::default();
                    sandbox.exited = WallTime::default();
                }
            }
            Self::PlatformEmpty => {
                if let Some(sandbox) = &mut reply.sandbox {
                    sandbox.platform = None;
                }
            }
            Self::Description => {
                if let Some(sandbox) = &mut reply.sandbox {
                    sandbox.id.push('x');
                }
                if let Some(described) = &mut reply.described {
                    described.id.push('x');
                    described.bundle.push('x');
                    described.stdout.push('x');
                }
            }
            _ => {}
        }
    }

    /// What becomes of an event; `held` keeps one back for a swap.
    pub fn event(self, mut event: Event, held: &mut Option<Event>) -> Vec<Event> {
        match self {
            Self::Dropped(topic) if event.topic == topic => return Vec::new(),
            Self::Doubled(topic) if event.topic == topic => return vec![event.clone(), event],
            Self::Swapped(first, _) if event.topic == first && held.is_none() => {
                *held = Some(event);
                return Vec::new();
            }
            // Between processes most orders are permitted, so that only a swap about one of them is sure to be a lie; two events of one
            // topic are always of two.
            Self::Swapped(first, second)
                if event.topic == second
                    && held.as_ref().is_none_or(|held| first == second || held.target == event.target) =>
            {
                return [Some(event), held.take()].into_iter().flatten().collect();
            }
            Self::EventExit(topic) if event.topic == topic => event.exit = event.exit.map(worse),
            Self::EventPid(topic) if event.topic == topic => event.pid += 1,
            Self::EventExec => event.target.exec.clear(),
            Self::EventNamespace => event.namespace.push('x'),
            _ => {}
        }
        vec![event]
    }

    /// What becomes of the list of leftovers.
    pub fn residue(self, residue: &mut Residue) {
        let lie = || "a lie".to_owned();
        match self {
            Self::LeftProcess => residue.processes.push(lie()),
            Self::LeftMount => residue.mounts.push(lie()),
            Self::LeftCgroup => residue.cgroups.push(lie()),
            Self::LeftSocket => residue.sockets.push(lie()),
            Self::LeftFile => residue.files.push(lie()),
            _ => {}
        }
    }

    /// What becomes of the exit that `delete` tells.
    pub fn delete(self, exit: &mut Exit) {
        match self {
            Self::DeleteClean => exit.status = 0,
            Self::DeleteLate => exit.at.seconds -= 60,
            _ => {}
        }
    }

    /// What becomes of output.
    pub fn output(self, bytes: &mut Vec<u8>) {
        match self {
            Self::OutputCut => {
                bytes.pop();
            }
            Self::OutputDoubled => bytes.extend_from_within(..),
            _ => {}
        }
    }
}

impl RawLie {
    /// What becomes of an answer.
    pub fn answer(self, answer: &mut Answer) {
        match (self, answer) {
            (Self::Refused, answer @ Answer::Done(_)) => {
                *answer = Answer::Refused { code: Code::Unknown, message: "a lie".to_owned() };
            }
            (Self::Accepted, answer @ Answer::Refused { .. }) => *answer = Answer::Done(Box::default()),
            (Self::Code(lie), Answer::Refused { code, .. }) => *code = lie,
            (Self::Wordless, Answer::Refused { message, .. }) => message.clear(),
            (Self::Another, Answer::Done(reply)) => {
                reply.pid = reply.pid.map(|pid| pid + 1);
                if let Some(described) = &mut reply.described {
                    described.id.push('x');
                }
            }
            (Self::ExitStatus, Answer::Done(reply)) => reply.exit = reply.exit.map(worse),
            // These are told of frames and connections.
            (Self::Silent | Self::Ends | Self::Endless | Self::Doubled | Self::Stray, _) => {}
            (
                Self::Refused | Self::Accepted | Self::Code(_) | Self::Wordless | Self::Another | Self::ExitStatus,
                Answer::Done(_) | Answer::Refused { .. } | Answer::Lost(_),
            ) => {}
        }
    }
}

fn worse(exit: Exit) -> Exit {
    Exit { status: exit.status + 1, ..exit }
}

fn later(mut exit: Exit) -> Exit {
    exit.at.seconds += 1;
    exit
}
