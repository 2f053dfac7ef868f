//! One end of a ttrpc connection, for those who send what nobody sends.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::frame::{Decoder, Frame, Header, Piece};

/// A connection on which any bytes can be sent, and on which silence, hanging up and an answer are told apart.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    decoder: Decoder,
}

impl From<UnixStream> for Wire {
    /// Either end of a connection that exists.
    fn from(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::new() }
    }
}

/// What the peer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Sent a frame.
    Frame(Frame),
    /// Began a frame that is larger than the protocol allows.
    Oversize(Header),
    /// Ended its direction, after these bytes of an incomplete frame.
    End(Vec<u8>),
    /// Closed the connection although something was left for it to read.
    Reset,
    /// Nothing, until the deadline.
    Silence,
}

impl Wire {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// As connect(2).
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::connect(path).await?, decoder: Decoder::new() })
    }

    /// Sends a frame as it is, lawful or not.
    ///
    /// # Errors
    ///
    /// As write(2): the peer is gone.
    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.send_bytes(&frame.to_bytes()).await
    }

    /// Sends bytes that need not be frames.
    ///
    /// # Errors
    ///
    /// As write(2): the peer is gone.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Ends our direction; the peer may go on.
    ///
    /// # Errors
    ///
    /// As shutdown(2).
    pub async fn end(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// What the peer does next, by the deadline. Nothing is lost when the wait is abandoned.
    ///
    /// # Errors
    ///
    /// As read(2), except for the reset that [`Heard`] has a word for.
    pub async fn hear(&mut self, deadline: Instant) -> io::Result<Heard> {
        timeout_at(deadline, self.listen()).await.unwrap_or(Ok(Heard::Silence))
    }

    /// The same, however long it takes.
    ///
    /// # Errors
    ///
    /// As [`Self::hear`].
    pub async fn listen(&mut self) -> io::Result<Heard> {
        let mut buffer = [0; 4096];
        loop {
            match self.decoder.next_piece() {
                Some(Piece::Frame(frame)) => return Ok(Heard::Frame(frame)),
                Some(Piece::Oversize(header)) => return Ok(Heard::Oversize(header)),
                Some(Piece::Excess(_)) => continue,
                None => {}
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Ok(Heard::End(self.decoder.unfinished().to_vec())),
                Ok(count) => self.decoder.feed(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Heard::Reset),
                Err(error) => return Err(error),
            }
        }
    }
}
