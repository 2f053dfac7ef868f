//! Figures from histories: the times between records, and the middle of many.

use crate::history::{Exchange, History, Method, Moment, Record, ShimFact, Topic, What};

/// The container whose whole life is measured.
pub const BRIEF: &str = "brief";
/// The container that is weighed, does execs and is killed.
pub const LONG: &str = "long";
/// How many execs it does.
pub const EXECS: u32 = 20;
/// The note before `start` is ordered.
pub const START_ORDERED: &str = "start is ordered";
/// The note before the `delete` action is ordered.
pub const DELETE_ORDERED: &str = "the delete action is ordered";
/// The note before init is killed past the shim.
pub const INIT_KILLED: &str = "init is killed";

/// Something that is measured once in each life.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// Its name in JSON.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// Its unit; empty for a count.
    pub unit: &'static str,
    /// How it is read from a history; `None` when a record is missing.
    read: fn(&History) -> Option<f64>,
}

/// Everything that is measured, in the order of a life.
pub const FIGURES: &[Figure] = &[
    ms("start", "`start`", start),
    ms("create", "Create", |history| call(history, Method::Create)),
    ms("start-call", "Start", |history| call(history, Method::Start)),
    ms("exit", "kill to exit event", exit),
    ms("delete-call", "Delete", |history| call(history, Method::Delete)),
    ms("shutdown", "Shutdown to gone", shutdown),
    ms("delete", "`delete`", delete),
    ms("life", "whole life", life),
    ms("execs", "20 execs", execs),
    Figure { id: "rss", name: "resident memory", unit: "MiB", read: |history| memory(history).map(|(rss, _)| rss) },
    Figure { id: "pss", name: "its share of that", unit: "MiB", read: |history| memory(history).map(|(_, pss)| pss) },
    Figure { id: "threads", name: "threads", unit: "", read: |history| held(history).map(|(threads, _)| threads) },
    Figure {
        id: "descriptors",
        name: "descriptors",
        unit: "",
        read: |history| held(history).map(|(_, descriptors)| descriptors),
    },
];

const fn ms(id: &'static str, name: &'static str, read: fn(&History) -> Option<f64>) -> Figure {
    Figure { id, name, unit: "ms", read }
}

/// What one life came to: a value for each of [`FIGURES`].
#[derive(Debug, Clone, PartialEq)]
pub struct Sample(Vec<Option<f64>>);

impl Sample {
    /// Reads every figure.
    pub fn of(history: &History) -> Self {
        Self(FIGURES.iter().map(|figure| (figure.read)(history)).collect())
    }
}

/// The values of the figure at `place` of [`FIGURES`], in the order of the rounds.
pub fn values(samples: &[Sample], place: usize) -> Vec<f64> {
    samples.iter().filter_map(|Sample(values)| *values.get(place)?).collect()
}

/// Many values in three.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one; between the two in the middle when their number is even.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of `values`; `None` when there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let upper = sorted.len() / 2;
        let lower = (sorted.len() - 1) / 2;
        Some(Self { median: f64::midpoint(sorted[lower], sorted[upper]), min, max })
    }
}

fn first(records: &[Record], wanted: impl Fn(&What) -> bool) -> Option<Moment> {
    records.iter().find(|record| wanted(&record.what)).map(|record| record.at)
}

/// The last time that `text` was noted before `end`.
fn noted(history: &History, text: &str, end: Moment) -> Option<Moment> {
    let is_it = |record: &&Record| record.at <= end && matches!(&record.what, What::Note(note) if note == text);
    history.records.iter().rfind(is_it).map(|record| record.at)
}

fn started(history: &History) -> Option<Moment> {
    let is_it = |what: &What| matches!(what, What::Started { container, .. } if container == BRIEF);
    first(&history.records, is_it)
}

fn cleaned(history: &History) -> Option<Moment> {
    let is_it = |what: &What| matches!(what, What::Cleaned { container, .. } if container == BRIEF);
    first(&history.records, is_it)
}

