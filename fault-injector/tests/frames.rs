//! The frame codec: what goes in comes out, however it is sliced, and illegal frames can be made.

use fault_injector::fault::{Corruption, Point};
use fault_injector::frame::{Decoder, Frame, HEADER_BYTES, Header, Kind, PAYLOAD_BYTES_MAX, Piece};
use proptest::collection::vec;
use proptest::prelude::*;
use rstest::rstest;

fn any_frame() -> impl Strategy<Value = Frame> {
    (any::<u8>(), any::<u32>(), any::<u8>(), vec(any::<u8>(), 0..300)).prop_map(|(kind, stream, flags, payload)| {
        let mut frame = Frame::new(kind.into(), stream, payload);
        frame.header.flags = flags;
        frame
    })
}

/// Feeds `bytes` in slices of these sizes (the last one takes the rest) and collects all that comes out.
fn decode(bytes: &[u8], slices: &[usize]) -> (Vec<Piece>, Vec<u8>) {
    let mut decoder = Decoder::new();
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for size in slices.iter().copied().chain([usize::MAX]) {
        let (slice, left) = rest.split_at(size.min(rest.len()));
        rest = left;
        decoder.feed(slice);
        pieces.extend(std::iter::from_fn(|| decoder.next_piece()));
    }
    (pieces, decoder.unfinished().to_vec())
}

proptest! {
    #[test]
    fn any_slicing_decodes_to_the_same_frames(frames in vec(any_frame(), 0..8), slices in vec(0usize..64, 0..80)) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        let (pieces, unfinished) = decode(&bytes, &slices);
        prop_assert_eq!(pieces, frames.into_iter().map(Piece::Frame).collect::<Vec<_>>());
        prop_assert!(unfinished.is_empty());
    }

    #[test]
    fn no_bytes_are_lost_or_invented(bytes in vec(any::<u8>(), 0..400), slices in vec(0usize..64, 0..80)) {
        let (pieces, unfinished) = decode(&bytes, &slices);
        let mut again: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| match piece {
                Piece::Frame(frame) => frame.to_bytes(),
                Piece::Oversize(header) => header.to_bytes().to_vec(),
                Piece::Excess(bytes) => bytes.clone(),
            })
            .collect();
        again.extend(unfinished);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn a_unary_request_names_its_call(service in "[a-z.]{0,200}", method in "[A-Za-z]{1,20}", message in vec(any::<u8>(), 0..300)) {
        let frame = Frame::unary(1, &service, &method, &message);
        prop_assert_eq!(frame.call(), Some((service.as_str(), method.as_str())));
    }

    #[test]
    fn garbage_names_no_call_and_breaks_nothing(payload in vec(any::<u8>(), 0..64)) {
        let frame = Frame::request(1, payload);
        if let Some((_, method)) = frame.call() {
            prop_assert!(!method.is_empty());
        }
    }
}

#[test]
fn the_header_is_ten_bytes_in_network_order() {
    let frame = Frame::request(0x0102_0305, vec![0xaa; 0x0203]);
    assert_eq!(frame.to_bytes()[..HEADER_BYTES], [0, 0, 2, 3, 1, 2, 3, 5, 1, 0]);
    assert!(frame.is_legal());
}

#[test]
fn a_request_names_its_call() {
    // service "a.b", method "Do", payload of one byte, timeout_nano 300.
    let payload = vec![0x0a, 3, b'a', b'.', b'b', 0x12, 2, b'D', b'o', 0x1a, 1, 0xff, 0x20, 0xac, 0x02];
    assert_eq!(Frame::request(1, payload.clone()).call(), Some(("a.b", "Do")));
    assert_eq!(Frame::response(1, payload).call(), None);
}

#[rstest]
#[case::length_short(Corruption::LengthShort)]
#[case::length_long(Corruption::LengthLong)]
#[case::length_oversize(Corruption::LengthOversize)]
#[case::stream_even(Corruption::StreamEven)]
#[case::kind_unknown(Corruption::KindUnknown)]
fn a_corrupted_field_makes_the_frame_illegal(#[case] corruption: Corruption) {
    let honest = Frame::request(7, b"payload".to_vec());
    let corrupted = honest.clone().corrupted(corruption);
    assert!(!corrupted.is_legal());
    assert_eq!(corrupted.payload, honest.payload);
}

#[rstest]
#[case::stream_unknown(Corruption::StreamUnknown)]
#[case::kind_data(Corruption::KindData)]
#[case::flags_all(Corruption::FlagsAll)]
#[case::payload(Corruption::Payload)]
fn a_subtle_corruption_stays_legal_to_look_at(#[case] corruption: Corruption) {
    let honest = Frame::request(7, b"payload".to_vec());
    let corrupted = honest.clone().corrupted(corruption);
    assert!(corrupted.is_legal());
    assert_ne!(corrupted, honest);
}

#[test]
fn an_oversize_frame_is_passed_through_without_being_collected() {
    let header = Header { length: PAYLOAD_BYTES_MAX + 1, stream: 1, kind: Kind::Request, flags: 0 };
    let mut decoder = Decoder::new();
    decoder.feed(&header.to_bytes());
    assert_eq!(decoder.next_piece(), Some(Piece::Oversize(header)));

    let mut left = header.length as usize;
    let chunk = vec![0; 1 << 20];
    while left > 0 {
        let size = left.min(chunk.len());
        decoder.feed(&chunk[..size]);
        assert_eq!(decoder.next_piece(), Some(Piece::Excess(chunk[..size].to_vec())));
        left -= size;
    }

    let next = Frame::request(3, b"next".to_vec());
    decoder.feed(&next.to_bytes());
    assert_eq!(decoder.next_piece(), Some(Piece::Frame(next)));
    assert_eq!(decoder.next_piece(), None);
}

#[test]
fn the_largest_legal_frame_decodes() {
    let frame = Frame::request(1, vec![7; PAYLOAD_BYTES_MAX as usize]);
    assert!(frame.is_legal());
    assert_eq!(decode(&frame.to_bytes(), &[]).0, [Piece::Frame(frame)]);
}

#[rstest]
#[case::long(b"payload".to_vec(), [0, 4, 13, 17])]
#[case::empty(Vec::new(), [0, 4, 9, 10])]
fn a_cut_inside_a_frame_leaves_something_missing(#[case] payload: Vec<u8>, #[case] before: [usize; 4]) {
    let frame = Frame::request(1, payload);
    let points = [Point::BeforeFrame, Point::InHeader, Point::InPayload, Point::AfterFrame];
    assert_eq!(points.map(|point| frame.bytes_before(point)), before);
}
