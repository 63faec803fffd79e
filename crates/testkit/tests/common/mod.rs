//! What several tests need: sending cases of the suite, and seeing what arrives.

#![allow(dead_code, reason = "every test uses a part")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use portcullis_probe::{Case, SendVia};
use portcullis_testkit::{Lab, Listener, Namespace, Reasons, Via, wait_until};

/// Sum over all reasons.
pub fn total(reasons: &Reasons) -> u64 {
    reasons.values().sum()
}

/// Whether the kernel itself takes these frames: a packet socket refuses what has no whole Ethernet
/// header, and one that ends where its tag should begin is dropped before any hook.
pub fn reaches_the_gate(case: &Case) -> bool {
    let tag_cut_off = |frame: &[u8]| frame.len() < 18 && frame.get(12..14) == Some(&[0x81, 0]);
    case.frames.iter().all(|frame| frame.len() >= 14 && !tag_cut_off(frame))
}

/// Sends a case's frames in the way it asks for.
pub fn send(namespace: &Namespace, case: &Case) -> anyhow::Result<()> {
    let socket = namespace.socket("eth0")?;
    for frame in &case.frames {
        match virtio(case.via, frame) {
            Some(header) => {
                socket.send_via(Via::Virtio(header))?;
                socket.send(&[&header, frame.as_slice()].concat())?;
            }
            None => {
                let bypass = case.via == SendVia::QdiscBypass;
                socket.send_via(if bypass { Via::QdiscBypass } else { Via::Plain })?;
                socket.send(frame)?;
            }
        }
    }
    Ok(())
}

/// The `virtio_net_hdr` in front of an offloaded frame: flags, kind, header length, segment, checksum.
pub fn virtio(via: SendVia, frame: &[u8]) -> Option<[u8; 10]> {
    let v6 = frame.get(12..14) == Some(&[0x86, 0xdd]);
    let (kind, segment, start, offset) = match via {
        SendVia::Gso { segment } => (if v6 { 4 } else { 1 }, segment, if v6 { 54 } else { 34 }, 16),
        SendVia::PartialChecksum { start, offset } => (0, 0, start, offset),
        _ => return None,
    };
    let length: u16 = if kind == 0 { 0 } else { start + 20 };
    let mut header = [1, kind, 0, 0, 0, 0, 0, 0, 0, 0];
    for (at, field) in [length, segment, start, offset].into_iter().enumerate() {
        header[2 + 2 * at..4 + 2 * at].copy_from_slice(&field.to_ne_bytes());
    }
    Some(header)
}

/// Everything that arrives on the bridge itself and in container 3.
pub struct Far {
    seen: Arc<Mutex<HashSet<Vec<u8>>>>,
    _listeners: Vec<Listener>,
}

impl Far {
    /// Starts listening.
    pub fn start(lab: &Lab) -> anyhow::Result<Self> {
        let seen: Arc<Mutex<HashSet<Vec<u8>>>> = Arc::default();
        let mut listeners = Vec::new();
        for (namespace, interface) in [(lab.host(), "br0"), (lab.container(3).namespace(), "eth0")] {
            let book = Arc::clone(&seen);
            listeners.push(Listener::start(namespace, interface, move |frame| {
                book.lock().unwrap().insert(frame.to_vec())
            })?);
        }
        Ok(Self { seen, _listeners: listeners })
    }

    /// Waits until every frame of a case has come (for offloaded ones: its mark).
    pub fn wait_for(&self, case: &Case) -> Result<(), String> {
        let come = || {
            let seen = self.seen.lock().unwrap();
            let plain = matches!(case.via, SendVia::Raw | SendVia::QdiscBypass);
            if plain { case.frames.iter().all(|frame| seen.contains(frame)) } else { marked(&seen, case) }
        };
        wait_until("an honest frame", come).map_err(|_| "honest, but it never arrived".to_owned())
    }

    /// Whether any frame of a case has come.
    pub fn saw_any(&self, case: &Case) -> bool {
        let seen = self.seen.lock().unwrap();
        case.frames.iter().any(|frame| seen.contains(frame)) || marked(&seen, case)
    }
}

fn marked(seen: &HashSet<Vec<u8>>, case: &Case) -> bool {
    let Some(mark) = case.mark() else { return false };
    seen.iter().any(|frame| frame.windows(mark.len()).any(|window| window == mark))
}
