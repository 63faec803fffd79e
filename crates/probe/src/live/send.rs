//! The ways in which a workload may hand a frame to the kernel.

use std::io;
use std::time::Duration;

use super::ProbeError;
use super::learn::Target;
use super::sys::{PacketSocket, Ring};
use crate::cases::SendVia;

/// Sockets in the workload's namespace.
pub struct Sender {
    index: u32,
    raw: PacketSocket,
    bypass: PacketSocket,
    offload: PacketSocket,
    ring: Ring,
}

const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

impl Sender {
    /// Opens a socket for each way of sending.
    pub fn open(target: &Target) -> Result<Self, ProbeError> {
        let index = target.link.index;
        let [raw, bypass, offload, ring] = target.namespace.enter(|| {
            Ok([PacketSocket::open()?, PacketSocket::open()?, PacketSocket::open()?, PacketSocket::open()?])
        })?;
        let failed = |doing| move |source| ProbeError::Socket { doing, source };
        bypass.bypass_qdisc().map_err(failed("setting PACKET_QDISC_BYPASS"))?;
        offload.expect_vnet_header().map_err(failed("setting PACKET_VNET_HDR"))?;
        let ring = Ring::new(ring, index).map_err(failed("making a sending ring"))?;
        Ok(Self { index, raw, bypass, offload, ring })
    }

    /// Sends one frame. That something on the way dropped it is not an error.
    pub fn send(&mut self, via: SendVia, frame: &[u8]) -> io::Result<()> {
        for _ in 0..100 {
            match self.try_send(via, frame) {
                // A filter on the way out dropped it, or the queue was full: it was sent.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                done => return done,
            }
        }
        Err(io::Error::from(io::ErrorKind::WouldBlock))
    }

    fn try_send(&mut self, via: SendVia, frame: &[u8]) -> io::Result<()> {
        match via {
            SendVia::Raw => self.raw.send(self.index, frame),
            SendVia::QdiscBypass => self.bypass.send(self.index, frame),
            SendVia::NonLinear => self.ring.send(self.index, frame),
            SendVia::Gso { segment } => {
                let v6 = frame.get(12..14) == Some(&[0x86, 0xdd]);
                let (kind, start) = if v6 { (GSO_TCPV6, 54) } else { (GSO_TCPV4, 34) };
                self.offloaded(kind, segment, start, 16, frame)
            }
            SendVia::PartialChecksum { start, offset } => self.offloaded(0, 0, start, offset, frame),
        }
    }

    /// Sends behind a `virtio_net_hdr`, whose fields are in the machine's byte order here.
    fn offloaded(&self, kind: u8, segment: u16, start: u16, offset: u16, frame: &[u8]) -> io::Result<()> {
        let mut bytes = vec![NEEDS_CHECKSUM, kind];
        let header_len = if kind == 0 { 0 } else { start + 20 };
        for field in [header_len, segment, start, offset] {
            bytes.extend_from_slice(&field.to_ne_bytes());
        }
        bytes.extend_from_slice(frame);
        self.offload.send(self.index, &bytes)
    }
}
