//! The kernel programs: what they add to an empty one.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use portcullis_abi::{Allow, Endpoint, FurtherKey, Ipv4, Ipv6, Mac, Mode, PrefixKey, Response};
use portcullis_datapath::{Anchor, Datapath, Gate, Opened, Settings, TestFrame};
use portcullis_probe::frame::{Arp, Ipv4Packet, Ipv6Packet, Tcp, Udp, ethernet, ethertype, protocol};

use crate::measure::{self, Subject};
use crate::reference::{self, Reference};
use crate::report::{Measure, Target};

/// Every namespace has this one, and a test run's interface must exist.
const LOOPBACK: u32 = 1;
/// The plain binding.
const BINDING: u32 = 2;
const DROP: i32 = 2;
const NEXT: i32 = -1;

const OWN_MAC: Mac = Mac([0x02, 0x42, 0x0a, 0, 0, 2]);
const FAR_MAC: Mac = Mac([0x02, 0x42, 0x0a, 0, 0, 1]);
const OWN4: Ipv4 = Ipv4([10, 0, 0, 2]);
const FURTHER4: Ipv4 = Ipv4([10, 0, 0, 9]);
const ROUTED4: Ipv4 = Ipv4([10, 7, 0, 5]);
const FORGED4: Ipv4 = Ipv4([10, 0, 0, 3]);
const FAR4: Ipv4 = Ipv4([10, 0, 0, 1]);
const OWN6: Ipv6 = fd00(2);
const FAR6: Ipv6 = fd00(1);

const fn fd00(last: u8) -> Ipv6 {
    Ipv6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

/// What is measured: a frame, the binding that it meets, and what must become of it.
struct Row {
    name: &'static str,
    /// The binding that the interface has; 0: none.
    binding: u32,
    frame: Vec<u8>,
    action: i32,
    target: Option<Target>,
}

/// Bindings beside [`BINDING`]: one with further addresses, one with a prefix, one switched off.
const WITH_FURTHER: u32 = 3;
const WITH_PREFIX: u32 = 4;
const SWITCHED_OFF: u32 = 5;

fn rows() -> Vec<Row> {
    let row = |name, binding, frame, action, target: Option<f64>| Row {
        name,
        binding,
        frame,
        action,
        target: target.map(Target::Ratio),
    };
    vec![
        row("gate/ipv4-tcp", BINDING, tcp4(OWN4), NEXT, Some(0.4)),
        row("gate/ipv6-udp", BINDING, udp6(), NEXT, Some(0.6)),
        row("gate/arp", BINDING, arp(), NEXT, Some(0.6)),
        row("gate/spoofed", BINDING, tcp4(FORGED4), DROP, Some(1.0)),
        row("gate/ipv6-tcp", BINDING, tcp6(), NEXT, None),
        row("gate/ipv4-udp", BINDING, udp4(), NEXT, None),
        row("gate/ipv4-tcp-further", WITH_FURTHER, tcp4(FURTHER4), NEXT, None),
        row("gate/ipv4-tcp-prefix", WITH_PREFIX, tcp4(ROUTED4), NEXT, None),
        row("gate/off", SWITCHED_OFF, tcp4(OWN4), NEXT, None),
        row("gate/unbound", 0, tcp4(OWN4), NEXT, None),
    ]
}

/// Names of all measures here.
pub fn names() -> Vec<&'static str> {
    rows().iter().map(|row| row.name).collect()
}

/// Measures the rows that are wanted, all within one run.
pub fn measure(wants: impl Fn(&str) -> bool, rounds: usize, repeat: u32) -> Result<Vec<Measure>> {
    let rows: Vec<Row> = rows().into_iter().filter(|row| wants(row.name)).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let kernel = Kernel::open()?;
    let honest = tcp4(OWN4);
    let context = context();
    let empty = Row { name: "empty", binding: BINDING, frame: honest.clone(), action: NEXT, target: None };
    let mut subjects: Vec<Box<dyn Subject + '_>> = vec![
        Box::new(Ours { kernel: &kernel, gate: Gate::Empty, row: &empty }),
        Box::new(Reference::new(LOOPBACK, OWN4, &honest, &context)?),
    ];
    for row in &rows {
        subjects.push(Box::new(Ours { kernel: &kernel, gate: Gate::Ethernet, row }));
    }
    let times = measure::over_first(&mut subjects, rounds, repeat)?;
    let (empty_ns, reference_ns) = (times[0], times[1]);
    let mut measures: Vec<Measure> = rows
        .iter()
        .zip(times.iter().skip(2))
        .map(|(row, &time)| Measure::beside(row.name, time, reference::NAME, reference_ns, row.target))
        .collect();
    measures.push(Measure::alone("gate/empty-program", empty_ns, "ns", None));
    Ok(measures)
}

/// `struct __sk_buff` with the interface in it.
fn context() -> [u8; 192] {
    const IFINDEX_AT: usize = 40;
    let mut context = [0; 192];
    context[IFINDEX_AT..IFINDEX_AT + 4].copy_from_slice(&LOOPBACK.to_ne_bytes());
    context
}

