//! Every fault, on one page.

use crate::fault::Corruption::{
    FlagsAll, KindData, KindUnknown, LengthLong, LengthOversize, LengthShort, Payload, StreamEven, StreamUnknown,
};
use crate::fault::Direction::{Answers, Requests};
use crate::fault::Errno::{Eagain, Eintr, Eio, Emfile, Enomem, Enospc};
use crate::fault::Misstep::{Die, Hang};
use crate::fault::Obligation::{
    AnswersInTime, CallsSucceed, ConnectionLasts, EventsArrive, EventsArriveOnce, LeavesNothing, ProcessesSurvive,
    ShimSurvives, StdioArrives,
};
use crate::fault::Party::{Containerd, Exec, Init, Runtime, Shim};
use crate::fault::Point::{AfterFrame, BeforeFrame, InHeader, InPayload};
use crate::fault::Signal::{Kill, Stop, Terminate};
use crate::fault::Strike::Fail;
use crate::fault::Tamper::{Corrupt, Cut, Duplicate, HalfClose, Hold, Leave, Split, Stall};
use crate::fault::Trigger::{After, Before, Now, Nth};
use crate::fault::{
    Action, Damage, Fault, Leftover, Limit, Misstep, Obligation, Party, Seam, Signal, Strike, Tamper, Trigger,
};

