//! A blocking rtnetlink socket that asks one namespace.

use std::io;

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::wire::{Message, Request, messages};

/// The kernel never puts more than this into one datagram of a dump.
const BUFFER: usize = 32 * 1024;
/// How often a listing that changed while it was read is read again.
const DUMP_ATTEMPTS: u32 = 5;

/// A socket for questions about one namespace. It keeps its namespace, whichever thread uses it.
pub struct RouteSocket {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    netns: String,
}

impl std::fmt::Debug for RouteSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteSocket").field("netns", &self.netns).finish_non_exhaustive()
    }
}

impl RouteSocket {
    /// Opens a socket in a namespace.
    pub fn open(netns: &Netns) -> Result<Self> {
        let fail = |what| {
            let netns = netns.label();
            move |source| Error::Socket { what, netns, source }
        };
        let mut socket =
            netns.with_socket(|| Socket::new(NETLINK_ROUTE))?.map_err(fail("open a netlink socket"))?;
        socket.bind_auto().map_err(fail("bind a netlink socket"))?;
        // Kernels before 4.20 have no strict checking; answers are filtered here in any case.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { socket, buffer: vec![0; BUFFER], sequence: 0, netns: netns.label() })
    }

    /// How messages name the namespace of this socket.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Asks for a listing and hands every message of it to `take`, which starts anew when told so.
    ///
    /// A listing that changes while it is read is read again, at most four times; then the last
    /// reading stands (whoever follows changes hears of what it missed).
    pub(crate) fn dump<T>(
        &mut self,
        what: &str,
        request: &Request,
        mut take: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            found.clear();
            let interrupted = self
                .exchange(request, |message| found.extend(take(message)))
                .map_err(|source| self.failed(what, source))?;
            if !interrupted {
                break;
            }
        }
        Ok(found)
    }

    /// Asks for one thing. `None`: the kernel says that it is not there.
    pub(crate) fn get<T>(
        &mut self,
        what: &str,
        request: &Request,
        mut take: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut found = None;
        match self.exchange(request, |message| found = take(message)) {
            Ok(_) => Ok(found),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)) => Ok(None),
            Err(source) => Err(self.failed(what, source)),
        }
    }

    fn failed(&self, what: &str, source: io::Error) -> Error {
        Error::Query { what: what.to_owned(), netns: self.netns.clone(), source }
    }

    /// One request and all of its answer. True: the kernel says that a listing changed meanwhile.
    fn exchange(&mut self, request: &Request, mut take: impl FnMut(&Message<'_>)) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let sequence = self.sequence;
        self.socket.send(request.clone().numbered(sequence), 0)?;
        let mut interrupted = false;
        loop {
            let length = match self.socket.recv(&mut &mut self.buffer[..], 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            for message in messages(&self.buffer[..length.min(BUFFER)]) {
                if message.sequence != sequence {
                    continue; // the rest of an answer that was given up
                }
                interrupted |= message.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return error_of(&message).map(|()| interrupted),
                    libc::NLMSG_ERROR => return error_of(&message).map(|()| interrupted),
                    libc::NLMSG_NOOP => {}
                    _ => take(&message),
                }
                if message.flags & libc::NLM_F_MULTI as u16 == 0 {
                    return Ok(interrupted);
                }
            }
        }
    }
}

/// Errors travel as negative numbers at the start of `NLMSG_ERROR` and `NLMSG_DONE`.
fn error_of(message: &Message<'_>) -> io::Result<()> {
    match crate::wire::i32_at(message.payload, 0) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Ok(()),
    }
}
