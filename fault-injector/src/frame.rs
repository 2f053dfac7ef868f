//! ttrpc frames without IO: bytes in, frames out, and back.
//!
//! The layout is containerd/ttrpc `PROTOCOL.md`: a header of ten bytes (length, stream id, type, flags; numbers in network
//! order) and a payload of at most 4 MiB. A correct codec refuses to make illegal frames; this one makes whatever it is told,
//! because a suite must be able to send them.

use crate::fault::{Corruption, Point};

/// Size of a header, in bytes.
pub const HEADER_BYTES: usize = 10;

/// Size of the largest legal payload, in bytes (containerd/ttrpc: channel.go, `messageLengthMax`).
pub const PAYLOAD_BYTES_MAX: u32 = 4 << 20;

/// The sender sends no more on this stream.
pub const FLAG_REMOTE_CLOSED: u8 = 0x1;
/// The sender has more to send on this stream.
pub const FLAG_REMOTE_OPEN: u8 = 0x2;
/// The frame carries no message, not even an empty one.
pub const FLAG_NO_DATA: u8 = 0x4;

/// The type byte of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Opens a stream: a `ttrpc.Request`.
    Request,
    /// Closes a stream: a `ttrpc.Response`.
    Response,
    /// A message of a streaming call.
    Data,
    /// A type the protocol does not know.
    Unknown(u8),
}

impl From<u8> for Kind {
    fn from(byte: u8) -> Self {
        match byte {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Data,
            other => Self::Unknown(other),
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Request => 1,
            Kind::Response => 2,
            Kind::Data => 3,
            Kind::Unknown(byte) => byte,
        }
    }
}

/// The first ten bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// What the sender claims the payload to measure, in bytes.
    pub length: u32,
    /// The stream; a client's are odd.
    pub stream: u32,
    /// The type of the payload.
    pub kind: Kind,
    /// A set of the `FLAG_` bits.
    pub flags: u8,
}

impl Header {
    /// As on the wire.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, l3, s0, s1, s2, s3, self.kind.into(), self.flags]
    }

    /// From the wire; every ten bytes are a header.
    pub fn from_bytes(bytes: [u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = bytes;
        Self {
            length: u32::from_be_bytes([l0, l1, l2, l3]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            kind: kind.into(),
            flags,
        }
    }
}

/// A header and the payload that goes out with it, which need not agree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Sent as it is, true or not.
    pub header: Header,
    /// Opaque; the messages are protobuf.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame whose header tells the truth.
    ///
    /// # Panics
    ///
    /// When the payload measures 4 GiB or more, which no header can say.
    pub fn new(kind: Kind, stream: u32, payload: Vec<u8>) -> Self {
        let length = u32::try_from(payload.len()).expect("a payload fits its length field");
        Self { header: Header { length, stream, kind, flags: 0 }, payload }
    }

    /// The request that opens `stream`, around an encoded `ttrpc.Request`.
    pub fn request(stream: u32, payload: Vec<u8>) -> Self {
        Self::new(Kind::Request, stream, payload)
    }

    /// The request for one unary call, with nothing in it but what is given.
    pub fn unary(stream: u32, service: &str, method: &str, message: &[u8]) -> Self {
        let mut payload = Vec::new();
        for (number, bytes) in [(1, service.as_bytes()), (2, method.as_bytes()), (3, message)] {
            payload.push(number << 3 | 2);
            put_varint(bytes.len(), &mut payload);
            payload.extend_from_slice(bytes);
        }
        Self::request(stream, payload)
    }

    /// The answer that closes `stream`, around an encoded `ttrpc.Response`.
    pub fn response(stream: u32, payload: Vec<u8>) -> Self {
        Self::new(Kind::Response, stream, payload)
    }

    /// As on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.extend_from_slice(&self.header.to_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Whether a client may send it, as far as header and size tell.
    pub fn is_legal(&self) -> bool {
        let truthful = usize::try_from(self.header.length).is_ok_and(|length| length == self.payload.len());
        let known = match self.header.kind {
            Kind::Request | Kind::Response | Kind::Data => true,
            Kind::Unknown(_) => false,
        };
        truthful && known && self.header.length <= PAYLOAD_BYTES_MAX && self.header.stream % 2 == 1
    }

    /// The frame with one field changed. The payload that goes out keeps its size.
    #[must_use]
    pub fn corrupted(mut self, corruption: Corruption) -> Self {
        let header = &mut self.header;
        match corruption {
            Corruption::LengthShort => header.length = header.length.saturating_sub(1),
            Corruption::LengthLong => header.length = header.length.saturating_add(1),
            Corruption::LengthOversize => header.length = PAYLOAD_BYTES_MAX + 1,
            Corruption::StreamEven => header.stream &= !1,
            Corruption::StreamUnknown => header.stream = (header.stream ^ 0x4000_0000) | 1,
            Corruption::KindUnknown => header.kind = Kind::Unknown(0x7f),
            Corruption::KindData => header.kind = Kind::Data,
            Corruption::FlagsAll => header.flags = 0xff,
            Corruption::Payload => {
                if let Some(first) = self.payload.first_mut() {
                    *first = !*first;
                }
            }
        }
        self
    }

    /// How many of the frame's bytes lie before `point`. A cut inside a frame always leaves something missing.
    pub fn bytes_before(&self, point: Point) -> usize {
        let all = HEADER_BYTES + self.payload.len();
        match point {
            Point::BeforeFrame => 0,
            Point::InHeader => 4,
            Point::InPayload => (HEADER_BYTES + self.payload.len() / 2).min(all - 1),
            Point::AfterFrame => all,
        }
    }

    /// The service and the method a request asks for; `None` where the frame is no request or its payload makes no sense.
    pub fn call(&self) -> Option<(&str, &str)> {
        if self.header.kind != Kind::Request {
            return None;
        }
        let (mut service, mut method) = ("", "");
        let mut rest = self.payload.as_slice();
        while !rest.is_empty() {
            match take_field(&mut rest)? {
                (1, Some(bytes)) => service = std::str::from_utf8(bytes).ok()?,
                (2, Some(bytes)) => method = std::str::from_utf8(bytes).ok()?,
                _ => {} // Payload, timeout, metadata: nothing that names the call.
            }
        }
        (!method.is_empty()).then_some((service, method))
    }
}

