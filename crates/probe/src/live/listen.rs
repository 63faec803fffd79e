//! Recognises the frames of the suite as they arrive.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::ProbeError;
use super::far::FarSide;
use super::send::Sender;
use super::sys::{self, PacketSocket, Received};
use crate::cases::{Case, SendVia};

/// Late frames are waited for this long after the last honest frame has arrived: the far side may
/// take them in on another CPU.
const GRACE: Duration = Duration::from_millis(100);

/// Sockets on the far side and what they have seen.
pub struct Listener {
    sockets: Vec<PacketSocket>,
    /// The bytes of every frame, also without its tags, and whose they are: case and frame.
    known: HashMap<Vec<u8>, (usize, usize)>,
    /// Cases whose frames a device may rewrite (segments, checksums), and their marks.
    marks: Vec<(usize, Vec<u8>)>,
    seen: Vec<Vec<bool>>,
    sentinel: Vec<u8>,
    sentinel_seen: bool,
    buffer: Vec<u8>,
}

impl Listener {
    /// Starts to listen for these cases.
    pub fn open(far: &FarSide, cases: &[Case], sentinel: &[u8]) -> Result<Self, ProbeError> {
        let mut known = HashMap::new();
        let mut ethertypes = BTreeSet::new();
        for (i, case) in cases.iter().enumerate() {
            for (j, frame) in case.frames.iter().enumerate() {
                ethertypes.extend(ethertypes_of(frame));
                for variant in variants(frame) {
                    known.entry(variant).or_insert((i, j));
                }
                known.insert(frame.clone(), (i, j));
            }
        }
        let rewritten = |c: &Case| matches!(c.via, SendVia::Gso { .. } | SendVia::PartialChecksum { .. });
        let marks = cases.iter().enumerate().filter(|(_, c)| rewritten(c));
        Ok(Self {
            sockets: far.open(&ethertypes.into_iter().collect::<Vec<_>>())?,
            marks: marks.filter_map(|(i, c)| Some((i, c.mark()?))).collect(),
            known,
            seen: cases.iter().map(|c| vec![false; c.frames.len()]).collect(),
            sentinel: sentinel.to_vec(),
            sentinel_seen: false,
            buffer: vec![0; 1 << 17],
        })
    }

    /// Which frames of a case have arrived.
    pub fn seen(&self, case: usize) -> &[bool] {
        self.seen.get(case).map_or(&[], Vec::as_slice)
    }