/// Every fault. Lists, filters and plans are derived from it; `tests/bites.rs` shows that each one bites and heals.
#[rustfmt::skip] // A table: one row, one line.
pub const FAULTS: &[Fault] = &[
    // The shim and the processes it answers for.
    signal("process/kill-shim", "SIGKILL to the shim", Shim, Kill, SHIM_DEAD),
    signal("process/stop-shim", "SIGSTOP to the shim until healed", Shim, Stop, SHIM_STILL),
    signal("process/terminate-shim", "SIGTERM to the shim", Shim, Terminate, SHIM_DEAD),
    signal("process/kill-init", "SIGKILL to the container's PID 1", Init, Kill, PAYLOAD_DEAD),
    signal("process/stop-init", "SIGSTOP to the container's PID 1 until healed", Init, Stop, PAYLOAD_STILL),
    signal("process/terminate-init", "SIGTERM to the container's PID 1", Init, Terminate, PAYLOAD_DEAD),
    signal("process/kill-exec", "SIGKILL to an added process", Exec, Kill, PAYLOAD_DEAD),
    signal("process/stop-exec", "SIGSTOP to an added process until healed", Exec, Stop, PAYLOAD_STILL),
    signal("process/terminate-exec", "SIGTERM to an added process", Exec, Terminate, PAYLOAD_DEAD),
    signal("process/kill-runtime", "SIGKILL to the runtime at work", Runtime, Kill, CALL_FAILS),
    signal("process/stop-runtime", "SIGSTOP to the runtime at work until healed", Runtime, Stop, CALL_LATE),
    signal("process/terminate-runtime", "SIGTERM to the runtime at work", Runtime, Terminate, CALL_FAILS),

    // containerd itself.
    signal("containerd/kill", "SIGKILL to containerd", Containerd, Kill, CONTAINERD_GONE),
    signal("containerd/stop", "SIGSTOP to containerd until healed", Containerd, Stop, CONTAINERD_GONE),
    signal("containerd/terminate", "SIGTERM to containerd", Containerd, Terminate, CONTAINERD_GONE),

    // The socket of the Task API.
    request("task-socket/hold-request", "keeps a request back, others overtake it", Nth(1), Hold, CALL_STALE),
    request("task-socket/stall-requests", "lets no request through", Now, Stall, CALL_LATE),
    request("task-socket/split-requests", "sends requests byte by byte", Now, Split, NOTHING),
    request("task-socket/duplicate-request", "sends a request twice on one stream", Nth(1), Duplicate, CALL_LOST),
    request("task-socket/drop-mid-header", "hangs up in a request's header", Nth(1), Cut(InHeader), CALL_LOST),
    request("task-socket/drop-mid-request", "hangs up inside a request", Nth(1), Cut(InPayload), CALL_LOST),
    request("task-socket/drop-after-request", "hangs up behind a request", Nth(1), Cut(AfterFrame), CALL_LOST),
    request("task-socket/half-close", "sends no more after a request", Nth(1), HalfClose(AfterFrame), CALL_LOST),
    request("task-socket/half-close-mid-request", "sends half a request", Nth(1), HalfClose(InPayload), CALL_LOST),
    request("task-socket/corrupt-length-short", "claims one byte less", Nth(1), Corrupt(LengthShort), CALL_LOST),
    request("task-socket/corrupt-length-long", "claims one byte more", Nth(1), Corrupt(LengthLong), CALL_LOST),
    request("task-socket/corrupt-length-oversize", "claims over 4 MiB", Nth(1), Corrupt(LengthOversize), CALL_LOST),
    request("task-socket/corrupt-stream-even", "an even stream id", Nth(1), Corrupt(StreamEven), CALL_LOST),
    request("task-socket/corrupt-stream-unknown", "another stream id", Nth(1), Corrupt(StreamUnknown), CALL_LOST),
    request("task-socket/corrupt-type-unknown", "a type that is none", Nth(1), Corrupt(KindUnknown), CALL_LOST),
    request("task-socket/corrupt-type-data", "the type of streamed data", Nth(1), Corrupt(KindData), CALL_LOST),
    request("task-socket/corrupt-flags", "every flag set", Nth(1), Corrupt(FlagsAll), CALL_LOST),
    request("task-socket/corrupt-payload", "the payload's first byte inverted", Nth(1), Corrupt(Payload), CALL_FAILS),
    answer("task-socket/hold-answer", "keeps an answer back, others overtake it", Nth(1), Hold, CALL_LATE),
    answer("task-socket/stall-answers", "lets no answer through", Now, Stall, CALL_LATE),
    answer("task-socket/split-answers", "delivers answers byte by byte", Now, Split, NOTHING),
    answer("task-socket/drop-before-answer", "hangs up instead of answering", Nth(1), Cut(BeforeFrame), CALL_LOST),
    answer("task-socket/drop-mid-answer", "hangs up inside an answer", Nth(1), Cut(InPayload), CALL_LOST),

    // The socket on which containerd takes events.
    events("events/refused", "nobody listens, the socket file stays", Now, REFUSED, EVENT_LATE),
    events("events/missing", "nobody listens, the socket file is gone", Now, MISSING, EVENT_LATE),
    events("events/stalled", "connects and takes nothing", Now, on_request(Stall), EVENT_UNSURE),
    events("events/vanished", "takes an event, forgets it, hangs up", Nth(1), on_request(Cut(BeforeFrame)), EVENT_LATE),
    events("events/died", "takes an event, dies saying so, stays away", Nth(1), on_answer(Leave(InPayload)), EVENT_UNSURE),

    // The OCI runtime.
    runtime("runtime/create-delayed", "create begins late", Before("create"), LATE, NOTHING),
    runtime("runtime/create-fails", "create does nothing and fails", Before("create"), FAILS, CALL_FAILS),
    runtime("runtime/create-hangs", "create does nothing until healed", Before("create"), Hang, CALL_LATE),
    runtime("runtime/create-dies-before", "create dies and has done nothing", Before("create"), Die, CALL_FAILS),
    runtime("runtime/create-dies-after", "create dies and has done its work", After("create"), Die, CALL_FAILS),
    runtime("runtime/start-delayed", "start begins late", Before("start"), LATE, NOTHING),
    runtime("runtime/start-fails", "start does nothing and fails", Before("start"), FAILS, CALL_FAILS),
    runtime("runtime/start-hangs", "start does nothing until healed", Before("start"), Hang, CALL_LATE),
    runtime("runtime/start-dies-before", "start dies and has done nothing", Before("start"), Die, CALL_FAILS),
    runtime("runtime/start-dies-after", "start dies and has done its work", After("start"), Die, CALL_FAILS),
    runtime("runtime/exec-delayed", "exec begins late", Before("exec"), LATE, NOTHING),
    runtime("runtime/exec-fails", "exec does nothing and fails", Before("exec"), FAILS, CALL_FAILS),
    runtime("runtime/exec-hangs", "exec does nothing until healed", Before("exec"), Hang, CALL_LATE),
    runtime("runtime/exec-dies-before", "exec dies and has done nothing", Before("exec"), Die, CALL_FAILS),
    runtime("runtime/exec-dies-after", "exec dies and has done its work", After("exec"), Die, CALL_FAILS),
    runtime("runtime/kill-delayed", "kill begins late", Before("kill"), LATE, NOTHING),
    runtime("runtime/kill-fails", "kill does nothing and fails", Before("kill"), FAILS, CALL_FAILS),
    runtime("runtime/kill-hangs", "kill does nothing until healed", Before("kill"), Hang, CALL_LATE),
    runtime("runtime/kill-dies-before", "kill dies and has done nothing", Before("kill"), Die, CALL_FAILS),
    runtime("runtime/kill-dies-after", "kill dies and has done its work", After("kill"), Die, CALL_FAILS),
    runtime("runtime/delete-delayed", "delete begins late", Before("delete"), LATE, NOTHING),
    runtime("runtime/delete-fails", "delete does nothing and fails", Before("delete"), FAILS, NOT_DELETED),
    runtime("runtime/delete-hangs", "delete does nothing until healed", Before("delete"), Hang, CALL_LATE),
    runtime("runtime/delete-dies-before", "delete dies and has done nothing", Before("delete"), Die, NOT_DELETED),
    runtime("runtime/delete-dies-after", "delete dies and has done its work", After("delete"), Die, CALL_FAILS),

    // The shim's own system calls; which of them is said when the fault is injected.
    syscall("syscall/kill", "SIGKILL to the shim at a call", Strike::Kill, SHIM_DEAD),
    syscall("syscall/eagain", "a call finds too many processes or threads", Fail(Eagain), CALL_STRUCK),
    syscall("syscall/eintr", "a call is interrupted", Fail(Eintr), CALL_STRUCK),
    syscall("syscall/eio", "a call finds a broken device", Fail(Eio), CALL_STRUCK),
    syscall("syscall/emfile", "a call finds no descriptor free", Fail(Emfile), CALL_STRUCK),
    syscall("syscall/enomem", "a call finds no memory", Fail(Enomem), CALL_STRUCK),
    syscall("syscall/enospc", "a call finds no space", Fail(Enospc), CALL_STRUCK),

    // What the kernel grants.
    limit("resource/descriptors", "the shim gets no further descriptor", Limit::Descriptors, CALL_FAILS),
    limit("resource/processes", "the shim gets no further process or thread", Limit::Processes, SHIM_DEAD),
    limit("resource/memory", "the shim gets no further memory: the kernel kills it or its child", Limit::Memory, SHIM_DEAD),
    limit("resource/time", "the container is frozen, and nobody asked the shim", Limit::Time, PAYLOAD_STILL),

    // Files that shim and containerd share.
    disk("disk/full", "no room for bundles, sockets and state", Damage::Full, CALL_FAILS),
    disk("disk/read-only", "bundles, sockets and state are read-only", Damage::ReadOnly, CALL_FAILS),
    disk("disk/socket-gone", "the socket's path is gone", Damage::SocketGone, NOTHING),
    disk("disk/address-gone", "the file that names the address is gone", Damage::AddressGone, NOTHING),
    disk("disk/bundle-gone", "the whole bundle is gone", Damage::BundleGone, CALL_FAILS),
];

