//! The kernel side under a directory of its own, and frames through it by test run. Needs root.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::path::PathBuf;

use portcullis_abi::{Counters, DropEvent, Endpoint, Mode};
use portcullis_datapath::{Anchor, Datapath, Gate, Opened, Settings, TestFrame};
use portcullis_probe::cases::Identity;

/// Every namespace has the loopback interface under this index.
pub const LOOPBACK: u32 = 1;
/// The binding under test.
pub const BINDING: u32 = 2;
/// Its counter slot.
pub const SLOT: u32 = 1;

pub const DROP: i32 = 2;
pub const NEXT: i32 = -1;

pub struct Kernel {
    pub opened: Opened,
    pub base: PathBuf,
}

impl Kernel {
    pub fn open(name: &str) -> Self {
        Self::with(name, Settings::default())
    }

    pub fn with(name: &str, settings: Settings) -> Self {
        let base = PathBuf::from(format!("/sys/fs/bpf/portcullis-test-{}-{name}", std::process::id()));
        let opened = Datapath::open(&base, settings).expect("loading the kernel side");
        Self { opened, base }
    }

    pub fn anchor(&self) -> Anchor {
        Anchor { netns: self.opened.datapath.primary(), ifindex: LOOPBACK }
    }

    /// Binds the loopback interface.
    pub fn bind(&self, endpoint: &Endpoint) {
        self.bind_as(BINDING, endpoint);
    }

    /// Binds it by an entry of this index.
    pub fn bind_as(&self, binding: u32, endpoint: &Endpoint) {
        let tables = &self.opened.tables;
        tables.write_binding(binding, endpoint, &[], &[]).unwrap();
        tables.point(self.anchor(), binding).unwrap();
    }

    pub fn run(&mut self, frame: &[u8], gso: bool) -> i32 {
        self.try_run(frame, gso).expect("test run")
    }

    /// `None` where the kernel does not take the frame for a test run: shorter than its IP header
    /// (since 6.17), or longer than a page.
    pub fn try_run(&mut self, frame: &[u8], gso: bool) -> Option<i32> {
        let frame = TestFrame { bytes: frame, ifindex: LOOPBACK, gso_size: if gso { 1400 } else { 0 } };
        match self.opened.datapath.test(Gate::Ethernet, frame, 1) {
            Ok(outcome) => Some(outcome.action),
            Err(error) if error.raw_os_error() == Some(22) => None,
            Err(error) => panic!("test run: {error}"),
        }
    }

    /// Runs a frame that goes to the endpoint.
    pub fn run_inward(&mut self, frame: &[u8]) -> i32 {
        let frame = TestFrame { bytes: frame, ifindex: LOOPBACK, gso_size: 0 };
        self.opened.datapath.test(Gate::Quarantine, frame, 1).expect("test run").action
    }

    pub fn counters(&self) -> Counters {
        self.opened.tables.counters(SLOT).unwrap()
    }

    /// All events that are there.
    pub fn events(&mut self) -> Vec<DropEvent> {
        let mut events = Vec::new();
        self.opened.events.drain(|event| events.push(*event));
        events
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.opened.datapath.unpin_all();
        let _ = std::fs::remove_dir(&self.base);
    }
}

pub fn endpoint(identity: &Identity, mode: Mode) -> Endpoint {
    Endpoint {
        mac: identity.mac,
        mode: mode as u8,
        ipv4: identity.ipv4.unwrap(),
        slot: SLOT,
        ipv6: identity.ipv6.unwrap(),
        link_local: identity.link_local,
        ..Endpoint::default()
    }
}
