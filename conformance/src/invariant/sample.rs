//! Small hand-made histories for the tests of invariants.

use fault_injector::fault::Obligation;

use super::{Evidence, Terms};
use crate::{
    check::Violation,
    history::{
        Answer, Call, Code, Event, Exit, History, Method, Moment, Record, Reply, ShimFact, Status, Target, Topic,
        WallTime, What,
    },
    lab::ExitPolicy,
};

/// A history under construction; each thing happens a millisecond after the one before.
pub(super) struct Sample {
    pub(super) history: History,
    pub(super) terms: Terms,
    now: u64,
    calls: u64,
}

/// An exit with this status.
pub(super) fn exit(status: u32) -> Exit {
    Exit { status, at: WallTime { seconds: 1000, nanos: 1 } }
}

/// Whether `invariant` holds on the sample.
pub(super) fn holds(invariant: fn(&Evidence<'_>) -> Result<(), Violation>, sample: &Sample) -> bool {
    invariant(&Evidence::new(&sample.history, &sample.terms)).is_ok()
}

impl Sample {
    pub(super) fn new() -> Self {
        Self {
            history: History::default(),
            terms: Terms { exit_policy: ExitPolicy::OnShutdown, namespace: "ns".to_owned() },
            now: 0,
            calls: 0,
        }
    }

    /// Lets `ms` milliseconds pass.
    pub(super) fn later(&mut self, ms: u64) -> &mut Self {
        self.now += ms * 1_000_000;
        self
    }

    pub(super) fn then(&mut self, what: What) -> &mut Self {
        self.now += 1_000_000;
        self.history.records.push(Record { at: Moment(self.now), what });
        self
    }

    pub(super) fn shim(&mut self, container: &str, pid: u32, fact: ShimFact) -> &mut Self {
        self.then(What::Shim { container: container.to_owned(), pid, fact })
    }

    pub(super) fn serves(&mut self, container: &str, pid: u32) -> &mut Self {
        self.shim(container, pid, ShimFact::Serves)
    }

    pub(super) fn invoke(&mut self, method: Method, target: &Target) -> u64 {
        let id = self.calls;
        self.calls += 1;
        self.then(What::Invoke { id, call: Call { method, target: target.clone(), args: String::new() } });
        id
    }

    pub(super) fn answer(&mut self, id: u64, answer: Answer) -> &mut Self {
        self.then(What::Return { id, answer })
    }

    pub(super) fn call(&mut self, method: Method, target: &Target, answer: Answer) -> &mut Self {
        let id = self.invoke(method, target);
        self.answer(id, answer)
    }

    pub(super) fn done(&mut self, method: Method, target: &Target) -> &mut Self {
        self.call(method, target, Answer::Done(Box::default()))
    }

    pub(super) fn gives_pid(&mut self, method: Method, target: &Target, pid: u32) -> &mut Self {
        let reply = Reply { pid: Some(pid), ..Reply::default() };
        self.call(method, target, Answer::Done(Box::new(reply)))
    }

    pub(super) fn gives_exit(&mut self, method: Method, target: &Target, exit: Exit) -> &mut Self {
        let reply = Reply {
            exit: Some(exit),
            status: (method == Method::State).then_some(Status::Stopped),
            ..Reply::default()
        };
        self.call(method, target, Answer::Done(Box::new(reply)))
    }

    pub(super) fn refused(&mut self, method: Method, target: &Target, code: Code) -> &mut Self {
        let message = String::new();
        self.call(method, target, Answer::Refused { code, message })
    }

    pub(super) fn event(&mut self, topic: Topic, target: &Target, pid: u32, exit: Option<Exit>) -> &mut Self {
        self.then(What::Event(Event {
            topic,
            target: target.clone(),
            pid,
            exit,
            namespace: "ns".to_owned(),
            published: WallTime { seconds: 1000, nanos: 0 },
        }))
    }

    /// A fault upon the container "c" begins.
    pub(super) fn strikes(&mut self, number: u64, excuses: &[Obligation]) -> &mut Self {
        self.then(What::FaultInjected {
            number,
            fault: "test/any".to_owned(),
            container: Some("c".to_owned()),
            excuses: excuses.to_vec(),
        })
    }

    pub(super) fn heals(&mut self, number: u64) -> &mut Self {
        self.then(What::FaultHealed { number, fault: "test/any".to_owned(), bites: 1 })
    }

    /// A shim 9 that serves a container "c" whose init 33 was created and started, with the events of that.
    pub(super) fn running() -> Self {
        let mut sample = Self::new();
        let c = Target::init("c");
        sample.serves("c", 9).gives_pid(Method::Create, &c, 33);
        sample.event(Topic::Create, &c, 33, None);
        sample.gives_pid(Method::Start, &c, 33);
        sample.event(Topic::Start, &c, 33, None);
        sample
    }
}