/// The fault with this id.
pub fn find(id: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| fault.id == id)
}

const REFUSED: Action = Action::Refuse(Leftover::Path);
const MISSING: Action = Action::Refuse(Leftover::Nothing);

/// Long enough to be told from noise, short enough for every deadline.
const LATE: Misstep = Misstep::Delay { ms: 400 };
const FAILS: Misstep = Misstep::Fail { status: 3 };

/// The shim keeps every promise.
const NOTHING: &[Obligation] = &[];
/// A dead shim serves nobody and cleans up nothing; its containers live, and `delete` has the rest to do.
const SHIM_DEAD: &[Obligation] =
    &[AnswersInTime, CallsSucceed, ConnectionLasts, EventsArrive, ShimSurvives, StdioArrives, LeavesNothing];
/// What a shim that stands still cannot do yet.
const SHIM_STILL: &[Obligation] = &[AnswersInTime, EventsArrive, StdioArrives];
/// The process is meant to be gone. Its exit is to be reported all the more.
const PAYLOAD_DEAD: &[Obligation] = &[ProcessesSurvive];
/// A process that stands still writes nothing and minds no signal but SIGKILL.
const PAYLOAD_STILL: &[Obligation] = &[StdioArrives];
/// The call may be refused, truthfully and without a trace.
const CALL_FAILS: &[Obligation] = &[CallsSucceed];
/// The call takes as long as the fault does.
const CALL_LATE: &[Obligation] = &[AnswersInTime];
/// Besides, its stream id is then lower than one that was used, which the protocol forbids: it may be refused.
const CALL_STALE: &[Obligation] = &[AnswersInTime, CallsSucceed];
/// The call does not get through, or its answer does not; a shim may hang up on what it cannot read.
const CALL_LOST: &[Obligation] = &[AnswersInTime, CallsSucceed, ConnectionLasts];
/// The call may be refused, and what it was to remove may still be there.
const NOT_DELETED: &[Obligation] = &[CallsSucceed, LeavesNothing];
/// Whatever needed the call may fail once: a call of the API, its connection, an event, a stream, and at worst the shim, which `delete`
/// then cleans up after. Who calls is not left waiting.
const CALL_STRUCK: &[Obligation] = &[CallsSucceed, ConnectionLasts, EventsArrive, ShimSurvives, StdioArrives];
/// Nobody calls and nobody reads.
const CONTAINERD_GONE: &[Obligation] = &[AnswersInTime, ConnectionLasts, EventsArrive, EventsArriveOnce, StdioArrives];
/// The event arrives when somebody takes it again.
const EVENT_LATE: &[Obligation] = &[EventsArrive];
/// Besides, the shim cannot know whether the event arrived, so it may send it once more.
const EVENT_UNSURE: &[Obligation] = &[EventsArrive, EventsArriveOnce];

