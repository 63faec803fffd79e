//! Everything that a binding may hold beyond one address of each kind, and what is not bound.

use anyhow::{Context, Result, bail};
use portcullis_abi::{
    Allow, DropReason, Endpoint, FurtherKey, Ipv4, Ipv6, Mac, Mode, PrefixKey, UNBOUND_SLOT,
};
use portcullis_datapath::{Anchor, Gate, Settings};
use portcullis_probe::cases::Identity;
use portcullis_probe::frame::{
    Arp, Ipv4Packet, Ipv6Packet, Tag, Tcp, Udp, ethernet, ethertype, protocol, tagged,
};

use crate::Report;
use crate::kernel::{Action, BINDING, Kernel, LOOPBACK, endpoint};

const FURTHER4: Ipv4 = Ipv4([10, 0, 0, 9]);
const FURTHER6: Ipv6 = Ipv6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
const FURTHER_MAC: Mac = Mac([0x02, 0x42, 0x0a, 0, 0, 9]);
const FOREIGN4: Ipv4 = Ipv4([10, 0, 0, 77]);
const FOREIGN6: Ipv6 = Ipv6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x77]);

/// All of it.
pub fn check(report: &mut Report) {
    let identity = Identity::default();
    report.check("further-addresses", || further_addresses(&identity));
    report.check("prefixes", || prefixes(&identity));
    report.check("further-mac", || further_mac(&identity));
    report.check("vlan-ids", || vlan_ids(&identity));
    report.check("ethertypes", || ethertypes(&identity));
    report.check("permissions", || permissions(&identity));
    report.check("mode-off", || mode_off(&identity));
    report.check("quarantine", || quarantine(&identity));
    report.check("unbound-off", || unbound(&identity, Mode::Off));
    report.check("unbound-audit", || unbound(&identity, Mode::Audit));
    report.check("unbound-enforce", || unbound(&identity, Mode::Enforce));
    report.check("far-anchor", || far_anchor(&identity));
    report.check("event-content", || event_content(&identity));
    report.check("event-budget", || event_budget(&identity));
}

/// A TCP segment from a source.
pub fn tcp4(identity: &Identity, mac: Mac, source: Ipv4) -> Vec<u8> {
    let mut packet = Ipv4Packet::new(source, identity.gateway4(), protocol::TCP, Vec::new());
    packet.payload = Tcp::new(40_000, 443, Tcp::SYN, []).to_bytes(packet.pseudo());
    ethernet(identity.far_mac, mac, ethertype::IPV4, &packet.to_bytes())
}

/// A UDP datagram from a source.
pub fn udp6(identity: &Identity, mac: Mac, source: Ipv6) -> Vec<u8> {
    let mut packet = Ipv6Packet::new(source, identity.gateway6(), protocol::UDP, Vec::new());
    packet.payload = Udp::new(40_000, 53, [0; 8]).to_bytes(packet.pseudo());
    ethernet(identity.far_mac, mac, ethertype::IPV6, &packet.to_bytes())
}

fn arp(identity: &Identity, mac: Mac, sender: Ipv4) -> Vec<u8> {
    let request = Arp::request(mac, sender, identity.gateway4());
    ethernet(Mac::BROADCAST, mac, ethertype::ARP, &request.to_bytes())
}

fn bound(
    name: &str,
    identity: &Identity,
    allow: u32,
    further: &[FurtherKey],
    prefixes: &[PrefixKey],
) -> Result<Kernel> {
    let kernel = Kernel::open(name, Settings::default())?;
    let entry = Endpoint { allow, ..endpoint(identity, Mode::Enforce) };
    kernel.bind(&entry, further, prefixes)?;
    if !kernel.opened.tables.has_all(further, prefixes)? {
        bail!("the tables do not hold what was written");
    }
    Ok(kernel)
}

/// The address that is bound.
pub fn own4(identity: &Identity) -> Result<Ipv4> {
    identity.ipv4.context("the identity has no IPv4 address")
}

fn own6(identity: &Identity) -> Result<Ipv6> {
    identity.ipv6.context("the identity has no IPv6 address")
}

fn further_addresses(identity: &Identity) -> Result<()> {
    let keys = [FurtherKey::address(BINDING, FURTHER4.mapped()), FurtherKey::address(BINDING, FURTHER6)];
    let allow = Allow::FURTHER_IPV4 | Allow::FURTHER_IPV6;
    let mut kernel = bound("further", identity, allow, &keys, &[])?;
    let mac = identity.mac;
    kernel.expect("the first IPv4 address", &tcp4(identity, mac, own4(identity)?), Action::Next)?;
    kernel.expect("a further IPv4 address", &tcp4(identity, mac, FURTHER4), Action::Next)?;
    kernel.expect("ARP for it", &arp(identity, mac, FURTHER4), Action::Next)?;
    kernel.expect("a foreign IPv4 address", &tcp4(identity, mac, FOREIGN4), Action::Drop)?;
    kernel.expect("ARP for that", &arp(identity, mac, FOREIGN4), Action::Drop)?;
    kernel.expect("the first IPv6 address", &udp6(identity, mac, own6(identity)?), Action::Next)?;
    kernel.expect("a further IPv6 address", &udp6(identity, mac, FURTHER6), Action::Next)?;
    kernel.expect("a foreign IPv6 address", &udp6(identity, mac, FOREIGN6), Action::Drop)?;
    kernel.expect("a mapped address", &udp6(identity, mac, FURTHER4.mapped()), Action::Drop)?;
    kernel.opened.tables.clear_binding(BINDING, &keys, &[])?;
    if kernel.opened.tables.has_all(&keys[..1], &[])? {
        bail!("a further address outlives its binding");
    }
    Ok(())
}