/// From the order of `start` until it has ended and the connection stands.
fn start(history: &History) -> Option<f64> {
    let end = started(history)?;
    Some(end.ms_since(noted(history, START_ORDERED, end)?))
}

/// A call about the brief container's init.
fn call(history: &History, method: Method) -> Option<f64> {
    let Exchange { invoked, returned, .. } = exchange(history, method)?;
    Some(returned?.0.ms_since(invoked))
}

fn exchange(history: &History, method: Method) -> Option<Exchange<'_>> {
    let is_it = |exchange: &Exchange<'_>| {
        let target = &exchange.call.target;
        exchange.call.method == method && target.is_init() && target.container == BRIEF
    };
    history.exchanges().into_iter().find(is_it)
}

/// From SIGKILL past the shim until the exit event is here.
fn exit(history: &History) -> Option<f64> {
    let is_it = |what: &What| {
        matches!(what, What::Event(event)
            if event.topic == Topic::Exit && event.target.is_init() && event.target.container == LONG)
    };
    let end = first(&history.records, is_it)?;
    Some(end.ms_since(noted(history, INIT_KILLED, end)?))
}

/// From Shutdown until the process is gone.
fn shutdown(history: &History) -> Option<f64> {
    let is_it = |what: &What| {
        matches!(what, What::Shim { container, fact: ShimFact::Gone, .. }
            if container == BRIEF)
    };
    let gone = first(&history.records, is_it)?;
    Some(gone.ms_since(exchange(history, Method::Shutdown)?.invoked))
}

/// From the order of the `delete` action until it has ended.
fn delete(history: &History) -> Option<f64> {
    let end = cleaned(history)?;
    Some(end.ms_since(noted(history, DELETE_ORDERED, end)?))
}

/// From the order of `start` until the `delete` action has ended.
fn life(history: &History) -> Option<f64> {
    let begin = noted(history, START_ORDERED, started(history)?)?;
    Some(cleaned(history)?.ms_since(begin))
}

/// From the first Exec until the last exec is deleted.
fn execs(history: &History) -> Option<f64> {
    let exchanges = history.exchanges();
    let of_execs = || exchanges.iter().filter(|exchange| !exchange.call.target.is_init());
    let last = of_execs().next_back()?.returned?.0;
    Some(last.ms_since(of_execs().next()?.invoked))
}

fn facts(history: &History) -> impl Iterator<Item = &ShimFact> {
    history.records.iter().filter_map(
        |record| {
            if let What::Shim { fact, .. } = &record.what { Some(fact) } else { None }
        },
    )
}

/// Of the shim with one running container and nothing to do: resident, and its share of that.
fn memory(history: &History) -> Option<(f64, f64)> {
    facts(history).find_map(|fact| {
        if let ShimFact::Memory { rss_kb, pss_kb } = fact { Some((mib(*rss_kb), mib(*pss_kb))) } else { None }
    })
}

/// Threads and descriptors at that time.
fn held(history: &History) -> Option<(f64, f64)> {
    let mut weighed = facts(history).skip_while(|fact| !matches!(fact, ShimFact::Memory { .. }));
    weighed.find_map(|fact| {
        if let ShimFact::Footprint { fds, threads, .. } = fact { Some((number(*threads), number(*fds))) } else { None }
    })
}

#[expect(clippy::cast_precision_loss, reason = "kilobytes of one process fit 53 bits")]
fn mib(kb: u64) -> f64 {
    kb as f64 / 1024.0
}

