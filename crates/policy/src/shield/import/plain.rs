//! An entry on each line.

use std::net::IpAddr;
use std::ops::ControlFlow::Continue;

use super::ItemError;
use super::address::{Entry, fast4, read_entry, read_range, resembles_address};
use super::lines::LineFormat;
use super::sink::{Extra, Flow, Sink};

/// A list of this format.
pub(super) struct Plain;

impl LineFormat for Plain {
    fn line(&mut self, number: u64, text: &[u8], sink: &mut Sink<'_>) -> Flow {
        let text = text.trim_ascii();
        let (read, used) = match fast4(text) {
            Some((entry, used)) if ends_at(text, used) => (Ok(entry), used),
            _ if text.is_empty() || is_comment(text) => return Continue(()),
            _ => {
                let end = token_end(text);
                (read_entry(&text[..end]), end)
            }
        };
        if used == text.len() {
            return sink.take(number, text, read, Extra::default());
        }
        let (token, rest) = text.split_at(used);
        let rest = rest.trim_ascii_start();
        if let Some((range, used, comment)) = spaced_range(token, rest) {
            let whole = &text[..text.len() - rest.len() + used];
            return sink.take(number, whole, range, Extra { comment: bare(comment), timeout: None });
        }
        if is_hosts_line(&read, token, rest) {
            return sink.bad(number, text, ItemError::Name);
        }
        sink.take(number, token, read, Extra { comment: bare(rest), timeout: None })
    }
}

/// Whether a line holds only a comment.
pub(super) fn is_comment(text: &[u8]) -> bool {
    text.starts_with(b"#") || text.starts_with(b";") || text.starts_with(b"//")
}

/// Where the first word of a line ends: before white space or a comment.
pub(super) fn token_end(text: &[u8]) -> usize {
    (0..text.len()).find(|at| ends_at(text, *at)).unwrap_or(text.len())
}

fn ends_at(text: &[u8], at: usize) -> bool {
    match text.get(at) {
        None | Some(b' ' | b'\t' | b'#' | b';' | b'\x0b' | b'\x0c' | b'\r') => true,
        // Not in a URL, though: no address ends with a single colon.
        Some(b'/') => text.get(at + 1) == Some(&b'/') && !is_scheme(&text[..at]),
        Some(_) => false,
    }
}

fn is_scheme(text: &[u8]) -> bool {
    text.ends_with(b":") && !text.ends_with(b"::")
}

/// A comment without the sign that begins it.
fn bare(text: &[u8]) -> &[u8] {
    let signs = text.iter().take_while(|byte| matches!(byte, b'#' | b';' | b'/')).count();
    text[signs..].trim_ascii_start()
}

/// `first - last`, with a space on either side or both: what it gives, how much of the rest belongs to it, and what
/// follows. What follows a dash but resembles no address is a comment.
fn spaced_range<'a>(token: &[u8], rest: &'a [u8]) -> Option<(Result<Entry, ItemError>, usize, &'a [u8])> {
    let (first, second) = match token.strip_suffix(b"-") {
        Some(first) => (first, rest),
        None => (token, rest.strip_prefix(b"-")?.trim_ascii_start()),
    };
    let (last, comment) = second.split_at(token_end(second));
    let used = rest.len() - comment.len();
    (resembles_address(first) && resembles_address(last))
        .then(|| (read_range(first, last), used, comment.trim_ascii_start()))
}

/// A line of a hosts file: it says where a name leads to, and is not about the address.
fn is_hosts_line(read: &Result<Entry, ItemError>, token: &[u8], rest: &[u8]) -> bool {
    let Ok(Entry::One(written)) = read else { return matches!(read, Err(ItemError::Zone)) && names(rest) };
    let address: IpAddr = written.net.addr();
    (address.is_unspecified() || address.is_loopback()) && !token.contains(&b'/') && names(rest)
}

fn names(rest: &[u8]) -> bool {
    rest.first().is_some_and(u8::is_ascii_alphanumeric)
}
