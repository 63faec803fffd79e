//! Large bodies, read as they come, on a thread that may wait.

use std::io::{self, BufReader, Read};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use portcullis_web::Refusal;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::control::Fault;

/// The largest list. (A million entries are 15 MB.)
const MAX_BYTES: u64 = 4 << 30;
/// How long a client may send nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// Pieces that wait for the reader: what a client sends faster than it is read waits on its side.
const PIECES: usize = 16;
const BUFFER_BYTES: usize = 256 << 10;

enum Piece {
    Data(Bytes),
    /// Everything has come.
    End,
}

/// The pieces as a reader.
struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    left: Bytes,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(data)) => self.left = data,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the upload broke off")),
            }
        }
        let len = self.left.len().min(buffer.len());
        let piece = self.left.split_to(len);
        for (to, from) in buffer.iter_mut().zip(piece) {
            *to = from;
        }
        Ok(len)
    }
}

/// Has a body read. One that is wrong is answered before all of it has come.
pub(super) async fn read<T: Send + 'static>(
    uploads: &Semaphore,
    body: Body,
    take: impl FnOnce(BufReader<Box<dyn Read + Send>>) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Refusal> {
    let Ok(_permit) = uploads.try_acquire() else {
        return Err(Refusal::unavailable("another list is being imported: try again when it is done"));
    };
    let (sender, pieces) = mpsc::channel(PIECES);
    let reader: Box<dyn Read + Send> = Box::new(Pieces { pieces, left: Bytes::new(), ended: false });
    let reading = tokio::task::spawn_blocking(move || take(BufReader::with_capacity(BUFFER_BYTES, reader)));
    let sent = send(body, sender).await;
    let read = reading.await.map_err(|error| Refusal::failed(format!("the import broke off: {error}")))?;
    // Of an upload that broke off the reader says less than who noticed it.
    sent?;
    Ok(read?)
}

async fn send(body: Body, pieces: mpsc::Sender<Piece>) -> Result<(), Refusal> {
    let mut stream = body.into_data_stream();
    let mut len = 0;
    loop {
        let next = timeout(SILENCE, stream.next()).await;
        let next =
            next.map_err(|_| Refusal::too_slow(format!("nothing came for {} s", SILENCE.as_secs())))?;
        let Some(data) = next else { break };
        let data = data.map_err(|error| Refusal::malformed(format!("the upload broke off: {error}")))?;
        len += data.len() as u64;
        if len > MAX_BYTES {
            return Err(Refusal::too_large(format!("the list is over {MAX_BYTES} bytes")));
        }
        if pieces.send(Piece::Data(data)).await.is_err() {
            // The reader has seen enough.
            return Ok(());
        }
    }
    let _seen_enough = pieces.send(Piece::End).await;
    Ok(())
}
