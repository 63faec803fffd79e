//! The words that kernel programs and user space share.
//!
//! Everything here is plain data: keys and values of the kernel tables, the
//! events, the drop reasons. No logic beyond conversion and formatting lives
//! here. Layouts are fixed (`#[repr(C)]`, explicit padding, size assertions);
//! a change of any layout is a change of [`ABI_VERSION`].
//!
//! Byte order: addresses and what stems from a frame are byte arrays in network
//! order; counters, indices and lengths are native integers.
#![no_std]
#![forbid(unsafe_code)]

mod addr;
mod conduct;
mod counters;
mod endpoint;
mod event;
mod keys;
mod reason;
pub mod shield;

pub use addr::{Ipv4, Ipv6, Mac, MacParseError};
pub use conduct::{Conduct, RING_LEN, Response};
pub use counters::{Count, Counters};
pub use endpoint::{Allow, Direction, Endpoint, Mode, Pointer, UnknownWord};
pub use event::{CAPTURE_LEN, DropEvent};
pub use keys::{AnchorKey, FurtherKey, FurtherKind, JournalKey, KnownAs, Meta, PrefixKey};
pub use reason::{DropReason, REASON_SLOTS, UnknownReason};

/// Version of all layouts in this crate. Pins live under a directory of this number.
pub const ABI_VERSION: u32 = 2;

/// Interfaces of the primary network namespace with an index below this are found
/// by array index; all others by hash of (network namespace, index).
pub const ANCHOR_ARRAY_LEN: u32 = 65_536;

/// Bytes of one value of the journal table.
pub const JOURNAL_CHUNK_LEN: usize = 1024;

/// The counter slot that all interfaces without a binding share.
pub const UNBOUND_SLOT: u32 = 0;

/// The binding whose entry holds an interface: every frame from and to it is dropped as
/// [`DropReason::Unbound`]. Its entry is made with the tables and never changes.
pub const HELD_BINDING: u32 = 1;