    /// Takes in what waits.
    pub fn drain(&mut self) -> Result<(), ProbeError> {
        for i in 0..self.sockets.len() {
            while let Some(received) = self.sockets[i]
                .receive(&mut self.buffer)
                .map_err(|source| ProbeError::Socket { doing: "listening on the far side", source })?
            {
                if !received.outgoing {
                    let frame = restored(&self.buffer, &received);
                    self.take(&frame);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: &[u8]) {
        if frame == self.sentinel {
            self.sentinel_seen = true;
            return;
        }
        let found =
            self.known.get(frame).copied().or_else(|| self.padded(frame)).or_else(|| self.marked(frame));
        if let Some((case, index)) = found
            && let Some(seen) = self.seen.get_mut(case).and_then(|frames| frames.get_mut(index))
        {
            *seen = true;
        }
    }

    /// A frame that was padded to the shortest length on its way.
    fn padded(&self, frame: &[u8]) -> Option<(usize, usize)> {
        if frame.len() != 60 {
            return None;
        }
        let data = frame.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        (data.max(14)..60).find_map(|len| self.known.get(&frame[..len]).copied())
    }

    /// A segment of a super-packet, or a packet whose checksum a device finished.
    fn marked(&self, frame: &[u8]) -> Option<(usize, usize)> {
        let carries = |mark: &[u8]| frame.windows(mark.len()).any(|w| w == mark);
        self.marks.iter().find(|(_, mark)| carries(mark)).map(|(case, _)| (*case, 0))
    }

    /// Sends an honest frame behind everything else and waits until it arrives, and a little on.
    ///
    /// That it never arrives is no error: then honest cases were lost too, and the card says so.
    pub fn wait_for_sentinel(&mut self, sender: &mut Sender, timeout: Duration) -> Result<(), ProbeError> {
        let started = Instant::now();
        let sentinel = self.sentinel.clone();
        while !self.sentinel_seen && started.elapsed() < timeout {
            // Refused or lost, it is simply tried again.
            let _ = sender.send(SendVia::Raw, &sentinel);
            self.wait(Duration::from_millis(20))?;
        }
        let seen = Instant::now();
        while seen.elapsed() < GRACE {
            self.wait(GRACE / 4)?;
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), ProbeError> {
        sys::wait_readable(&self.sockets, timeout)
            .map_err(|source| ProbeError::Socket { doing: "waiting on the far side", source })?;
        self.drain()
    }
}

/// The frame as it was on the wire: the kernel keeps an outer tag beside the frame.
fn restored(buffer: &[u8], received: &Received) -> Vec<u8> {
    let frame = &buffer[..received.len.min(buffer.len())];
    match received.tag {
        Some((tpid, tci)) if frame.len() >= 12 => {
            [&frame[..12], &tpid.to_be_bytes(), &tci.to_be_bytes(), &frame[12..]].concat()
        }
        _ => frame.to_vec(),
    }
}

/// Where the tags of a frame start, and behind them its own ethertype.
fn tag_offsets(frame: &[u8]) -> Vec<usize> {
    let is_tag = |at: usize| matches!(frame.get(at..at + 2), Some([0x81, 0] | [0x88, 0xa8]));
    let mut offsets = vec![12];
    let mut at = 12;
    while is_tag(at) && frame.len() >= at + 6 {
        at += 4;
        offsets.push(at);
    }
    offsets
}

/// All ethertypes on the way into the frame. Length fields are the kernel's `ETH_P_802_3` and
/// `ETH_P_802_2`.
fn ethertypes_of(frame: &[u8]) -> Vec<u16> {
    let kinds = tag_offsets(frame).into_iter().filter_map(|at| frame.get(at..at + 2));
    kinds
        .flat_map(|bytes| match u16::from_be_bytes([bytes[0], bytes[1]]) {
            0..0x600 => vec![1, 4],
            kind => vec![kind],
        })
        .collect()
}

/// The frame as it may look after an honest way: without some of its tags (a socket for one
/// ethertype is not told of them), and without what is behind the IP packet (bridges that call
/// netfilter cut it off).
fn variants(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in tag_offsets(frame) {
        let bare = [&frame[..frame.len().min(12)], frame.get(at..).unwrap_or_default()].concat();
        if let Some(end) = packet_end(&bare) {
            all.push(bare[..end].to_vec());
        }
        all.push(bare);
    }
    all
}

/// Where the IP packet in an untagged frame ends, if bytes follow it.
fn packet_end(frame: &[u8]) -> Option<usize> {
    let field = |at: usize| Some(usize::from(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?)));
    let end = match field(12)? {
        0x0800 => 14 + field(16)?,
        0x86dd => 54 + field(18)?,
        _ => return None,
    };
    (end < frame.len() && end >= 34).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_put_back_and_taken_off() {
        let tagged: Vec<u8> = (0..12).chain([0x81, 0, 0, 42, 8, 0, 0x45]).collect();
        assert_eq!(ethertypes_of(&tagged), [0x8100, 0x0800]);
        let all = variants(&tagged);
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [19, 15]);
        let received = Received { len: 15, outgoing: false, tag: Some((0x8100, 42)) };
        assert_eq!(restored(&all[1], &received), tagged);
    }

    #[test]
    fn a_trailer_may_be_cut_off() {
        let mut frame = vec![0; 60];
        frame[12..18].copy_from_slice(&[8, 0, 0x45, 0, 0, 28]);
        assert_eq!(packet_end(&frame), Some(42));
        frame.truncate(42);
        assert_eq!(packet_end(&frame), None);
    }
}
