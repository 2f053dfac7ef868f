//! Requests and frames that containerd does not send, or seldom: each is answered as it deserves, and nothing else changes.

use ::ttrpc::proto::Request as Envelope;
use fault_injector::{
    fault::Point,
    frame::{FLAG_NO_DATA, FLAG_REMOTE_CLOSED, FLAG_REMOTE_OPEN, Frame, Kind, PAYLOAD_BYTES_MAX},
};

use super::bystander::{Bystander, beside};
use crate::{
    check::{Body, Check, Stop},
    contract::ttrpc,
    history::{Answer, Code, Method, Target},
    lab::{Lab, message, raw},
    lie::{Lie, RawLie},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "ttrpc/unknown-service",
        clause: &ttrpc::UNKNOWN,
        needs: &[],
        notices: REFUSED,
        body: Body::Example(|lab| {
            Box::pin(asks(lab, Due::Refusal(&[Code::Unimplemented]), |envelope| {
                "containerd.task.v9.Task".clone_into(&mut envelope.service)
            }))
        }),
    },
    Check {
        id: "ttrpc/unknown-method",
        clause: &ttrpc::UNKNOWN,
        needs: &[],
        notices: REFUSED,
        body: Body::Example(|lab| {
            Box::pin(asks(lab, Due::Refusal(&[Code::Unimplemented]), |envelope| {
                "Levitate".clone_into(&mut envelope.method)
            }))
        }),
    },
    Check {
        id: "ttrpc/no-method",
        clause: &ttrpc::UNKNOWN,
        needs: &[],
        notices: REFUSED,
        body: Body::Example(|lab| {
            Box::pin(asks(lab, Due::Refusal(&[Code::Unimplemented]), |envelope| envelope.method.clear()))
        }),
    },
    Check {
        id: "ttrpc/other-task-version",
        clause: &ttrpc::UNKNOWN,
        needs: &[],
        notices: ANSWERED_OR_REFUSED,
        body: Body::Example(|lab| Box::pin(asks(lab, Due::Either(&[Code::Unimplemented]), other_version))),
    },
    Check {
        id: "ttrpc/garbled-request",
        clause: &ttrpc::MALFORMED,
        needs: &[],
        notices: REFUSED,
        body: Body::Example(|lab| {
            Box::pin(sends(lab, Due::Refusal(&[Code::InvalidArgument]), |frame| {
                Frame::request(frame.header.stream, vec![0xff; 40])
            }))
        }),
    },
    Check {
        id: "ttrpc/garbled-payload",
        clause: &ttrpc::MALFORMED_PAYLOAD,
        needs: &[],
        notices: &[Lie::Raw(RawLie::Accepted), Lie::Raw(RawLie::Silent), Lie::Raw(RawLie::Ends), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(asks(lab, Due::Refusal(&[]), |envelope| envelope.payload = vec![0xff; 40]))),
    },
    Check {
        id: "ttrpc/empty-payload",
        clause: &ttrpc::EMPTY_PAYLOAD,
        needs: &[],
        notices: REFUSED,
        body: Body::Example(|lab| {
            Box::pin(asks(lab, Due::Refusal(&[Code::NotFound, Code::InvalidArgument]), |envelope| {
                envelope.payload.clear()
            }))
        }),
    },
    Check {
        id: "ttrpc/unknown-fields",
        clause: &ttrpc::UNKNOWN_FIELDS,
        needs: &[],
        notices: ANSWERED,
        body: Body::Example(|lab| {
            Box::pin(asks(lab, Due::Truth, |envelope| envelope.payload.extend(FIELD_OF_THE_FUTURE)))
        }),
    },
    Check {
        id: "ttrpc/unknown-fields-of-the-envelope",
        clause: &ttrpc::UNKNOWN_FIELDS,
        needs: &[],
        notices: ANSWERED,
        body: Body::Example(|lab| {
            Box::pin(sends(lab, Due::Truth, |mut frame| {
                frame.payload.extend(FIELD_OF_THE_FUTURE);
                Frame::request(frame.header.stream, frame.payload)
            }))
        }),
    },
    Check {
        id: "ttrpc/error-text",
        clause: &ttrpc::ERROR_TEXT,
        needs: &[],
        notices: &[Lie::Raw(RawLie::Wordless), Lie::Raw(RawLie::Accepted), Lie::Raw(RawLie::Code(Code::Internal))],
        body: Body::Example(|lab| Box::pin(error_text(lab))),
    },
    Check {
        id: "ttrpc/largest",
        clause: &ttrpc::LARGEST,
        needs: &[],
        notices: ANSWERED,
        body: Body::Example(|lab| Box::pin(sends(lab, Due::Truth, |frame| padded(frame, LARGEST)))),
    },
    Check {
        id: "ttrpc/oversize",
        clause: &ttrpc::OVERSIZE,
        needs: &[],
        notices: &[Lie::Raw(RawLie::Accepted), Lie::Raw(RawLie::Silent), Lie::Raw(RawLie::Stray), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(sends(lab, Due::Refusal(&[]), |frame| padded(frame, LARGEST + 1)))),
    },
    Check {
        id: "ttrpc/oversize-code",
        clause: &ttrpc::OVERSIZE_CODE,
        needs: &[],
        notices: REFUSED,
        body: Body::Example(|lab| {
            Box::pin(sends(lab, Due::Refusal(&[Code::ResourceExhausted]), |frame| padded(frame, LARGEST + 1)))
        }),
    },
    Check {
        id: "ttrpc/even-stream",
        clause: &ttrpc::ODD,
        needs: &[],
        notices: REFUSED,
        body: Body::Example(|lab| {
            Box::pin(sends(lab, Due::Refusal(&[Code::InvalidArgument]), |frame| Frame::request(2, frame.payload)))
        }),
    },
    Check {
        id: "ttrpc/stream-zero",
        clause: &ttrpc::ODD,
        needs: &[],
        notices: REFUSED,
        body: Body::Example(|lab| {
            Box::pin(sends(lab, Due::Refusal(&[Code::InvalidArgument]), |frame| Frame::request(0, frame.payload)))
        }),
    },
    Check {
        id: "ttrpc/highest-stream",
        clause: &ttrpc::STREAM,
        needs: &[],
        notices: ANSWERED,
        body: Body::Example(|lab| Box::pin(highest_stream(lab))),
    },
    Check {
        id: "ttrpc/stream-again",
        clause: &ttrpc::REUSE,
        needs: &[],
        notices: ANSWERED_OR_REFUSED,
        body: Body::Example(|lab| Box::pin(second_stream(lab, 9, 9))),
    },
    Check {
        id: "ttrpc/stream-below",
        clause: &ttrpc::REUSE,
        needs: &[],
        notices: ANSWERED_OR_REFUSED,
        body: Body::Example(|lab| Box::pin(second_stream(lab, 9, 5))),
    },
    Check {
        id: "ttrpc/stream-in-flight",
        clause: &ttrpc::REUSE,
        needs: &[],
        notices: &[Lie::Raw(RawLie::ExitStatus), Lie::Raw(RawLie::Silent), Lie::Raw(RawLie::Stray), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(stream_in_flight(lab))),
    },
    Check {
        id: "ttrpc/unknown-type",
        clause: &ttrpc::IGNORED,
        needs: &[],
        notices: PASSED_OVER,
        body: Body::Example(|lab| {
            Box::pin(sends(lab, IGNORED, |frame| Frame::new(Kind::Unknown(0x7f), frame.header.stream, frame.payload)))
        }),
    },
    Check {
        id: "ttrpc/response-to-the-server",
        clause: &ttrpc::IGNORED,
        needs: &[],
        notices: PASSED_OVER,
        body: Body::Example(|lab| {
            Box::pin(sends(lab, IGNORED, |frame| Frame::response(frame.header.stream, Vec::new())))
        }),
    },
    Check {
        id: "ttrpc/data-on-no-stream",
        clause: &ttrpc::DATA_UNKNOWN,
        needs: &[],
        notices: PASSED_OVER,
        body: Body::Example(|lab| {
            Box::pin(sends(lab, IGNORED, |frame| Frame::new(Kind::Data, frame.header.stream, frame.payload)))
        }),
    },
    Check {
        id: "ttrpc/data-after-the-answer",
        clause: &ttrpc::DATA_UNKNOWN,
        needs: &[],
        notices: PASSED_OVER,
        body: Body::Example(|lab| Box::pin(data_after_the_answer(lab))),
    },
    Check {
        id: "ttrpc/data-on-a-call",
        clause: &ttrpc::DATA_UNARY,
        needs: &[],
        notices: &[Lie::Raw(RawLie::ExitStatus), Lie::Raw(RawLie::Silent), Lie::Raw(RawLie::Stray), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(data_on_a_call(lab))),
    },
    Check {
        id: "ttrpc/flags",
        clause: &ttrpc::FLAGS,
        needs: &[],
        notices: ANSWERED,
        body: Body::Example(|lab| Box::pin(flags(lab))),
    },
    Check {
        id: "ttrpc/namespace",
        clause: &ttrpc::NAMESPACE,
        needs: &[],
        notices: ANSWERED,
        body: Body::Example(|lab| Box::pin(namespace(lab))),
    },
    Check {
        id: "ttrpc/metadata",
        clause: &ttrpc::METADATA,
        needs: &[],
        notices: ANSWERED,
        body: Body::Example(|lab| Box::pin(metadata(lab))),
    },
    Check {
        id: "ttrpc/garbled-metadata",
        clause: &ttrpc::METADATA_GARBLED,
        needs: &[],
        notices: ANSWERED_OR_REFUSED,
        body: Body::Example(|lab| {
            Box::pin(sends(lab, Due::Either(&[Code::InvalidArgument]), |mut frame| {
                frame.payload.extend(METADATA_THAT_ARE_NO_TEXT);
                Frame::request(frame.header.stream, frame.payload)
            }))
        }),
    },
    Check {
        id: "ttrpc/deadline-passed",
        clause: &ttrpc::DEADLINE,
        needs: &[],
        notices: ANSWERED_OR_REFUSED,
        body: Body::Example(|lab| {
            Box::pin(asks(lab, Due::Either(&[Code::DeadlineExceeded]), |envelope| envelope.timeout_nano = 1))
        }),
    },
    Check {
        id: "ttrpc/deadline-far-away",
        clause: &ttrpc::DEADLINE,
        needs: &[],
        notices: ANSWERED,
        body: Body::Example(|lab| Box::pin(asks(lab, Due::Truth, |envelope| envelope.timeout_nano = i64::MAX))),
    },
    Check {
        id: "ttrpc/deadline-of-a-wait",
        clause: &ttrpc::DEADLINE,
        needs: &[],
        notices: &[Lie::Raw(RawLie::ExitStatus), Lie::Raw(RawLie::Refused), Lie::Raw(RawLie::Silent), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(deadline_of_a_wait(lab))),
    },
    Check {
        id: "ttrpc/negative-deadline",
        clause: &ttrpc::NEGATIVE_DEADLINE,
        needs: &[],
        notices: ANSWERED_OR_REFUSED,
        body: Body::Example(|lab| {
            Box::pin(asks(lab, Due::Either(&[Code::DeadlineExceeded]), |envelope| envelope.timeout_nano = i64::MIN))
        }),
    },
    Check {
        id: "ttrpc/pipelined",
        clause: &ttrpc::FRAME,
        needs: &[],
        notices: ANSWERED_EACH,
        body: Body::Example(|lab| Box::pin(pipelined(lab))),
    },
    Check {
        id: "ttrpc/byte-by-byte",
        clause: &ttrpc::FRAME,
        needs: &[],
        notices: ANSWERED_EACH,
        body: Body::Example(|lab| Box::pin(byte_by_byte(lab))),
    },
    Check {
        id: "ttrpc/many-waits",
        clause: &ttrpc::CONCURRENT,
        needs: &[],
        notices: &[
            Lie::Raw(RawLie::ExitStatus),
            Lie::Raw(RawLie::Silent),
            Lie::Raw(RawLie::Stray),
            Lie::Raw(RawLie::Doubled),
        ],
        body: Body::Example(|lab| Box::pin(many_waits(lab))),
    },
    Check {
        id: "ttrpc/wait-without-deadline",
        clause: &ttrpc::NO_DEADLINE,
        needs: &[],
        notices: &[
            Lie::Raw(RawLie::ExitStatus),
            Lie::Raw(RawLie::Refused),
            Lie::Raw(RawLie::Stray),
            Lie::Raw(RawLie::Doubled),
        ],
        body: Body::Example(|lab| Box::pin(wait_without_deadline(lab))),
    },
];

