//! Peers that break off, say nothing, do not listen, or come in crowds: only they themselves notice.

use std::{cell::Cell, time::Duration};

use anyhow::Context as _;
use fault_injector::{fault::Point, seam::wire::Wire};
use tokio::sync::Notify;

use super::bystander::{Bystander, beside};
use crate::{
    check::{Body, Check, Need, Stop},
    contract::{shutdown, ttrpc},
    history::{Answer, Code, Method, Status, Topic},
    lab::{
        Container, Lab, NOTICE, Order, SHUTDOWN, deadline, message, program,
        raw::{self, Raw},
    },
    lie::{Lie, RawLie},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "ttrpc/broken-in-header",
        clause: &ttrpc::BROKEN_PEER,
        needs: &[],
        notices: UNNOTICED,
        body: Body::Example(|lab| Box::pin(broken(lab, Point::InHeader))),
    },
    Check {
        id: "ttrpc/broken-in-payload",
        clause: &ttrpc::BROKEN_PEER,
        needs: &[],
        notices: UNNOTICED,
        body: Body::Example(|lab| Box::pin(broken(lab, Point::InPayload))),
    },
    Check {
        id: "ttrpc/broken-in-oversize",
        clause: &ttrpc::BROKEN_PEER,
        needs: &[],
        notices: UNNOTICED,
        body: Body::Example(|lab| Box::pin(broken_in_oversize(lab))),
    },
    Check {
        id: "ttrpc/garbage",
        clause: &ttrpc::BROKEN_PEER,
        needs: &[],
        notices: UNNOTICED,
        body: Body::Example(|lab| Box::pin(garbage(lab))),
    },
    Check {
        id: "ttrpc/half-closed",
        clause: &ttrpc::HALF_CLOSE,
        needs: &[],
        notices: HALF_CLOSED,
        body: Body::Example(|lab| Box::pin(half_closed(lab, Point::AfterFrame))),
    },
    Check {
        id: "ttrpc/half-closed-in-header",
        clause: &ttrpc::HALF_CLOSE,
        needs: &[],
        notices: HALF_CLOSED,
        body: Body::Example(|lab| Box::pin(half_closed(lab, Point::InHeader))),
    },
    Check {
        id: "ttrpc/half-closed-in-payload",
        clause: &ttrpc::HALF_CLOSE,
        needs: &[],
        notices: HALF_CLOSED,
        body: Body::Example(|lab| Box::pin(half_closed(lab, Point::InPayload))),
    },
    Check {
        id: "ttrpc/thousand-connections",
        clause: &ttrpc::MANY,
        needs: &[],
        notices: UNNOTICED,
        body: Body::Example(|lab| Box::pin(thousand_connections(lab))),
    },
    Check {
        id: "ttrpc/idle-connections",
        clause: &ttrpc::MANY,
        needs: &[],
        notices: UNNOTICED,
        body: Body::Example(|lab| Box::pin(idle_connections(lab))),
    },
    Check {
        id: "ttrpc/closed-before-the-answer",
        clause: &ttrpc::ABANDONED,
        needs: &[],
        notices: UNNOTICED,
        body: Body::Example(|lab| Box::pin(closed_before_the_answer(lab))),
    },
    Check {
        id: "ttrpc/closed-with-waits",
        clause: &ttrpc::ABANDONED,
        needs: &[],
        notices: UNNOTICED,
        body: Body::Example(|lab| Box::pin(closed_with_waits(lab))),
    },
    Check {
        id: "ttrpc/answers-go-home",
        clause: &ttrpc::ABANDONED,
        needs: &[],
        notices: &[Lie::Raw(RawLie::Doubled), Lie::Raw(RawLie::Stray), Lie::Raw(RawLie::ExitStatus), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(answers_go_home(lab))),
    },
    Check {
        id: "ttrpc/create-out-of-time",
        clause: &ttrpc::GIVEN_UP,
        needs: &[Need::RuntimeRules],
        notices: &[
            Lie::Raw(RawLie::Accepted),
            Lie::Raw(RawLie::Silent),
            Lie::Accepted(Method::State),
            Lie::Refused(Method::Create),
        ],
        body: Body::Example(|lab| Box::pin(create_given_up(lab, Why::Deadline))),
    },
    Check {
        id: "ttrpc/create-hung-up-on",
        clause: &ttrpc::GIVEN_UP,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::Accepted(Method::State), Lie::Refused(Method::Create), Lie::Unanswered(Method::State)],
        body: Body::Example(|lab| Box::pin(create_given_up(lab, Why::HangUp))),
    },
    Check {
        id: "ttrpc/deaf-peer",
        clause: &ttrpc::DEAF,
        needs: &[],
        notices: UNNOTICED,
        body: Body::Example(|lab| Box::pin(deaf_peer(lab))),
    },
    Check {
        id: "ttrpc/shutdown-leaves-them",
        clause: &shutdown::GOES,
        needs: &[],
        notices: &[Lie::ShimUndead, Lie::LeftSocket, Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(shutdown_leaves_them(lab))),
    },
    Check {
        id: "ttrpc/interleaved",
        clause: &ttrpc::APART,
        needs: &[],
        notices: &[
            Lie::Raw(RawLie::Another),
            Lie::Raw(RawLie::Silent),
            Lie::Raw(RawLie::Stray),
            Lie::Raw(RawLie::Doubled),
        ],
        body: Body::Example(|lab| Box::pin(interleaved(lab))),
    },
    Check {
        id: "ttrpc/clients-of-a-group",
        clause: &ttrpc::APART,
        needs: &[],
        notices: &[Lie::Raw(RawLie::Another), Lie::Raw(RawLie::Silent), Lie::Raw(RawLie::ExitStatus), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(clients_of_a_group(lab))),
    },
];

