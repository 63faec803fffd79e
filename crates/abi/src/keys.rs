//! Keys of the tables, and the values of the small ones.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Ipv6, Mac};

/// Key of the table of anchors that the array does not hold.
///
/// Keys are aligned to eight bytes because the verifier wants aligned accesses to the stack, where
/// they are built.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct AnchorKey {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Interface index there.
    pub ifindex: u32,
}

/// What a key of the further table holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum FurtherKind {
    /// A MAC in the first six bytes.
    Mac = 1,
    /// An address; IPv4 as `::ffff:a.b.c.d`.
    Address = 2,
    /// A VLAN id in the first two bytes, network order.
    Vlan = 3,
    /// An ethertype in the first two bytes, network order.
    Ethertype = 4,
}

/// Key of the table of all that does not fit into [`crate::Endpoint`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct FurtherKey {
    /// Index of the [`crate::Endpoint`] entry.
    pub binding: u32,
    /// [`FurtherKind`] as a number.
    pub kind: u32,
    /// The value in memory order, padded with zeros.
    pub value: [u64; 2],
}

impl FurtherKey {
    /// A further MAC.
    #[must_use]
    pub const fn mac(binding: u32, mac: Mac) -> Self {
        let m = mac.0;
        let value = [u64::from_ne_bytes([m[0], m[1], m[2], m[3], m[4], m[5], 0, 0]), 0];
        Self { binding, kind: FurtherKind::Mac as u32, value }
    }

    /// A further address; IPv4 goes in mapped.
    #[must_use]
    pub const fn address(binding: u32, address: Ipv6) -> Self {
        Self { binding, kind: FurtherKind::Address as u32, value: address.words() }
    }

    /// An allowed VLAN id.
    #[must_use]
    pub const fn vlan(binding: u32, vid: u16) -> Self {
        Self::number(binding, FurtherKind::Vlan, vid)
    }

    /// An allowed ethertype.
    #[must_use]
    pub const fn ethertype(binding: u32, ethertype: u16) -> Self {
        Self::number(binding, FurtherKind::Ethertype, ethertype)
    }

    const fn number(binding: u32, kind: FurtherKind, number: u16) -> Self {
        let n = number.to_be_bytes();
        let value = [u64::from_ne_bytes([n[0], n[1], 0, 0, 0, 0, 0, 0]), 0];
        Self { binding, kind: kind as u32, value }
    }
}

/// Key of the prefix table (a longest-prefix-match trie).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct PrefixKey {
    /// Bits that count, from `binding` on: 32 + the prefix length in `address`.
    pub prefix_len: u32,
    /// Index of the [`crate::Endpoint`] entry; always compared whole, so its byte order is free.
    pub binding: u32,
    /// The prefix in memory order; IPv4 as `::ffff:a.b.c.d` with 96 added to its length.
    pub address: [u64; 2],
}

impl PrefixKey {
    /// Bits before the address.
    pub const BASE_BITS: u32 = 32;

    /// The key that stores a prefix: `len_bits` counts in the (mapped) 128-bit address.
    #[must_use]
    pub const fn prefix(binding: u32, address: Ipv6, len_bits: u32) -> Self {
        Self { prefix_len: Self::BASE_BITS + len_bits, binding, address: address.words() }
    }

    /// The key that asks for one address.
    #[must_use]
    pub const fn lookup(binding: u32, address: Ipv6) -> Self {
        Self::prefix(binding, address, 128)
    }
}

/// Bits of the values of the table of known addresses: whose an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownAs;

impl KnownAs {
    /// An address of this node.
    pub const NODE: u32 = 1 << 0;
    /// A link-local (or otherwise unassigned) address that an endpoint is known by.
    pub const IDENTITY: u32 = 1 << 1;
}

/// Key of the journal: the desired state as the agent wrote it, kept in the kernel beside the
/// tables so that a lost state file can be made again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct JournalKey {
    /// Counter slot of the endpoint.
    pub slot: u32,
    /// Number of the chunk, from 0.
    pub chunk: u32,
}

/// The one value of the meta table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Meta {
    /// [`crate::ABI_VERSION`] of the writer.
    pub abi_version: u32,
    /// Inode number of the network namespace whose anchors are found by array index.
    pub primary_netns: u32,
}