/// Under each of these what must be refused is seen not to be.
const REFUSED: &[Lie] = &[
    Lie::Raw(RawLie::Accepted),
    Lie::Raw(RawLie::Code(Code::Unknown)),
    Lie::Raw(RawLie::Silent),
    Lie::Raw(RawLie::Ends),
    Lie::ShimDead,
];
/// Under each of these what must be answered is seen not to be, or not with the truth.
const ANSWERED: &[Lie] =
    &[Lie::Raw(RawLie::Refused), Lie::Raw(RawLie::Another), Lie::Raw(RawLie::Silent), Lie::Raw(RawLie::Ends)];
/// Under each of these one of many answers is missing, false or one too many.
const ANSWERED_EACH: &[Lie] = &[
    Lie::Raw(RawLie::Another),
    Lie::Raw(RawLie::Silent),
    Lie::Raw(RawLie::Stray),
    Lie::Raw(RawLie::Doubled),
    Lie::Raw(RawLie::Refused),
];
/// Under each of these neither the truth nor a refusal is seen.
const ANSWERED_OR_REFUSED: &[Lie] =
    &[Lie::Raw(RawLie::Another), Lie::Raw(RawLie::Silent), Lie::Raw(RawLie::Stray), Lie::ShimDead];
/// Under each of these what must change nothing is seen to.
const PASSED_OVER: &[Lie] = &[
    Lie::ShimDead,
    Lie::Raw(RawLie::Another),
    Lie::Raw(RawLie::Silent),
    Lie::Raw(RawLie::Ends),
    Lie::Raw(RawLie::Stray),
];

