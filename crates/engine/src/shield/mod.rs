//! The firewall: what becomes of a frame from outside, by where it comes from and what it asks for.

pub mod facts;
pub mod guard;
pub mod list4;
pub mod list6;
pub mod rules;
mod table;

pub use table::{Lines, Row};
