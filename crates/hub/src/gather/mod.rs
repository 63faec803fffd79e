//! Asks the agents: over TLS that pins both sides, bounded in number and time. An agent that is away is a gap that
//! shows, and nothing else.

mod events;
mod liveness;
mod peers;
mod totals;

pub use events::{Feed, Wanted, follow};
pub use liveness::Liveness;
pub use peers::{Peers, Unreachable};
pub use totals::Totals;