/// Number 1000 of a message, a number.
const FIELD_OF_THE_FUTURE: [u8; 3] = [0xc0, 0x3e, 7];
/// `Request.metadata`, with a key and a value that are not UTF-8.
const METADATA_THAT_ARE_NO_TEXT: [u8; 10] = [0x2a, 8, 0x0a, 2, 0xff, 0xfe, 0x12, 2, 0x80, 0xc0];
/// The largest payload that is legal, in bytes.
const LARGEST: usize = PAYLOAD_BYTES_MAX as usize;
/// As many calls as a connection must be able to take at once, and some more (contract TTRPC-09: fifty).
const CALLS: usize = 100;

/// What may become of a request for the state of the bystander.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// It is answered, truthfully.
    Truth,
    /// It is refused with one of these codes; any will do where none is named.
    Refusal(&'static [Code]),
    /// Either of the two.
    Either(&'static [Code]),
    /// It is passed over, or refused with one of these codes.
    Nothing(&'static [Code]),
}

/// What becomes of a frame that opens no stream.
const IGNORED: Due = Due::Nothing(&[Code::InvalidArgument, Code::Unimplemented]);

/// `change` is made to the request for the state of the bystander; its connection serves on.
async fn asks(lab: &Lab, due: Due, change: fn(&mut Envelope)) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let mut envelope = raw.envelope(&bystander.state());
        change(&mut envelope);
        let frame = raw.frame(&envelope)?;
        deserves(bystander, &mut raw, &frame, due).await
    })
    .await
}

