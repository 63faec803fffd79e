//! The stream of events from the kernel programs.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{Map, MapData, RingBuf};
use portcullis_abi::DropEvent;
use zerocopy::FromBytes;

use crate::error::{Error, Result};

/// Events, oldest first. Readable (as a file descriptor) when there is one.
pub struct EventStream {
    ring: RingBuf<MapData>,
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
        Ok(Self { ring })
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
}

impl AsRawFd for EventStream {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
