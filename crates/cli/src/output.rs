//! What people read: tables and lines made of the API's objects. Pure: text in, text out.

pub mod action;
pub mod blocklist;
pub mod cluster;
pub mod doctor;
pub mod drops;
pub mod endpoint;
#[cfg(test)]
pub mod fixture;
pub mod map;
pub mod pcapng;
pub mod policy;
pub mod score;
pub mod shield;
pub mod stats;
pub mod status;
mod table;
mod units;

use std::io::IsTerminal;

pub use table::{Paint, Table, clean};
pub use units::bytes;

/// How tables look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether colours may be used.
    pub colour: bool,
    /// Columns and rows of the terminal; none where it is not one: then nothing is wrapped.
    pub size: Option<(u16, u16)>,
}

impl Style {
    /// The same for tables with more columns than any terminal has: nothing is wrapped.
    pub fn unwrapped(&self) -> Self {
        Self { size: None, ..*self }
    }

    /// As standard output has it.
    pub fn of_stdout() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let size = size.filter(|size| size.ws_col > 0).map(|size| (size.ws_col, size.ws_row));
        Self { colour: terminal && !plain, size: size.filter(|_| terminal) }
    }
}
