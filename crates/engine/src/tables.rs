//! What the engine asks of the tables, in rare cases only: the common case is inline in the
//! endpoint's entry.

use portcullis_abi::{FurtherKey, Ipv6, PrefixKey};

/// Tables behind the endpoint entries.
pub trait Tables {
    /// Whether the further table holds this key.
    fn has_further(&self, key: &FurtherKey) -> bool;

    /// The length in bits (of the mapped 128) of the longest bound prefix that holds the address.
    fn prefix_len(&self, key: &PrefixKey) -> Option<u32>;

    /// Whether the address (IPv4 mapped) is one of this node's own.
    fn is_node(&self, address: &Ipv6) -> bool;

    /// Whether the address (IPv4 mapped) is known to be somebody's: this node's, or an endpoint's. Asked of
    /// addresses only that nobody assigns, the link-local ones.
    fn is_known(&self, address: &Ipv6) -> bool;
}