/// `change` is made to the frame around the request for the state of the bystander; its connection serves on.
async fn sends(lab: &Lab, due: Due, change: fn(Frame) -> Frame) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let envelope = raw.envelope(&bystander.state());
        let frame = change(raw.frame(&envelope)?);
        // Above any stream that has been tampered with.
        raw.skip_to(frame.header.stream | 0x11);
        deserves(bystander, &mut raw, &frame, due).await
    })
    .await
}

/// Sends the frame, judges what comes of it, and sees that the connection serves on.
async fn deserves(bystander: &Bystander<'_>, raw: &mut raw::Raw<'_>, frame: &Frame, due: Due) -> Result<(), Stop> {
    let stream = frame.header.stream;
    raw.send(frame).await?;
    if let Due::Nothing(codes) = due {
        // A refusal that is slower than the answer to a later call is not judged: answers come in any order.
        bystander.told(raw).await?;
        return match raw.heard_on(stream, Method::State) {
            Some(answer) => answer.refused("a frame that opens no stream", codes),
            None => Ok(()),
        };
    }
    judge(bystander, raw.answer(stream, Method::State).await?, due)?;
    bystander.told(raw).await
}

fn judge(bystander: &Bystander<'_>, answer: Answer, due: Due) -> Result<(), Stop> {
    let truth = |answer| raw::is_running(answer, bystander.task.target(), bystander.pid);
    match (due, &answer) {
        (Due::Refusal([]), _) => answer.declined("the request"),
        (Due::Refusal(codes), _) => answer.refused("the request", codes),
        (Due::Either(codes), Answer::Refused { .. }) => answer.refused("the request", codes),
        (Due::Truth, _) | (Due::Either(_), Answer::Done(_) | Answer::Lost(_)) | (Due::Nothing(_), _) => truth(answer),
    }
}