/// Under each of these somebody else is seen to have noticed.
const UNNOTICED: &[Lie] = &[
    Lie::ShimDead,
    Lie::DescriptorsGrow,
    Lie::Unanswered(Method::State),
    Lie::Pid(Method::State),
    Lie::ExitStatus(Method::Wait),
    Lie::Raw(RawLie::Another),
];
/// Under each of these the connection is seen to stay, or something of it.
const HALF_CLOSED: &[Lie] =
    &[Lie::Raw(RawLie::Endless), Lie::DescriptorsGrow, Lie::ShimDead, Lie::Unanswered(Method::State)];

/// So many peers break off, one after the other: what one of them leaves could be taken for something else.
const BREAKS: usize = 5;

/// Peers send a part of a request and are gone.
async fn broken(lab: &Lab, point: Point) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        for _ in 0..BREAKS {
            let mut raw = bystander.connect().await?;
            bystander.told(&mut raw).await?;
            send_until(bystander, &mut raw, point).await?;
            bystander.is_served().await?;
            raw.close();
        }
        Ok(())
    })
    .await
}

/// Peers announce all that a header can announce, send a little of it and are gone.
async fn broken_in_oversize(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        for _ in 0..BREAKS {
            let mut raw = bystander.connect().await?;
            let envelope = raw.envelope(&bystander.state());
            let mut frame = raw.frame(&envelope)?;
            frame.header.length = u32::MAX;
            raw.say(&frame.to_bytes(), "the beginning of a request of 4 GiB").await?;
            bystander.is_served().await?;
            raw.close();
        }
        Ok(())
    })
    .await
}

/// Peers that speak something else.
async fn garbage(lab: &Lab) -> Result<(), Stop> {
    const LANGUAGES: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        &[0; 1000],
        &[0xff; 1000],
    ];
    beside(lab, async |bystander| {
        for language in LANGUAGES {
            let mut peer = bystander.task.crowd(1).await?;
            lab.note(format!("a peer says {:?}", String::from_utf8_lossy(&language[..language.len().min(40)])));
            for peer in &mut peer {
                shout(peer, language).await?;
            }
            bystander.is_served().await?;
        }
        Ok(())
    })
    .await
}

/// A peer sends a request up to `point` and ends its direction. What it has asked for it may be told; then the shim ends the other one.
async fn half_closed(lab: &Lab, point: Point) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let stream = send_until(bystander, &mut raw, point).await?;
        raw.half_close().await?;
        raw.is_ended("its peer has ended its direction").await?;
        match raw.heard_on(stream, Method::State) {
            Some(answer) => raw::is_running(answer, bystander.task.target(), bystander.pid),
            None => Ok(()),
        }
    })
    .await
}

