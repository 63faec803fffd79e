//! The shield on real interfaces, in namespaces of their own. Needs root, `ip` and `ping`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis_abi::DropReason;
use portcullis_abi::shield::guard::GuardConfig;
use portcullis_abi::shield::rules::TICKS_PER_NS;
use portcullis_datapath::shield::{
    EventBudget, Ground, Kind, Profile, Program, Shield, Spot, Table, XdpMode,
};
use portcullis_datapath::{Error, Features, Hook, Namespace};
use portcullis_policy::shield::list4::List4;
use portcullis_policy::shield::{Listing, Prefix4};

const CLIENT: u32 = 0x0afa_0001;

/// Two namespaces with a pair of interfaces between them: `c0` (10.250.0.1) and `s0` (10.250.0.2).
struct Wire {
    tag: String,
    base: PathBuf,
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("starting ip");
    assert!(status.success(), "ip {arguments}");
}

impl Wire {
    fn new(name: &str) -> Self {
        let tag = format!("shield-{}-{name}", std::process::id());
        let base = PathBuf::from(format!("/sys/fs/bpf/{tag}"));
        let wire = Self { tag, base };
        let (client, server) = (wire.namespace("c"), wire.namespace("s"));
        ip(&format!("netns add {client}"));
        ip(&format!("netns add {server}"));
        ip(&format!("-n {client} link add c0 type veth peer name s0 netns {server}"));
        for (namespace, link, address) in [(&client, "c0", 1), (&server, "s0", 2)] {
            ip(&format!("-n {namespace} addr add 10.250.0.{address}/24 dev {link}"));
            ip(&format!("-n {namespace} link set {link} up"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        wire
    }

    fn namespace(&self, side: &str) -> String {
        format!("{}-{side}", self.tag)
    }

    fn open(&self, side: &str) -> Namespace {
        Namespace::open(Path::new(&format!("/run/netns/{}", self.namespace(side)))).unwrap()
    }

    fn index(&self, side: &str, link: &str) -> u32 {
        let output = Command::new("ip")
            .args(["-n", &self.namespace(side), "-o", "link", "show", link])
            .output()
            .expect("starting ip");
        String::from_utf8(output.stdout).unwrap().split(':').next().unwrap().trim().parse().unwrap()
    }

    fn pings(&self) -> bool {
        let command = format!("netns exec {} ping -q -c 1 -W 1 10.250.0.2", self.namespace("c"));
        let output = Command::new("ip").args(command.split_whitespace()).output().expect("starting ping");
        output.status.success()
    }

    fn shield(&self) -> Shield {
        Shield::open(&self.base).expect("loading the shield")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for side in ["c", "s"] {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(side)]).status();
        }
        // Whatever a panic has left, links included.
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

fn profile() -> Profile {
    Profile::new(0).unwrap()
}

fn publish(shield: &Shield, entries: &[(Prefix4, Listing)]) {
    let list: List4 = entries.iter().copied().collect();
    let mut table = Table::new(Kind::List4).unwrap();
    list.compile(&mut table).unwrap();
    shield.publish(profile(), &table).unwrap();
}

#[test]
fn xdp_protects_an_interface_and_outlives_its_owner() {
    let wire = Wire::new("xdp");
    let mut shield = wire.shield();
    publish(&shield, &[(Prefix4::of(CLIENT, 32), Listing::BLOCK)]);
    assert!(wire.pings(), "nothing stands there");
    let (server, ifindex) = (wire.open("s"), wire.index("s", "s0"));
    let spot = Spot { ifindex, ground: Ground::Xdp(None) };
    let placed = shield.attach(&server, spot, profile()).unwrap();
    assert_eq!(placed.spot().ground, Ground::Xdp(Some(XdpMode::Native)));
    assert!(placed.stands() && placed.native_refused().is_none());
    assert!(!wire.pings());
    assert!(shield.counters(profile()).unwrap().reasons[usize::from(DropReason::Blocklisted.number())] > 0);
    drop((placed, shield));
    assert!(!wire.pings(), "it went with its owner");

    let mut shield = wire.shield();
    let placed = shield.attach(&server, spot, profile()).unwrap();
    assert!(placed.stands());
    publish(&shield, &[]);
    assert!(wire.pings(), "the list is empty");
    publish(&shield, &[(Prefix4::of(CLIENT, 8), Listing::BLOCK), (Prefix4::of(CLIENT, 32), Listing::ALLOW)]);
    assert!(wire.pings(), "it is allowed");
    publish(&shield, &[(Prefix4::of(CLIENT, 8), Listing::BLOCK)]);
    assert!(!wire.pings());
    shield.detach(placed);
    assert!(wire.pings(), "it was taken off");
    let placed = shield.attach(&server, spot, profile()).unwrap();
    assert!(!wire.pings());
    ip(&format!("-n {} link del s0", wire.namespace("s")));
    assert!(!placed.stands());
    assert!(matches!(
        shield.attach(&server, Spot { ifindex: 4242, ..spot }, profile()),
        Err(Error::NoInterface { .. })
    ));
    assert_eq!(shield.sweep(std::iter::empty()), 1);
}

#[test]
fn foreign_programs_and_devices_without_xdp() {
    let wire = Wire::new("foreign");
    let stranger = Wire::new("stranger");
    let (mut shield, mut foreign) = (wire.shield(), stranger.shield());
    let server = wire.open("s");
    let spot = Spot { ifindex: wire.index("s", "s0"), ground: Ground::Xdp(None) };
    let theirs = foreign.attach(&server, spot, profile()).unwrap();
    for ground in [Ground::Xdp(None), Ground::Xdp(Some(XdpMode::Native))] {
        let refused = shield.attach(&server, Spot { ground, ..spot }, profile());
        let Err(Error::XdpBusy { program: Some((id, name)), .. }) = &refused else { panic!("{refused:?}") };
        assert!(*id != 0 && name == "shield_xdp", "{id} {name}");
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("already (\"shield_xdp\", id "), "{told}");
    }
    assert!(theirs.stands(), "it is as it was");
    foreign.detach(theirs);
    // The loopback device has no driver to run it in.
    let loopback = Spot { ifindex: 1, ground: Ground::Xdp(None) };
    let placed = shield.attach(&server, loopback, profile()).unwrap();
    assert_eq!(placed.spot().ground, Ground::Xdp(Some(XdpMode::Generic)));
    assert!(placed.native_refused().is_some());
    shield.detach(placed);
    let native = Spot { ground: Ground::Xdp(Some(XdpMode::Native)), ..loopback };
    assert!(shield.attach(&server, native, profile()).is_err());
}

#[test]
fn tc_on_the_other_side_of_the_pair() {
    let wire = Wire::new("tc");
    let mut shield = wire.shield();
    publish(&shield, &[(Prefix4::of(CLIENT, 32), Listing::BLOCK)]);
    // From the client's side what goes to the server leaves by `c0`.
    let spot = Spot { ifindex: wire.index("c", "c0"), ground: Ground::Tc(Hook::Egress) };
    let placed = match shield.attach(&wire.open("c"), spot, profile()) {
        Ok(placed) => placed,
        // TCX came with 6.6.
        Err(Error::System { source, .. }) if source.raw_os_error() == Some(22) => return,
        Err(error) => panic!("{error}"),
    };
    assert!(placed.stands());
    assert!(!wire.pings());
    shield.detach(placed);
    assert!(wire.pings());
}

/// Whether a connection of the client to the server is made and carries something.
fn connects(wire: &Wire, listener: &TcpListener) -> bool {
    const SOON: Duration = Duration::from_millis(900);
    let connected =
        wire.open("c").within(|| TcpStream::connect_timeout(&"10.250.0.2:80".parse().unwrap(), SOON));
    let Ok(mut client) = connected.unwrap() else { return false };
    client.write_all(b"over").unwrap();
    let mut server = listener.accept().unwrap().0;
    server.set_read_timeout(Some(SOON)).unwrap();
    let mut read = [0; 4];
    server.read_exact(&mut read).is_ok() && &read == b"over"
}

#[test]
fn a_listener_takes_the_answers_to_our_cookies() {
    if !Features::detect().syn_cookies {
        return;
    }
    const HOUR_TICKS: u64 = 3_600_000_000_000 * TICKS_PER_NS;
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let wire = Wire::new(&format!("cookies-{mode:?}").to_lowercase());
        let mut shield = wire.shield();
        let (client, server) = (wire.open("c"), wire.open("s"));
        ip(&format!("netns exec {} sysctl -qw net.ipv4.tcp_syncookies=2", wire.namespace("s")));
        let listener = server.within(|| TcpListener::bind("10.250.0.2:80").unwrap()).unwrap();
        let guard =
            GuardConfig { syn_cost: HOUR_TICKS, syn_burst: HOUR_TICKS, cookies: 1, ..GuardConfig::default() };
        shield.configure(profile(), EventBudget { per_second: 0, burst: 0 }, Some(guard)).unwrap();
        let spot = Spot { ifindex: wire.index("s", "s0"), ground: Ground::Xdp(Some(mode)) };
        let placed = shield.attach(&server, spot, profile()).unwrap();
        // A veth takes frames that are sent back where its other end has a program, too.
        let other = Spot { ifindex: wire.index("c", "c0"), ground: Ground::Xdp(Some(mode)) };
        let empty = shield.attach_program(&client, other, profile(), Program::Empty).unwrap();
        let answered = |shield: &Shield| {
            shield.counters(profile()).unwrap().reasons[usize::from(DropReason::SynFlood.number())]
        };
        // The listener takes cookies while it is flooded itself, or thinks so: the first SYN goes there.
        assert!(connects(&wire, &listener), "{mode:?}");
        assert_eq!(answered(&shield), 0);
        let side = wire.namespace("c");
        ip(&format!("-n {side} addr del 10.250.0.1/24 dev c0"));
        ip(&format!("-n {side} addr add 10.250.0.3/24 dev c0"));
        assert!(connects(&wire, &listener), "{mode:?}");
        assert_eq!(answered(&shield), 1);
        assert!(connects(&wire, &listener), "it has proved that it is real");
        assert_eq!(answered(&shield), 1);
        shield.detach(placed);
        shield.detach(empty);
    }
}
