//! The stream of events from the kernel programs.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use aya::maps::{Map, MapData, RingBuf};
use portcullis_abi::DropEvent;
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes;

use crate::error::{Error, Result};
use crate::sys;

/// Events, oldest first.
pub struct EventStream {
    ring: RingBuf<MapData>,
    ready: Option<AsyncFd<OwnedFd>>,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

impl EventStream {
    pub(crate) fn new(map: Map) -> Result<Self> {
        let ring = RingBuf::try_from(map)
            .map_err(|source| Error::Load { what: "ring buffer".to_owned(), source: Box::new(source) })?;
        Ok(Self { ring, ready: None })
    }

    /// Takes the events that are there; answers how many.
    pub fn drain(&mut self, mut take: impl FnMut(&DropEvent)) -> usize {
        let mut count = 0;
        while let Some(item) = self.ring.next() {
            if let Ok((event, _)) = DropEvent::read_from_prefix(&item) {
                take(&event);
                count += 1;
            }
        }
        count
    }

    /// Waits until there may be events. Must be called within a tokio runtime; cancel safe.
    pub async fn wait(&mut self) -> io::Result<()> {
        let ready = match &mut self.ready {
            Some(ready) => ready,
            none => none.insert(sys::watch(duplicate(&self.ring)?)?),
        };
        ready.readable().await?.clear_ready();
        Ok(())
    }
}

/// A descriptor of our own for the same map: readiness is the map's.
fn duplicate(ring: &RingBuf<MapData>) -> io::Result<OwnedFd> {
    sys::duplicate(ring.as_raw_fd())
}
