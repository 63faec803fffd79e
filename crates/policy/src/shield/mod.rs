//! The shield's desired state: the blocklist, and its compilation into the tables that the kernel programs read.
//!
//! **Which entry decides**: an address that any entry allows is never blocked, by however long a prefix; among the
//! entries that block, the longest prefix that holds the address decides, with its limit to protocols.

pub mod book;
pub mod failsafe;
pub mod guard;
pub mod import;
pub mod list4;
pub mod list6;
mod listing;
mod lists;
pub mod reference;
pub mod rules;

pub use listing::{Listing, NotInPlace, Prefix4, Prefix6};
pub use lists::{Lists, PrefixError, Written, parse_prefix, prefix4, prefix6};
