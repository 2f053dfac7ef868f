//! Which faults touch which calls, and what they then allow of the answers.

use fault_injector::fault::{Action, Corruption, Fault, Misstep, Obligation, Party, Seam, Tamper, Trigger};

use crate::{
    model::Excuse,
    script::{Ask, Call, Who},
};

/// What `fault` allows of the answer to `call`, when it is about the shim that is called.
pub(super) fn of(fault: &Fault, call: Call) -> Excuse {
    if !touches(fault, call) {
        return Excuse::default();
    }
    let loss = fault.excuses(Obligation::ConnectionLasts);
    Excuse {
        refusal: fault.excuses(Obligation::CallsSucceed),
        effect: may_be_done(fault),
        loss,
        late: fault.excuses(Obligation::AnswersInTime),
    }
}

/// Whether `fault` can come between `call` and its answer.
pub(super) fn touches(fault: &Fault, call: Call) -> bool {
    match (fault.seam, fault.when) {
        (Seam::TaskSocket | Seam::Resource | Seam::Disk | Seam::Syscall, _) => true,
        (Seam::Runtime, Trigger::Before(subcommand) | Trigger::After(subcommand)) => needs(call, subcommand),
        (Seam::Runtime, Trigger::Now | Trigger::Nth(_)) => true,
        (Seam::Process, _) => matches!(fault.does, Action::Signal(Party::Runtime, _)),
        // Nobody calls then.
        (Seam::Containerd, _) | (Seam::Events, _) => false,
    }
}

/// Whether a shim may execute this subcommand of the runtime before it answers `call`. Shims differ: what any of them does is enough.
fn needs(call: Call, subcommand: &str) -> bool {
    match (call.ask, call.who, subcommand) {
        // A creation that fails is taken back.
        (Ask::Create, _, "create" | "delete" | "kill" | "start")
        | (Ask::Start, Who::Init, "start" | "kill" | "delete")
        | (Ask::Start | Ask::Exec, Who::Exec(_), "exec" | "kill")
        | (Ask::Kill(_), _, "kill")
        // A task that was never started is killed first.
        | (Ask::Delete, _, "delete" | "kill")
        | (Ask::Update, _, "update")
        | (Ask::Pause, _, "pause")
        | (Ask::Resume, _, "resume")
        | (Ask::Pids, _, "ps")
        | (Ask::Stats, _, "events")
        | (_, _, "state") => true,
        (
            Ask::Create
            | Ask::Start
            | Ask::State
            | Ask::Wait
            | Ask::Kill(_)
            | Ask::Exec
            | Ask::Delete
            | Ask::Pids
            | Ask::Pause
            | Ask::Resume
            | Ask::Connect
            | Ask::CloseIo
            | Ask::ResizePty
            | Ask::Stats
            | Ask::Update
            | Ask::Shutdown,
            Who::Init | Who::Exec(_),
            _,
        ) => false,
    }
}

/// Whether the work may be done although the answer says otherwise: the runtime died after it, or the request was read more than once.
fn may_be_done(fault: &Fault) -> bool {
    match (fault.does, fault.when) {
        (Action::Runtime(Misstep::Die | Misstep::Fail { .. }), Trigger::After(_)) => true,
        (Action::Runtime(_), _) => false,
        (Action::Frame(_, Tamper::Corrupt(Corruption::Payload)), _) => false,
        (Action::Frame(..), _) => true,
        // How far the runtime, or the shim, had come nobody knows.
        (Action::Signal(..) | Action::Limit(_) | Action::Damage(_) | Action::Syscall(_), _) => true,
        (Action::Refuse(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use fault_injector::catalogue;

    use super::*;

    fn excuse(id: &str, call: Call) -> Excuse {
        of(catalogue::find(id).unwrap(), call)
    }

    #[test]
    fn a_runtime_that_fails_excuses_the_calls_that_execute_it_and_no_others() {
        let refusal = Excuse { refusal: true, ..Excuse::default() };
        assert_eq!(excuse("runtime/start-fails", Call::init(Ask::Start)), refusal);
        assert_eq!(excuse("runtime/start-fails", Call::exec(Ask::Start, 0)), Excuse::default());
        assert_eq!(excuse("runtime/start-fails", Call::init(Ask::State)), Excuse::default());
        assert_eq!(excuse("runtime/exec-fails", Call::exec(Ask::Start, 0)), refusal);
        let behind = Excuse { refusal: true, effect: true, ..Excuse::default() };
        assert_eq!(excuse("runtime/kill-dies-after", Call::init(Ask::Delete)), behind);
    }

    #[test]
    fn a_hang_excuses_lateness_alone_and_a_delay_nothing() {
        let late = Excuse { late: true, ..Excuse::default() };
        assert_eq!(excuse("runtime/create-hangs", Call::init(Ask::Create)), late);
        assert_eq!(excuse("runtime/create-delayed", Call::init(Ask::Create)), Excuse::default());
        assert_eq!(
            excuse("task-socket/stall-requests", Call::init(Ask::State)),
            late.or(Excuse { effect: true, ..late })
        );
    }

    #[test]
    fn a_connection_that_is_cut_excuses_every_loss() {
        let excuse = excuse("task-socket/drop-mid-answer", Call::init(Ask::State));
        assert!(excuse.loss && excuse.late && excuse.refusal && excuse.effect);
    }

    #[test]
    fn what_happens_to_events_and_processes_is_told_of_in_answers_as_ever() {
        for id in ["events/refused", "process/kill-init", "containerd/kill", "process/stop-shim"] {
            assert_eq!(excuse(id, Call::init(Ask::State)), Excuse::default(), "{id}");
        }
    }
}