/// Sends a request for the state of the bystander up to `point`; its stream.
async fn send_until(bystander: &Bystander<'_>, raw: &mut Raw<'_>, point: Point) -> Result<u32, Stop> {
    let envelope = raw.envelope(&bystander.state());
    let frame = raw.frame(&envelope)?;
    raw.expect(frame.header.stream);
    let (bytes, end) = (frame.to_bytes(), frame.bytes_before(point));
    raw.say(&bytes[..end], &format!("{end} of the {} bytes of a request", bytes.len())).await?;
    Ok(frame.header.stream)
}

/// A thousand peers come and go: a third of them at once, a third in the middle of a header, a third before the answer.
async fn thousand_connections(lab: &Lab) -> Result<(), Stop> {
    /// So many at once, for fewer descriptors than any shim may have.
    const CROWD: usize = 50;
    const CROWDS: usize = 20;
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let envelope = raw.envelope(&bystander.state());
        let request = raw.frame(&envelope)?.to_bytes();
        for _ in 0..CROWDS {
            let mut crowd = bystander.task.crowd(CROWD).await?;
            for (number, peer) in crowd.iter_mut().enumerate() {
                let said = [0, 4, request.len()][number % 3];
                shout(peer, &request[..said]).await?;
            }
        }
        lab.note(format!("{} peers came and went", CROWD * CROWDS));
        bystander.told(&mut raw).await?;
        raw.close();
        Ok(())
    })
    .await
}

/// Two hundred peers say nothing while others are served; then some of them speak after all.
async fn idle_connections(lab: &Lab) -> Result<(), Stop> {
    const CROWD: usize = 200;
    beside(lab, async |bystander| {
        let mut early = bystander.connect_as("early").await?;
        let crowd = bystander.task.crowd(CROWD).await?;
        let mut late = bystander.connect_as("late").await?;
        lab.note(format!("{CROWD} peers are connected and say nothing"));
        bystander.is_served().await?;
        bystander.told(&mut late).await?;
        bystander.told(&mut early).await?;
        drop(crowd);
        bystander.told(&mut early).await?;
        early.close();
        late.close();
        Ok(())
    })
    .await
}

/// Peers ask and are gone before they can be answered, one after the other and all at once.
async fn closed_before_the_answer(lab: &Lab) -> Result<(), Stop> {
    const PEERS: usize = 100;
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let envelope = raw.envelope(&bystander.state());
        let request = raw.frame(&envelope)?.to_bytes();
        for _ in 0..PEERS {
            for mut peer in bystander.task.crowd(1).await? {
                shout(&mut peer, &request).await?;
            }
        }
        for peer in &mut bystander.task.crowd(PEERS).await? {
            shout(peer, &request).await?;
        }
        lab.note(format!("{} peers asked for State and did not wait for the answer", 2 * PEERS));
        bystander.told(&mut raw).await?;
        raw.close();
        Ok(())
    })
    .await
}

/// A peer that waits for the end of the task in many calls is gone long before.
async fn closed_with_waits(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        for _ in 0..20 {
            raw.call(&bystander.wait()).await?;
        }
        // So that they are in flight.
        bystander.told(&mut raw).await?;
        raw.close();
        Ok(())
    })
    .await
}

/// The calls of a peer that is gone are done when the task ends; the next peer, whose streams have the same ids, hears of its own only.
async fn answers_go_home(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut former = bystander.connect_as("former").await?;
        for _ in 0..20 {
            former.call(&bystander.wait()).await?;
        }
        bystander.told(&mut former).await?;
        former.close();
        let mut raw = bystander.connect().await?;
        bystander.told(&mut raw).await?;
        bystander.ends().await?;
        let stream = raw.call(&bystander.wait()).await?;
        raw.answer(stream, Method::Wait).await?.exit("Wait")?.reports(137)?;
        let stream = raw.call(&bystander.state()).await?;
        let reply = raw.answer(stream, Method::State).await?.done("State")?;
        if reply.status != Some(Status::Stopped) {
            return Err(Stop::violated("State does not tell the truth", "Stopped", format!("{:?}", reply.status)));
        }
        Ok(())
    })
    .await
}

/// How long it may take until nothing is left of a Create that was given up.
const GIVING_UP: Duration = Duration::from_secs(5);

/// Why nobody wants a Create any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Deadline,
    HangUp,
}

