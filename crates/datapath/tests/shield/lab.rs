//! A shield of a test's own, and frames through it by test run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use portcullis_abi::DropReason;
use portcullis_datapath::shield::{Kind, Profile, Program, Shield, Table};
use portcullis_policy::shield::list4::List4;
use portcullis_policy::shield::list6::List6;
use portcullis_policy::shield::rules::{Action, Compiled, Packet, Rule};

pub const PASS: i32 = 2;
pub const DROP: i32 = 1;

const BPFFS: &str = "/sys/fs/bpf";
const PREFIX: &str = "portcullis-shield-";

/// A directory of pins, gone with everything in it when this is, also where the test panics.
pub struct Pinned(pub PathBuf);

impl Pinned {
    pub fn new(name: &str) -> Self {
        sweep();
        Self(PathBuf::from(format!("{BPFFS}/{PREFIX}{}-{name}", std::process::id())))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _never_made = std::fs::remove_dir_all(&self.0);
    }
}

/// Removes what was left by test processes that were killed.
fn sweep() {
    for entry in std::fs::read_dir(BPFFS).unwrap().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _swept_by_another = std::fs::remove_dir_all(entry.path());
        }
    }
}

pub struct Lab {
    pub shield: Shield,
    pub profile: Profile,
    /// Dropped after the shield.
    pub pinned: Pinned,
}

impl Lab {
    pub fn new(name: &str) -> Self {
        let pinned = Pinned::new(name);
        let shield = Shield::open(&pinned.0).expect("loading the shield");
        Self { shield, profile: Profile::new(3).unwrap(), pinned }
    }

    pub fn run(&mut self, frame: &[u8]) -> i32 {
        self.shield.test(self.profile, Program::Xdp, frame, 1).expect("test run").action
    }

    pub fn publish4(&self, list: &List4) {
        let mut table = Table::new(Kind::List4).unwrap();
        list.compile(&mut table).unwrap();
        self.shield.publish(self.profile, &table).unwrap();
    }

    pub fn publish6(&self, list: &List6) {
        let mut table = Table::new(Kind::List6(list.shape().lines())).unwrap();
        list.compile(&mut table).unwrap();
        self.shield.publish(self.profile, &table).unwrap();
    }

    pub fn publish_rules(&self, rules: &[Rule]) -> Compiled {
        let mut table = Table::new(Kind::Rules).unwrap();
        let number = |name: &str| rules.iter().position(|rule| rule.name == name).unwrap() as u16;
        let compiled = Compiled::write(rules, number, &mut table).unwrap();
        self.shield.publish(self.profile, &table).unwrap();
        compiled
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.shield.counters(self.profile).unwrap().reasons[usize::from(reason.number())]
    }
}

/// What stands between the Ethernet addresses and the network header.
#[derive(Clone, Copy)]
pub enum Wrap {
    Plain,
    Tags(usize),
    Snap,
}

pub fn frame(packet: &Packet, wrap: Wrap) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let ethertype: [u8; 2] = if packet.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
    let network = network(packet);
    match wrap {
        Wrap::Plain => {}
        Wrap::Tags(tags) => (0..tags).for_each(|tag| {
            frame.extend(if tag % 2 == 0 { [0x88, 0xa8, 0, 5] } else { [0x81, 0, 0, 7] });
        }),
        Wrap::Snap => {
            frame.extend(((network.len() + 8) as u16).to_be_bytes());
            frame.extend([0xaa, 0xaa, 3, 0, 0, 0]);
        }
    }
    frame.extend(ethertype);
    frame.extend(network);
    frame
}

pub fn network(packet: &Packet) -> Vec<u8> {
    let mut transport = vec![0u8; 24];
    transport[..4].copy_from_slice(&[0x30, 0x39, (packet.port >> 8) as u8, packet.port as u8]);
    match packet.protocol {
        6 => transport[13] = packet.detail,
        1 | 58 => transport[0] = packet.detail,
        _ => {}
    }
    let mut bytes = Vec::new();
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let fragment: u16 = [0, 0x2000, 185][usize::from(packet.piece)];
            bytes.extend([0x45, 0, 0, 44, 0, 1]);
            bytes.extend(fragment.to_be_bytes());
            bytes.extend([64, packet.protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let extra = if packet.piece == 0 { 0 } else { 8 };
            let next = if packet.piece == 0 { packet.protocol } else { 44 };
            // Destination options of eight bytes come first.
            bytes.extend([0x60, 0, 0, 0, 0, 24 + 8 + extra, 60, 64]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes.extend([next, 0, 1, 4, 0, 0, 0, 0]);
            if packet.piece != 0 {
                let offset: u16 = [0, 1, 185 << 3][usize::from(packet.piece)];
                bytes.extend([packet.protocol, 0]);
                bytes.extend(offset.to_be_bytes());
                bytes.extend([0, 0, 0, 9]);
            }
        }
        _ => unreachable!("both are of one family"),
    }
    bytes.extend(transport);
    bytes
}

pub fn from(source: IpAddr, protocol: u8) -> Packet {
    let destination = match source {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(0xfd00 << 112 | 1)),
    };
    Packet {
        source,
        destination,
        protocol,
        piece: 0,
        detail: 0,
        port: if protocol == 1 || protocol == 58 { 0 } else { 80 },
    }
}

pub fn v4(address: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(address))
}

pub fn rule(number: u32, action: Action) -> Rule {
    Rule {
        name: format!("rule-{number:04}"),
        priority: number,
        source: None,
        destination: None,
        protocol: None,
        ports: None,
        flags: None,
        icmp_type: None,
        pieces: None,
        action,
        report: false,
    }
}