/// The service of the Task API's other version.
fn other_version(envelope: &mut Envelope) {
    let other = if envelope.service.contains(".v2.") { "containerd.task.v3.Task" } else { "containerd.task.v2.Task" };
    other.clone_into(&mut envelope.service);
}

/// The frame with as much behind its request, in a field that nobody knows, as makes its payload so long.
fn padded(mut frame: Frame, bytes: usize) -> Frame {
    // Field 1000, with its length in four groups of seven bits.
    const HEAD: usize = 2 + 4;
    let length = bytes - frame.payload.len() - HEAD;
    frame.payload.extend([0xc2, 0x3e]);
    frame.payload.extend((0..4).map(|group| (length >> (7 * group)) as u8 & 0x7f | if group < 3 { 0x80 } else { 0 }));
    frame.payload.resize(bytes, 0);
    Frame::request(frame.header.stream, frame.payload)
}

/// A refusal has a text.
async fn error_text(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let stream = raw.call(&message::plain(Method::State, &Target::init("nobody"))).await?;
        let answer = raw.answer(stream, Method::State).await?;
        if let Answer::Refused { code: Code::NotFound, message } = &answer
            && message.trim().is_empty()
        {
            return Err(Stop::violated("a refusal says nothing", "a text beside its code", "none"));
        }
        answer.refused("State of nobody", &[Code::NotFound])
    })
    .await
}

/// The highest ids that a client may use are used.
async fn highest_stream(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        for stream in [1, 0x7fff_ffff, 0x8000_0001, u32::MAX] {
            raw.skip_to(stream);
            bystander.told(&mut raw).await?;
        }
        Ok(())
    })
    .await
}

/// A call on stream `first` is answered; another follows on stream `second`, which is not higher.
async fn second_stream(lab: &Lab, first: u32, second: u32) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        raw.skip_to(first);
        bystander.told(&mut raw).await?;
        raw.skip_to(second);
        let envelope = raw.envelope(&bystander.state());
        let frame = raw.frame(&envelope)?;
        raw.skip_to(first + 2);
        deserves(bystander, &mut raw, &frame, Due::Either(&[Code::InvalidArgument])).await
    })
    .await
}

/// A second call comes on the stream of one that is in flight; that one is answered when it is done.
async fn stream_in_flight(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let stream = raw.call(&bystander.wait()).await?;
        raw.skip_to(stream);
        let again = raw.call(&bystander.state()).await?;
        judge(bystander, raw.answer(again, Method::State).await?, Due::Either(&[Code::InvalidArgument]))?;
        bystander.told(&mut raw).await?;
        bystander.ends().await?;
        raw.answer(stream, Method::Wait).await?.exit("Wait")?.reports(137)?;
        Ok(())
    })
    .await
}

