//! A body that comes in pieces, as long as it may be.

use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper::{Method, Request, header};
use tokio::sync::mpsc;

use super::{Client, ClientError, collect, refused};

impl Client {
    /// Sends pieces as they come; the agent may answer before it has all. Only silence ends it.
    pub(super) fn upload(
        &self,
        path: &str,
        pieces: mpsc::Receiver<std::io::Result<Bytes>>,
    ) -> Result<Bytes, ClientError> {
        self.runtime.block_on(async {
            let frames = stream::unfold(pieces, |mut pieces| async {
                let piece = pieces.recv().await?;
                Some((piece.map(Frame::data), pieces))
            });
            // Boxed, so that it may be moved while it waits.
            let body = StreamBody::new(Box::pin(frames));
            let mut sender = self.connect().await?;
            let request = Request::builder()
                .method(Method::PUT)
                .uri(path)
                .header(header::HOST, "portcullis")
                .header(header::CONTENT_TYPE, "text/plain")
                .body(body)
                .map_err(|error| ClientError::Strange(error.to_string()))?;
            let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
            let status = response.status();
            let body = collect(response).await?;
            if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
        })
    }
}