fn prefixes(identity: &Identity) -> Result<()> {
    let net6 = Ipv6([0xfd, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let keys = [
        PrefixKey::prefix(BINDING, Ipv4([10, 7, 0, 0]).mapped(), 96 + 16),
        PrefixKey::prefix(BINDING, net6, 64),
    ];
    let mut kernel = bound("prefixes", identity, Allow::PREFIX_IPV4 | Allow::PREFIX_IPV6, &[], &keys)?;
    let mac = identity.mac;
    kernel.expect("inside", &tcp4(identity, mac, Ipv4([10, 7, 200, 3])), Action::Next)?;
    kernel.expect("before", &tcp4(identity, mac, Ipv4([10, 6, 255, 255])), Action::Drop)?;
    kernel.expect("after", &tcp4(identity, mac, Ipv4([10, 8, 0, 0])), Action::Drop)?;
    kernel.expect("its broadcast", &tcp4(identity, mac, Ipv4([10, 7, 255, 255])), Action::Drop)?;
    let mut inside = net6;
    inside.0[15] = 0x42;
    kernel.expect("inside, IPv6", &udp6(identity, mac, inside), Action::Next)?;
    inside.0[7] = 1;
    kernel.expect("outside, IPv6", &udp6(identity, mac, inside), Action::Drop)
}

fn further_mac(identity: &Identity) -> Result<()> {
    let keys = [FurtherKey::mac(BINDING, FURTHER_MAC)];
    let mut kernel = bound("mac", identity, Allow::FURTHER_MAC, &keys, &[])?;
    let own = own4(identity)?;
    kernel.expect("a further MAC", &tcp4(identity, FURTHER_MAC, own), Action::Next)?;
    kernel.expect("ARP from it", &arp(identity, FURTHER_MAC, own), Action::Next)?;
    kernel.expect("the neighbour's MAC", &tcp4(identity, identity.neighbour_mac, own), Action::Drop)
}

fn vlan_ids(identity: &Identity) -> Result<()> {
    let keys = [FurtherKey::vlan(BINDING, 42)];
    let mut kernel = bound("vlan", identity, Allow::FURTHER_VLAN, &keys, &[])?;
    let in_vlan = |vid, source| {
        let frame = tcp4(identity, identity.mac, source);
        tagged(identity.far_mac, identity.mac, &[Tag::vlan(vid)], ethertype::IPV4, &frame[14..])
    };
    let own = own4(identity)?;
    // Test runs take the tag out of the frame as a device would, or leave it, by kernel.
    kernel.expect("its own VLAN", &in_vlan(42, own), Action::Next)?;
    kernel.expect("its own VLAN, forged", &in_vlan(42, FOREIGN4), Action::Drop)?;
    kernel.expect("another VLAN", &in_vlan(43, own), Action::Drop)
}

fn ethertypes(identity: &Identity) -> Result<()> {
    let keys = [FurtherKey::ethertype(BINDING, 0x88cc)];
    let mut kernel = bound("ethertypes", identity, Allow::FURTHER_ETHERTYPE, &keys, &[])?;
    let frame = |number| ethernet(identity.far_mac, identity.mac, number, &[0; 46]);
    kernel.expect("an allowed ethertype", &frame(0x88cc), Action::Next)?;
    kernel.expect("another ethertype", &frame(0x88cd), Action::Drop)
}

fn permissions(identity: &Identity) -> Result<()> {
    let mut request = Ipv4Packet::new(Ipv4::UNSPECIFIED, Ipv4::BROADCAST, protocol::UDP, Vec::new());
    request.payload = Udp::new(68, 67, [0; 240]).to_bytes(request.pseudo());
    let request = ethernet(Mac::BROADCAST, identity.mac, ethertype::IPV4, &request.to_bytes());
    let mut kernel = bound("dhcp", identity, 0, &[], &[])?;
    kernel.expect("DHCP without permission", &request, Action::Drop)?;
    drop(kernel);
    let mut kernel = bound("dhcp-client", identity, Allow::DHCP_CLIENT, &[], &[])?;
    kernel.expect("DHCP with permission", &request, Action::Next)
}

fn mode_off(identity: &Identity) -> Result<()> {
    let mut kernel = Kernel::open("off", Settings::default())?;
    kernel.bind(&endpoint(identity, Mode::Off), &[], &[])?;
    kernel.expect("a forged frame", &tcp4(identity, identity.mac, FOREIGN4), Action::Next)?;
    if kernel.counters()?.allowed.packets != 1 {
        bail!("a frame was not counted");
    }
    Ok(())
}

fn quarantine(identity: &Identity) -> Result<()> {
    let mut kernel = bound("quarantine", identity, 0, &[], &[])?;
    let honest = tcp4(identity, identity.mac, own4(identity)?);
    kernel.expect("before", &honest, Action::Next)?;
    if !kernel.opened.tables.set_quarantine(BINDING, true) {
        bail!("the binding is not there");
    }
    kernel.expect("from it", &honest, Action::Drop)?;
    if kernel.try_run(Gate::Quarantine, &honest, 0)? != Some(Action::Drop) {
        bail!("frames to it pass");
    }
    let counters = kernel.counters()?;
    if counters.reasons[usize::from(DropReason::Quarantined.number())] != 2 {
        bail!("quarantined frames are not counted as such: {counters:?}");
    }
    if !kernel.opened.tables.set_quarantine(BINDING, false) {
        bail!("the binding is gone");
    }
    kernel.expect("after", &honest, Action::Next)?;
    if kernel.try_run(Gate::Quarantine, &honest, 0)? != Some(Action::Next) {
        bail!("frames to a released endpoint are dropped");
    }
    Ok(())
}

fn unbound(identity: &Identity, mode: Mode) -> Result<()> {
    let settings = Settings { unbound: mode, ..Settings::default() };
    let mut kernel = Kernel::open(&format!("unbound-{mode}"), settings)?;
    let want = if mode == Mode::Enforce { Action::Drop } else { Action::Next };
    kernel.expect("a frame", &tcp4(identity, identity.mac, own4(identity)?), want)?;
    let counters = kernel.opened.tables.counters(UNBOUND_SLOT)?;
    let reason = counters.reasons[usize::from(DropReason::Unbound.number())];
    let seen = (counters.allowed.packets, counters.audited.packets, counters.dropped.packets, reason);
    let expected = match mode {
        Mode::Off => (1, 0, 0, 0),
        Mode::Audit => (0, 1, 0, 1),
        Mode::Enforce => (0, 0, 1, 1),
    };
    if seen != expected {
        bail!("counters are {seen:?} instead of {expected:?}");
    }
    Ok(())
}

/// An anchor of another namespace goes into the hash table and does not touch ours.
fn far_anchor(identity: &Identity) -> Result<()> {
    let mut kernel = bound("far", identity, 0, &[], &[])?;
    let tables = &kernel.opened.tables;
    let far = Anchor { netns: kernel.opened.datapath.primary().wrapping_add(1), ifindex: LOOPBACK };
    tables.point(far, BINDING + 1)?;
    if tables.anchor(far)? != BINDING + 1 || tables.all_anchors()?.len() != 2 {
        bail!("the anchor is not there");
    }
    kernel.expect("our own", &tcp4(identity, identity.mac, own4(identity)?), Action::Next)?;
    kernel.opened.tables.point(far, 0)?;
    if kernel.opened.tables.all_anchors()?.len() != 1 {
        bail!("the anchor is still there");
    }
    Ok(())
}

fn event_content(identity: &Identity) -> Result<()> {
    let mut kernel = bound("event", identity, 0, &[], &[])?;
    let forged = tcp4(identity, identity.mac, FOREIGN4);
    kernel.expect("a forged frame", &forged, Action::Drop)?;
    let netns = kernel.opened.datapath.primary();
    let mut events = Vec::new();
    kernel.opened.events.drain(|event| events.push(*event));
    let [event] = events[..] else { bail!("{} events instead of 1", events.len()) };
    let right = event.netns == netns
        && event.ifindex == LOOPBACK
        && event.slot == BINDING
        && event.len as usize == forged.len()
        && event.captured as usize == forged.len()
        && event.reason == DropReason::SpoofedIpv4.number()
        && event.dropped == 1
        && event.vlan_tci == [0, 0]
        && event.timestamp_ns > 0
        && event.frame.get(..forged.len()) == Some(&forged[..]);
    if !right {
        bail!("the event is wrong: {event:?}");
    }
    Ok(())
}

fn event_budget(identity: &Identity) -> Result<()> {
    let settings = Settings { event_rate: 1, event_burst: 5, ..Settings::default() };
    let mut kernel = Kernel::open("budget", settings)?;
    kernel.bind(&endpoint(identity, Mode::Enforce), &[], &[])?;
    let forged = tcp4(identity, identity.mac, FOREIGN4);
    for _ in 0..100 {
        kernel.expect("a forged frame", &forged, Action::Drop)?;
    }
    let events = kernel.opened.events.drain(|_| ()) as u64;
    let counters = kernel.counters()?;
    // Slow machines may earn further tokens meanwhile.
    if !(5..=50).contains(&events) || events + counters.unsampled != 100 || counters.dropped.packets != 100 {
        bail!("{events} events, counters {counters:?}");
    }
    Ok(())
}