/// The runtime is at `create` for somebody who no longer wants it. Nothing comes of that, and the same container can be created.
async fn create_given_up(lab: &Lab, why: Why) -> Result<(), Stop> {
    /// Long enough for any shim to have executed the runtime.
    const DEADLINE: Duration = Duration::from_millis(500);
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let rules = lab.hold("create")?;
    let mut raw = task.connect_raw("raw").await?;
    let mut envelope = raw.envelope(&task.create_request()?);
    if why == Why::Deadline {
        envelope.timeout_nano = i64::try_from(lab.scaled(DEADLINE).as_nanos()).context("a deadline of centuries")?;
    }
    let stream = raw.ask(&envelope).await?;
    let runtime = rules.reached("create").await?;
    if why == Why::Deadline {
        raw.answer(stream, Method::Create).await?.declined("a Create that is out of time")?;
    }
    raw.close();
    // One that is not killed goes on when it is no longer held; what comes of that is judged, not how it was prevented.
    _ = deadline::until(lab.scaled(GIVING_UP), || (!runtime.is_alive()).then_some(())).await;
    rules.open();
    rules.ended(runtime).await?;
    becomes_as_it_was(lab, &task).await?;
    task.start().await?;
    task.end().await?;
    task.remove().await
}

/// Nothing is left of a Create that was given up, and the next one succeeds. Undoing it may take a moment.
async fn becomes_as_it_was(lab: &Lab, task: &Container<'_>) -> Result<(), Stop> {
    let forgotten = deadline::until_tried(lab.scaled(GIVING_UP), async || match task.call(Method::State).await {
        Ok(Answer::Done(_)) => None,
        asked => Some(asked),
    });
    match forgotten.await {
        Some(asked) => asked?.refused("State after a Create that was given up", &[Code::NotFound])?,
        None => return Err(Stop::violated("a Create that was given up made a task", "none", "State knows it")),
    }
    let unmounted = deadline::until(lab.scaled(GIVING_UP), || match task.rootfs_is_mounted() {
        Ok(true) => None,
        looked => Some(looked),
    });
    match unmounted.await {
        Some(looked) => drop(looked?),
        None => {
            return Err(Stop::violated("a Create that was given up left the rootfs mounted", "no mount", "a mount"));
        }
    }
    let request = task.create_request()?;
    let created = deadline::until_tried(lab.scaled(GIVING_UP), async || match lab.call(request.clone()).await {
        Ok(Answer::Refused { code: Code::AlreadyExists, .. }) => None,
        created => Some(created),
    });
    match created.await {
        Some(created) => created?.done("Create after one that was given up").map(drop),
        None => Err(Stop::violated("the id of a Create that was given up stays taken", "a free id", "ALREADY_EXISTS")),
    }
}

/// A peer asks and asks, and reads nothing of the answers, of which there are more than a socket holds.
async fn deaf_peer(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        ask_and_ask(bystander, &mut raw).await?;
        for _ in 0..20 {
            bystander.is_served().await?;
        }
        raw.close();
        Ok(())
    })
    .await
}

/// Sends so many requests that, when the last of them is taken, more answers were given than fit in between. A shim may also take no
/// more of them while their answers are not read; others are served meanwhile.
async fn ask_and_ask(bystander: &Bystander<'_>, raw: &mut Raw<'_>) -> Result<(), Stop> {
    const REQUESTS: usize = 10_000;
    const OTHERS: usize = 100;
    let mut requests = Vec::new();
    for _ in 0..REQUESTS {
        let envelope = raw.envelope(&bystander.state());
        requests.extend(raw.frame(&envelope)?.to_bytes());
    }
    let (taken, enough) = (Cell::new(false), Notify::new());
    let what = format!("{REQUESTS} requests for State, and reads no answer");
    let asking = async {
        tokio::select! {
            said = raw.say(&requests, &what) => {
                taken.set(true);
                said
            }
            () = enough.notified() => Ok(()),
        }
    };
    // Not cut short in the middle of a call, which would then have no end in the history.
    let others = async {
        let mut served = Ok(());
        for _ in 0..OTHERS {
            if taken.get() || served.is_err() {
                break;
            }
            served = bystander.is_served().await;
        }
        enough.notify_one();
        served
    };
    let (asked, served) = tokio::join!(asking, others);
    asked?;
    served
}

