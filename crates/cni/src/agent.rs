//! The agent as the plugin sees it: one HTTP/1.1 exchange over its unix socket, within a deadline.
//!
//! Blocking: a runtime would take longer to start than most exchanges take.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis_policy::api::Problem;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// More than any answer that the plugin asks for; what is longer is not the agent's.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// Header lines of an answer; the agent sends three.
const MAX_HEADERS: usize = 32;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Silence {
    /// Nobody listens.
    #[error("no agent is running ({what} {}): start one with `portcullis agent`", socket.display())]
    Away { what: &'static str, socket: PathBuf },
    /// It was asked, and its answer did not come in time or not whole: it may have done what it was asked for.
    #[error("the agent at {} does not answer ({source})", socket.display())]
    Unanswered { socket: PathBuf, source: io::Error },
}

impl Silence {
    /// Whether the agent may have done what it was asked for.
    pub(crate) fn may_have_acted(&self) -> bool {
        matches!(self, Self::Unanswered { .. })
    }
}

/// What the agent said.
#[derive(Debug)]
pub(crate) struct Reply {
    /// HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Why it refused, in its own words.
    pub(crate) fn refusal(&self) -> String {
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => problem.detail,
            Err(_) => format!("HTTP {} without an explanation", self.status),
        }
    }
}

/// The way to an agent. Each exchange has a connection of its own.
#[derive(Debug)]
pub(crate) struct Agent<'a> {
    socket: &'a Path,
    deadline: Instant,
}

impl<'a> Agent<'a> {
    /// An agent at a socket, to be asked until the deadline.
    pub(crate) fn new(socket: &'a Path, deadline: Instant) -> Self {
        Self { socket, deadline }
    }

    /// The deadline as the agent is told it: milliseconds of `CLOCK_MONOTONIC`, which both of us read alike.
    pub(crate) fn deadline_ms(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = Duration::new(
            now.tv_sec.try_into().unwrap_or_default(),
            now.tv_nsec.try_into().unwrap_or_default(),
        );
        let deadline = now + self.deadline.saturating_duration_since(Instant::now());
        deadline.as_millis().try_into().unwrap_or(u64::MAX)
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply, Silence> {
        let stream = self.connect()?;
        self.exchange(stream, method, path, body)
            .map_err(|source| Silence::Unanswered { socket: self.socket.to_owned(), source })
    }

    /// Says something without caring for the answer.
    pub(crate) fn tell(&self, method: &str, path: &str) {
        if let Ok(mut stream) = self.connect() {
            let _lost = self.send(&mut stream, method, path, &[]);
        }
    }

    fn connect(&self) -> Result<UnixStream, Silence> {
        let connected = || -> io::Result<UnixStream> {
            let socket = rustix::net::socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            // Connecting waits while the agent's queue is full, for as long as sending may wait (unix(7)).
            set_socket_timeout(&socket, Timeout::Send, Some(self.left()?))?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(self.socket)?)?;
            Ok(socket.into())
        };
        connected().map_err(|error| {
            let what = match error.kind() {
                ErrorKind::NotFound => "there is no",
                ErrorKind::ConnectionRefused => "nobody listens on",
                ErrorKind::PermissionDenied => "not allowed to open",
                ErrorKind::WouldBlock | ErrorKind::TimedOut => "too many wait for",
                _ => "cannot connect to",
            };
            Silence::Away { what, socket: self.socket.to_owned() }
        })
    }

    fn exchange(&self, mut stream: UnixStream, method: &str, path: &str, body: &[u8]) -> io::Result<Reply> {
        self.send(&mut stream, method, path, body)?;
        let mut answer = Vec::with_capacity(4096);
        let mut chunk = [0; 4096];
        loop {
            if let Some(reply) = parse(&answer)? {
                return Ok(reply);
            }
            stream.set_read_timeout(Some(self.left()?))?;
            match stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => answer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(in_words(error)),
            }
            if answer.len() as u64 > MAX_ANSWER_BYTES {
                return Err(strange("its answer has no end"));
            }
        }
    }

    fn send(&self, stream: &mut UnixStream, method: &str, path: &str, body: &[u8]) -> io::Result<()> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: portcullis\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        )
        .into_bytes();
        if !body.is_empty() {
            request.extend_from_slice(b"Content-Type: application/json\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        stream.set_write_timeout(Some(self.left()?))?;
        stream.write_all(&request).map_err(in_words)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(in_words(ErrorKind::TimedOut.into())) } else { Ok(left) }
    }
}

/// The answer, once it is whole.
fn parse(bytes: &[u8]) -> io::Result<Option<Reply>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes).map_err(|error| strange(&error.to_string()))? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let status = response.code.unwrap_or_default();
    let length =
        match response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length")) {
            Some(header) => {
                std::str::from_utf8(header.value).ok().and_then(|value| value.parse::<usize>().ok())
            }
            None if matches!(status, 204 | 304) => Some(0),
            None => None,
        };
    let length = length.ok_or_else(|| strange("its answer has no length"))?;
    if length as u64 > MAX_ANSWER_BYTES {
        return Err(strange("its answer is too long"));
    }
    let body = bytes.get(head..head + length);
    Ok(body.map(|body| Reply { status, body: body.to_vec() }))
}

fn strange(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{why}; is it an agent of this version?"))
}

/// A time limit on a socket that ran out is EAGAIN, which says nothing to people.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => io::Error::new(ErrorKind::TimedOut, "too slow"),
        _ => error,
    }
}

/// Where the agent has an attachment.
pub(crate) fn attachment_path(container: &str, interface: &str) -> String {
    format!("/api/v1/cni/{}/{}", encode(container), encode(interface))
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).unwrap().is_none(), "{end}");
        }
        let reply = parse(whole).unwrap().unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (201, &b"{}"[..]));
        let empty = parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!((empty.status, empty.body.len()), (204, 0));
    }

    #[test]
    fn what_is_no_answer_of_an_agent_is_refused() {
        for bad in [
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        ] {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn names_become_one_segment_of_a_path() {
        assert_eq!(attachment_path("0a1b", "eth0"), "/api/v1/cni/0a1b/eth0");
        assert_eq!(attachment_path("a", "é?#%"), "/api/v1/cni/a/%C3%A9%3F%23%25");
    }
}
