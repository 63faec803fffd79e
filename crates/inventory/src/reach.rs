//! Whom this host talks to: gateways, resolvers, peers of connections, in the network namespace of this process.
//!
//! Of the tables in `/proc`, which every kernel has.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Neighbours that default routes lead over.
#[must_use]
pub fn gateways() -> BTreeSet<IpAddr> {
    let v4 = table("/proc/self/net/route");
    let v6 = table("/proc/self/net/ipv6_route");
    gateways4(&v4).chain(gateways6(&v6)).collect()
}

/// Of `/proc/net/route`: interface, destination, gateway, …, mask; numbers in memory order.
fn gateways4(table: &str) -> impl Iterator<Item = IpAddr> + '_ {
    table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let address = u32::from_str_radix(gateway, 16).ok().filter(|address| *address != 0)?;
        (destination == "00000000").then(|| IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(address))))
    })
}

/// Of `/proc/net/ipv6_route`: destination, length, source, length, next hop, …
fn gateways6(table: &str) -> impl Iterator<Item = IpAddr> + '_ {
    table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (_, len, next_hop) = (fields.next()?, fields.next()?, fields.nth(2)?);
        let address = u128::from_str_radix(next_hop, 16).ok().filter(|address| *address != 0)?;
        (len == "00").then(|| IpAddr::V6(Ipv6Addr::from_bits(address)))
    })
}

/// Peers of established TCP connections to a port of this host, loopback left out.
///
/// The kernel walks all its connections for it: milliseconds on a large host.
#[must_use]
pub fn peers_at(port: u16) -> BTreeSet<IpAddr> {
    let (v4, v6) = (table("/proc/self/net/tcp"), table("/proc/self/net/tcp6"));
    let peers = v4.lines().chain(v6.lines()).filter_map(|line| peer_of(line, port));
    peers.filter(|address| !address.is_loopback()).collect()
}

/// Resolvers of this host, by `/etc/resolv.conf`.
#[must_use]
pub fn resolvers() -> BTreeSet<IpAddr> {
    let text = table("/etc/resolv.conf");
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|text| text.trim().parse().ok()).collect()
}

/// The text of a table; what cannot be read is empty. Read in large pieces: for each piece the kernel walks the table.
fn table(path: &str) -> String {
    const PIECE_BYTES: usize = 64 << 10;
    let mut text = Vec::new();
    let Ok(mut file) = File::open(path) else { return String::new() };
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(len @ 1..) = file.read(&mut piece) {
        text.extend(piece.iter().take(len));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The peer of an established connection to a port, in a line of `/proc/net/tcp` or `tcp6`.
fn peer_of(line: &str, port: u16) -> Option<IpAddr> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let (_, local_port) = local.split_once(':')?;
    if state != ESTABLISHED || u16::from_str_radix(local_port, 16).ok()? != port {
        return None;
    }
    // Words of four bytes, each in memory order.
    let (address, _) = remote.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::from_be);
    if address.len() == 8 {
        return Some(IpAddr::V4(Ipv4Addr::from_bits(word(0)?)));
    }
    let bits = (0..4).try_fold(0u128, |bits, at| Some(bits << 32 | u128::from(word(at)?)))?;
    Some(IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        assert_eq!(gateways4(routes).collect::<Vec<_>>(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        let routes = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 1 0 3 eth0\n\
            20010db8000000000000000000000000 20 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 1 eth0\n";
        assert_eq!(gateways6(routes).collect::<Vec<_>>(), ["fe80::1".parse::<IpAddr>().unwrap()]);
        let line = "   1: 0F02000A:0016 0202000A:CE2C 01 00000000:00000000 02:000AFC7C 00000000 0 0 22 4";
        assert_eq!(peer_of(line, 22), Some("10.0.2.2".parse().unwrap()));
        assert_eq!(peer_of(line, 23), None);
        assert_eq!(peer_of(&line.replace(" 01 ", " 0A "), 22), None);
        let line =
            "  0: 0000000000000000FFFF00000F02000A:0016 0000000000000000FFFF00000202000A:CE2C 01 0:0 0:0 0";
        assert_eq!(peer_of(line, 22), Some("10.0.2.2".parse().unwrap()));
    }

    #[test]
    fn what_is_not_there_is_empty() {
        assert_eq!(table("/nonexistent"), "");
        assert!(!table("/proc/self/net/dev").is_empty());
    }
}