type Excuses = &'static [Obligation];

const fn signal(id: &'static str, summary: &'static str, to: Party, signal: Signal, excuses: Excuses) -> Fault {
    let seam = match to {
        Shim | Init | Exec | Runtime => Seam::Process,
        Containerd => Seam::Containerd,
    };
    Fault { id, summary, seam, when: Now, does: Action::Signal(to, signal), excuses }
}

const fn request(id: &'static str, summary: &'static str, when: Trigger, does: Tamper, excuses: Excuses) -> Fault {
    Fault { id, summary, seam: Seam::TaskSocket, when, does: on_request(does), excuses }
}

const fn answer(id: &'static str, summary: &'static str, when: Trigger, does: Tamper, excuses: Excuses) -> Fault {
    Fault { id, summary, seam: Seam::TaskSocket, when, does: on_answer(does), excuses }
}

const fn events(id: &'static str, summary: &'static str, when: Trigger, does: Action, excuses: Excuses) -> Fault {
    Fault { id, summary, seam: Seam::Events, when, does, excuses }
}

const fn runtime(id: &'static str, summary: &'static str, when: Trigger, does: Misstep, excuses: Excuses) -> Fault {
    Fault { id, summary, seam: Seam::Runtime, when, does: Action::Runtime(does), excuses }
}

const fn syscall(id: &'static str, summary: &'static str, does: Strike, excuses: Excuses) -> Fault {
    Fault { id, summary, seam: Seam::Syscall, when: Nth(1), does: Action::Syscall(does), excuses }
}

const fn limit(id: &'static str, summary: &'static str, does: Limit, excuses: Excuses) -> Fault {
    Fault { id, summary, seam: Seam::Resource, when: Now, does: Action::Limit(does), excuses }
}

const fn disk(id: &'static str, summary: &'static str, does: Damage, excuses: Excuses) -> Fault {
    Fault { id, summary, seam: Seam::Disk, when: Now, does: Action::Damage(does), excuses }
}

const fn on_request(tamper: Tamper) -> Action {
    Action::Frame(Requests, tamper)
}

const fn on_answer(tamper: Tamper) -> Action {
    Action::Frame(Answers, tamper)
}