/// The shim is told to go while peers are connected that say nothing, have said the half of something, or do not listen.
async fn shutdown_leaves_them(lab: &Lab) -> Result<(), Stop> {
    const CROWD: usize = 30;
    let bystander = Bystander::new(lab).await?;
    let silent = bystander.task.crowd(CROWD).await?;
    let mut breaking = bystander.connect_as("breaking").await?;
    send_until(&bystander, &mut breaking, Point::InPayload).await?;
    let mut deaf = bystander.connect_as("deaf").await?;
    ask_and_ask(&bystander, &mut deaf).await?;
    bystander.ends().await?;
    let task = &bystander.task;
    task.delete().await?;
    task.announced(Topic::Delete, NOTICE).await?;
    task.shutdown().await?;
    task.shim_gone(SHUTDOWN).await?;
    deaf.close();
    breaking.close();
    drop(silent);
    Ok(())
}

/// Two peers send their requests in slices, by turns.
async fn interleaved(lab: &Lab) -> Result<(), Stop> {
    const SLICE: usize = 3;
    beside(lab, async |bystander| {
        let mut one = bystander.connect_as("one").await?;
        let mut two = bystander.connect_as("two").await?;
        bystander.told(&mut two).await?;
        for _ in 0..5 {
            let frames = [one.envelope(&bystander.state()), two.envelope(&bystander.state())];
            let frames = [one.frame(&frames[0])?, two.frame(&frames[1])?];
            let streams = [frames[0].header.stream, frames[1].header.stream];
            one.expect(streams[0]);
            two.expect(streams[1]);
            let bytes = frames.map(|frame| frame.to_bytes());
            for (first, second) in bytes[0].chunks(SLICE).zip(bytes[1].chunks(SLICE)) {
                one.continue_with(first).await?;
                two.continue_with(second).await?;
            }
            let answer = one.answer(streams[0], Method::State).await?;
            raw::is_running(answer, bystander.task.target(), bystander.pid)?;
            let answer = two.answer(streams[1], Method::State).await?;
            raw::is_running(answer, bystander.task.target(), bystander.pid)?;
        }
        bystander.told(&mut one).await?;
        bystander.told(&mut two).await
    })
    .await
}

/// Two containers of a shim, a connection for each, the same stream ids on both: each is told of what it asks for, and goes on when the
/// other one breaks off.
async fn clients_of_a_group(lab: &Lab) -> Result<(), Stop> {
    let first = lab.run(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let second = lab.run(Order::new(program::sleeps()).id("app").group("pod")).await?;
    let first_pid = first.is(Status::Running).await?.pid.unwrap_or(0);
    let second_pid = second.is(Status::Running).await?.pid.unwrap_or(0);
    let mut one = first.connect_raw("of the pod").await?;
    let mut two = second.connect_raw("of the app").await?;
    for _ in 0..20 {
        let asked = one.call(&message::plain(Method::State, first.target())).await?;
        let asked_too = two.call(&message::plain(Method::State, second.target())).await?;
        raw::is_running(two.answer(asked_too, Method::State).await?, second.target(), second_pid)?;
        raw::is_running(one.answer(asked, Method::State).await?, first.target(), first_pid)?;
    }
    one.finds_running(second.target(), second_pid).await?;
    let waiting = two.call(&message::plain(Method::Wait, second.target())).await?;
    one.call(&message::plain(Method::Wait, first.target())).await?;
    one.say(&[0, 0], "the beginning of a header").await?;
    one.close();
    two.finds_running(first.target(), first_pid).await?;
    two.finds_running(second.target(), second_pid).await?;
    second.kill(libc::SIGKILL).await?;
    two.answer(waiting, Method::Wait).await?.exit("Wait")?.reports(137)?;
    first.is(Status::Running).await?;
    if first.shim_is_alive()? { Ok(()) } else { Err(Stop::violated("the shim died", "a living shim", "none")) }
}

/// Sends bytes to a shim that may have hung up on them.
async fn shout(peer: &mut Wire, bytes: &[u8]) -> Result<(), Stop> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    match peer.send_bytes(bytes).await {
        Err(e) if matches!(e.kind(), BrokenPipe | ConnectionReset) => Ok(()),
        sent => Ok(sent?),
    }
}
