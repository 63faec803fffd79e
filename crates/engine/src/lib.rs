//! What a frame is and what becomes of it.
//!
//! This crate decides; it fetches nothing by itself. A frame is read through
//! [`Packet`], the tables are asked through [`Tables`], and the answer is a
//! [`Finding`], which [`Verdict::of`] turns into a verdict by the endpoint's mode.
//! The same source is compiled into the kernel programs and into host tests.
//!
//! Invariants: `no_std`, no `unsafe`, no aya; no panic is reachable (the kernel's
//! verifier would refuse it); every loop has a fixed bound; whatever cannot be
//! read is [`DropReason::Malformed`], never passed.
#![no_std]
#![forbid(unsafe_code)]

pub mod gate;
pub mod header;
mod packet;
pub mod shield;
mod tables;
mod verdict;

pub use packet::{Packet, SlicePacket};
pub use portcullis_abi::DropReason;
pub use tables::Tables;
pub use verdict::{Finding, Verdict};