#[expect(clippy::cast_precision_loss, reason = "so few")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::history::{Answer, Call, Event, Ran, Target, WallTime};

    /// A history under construction, whose moments are milliseconds.
    #[derive(Default)]
    struct Told(History);

    impl Told {
        fn at(&mut self, ms: u64, what: What) {
            let at = Moment(ms * 1_000_000);
            self.0.records.push(Record { at, what });
        }

        fn note(&mut self, ms: u64, text: &str) {
            self.at(ms, What::Note(text.to_owned()));
        }

        fn call(&mut self, (begin, end): (u64, u64), method: Method, target: Target) {
            let call = Call { method, target, args: String::new() };
            self.at(begin, What::Invoke { id: begin, call });
            let answer = Answer::Done(Box::default());
            self.at(end, What::Return { id: begin, answer });
        }

        fn shim(&mut self, ms: u64, container: &str, fact: ShimFact) {
            let container = container.to_owned();
            self.at(ms, What::Shim { container, pid: 9, fact });
        }
    }

    fn ran() -> Ran {
        Ran { code: Some(0), pid: 8, stdout: String::new(), stderr: String::new(), held_open: false }
    }

    /// One life as the benchmark plays it, with one exec after another.
    fn told() -> History {
        let mut told = Told::default();
        let container = BRIEF.to_owned();
        told.note(5, START_ORDERED);
        told.at(17, What::Started { container: container.clone(), ran: ran() });
        told.call((20, 50), Method::Create, Target::init(BRIEF));
        told.call((51, 58), Method::Start, Target::init(BRIEF));
        told.call((60, 64), Method::Delete, Target::init(BRIEF));
        told.call((70, 71), Method::Shutdown, Target::init(BRIEF));
        told.shim(79, BRIEF, ShimFact::Gone);
        told.note(80, DELETE_ORDERED);
        told.at(95, What::Cleaned { container, ran: ran(), exit: None });
        told.note(100, START_ORDERED);
        told.call((110, 140), Method::Create, Target::init(LONG));
        let (fds, threads, rss_kb, pss_kb) = (10, 3, 2048, 1536);
        told.shim(141, LONG, ShimFact::Footprint { fds, threads, rss_kb });
        told.shim(150, LONG, ShimFact::Memory { rss_kb, pss_kb });
        let fds = 12;
        told.shim(151, LONG, ShimFact::Footprint { fds, threads, rss_kb });
        told.call((160, 162), Method::Exec, Target::exec(LONG, "e0"));
        told.call((163, 164), Method::Delete, Target::exec(LONG, "e0"));
        told.call((170, 172), Method::Exec, Target::exec(LONG, "e1"));
        told.call((173, 199), Method::Delete, Target::exec(LONG, "e1"));
        told.note(200, INIT_KILLED);
        let event = Event {
            topic: Topic::Exit,
            target: Target::init(LONG),
            pid: 33,
            exit: None,
            namespace: "ns".to_owned(),
            published: WallTime::default(),
        };
        told.at(203, What::Event(event));
        told.note(210, DELETE_ORDERED);
        told.0
    }

    #[rstest]
    #[case("start", 12.0)]
    #[case("create", 30.0)]
    #[case("start-call", 7.0)]
    #[case("exit", 3.0)]
    #[case("delete-call", 4.0)]
    #[case("shutdown", 9.0)]
    #[case("delete", 15.0)]
    #[case("life", 90.0)]
    #[case("execs", 39.0)]
    #[case("rss", 2.0)]
    #[case("pss", 1.5)]
    #[case("threads", 3.0)]
    #[case("descriptors", 12.0)]
    fn figures_are_read_from_histories(#[case] id: &str, #[case] expected: f64) {
        let place = FIGURES.iter().position(|figure| figure.id == id).unwrap();
        assert_eq!(values(&[Sample::of(&told())], place), [expected]);
    }

    #[test]
    fn a_history_without_the_records_has_no_figure() {
        let sample = Sample::of(&History::default());
        assert!((0..FIGURES.len()).all(|place| values(std::slice::from_ref(&sample), place).is_empty()));
    }

    #[rstest]
    #[case::none(&[], None)]
    #[case::one(&[2.0], Some((2.0, 2.0, 2.0)))]
    #[case::odd(&[9.0, 1.0, 2.0], Some((2.0, 1.0, 9.0)))]
    #[case::even(&[4.0, 1.0, 2.0, 9.0], Some((3.0, 1.0, 9.0)))]
    fn the_median_lies_in_the_middle(#[case] values: &[f64], #[case] expected: Option<(f64, f64, f64)>) {
        let spread = Spread::of(values).map(|spread| (spread.median, spread.min, spread.max));
        assert_eq!(spread, expected);
    }
}