/// Data come for a call that was answered.
async fn data_after_the_answer(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let envelope = raw.envelope(&bystander.state());
        let call = raw.frame(&envelope)?;
        deserves(bystander, &mut raw, &call, Due::Truth).await?;
        let data = Frame::new(Kind::Data, call.header.stream, call.payload);
        deserves(bystander, &mut raw, &data, IGNORED).await
    })
    .await
}

/// Data come for a call that is in flight; it is answered when it is done.
async fn data_on_a_call(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let stream = raw.call(&bystander.wait()).await?;
        raw.send(&Frame::new(Kind::Data, stream, bystander.wait().payload)).await?;
        bystander.told(&mut raw).await?;
        bystander.ends().await?;
        // The data may be refused, before other answers or after them; the call has an answer of its own.
        let answer = match raw.answer(stream, Method::Wait).await? {
            Answer::Refused { code: Code::InvalidArgument, .. } => raw.answer(stream, Method::Wait).await?,
            answer @ (Answer::Done(_) | Answer::Refused { .. } | Answer::Lost(_)) => answer,
        };
        answer.exit("Wait")?.reports(137)?;
        Ok(())
    })
    .await
}

/// Each flag, and all of them, on a call that needs none.
async fn flags(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        for flags in [FLAG_REMOTE_CLOSED, FLAG_REMOTE_OPEN, FLAG_NO_DATA, u8::MAX] {
            let envelope = raw.envelope(&bystander.state());
            let mut frame = raw.frame(&envelope)?;
            frame.header.flags = flags;
            deserves(bystander, &mut raw, &frame, Due::Truth).await?;
        }
        Ok(())
    })
    .await
}

/// No namespace, one that nobody has, and two at once.
async fn namespace(lab: &Lab) -> Result<(), Stop> {
    const KEY: &str = "containerd-namespace-ttrpc";
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let cases: [&[&str]; 3] = [&[], &["nobodys"], &["nobodys", ""]];
        for namespaces in cases {
            let mut envelope = raw.envelope(&bystander.state());
            envelope.metadata = namespaces.iter().map(|namespace| raw::pair(KEY, namespace)).collect();
            let frame = raw.frame(&envelope)?;
            deserves(bystander, &mut raw, &frame, Due::Truth).await?;
        }
        Ok(())
    })
    .await
}

/// What tracing sends, the same key many times, many keys, and a value of a megabyte.
async fn metadata(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let trace = vec![raw::pair("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
        let same = vec![raw::pair("baggage", "one of many"); 500];
        let many = (0..2000).map(|n| raw::pair(&format!("key-{n}"), "")).collect();
        let large = vec![raw::pair("large", &"x".repeat(1 << 20)), raw::pair("", "")];
        for more in [trace, same, many, large] {
            let mut envelope = raw.envelope(&bystander.state());
            envelope.metadata.extend(more);
            let frame = raw.frame(&envelope)?;
            deserves(bystander, &mut raw, &frame, Due::Truth).await?;
        }
        Ok(())
    })
    .await
}

/// A Wait outlives its deadline. Whether it is refused then or answered later, the task lives on and its end is told truly.
async fn deadline_of_a_wait(lab: &Lab) -> Result<(), Stop> {
    /// A millisecond; asking a shim so many times takes longer.
    const DEADLINE_NANOS: i64 = 1_000_000;
    const QUESTIONS: usize = 20;
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let mut envelope = raw.envelope(&bystander.wait());
        envelope.timeout_nano = DEADLINE_NANOS;
        let limited = raw.ask(&envelope).await?;
        for _ in 0..QUESTIONS {
            bystander.told(&mut raw).await?;
        }
        bystander.ends().await?;
        let answer = raw.answer(limited, Method::Wait).await?;
        match answer {
            Answer::Refused { .. } => {
                answer.refused("a Wait that is out of time", &[Code::DeadlineExceeded, Code::Cancelled])?;
            }
            Answer::Done(_) | Answer::Lost(_) => drop(answer.exit("Wait")?.reports(137)?),
        }
        let unlimited = raw.call(&bystander.wait()).await?;
        raw.answer(unlimited, Method::Wait).await?.exit("Wait")?.reports(137)?;
        Ok(())
    })
    .await
}

