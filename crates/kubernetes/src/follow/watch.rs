//! Watching.

use std::convert::Infallible;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{Request, Response, header};
use kube::client::Body;
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Follower, News, Stop};
use crate::dice::Backoff;
use crate::rest::{PATIENCE, Trouble, begin, encode};

/// One event: an object of etcd takes 1.5 MB, and JSON is longer.
const MOST_BYTES: usize = 8 << 20;
const AS_ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Versioned {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}

impl<T: DeserializeOwned + Send> Follower<'_, T> {
    /// Tells what changes from `place` on.
    pub(super) async fn watch(&mut self, place: String, backoff: &mut Backoff) -> Result<Infallible, Stop> {
        let mut lines = self.open(&place).await?;
        if std::mem::take(&mut self.failing) {
            self.tell(News::Back).await?;
        }
        let never = Instant::now() + std::time::Duration::from_secs(86400 * 365);
        loop {
            let due = self.due.unwrap_or(never);
            let line = tokio::select! {
                line = timeout(self.timing.silence, lines.next()) => line,
                () = self.anew.notified() => return Err(Stop::Anew),
                () = sleep_until(due) => return Err(Stop::Anew),
                () = self.news.closed() => return Err(Stop::Unheard),
            };
            match line {
                // Nothing was said for long: if it is a hanging server, the next question shows it.
                Err(_) => return Err(Stop::Ended),
                Ok(Ok(None)) => return Err(Stop::Ended),
                Ok(Ok(Some(line))) => {
                    self.event(&line).await?;
                    backoff.reset();
                }
                Ok(Err(Broken::TooLong)) => {
                    self.place = None;
                    return Err(self.nonsense(&format!("an event of more than {MOST_BYTES} bytes")).into());
                }
                Ok(Err(Broken::Off(why))) => {
                    tracing::debug!(path = self.target.path, why, "a watch broke off");
                    return Err(Stop::Ended);
                }
            }
        }
    }

    async fn open(&mut self, place: &str) -> Result<Lines, Stop> {
        // Not all at the same time, either.
        let seconds = self.timing.watch.mul_f64(0.8 + self.dice.fraction() / 5.0).as_secs().max(1);
        let mut path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
            self.target.path,
            encode(place)
        );
        if let Some(fields) = &self.target.fields {
            path += &format!("&fieldSelector={}", encode(fields));
        }
        let accept = if self.target.metadata_only { AS_ONE } else { "application/json" };
        let request = Request::get(path)
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .map_err(|error| Trouble::said(error.to_string()))?;
        let doing = self.target.doing("watch");
        let silent = |_| {
            let (seconds, resource) = (PATIENCE.as_secs(), self.target.resource);
            Trouble::said(format!("the API server did not begin to watch {resource} within {seconds} s"))
        };
        let opening = timeout(PATIENCE, begin(&self.client, request, doing)).await;
        Ok(Lines { response: opening.map_err(silent)??, read: BytesMut::new(), searched: 0 })
    }

    async fn event(&mut self, line: &[u8]) -> Result<(), Stop> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let event: Event<'_> = match serde_json::from_slice(line) {
            Ok(event) => event,
            Err(error) => {
                // Whatever it was, it is not known any more what was missed.
                self.place = None;
                return Err(self.nonsense(&error).into());
            }
        };
        if event.kind == "ERROR" {
            let status: Status =
                serde_json::from_str(event.object.get()).map_err(|error| self.nonsense(&error))?;
            return Err(Trouble::of_status(&status, self.target.doing("watch")).into());
        }
        let version: Result<Versioned, _> = serde_json::from_str(event.object.get());
        if let Ok(versioned) = version {
            self.place = Some(versioned.metadata.resource_version);
        }
        let object = |kind: fn(T) -> News<T>| self.decode(event.object).map(kind);
        let news = match event.kind {
            "ADDED" | "MODIFIED" => object(News::Put),
            "DELETED" => object(News::Gone),
            _ => None, // a bookmark, or a kind of a later version
        };
        match news {
            Some(news) => self.tell(news).await,
            None => Ok(()),
        }
    }
}

enum Broken {
    TooLong,
    Off(String),
}

/// The lines of an answer. [`Lines::next`] may be dropped at any point without losing one.
struct Lines {
    response: Response<Body>,
    read: BytesMut,
    /// No line ends before this.
    searched: usize,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(at) = self.read[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(self.searched + at).freeze();
                self.read.advance(1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.read.len();
            if self.read.len() > MOST_BYTES {
                return Err(Broken::TooLong);
            }
            if self.read.is_empty() {
                self.read = BytesMut::new(); // a large event's room is not kept for hours
            }
            match self.response.body_mut().frame().await {
                // What is left is half a line: it will be sent again.
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.read.extend_from_slice(bytes);
                    }
                }
                Some(Err(error)) => return Err(Broken::Off(error.to_string())),
            }
        }
    }
}
