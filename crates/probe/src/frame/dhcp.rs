//! DHCP for both families (RFC 2131, RFC 8415): the bodies of the datagrams.

use portcullis_abi::{Ipv4, Mac};

/// A DHCPv4 message: `operation` 1 from a client, 2 from a server; `kind` as in option 53.
#[must_use]
pub fn dhcpv4_message(operation: u8, kind: u8, transaction: u32, client: Mac, offered: Ipv4) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[operation, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&transaction.to_be_bytes());
    bytes[16..20].copy_from_slice(&offered.0);
    bytes[28..34].copy_from_slice(&client.0);
    bytes.extend_from_slice(&[0x63, 0x82, 0x53, 0x63, 53, 1, kind, 0xff]);
    bytes
}

/// A DHCPv6 message: `kind` 1 solicit, 2 advertise, 7 reply; with the client's identifier.
#[must_use]
pub fn dhcpv6_message(kind: u8, transaction: u32, client: Mac) -> Vec<u8> {
    let t = transaction.to_be_bytes();
    let mut bytes = vec![kind, t[1], t[2], t[3], 0, 1, 0, 10, 0, 3, 0, 1];
    bytes.extend_from_slice(&client.0);
    bytes
}