/// Many requests in one write.
async fn pipelined(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let (mut bytes, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..CALLS {
            let envelope = raw.envelope(&bystander.state());
            let frame = raw.frame(&envelope)?;
            raw.expect(frame.header.stream);
            streams.push(frame.header.stream);
            bytes.extend(frame.to_bytes());
        }
        raw.say(&bytes, &format!("{CALLS} requests for State, streams {} to {}", 1, 2 * CALLS - 1)).await?;
        for stream in streams {
            judge(bystander, raw.answer(stream, Method::State).await?, Due::Truth)?;
        }
        bystander.told(&mut raw).await
    })
    .await
}

/// A request comes in pieces, and so slowly that others are served in between; then one comes byte by byte.
async fn byte_by_byte(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let envelope = raw.envelope(&bystander.state());
        let frame = raw.frame(&envelope)?;
        let bytes = frame.to_bytes();
        raw.expect(frame.header.stream);
        let mut sent = 0;
        for point in [Point::InHeader, Point::InPayload, Point::AfterFrame] {
            let until = frame.bytes_before(point);
            raw.say(&bytes[sent..until], &format!("bytes {sent} to {until} of a request")).await?;
            bystander.is_served().await?;
            sent = until;
        }
        judge(bystander, raw.answer(frame.header.stream, Method::State).await?, Due::Truth)?;
        let envelope = raw.envelope(&bystander.state());
        let frame = raw.frame(&envelope)?;
        raw.send_sliced(&frame, 1).await?;
        judge(bystander, raw.answer(frame.header.stream, Method::State).await?, Due::Truth)?;
        bystander.told(&mut raw).await
    })
    .await
}

/// Many calls wait for the end of the task over one connection, on which others are answered; then each is told of it.
async fn many_waits(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let mut streams = Vec::new();
        for _ in 0..CALLS {
            streams.push(raw.call(&bystander.wait()).await?);
        }
        bystander.told(&mut raw).await?;
        bystander.ends().await?;
        for stream in streams {
            raw.answer(stream, Method::Wait).await?.exit("Wait")?.reports(137)?;
        }
        Ok(())
    })
    .await
}

/// A Wait without a deadline is in flight while a hundred other calls are answered.
async fn wait_without_deadline(lab: &Lab) -> Result<(), Stop> {
    beside(lab, async |bystander| {
        let mut raw = bystander.connect().await?;
        let stream = raw.call(&bystander.wait()).await?;
        for _ in 0..CALLS {
            bystander.told(&mut raw).await?;
        }
        if let Some(answer) = raw.heard_on(stream, Method::Wait) {
            let actual = answer.to_string();
            return Err(Stop::violated("Wait for a running task was answered", "no answer yet", actual));
        }
        bystander.ends().await?;
        raw.answer(stream, Method::Wait).await?.exit("Wait")?.reports(137)?;
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use protobuf::Message as _;

    use super::*;

    fn state() -> Envelope {
        let mut envelope = Envelope::new();
        "State".clone_into(&mut envelope.method);
        envelope
    }

    #[test]
    fn padding_makes_it_long_and_changes_nothing() {
        for bytes in [LARGEST, LARGEST + 1] {
            let frame = padded(Frame::request(1, state().write_to_bytes().unwrap()), bytes);
            assert_eq!((frame.payload.len(), frame.header.length as usize), (bytes, bytes));
            assert_eq!(Envelope::parse_from_bytes(&frame.payload).unwrap().method, "State");
        }
    }

    #[test]
    fn the_future_is_readable_and_what_is_no_text_is_not() {
        let with = |more: &[u8]| Envelope::parse_from_bytes(&[&state().write_to_bytes().unwrap(), more].concat());
        assert_eq!(with(&FIELD_OF_THE_FUTURE).unwrap().method, "State");
        assert!(with(&METADATA_THAT_ARE_NO_TEXT).is_err());
        assert!(with(&[0xff; 40]).is_err());
    }
}
