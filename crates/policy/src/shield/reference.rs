//! The blocklist as slowly and as plainly as it can be said: what the tables are tested against.

use portcullis_abi::shield::Class;

use super::{Listing, Prefix4};

/// Whom a list blocks of an address. Entries may come in any order; those of the same prefix count together.
#[must_use]
pub fn class_of(entries: &[(Prefix4, Listing)], address: u32) -> Class {
    let holding = entries.iter().filter(|(prefix, _)| prefix.contains(address));
    if holding.clone().any(|(_, listing)| listing.allow) {
        return Class::NONE;
    }
    let blocking = holding.filter(|(_, listing)| !listing.block.is_none());
    let Some(longest) = blocking.clone().map(|(prefix, _)| prefix.bits()).max() else {
        return Class::NONE;
    };
    blocking
        .filter(|(prefix, _)| prefix.bits() == longest)
        .fold(Class::NONE, |class, (_, listing)| class.union(listing.block))
}