/// The kernel side under a directory of its own.
struct Kernel {
    opened: RefCell<Opened>,
    base: PathBuf,
}

impl Kernel {
    fn open() -> Result<Self> {
        let base = Path::new("/sys/fs/bpf").join(format!("portcullis-bench-{}", std::process::id()));
        let opened = Datapath::open(&base, Settings::default()).context("cannot load the kernel programs")?;
        let kernel = Self { opened: RefCell::new(opened), base };
        kernel.bind()?;
        Ok(kernel)
    }

    fn bind(&self) -> Result<()> {
        let tables = &self.opened.borrow().tables;
        let plain = Endpoint {
            mac: OWN_MAC,
            mode: Mode::Enforce as u8,
            ipv4: OWN4,
            slot: 1,
            ipv6: OWN6,
            link_local: OWN_MAC.eui64_link_local(),
            ..Endpoint::default()
        }
        // As every endpoint has by default.
        .with_threshold(10, 60_000, Response::Report);
        tables.write_binding(BINDING, &plain, &[], &[])?;
        let further = Endpoint { allow: Allow::FURTHER_IPV4, slot: 2, ..plain };
        let key = FurtherKey::address(WITH_FURTHER, FURTHER4.mapped());
        tables.write_binding(WITH_FURTHER, &further, &[key], &[])?;
        let prefix = Endpoint { allow: Allow::PREFIX_IPV4, slot: 3, ..plain };
        let key = PrefixKey::prefix(WITH_PREFIX, Ipv4([10, 7, 0, 0]).mapped(), 96 + 16);
        tables.write_binding(WITH_PREFIX, &prefix, &[], &[key])?;
        let off = Endpoint { mode: Mode::Off as u8, slot: 4, ..plain };
        tables.write_binding(SWITCHED_OFF, &off, &[], &[])?;
        Ok(())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.opened.borrow().datapath.unpin_all();
        let _already_gone = std::fs::remove_dir(&self.base);
    }
}

/// One of our programs on one frame.
struct Ours<'a> {
    kernel: &'a Kernel,
    gate: Gate,
    row: &'a Row,
}

impl Subject for Ours<'_> {
    fn time_ns(&mut self, repeat: u32) -> Result<f64> {
        let mut opened = self.kernel.opened.borrow_mut();
        let anchor = Anchor { netns: opened.datapath.primary(), ifindex: LOOPBACK };
        opened.tables.point(anchor, self.row.binding)?;
        let frame = TestFrame { bytes: &self.row.frame, ifindex: LOOPBACK, gso_size: 0 };
        let started = Instant::now();
        let outcome = opened.datapath.test(self.gate, frame, repeat)?;
        let elapsed = started.elapsed();
        // An agent would read them; a full ring buffer is another path.
        opened.events.drain(|_| ());
        if outcome.action != self.row.action {
            bail!("{} came to {} instead of {}", self.row.name, outcome.action, self.row.action);
        }
        Ok(elapsed.as_secs_f64() * 1e9 / f64::from(repeat))
    }
}

const PAYLOAD: [u8; 64] = [0x5a; 64];

fn tcp4(source: Ipv4) -> Vec<u8> {
    let mut packet = Ipv4Packet::new(source, FAR4, protocol::TCP, Vec::new());
    packet.payload = Tcp::new(40_000, 443, Tcp::ACK | Tcp::PSH, PAYLOAD).to_bytes(packet.pseudo());
    ethernet(FAR_MAC, OWN_MAC, ethertype::IPV4, &packet.to_bytes())
}

fn udp4() -> Vec<u8> {
    let mut packet = Ipv4Packet::new(OWN4, FAR4, protocol::UDP, Vec::new());
    packet.payload = Udp::new(40_000, 53, PAYLOAD).to_bytes(packet.pseudo());
    ethernet(FAR_MAC, OWN_MAC, ethertype::IPV4, &packet.to_bytes())
}

fn tcp6() -> Vec<u8> {
    let mut packet = Ipv6Packet::new(OWN6, FAR6, protocol::TCP, Vec::new());
    packet.payload = Tcp::new(40_000, 443, Tcp::ACK | Tcp::PSH, PAYLOAD).to_bytes(packet.pseudo());
    ethernet(FAR_MAC, OWN_MAC, ethertype::IPV6, &packet.to_bytes())
}

fn udp6() -> Vec<u8> {
    let mut packet = Ipv6Packet::new(OWN6, FAR6, protocol::UDP, Vec::new());
    packet.payload = Udp::new(40_000, 53, PAYLOAD).to_bytes(packet.pseudo());
    ethernet(FAR_MAC, OWN_MAC, ethertype::IPV6, &packet.to_bytes())
}

fn arp() -> Vec<u8> {
    let request = Arp::request(OWN_MAC, OWN4, FAR4).to_bytes();
    ethernet(Mac::BROADCAST, OWN_MAC, ethertype::ARP, &request)
}
