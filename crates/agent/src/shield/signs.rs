//! What events need to know of the shield, for readers that must not wait for it.

use std::collections::HashMap;

/// Names by numbers, as of the last change.
#[derive(Clone, Debug, Default)]
pub struct Signs {
    /// Places by network namespace and interface index: the interface's name, and the container it is of.
    pub places: HashMap<(u32, u32), Sign>,
    /// Rules by the number of their counters.
    pub rules: HashMap<u16, String>,
    /// Entries of the blocklist.
    pub entries: u64,
    /// What was dropped until the last look, which is a second ago at the most.
    pub counters: portcullis_policy::api::Counters,
    /// There is something to look after.
    pub is_busy: bool,
}

/// A place.
#[derive(Clone, Debug)]
pub struct Sign {
    /// Name of the interface.
    pub interface: String,
    /// Container, as the place names it.
    pub container: Option<String>,
}