/// Takes the first field off a protobuf message: its number, and its bytes if it is length-delimited.
fn take_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let tag = take_varint(rest)?;
    let value = match tag & 7 {
        0 => take_varint(rest).map(|_| None)?,
        1 => take_bytes(rest, 8).map(|_| None)?,
        2 => {
            let length = usize::try_from(take_varint(rest)?).ok()?;
            Some(take_bytes(rest, length)?)
        }
        5 => take_bytes(rest, 4).map(|_| None)?,
        _ => return None, // Groups, which proto3 has not, and garbage.
    };
    Some((tag >> 3, value))
}

/// Takes a base-128 number off the front.
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *take_bytes(rest, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Puts a base-128 number at the end.
fn put_varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_bytes<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

/// What a [`Decoder`] finds in a stream of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A complete frame of legal size.
    Frame(Frame),
    /// The header of a frame larger than [`PAYLOAD_BYTES_MAX`]. Its payload follows as [`Piece::Excess`] and is never collected,
    /// so that a lying header cannot make the decoder hold 4 GiB.
    Oversize(Header),
    /// Some of an oversize frame's payload.
    Excess(Vec<u8>),
}

/// Cuts a stream of bytes into frames, whatever the slices in which it arrives.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes that arrived and belong to no piece yet.
    buffer: Vec<u8>,
    /// How much of an oversize payload is still to come.
    excess: usize,
}

impl Decoder {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they arrive.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece, or `None` until more bytes arrive.
    pub fn next_piece(&mut self) -> Option<Piece> {
        if self.excess > 0 {
            let taken = self.excess.min(self.buffer.len());
            self.excess -= taken;
            return (taken > 0).then(|| Piece::Excess(self.buffer.drain(..taken).collect()));
        }
        let header = Header::from_bytes(*self.buffer.first_chunk()?);
        let length = usize::try_from(header.length).expect("a usize has at least 32 bits");
        if header.length > PAYLOAD_BYTES_MAX {
            self.buffer.drain(..HEADER_BYTES);
            self.excess = length;
            return Some(Piece::Oversize(header));
        }
        let end = HEADER_BYTES + length;
        let payload = self.buffer.get(HEADER_BYTES..end)?.to_vec();
        self.buffer.drain(..end);
        Some(Piece::Frame(Frame { header, payload }))
    }

    /// Bytes of a piece that is not complete. At the end of a stream anything here is a truncated frame.
    pub fn unfinished(&self) -> &[u8] {
        &self.buffer
    }
}
