//! Just enough HTTP/1.1 over a unix socket: one request a connection.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What the agent answered.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The body as text.
    pub text: String,
}

impl Response {
    /// The body as JSON; a text that is not JSON becomes a string.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| Value::String(self.text.clone()))
    }
}

/// An answer whose head was read.
pub struct Answer {
    status: u16,
    chunked: bool,
    length: Option<usize>,
    reader: BufReader<UnixStream>,
    /// Bytes of the current chunk that were not read yet.
    left: usize,
}

/// Asks, and gives the whole answer.
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> Result<Response> {
    let mut answer = open(socket, method, path, body, Some(Duration::from_secs(30)))?;
    let text = answer.text().with_context(|| format!("reading the answer to {method} {path}"))?;
    Ok(Response { status: answer.status, text })
}

/// Sends a tar archive, and gives the whole answer.
pub fn upload(socket: &Path, path: &str, archive: &Path) -> Result<Response> {
    let mut file = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: portcullis\r\nConnection: close\r\n\
         Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        file.metadata()?.len()
    )?;
    io::copy(&mut file, &mut stream)?;
    let mut answer =
        Answer::head(BufReader::new(stream)).with_context(|| format!("the answer to POST {path}"))?;
    let text = answer.text()?;
    Ok(Response { status: answer.status, text })
}

/// Asks, and gives the answer to be read on.
pub fn open(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
    timeout: Option<Duration>,
) -> Result<Answer> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
    stream.set_read_timeout(timeout)?;
    let body = body.map(ToString::to_string).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: portcullis\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Answer::head(BufReader::new(stream)).with_context(|| format!("the answer to {method} {path}"))
}

impl Answer {
    fn head(mut reader: BufReader<UnixStream>) -> Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("not HTTP: {line:?}"))?;
        let mut answer = Self { status, chunked: false, length: None, reader, left: 0 };
        loop {
            let mut line = String::new();
            if answer.reader.read_line(&mut line)? == 0 {
                bail!("the answer ends in its head");
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                return Ok(answer);
            }
            match line.split_once(": ") {
                Some(("transfer-encoding", "chunked")) => answer.chunked = true,
                Some(("content-length", length)) => answer.length = Some(length.parse()?),
                _ => {}
            }
        }
    }

    /// HTTP status.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The whole body.
    pub fn text(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        if self.chunked {
            while let Some(byte) = self.byte()? {
                bytes.push(byte);
            }
        } else if let Some(length) = self.length {
            bytes.resize(length, 0);
            self.reader.read_exact(&mut bytes)?;
        } else {
            self.reader.read_to_end(&mut bytes)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The next line of a chunked body; `None` at its end.
    pub fn line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        loop {
            match self.byte()? {
                None => return Ok(None),
                Some(b'\n') => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
                Some(byte) => bytes.push(byte),
            }
        }
    }

    fn byte(&mut self) -> Result<Option<u8>> {
        if self.left == 0 {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            // The end of the chunk before is an empty line.
            if line == "\r\n" {
                line.clear();
                self.reader.read_line(&mut line)?;
            }
            let size = line.trim_end();
            self.left = usize::from_str_radix(size, 16).with_context(|| format!("not a chunk: {size:?}"))?;
            if self.left == 0 {
                return Ok(None);
            }
        }
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.left -= 1;
        Ok(Some(byte[0]))
    }
}
