//! The chained CNI plugin, and what puts it into a network configuration.
//!
//! A runtime executes the plugin last in a chain, when the container's interface has its addresses and no
//! process of the container runs yet. [`run()`] reads what the chain made, finds the host side of the pair,
//! hands both to the agent, and returns when the binding is in the kernel: the first frame of the
//! container's life is already checked. It is pure apart from that: what it is to print it returns.
//!
//! [`install`] edits configuration files of others: as text, so that nothing but our entry changes.
//!
//! Implements the CNI specification 1.1.0 and speaks every version since 0.3.0, the first with chains.
//! Must not know the agent's insides, only its API; and must start fast: no runtime, no logging.
#![forbid(unsafe_code)]

mod agent;
mod config;
mod environment;
mod error;
mod host_side;
pub mod install;
mod operation;
mod result;
mod run;
mod version;

pub use error::{CniError, Code};
pub use run::{Answer, is_plugin_call, run};
pub use version::Version;

/// What configurations call the plugin: the `type` of its entry and the name of its file.
pub const PLUGIN_TYPE: &str = "portcullis";

/// Where the agent listens unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/portcullis/portcullis.sock";

/// What it says of itself to a person who starts it.
#[must_use]
pub fn about() -> String {
    let versions: Vec<&str> = Version::ALL.iter().map(|version| version.as_str()).collect();
    format!(
        "Portcullis CNI plugin {}: binds each container's interface to its addresses, last in a chain.\n\
         CNI protocol versions supported: {}\n\
         Container runtimes run it; `portcullis cni install` puts it into their network configuration.\n",
        env!("CARGO_PKG_VERSION"),
        versions.join(", ")
    )
}
