//! A service that takes events, for whoever plays containerd, behind a gate that can refuse, stall, forget or die.
//!
//! Where the service is somebody else's, put a [`super::socket::Proxy`] with a gate on [`crate::fault::Seam::Events`] in front of it
//! instead: the same faults apply.

use std::future::{Future, pending};
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::listener::Listener;
use super::socket::{converse, hangup};
use crate::frame::{Decoder, Frame, Kind, Piece};

/// How much may lie between the gate and the service, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Answers each request that the listener's gate lets through, in the order of arrival per connection, until `shutdown` resolves.
/// `answer` gets the request frame and returns the encoded `ttrpc.Response`; it is the moment at which the event has arrived.
///
/// # Errors
///
/// As [`Listener::serve`].
pub async fn serve(
    listener: Listener,
    answer: impl FnMut(&Frame) -> Vec<u8> + Clone + Send + 'static,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let gate = listener.gate().clone();
    let handle = move |client| {
        let (conversation, answer) = (gate.conversation(), answer.clone());
        async move {
            // The service proper is honest and sits behind the same forwarding as everything else.
            let (outside, inside) = tokio::io::duplex(BUFFER_BYTES);
            let conversing = async {
                match hangup(&client) {
                    Ok(gone) => converse((client, gone), (outside, pending()), &conversation).await,
                    Err(_) => drop((client, outside)), // Out of descriptors: hang up.
                }
            };
            tokio::join!(conversing, answer_all(inside, answer));
        }
    };
    listener.serve(handle, shutdown).await
}

async fn answer_all(mut stream: DuplexStream, mut answer: impl FnMut(&Frame) -> Vec<u8>) {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        while let Some(piece) = decoder.next_piece() {
            // Anything but a request, a service that only knows unary calls ignores.
            let Piece::Frame(request) = piece else { continue };
            if request.header.kind != Kind::Request {
                continue;
            }
            let response = Frame::response(request.header.stream, answer(&request));
            if stream.write_all(&response.to_bytes()).await.is_err() {
                return; // The client is gone, and with it everybody who could be told.
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => decoder.feed(&buffer[..count]),
        }
    }
}
