//! From a spec as written to one that can be bound.
//!
//! The types of the fields refuse what no binding may hold; here stands what a spec must keep to
//! as a whole, and what a state must keep to over all its specs.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;

use thiserror::Error;

use crate::address::{AddressBinding, MacAddress};
use crate::api::State;
use crate::model::{EndpointSpec, InterfaceRef, Permission};

/// Most addresses and prefixes of one endpoint.
pub const MAX_ADDRESSES: usize = 4096;
/// Most MACs of one endpoint.
pub const MAX_MACS: usize = 64;
/// Most ethertypes of one endpoint.
pub const MAX_ETHERTYPES: usize = 64;
/// Longest endpoint name, in bytes.
pub const MAX_NAME_LEN: usize = 253;
/// Longest interface name, in bytes (`IFNAMSIZ` less its terminator, netdevice(7)).
pub const MAX_INTERFACE_NAME_LEN: usize = 15;

/// A spec that keeps to every rule; nothing in it is listed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidSpec(EndpointSpec);

impl ValidSpec {
    /// The spec.
    #[must_use]
    pub fn into_inner(self) -> EndpointSpec {
        self.0
    }
}

impl Deref for ValidSpec {
    type Target = EndpointSpec;
    fn deref(&self) -> &EndpointSpec {
        &self.0
    }
}

impl AsRef<EndpointSpec> for ValidSpec {
    fn as_ref(&self) -> &EndpointSpec {
        &self.0
    }
}

impl From<ValidSpec> for EndpointSpec {
    fn from(spec: ValidSpec) -> Self {
        spec.0
    }
}

impl TryFrom<EndpointSpec> for ValidSpec {
    type Error = SpecErrors;
    fn try_from(spec: EndpointSpec) -> Result<Self, SpecErrors> {
        spec.validate()
    }
}

impl EndpointSpec {
    /// Takes out what is listed twice and checks the spec as a whole.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first thing.
    pub fn validate(mut self) -> Result<ValidSpec, SpecErrors> {
        remove_duplicates(&mut self.addresses);
        remove_duplicates(&mut self.macs);
        remove_duplicates(&mut self.allow);
        remove_duplicates(&mut self.vlans);
        remove_duplicates(&mut self.ethertypes);
        let mut errors = Vec::new();
        errors.extend(check_name(&self.name).err());
        errors.extend(check_interface(&self.interface.name).err());
        errors.extend(self.interface.netns.as_deref().and_then(|path| check_netns(path).err()));
        self.check_addresses(&mut errors);
        self.check_limits(&mut errors);
        if errors.is_empty() { Ok(ValidSpec(self)) } else { Err(SpecErrors { endpoint: self.name, errors }) }
    }

    fn check_addresses(&self, errors: &mut Vec<SpecError>) {
        let loopback = self.interface.is_loopback();
        // `lo` gets the addresses of its namespace.
        if self.addresses.is_empty() && !loopback && !self.allow.contains(&Permission::DhcpClient) {
            errors.push(SpecError::NoAddress);
        }
        if loopback {
            return;
        }
        for address in self.addresses.iter().filter(|a| a.is_loopback()) {
            errors.push(SpecError::LoopbackAddress { address: *address, interface: self.interface.clone() });
        }
        for mac in self.macs.iter().filter(|m| m.is_zero()) {
            errors.push(SpecError::ZeroMac { mac: *mac, interface: self.interface.clone() });
        }
    }

    fn check_limits(&self, errors: &mut Vec<SpecError>) {
        for (what, count, max) in [
            ("addresses", self.addresses.len(), MAX_ADDRESSES),
            ("MACs", self.macs.len(), MAX_MACS),
            ("ethertypes", self.ethertypes.len(), MAX_ETHERTYPES),
        ] {
            if count > max {
                errors.push(SpecError::TooMany { what, count, max });
            }
        }
    }
}

impl State {
    /// Validates every endpoint, and that no name stands twice.
    ///
    /// # Errors
    /// The errors of every endpoint that has some.
    pub fn validate(self) -> Result<Vec<ValidSpec>, Vec<SpecErrors>> {
        let mut names = BTreeSet::new();
        let (mut specs, mut errors) = (Vec::new(), Vec::new());
        for spec in self.endpoints {
            if !names.insert(spec.name.clone()) {
                errors.push(SpecErrors { endpoint: spec.name, errors: vec![SpecError::NameTwice] });
                continue;
            }
            match spec.validate() {
                Ok(spec) => specs.push(spec),
                Err(e) => errors.push(e),
            }
        }
        if errors.is_empty() { Ok(specs) } else { Err(errors) }
    }
}

/// Whether `name` may be an endpoint's name.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_name(name: &str) -> Result<(), SpecError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_./:".contains(&b);
    // A dash in front would be taken for an option on the command line.
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() <= MAX_NAME_LEN && name.bytes().all(legal) {
        Ok(())
    } else {
        Err(SpecError::Name { name: shown(name) })
    }
}

/// Whether `name` may be an interface's name: the kernel's own rule (`dev_valid_name`, net/core/dev.c).
///
/// # Errors
/// Says what is wrong with it.
pub fn check_interface(name: &str) -> Result<(), SpecError> {
    let legal = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
    let len = (1..=MAX_INTERFACE_NAME_LEN).contains(&name.len());
    if len && name != "." && name != ".." && name.chars().all(legal) {
        Ok(())
    } else {
        Err(SpecError::Interface { name: shown(name) })
    }
}

fn check_netns(path: &str) -> Result<(), SpecError> {
    let plain = !path.contains('\0') && !path.split('/').any(|part| part == "..");
    if path.starts_with('/') && path.len() > 1 && plain {
        Ok(())
    } else {
        Err(SpecError::Netns { path: shown(path) })
    }
}

/// Keeps the first of each, and the order: the first address is the one that the kernel checks fastest.
fn remove_duplicates<T: Copy + Ord>(items: &mut Vec<T>) {
    let mut seen = BTreeSet::new();
    items.retain(|item| seen.insert(*item));
}

fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// One thing that is wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// Not a name.
    #[error(
        "{name} cannot be an endpoint's name: use 1 to {MAX_NAME_LEN} letters, digits, - _ . / : with a letter or digit in front"
    )]
    Name {
        /// The name, quoted.
        name: String,
    },
    /// The name of another endpoint of the same state.
    #[error("this name stands twice: give each endpoint its own")]
    NameTwice,
    /// Not an interface name.
    #[error(
        "{name} cannot be an interface's name: write 1 to {MAX_INTERFACE_NAME_LEN} bytes without /, : or spaces, as `ip link` shows it (without @…)"
    )]
    Interface {
        /// The name, quoted.
        name: String,
    },
    /// Not a path of a namespace.
    #[error("{path} cannot be a network namespace: write an absolute path such as /run/netns/web")]
    Netns {
        /// The path, quoted.
        path: String,
    },
    /// Nothing to send from.
    #[error("it has no address: give it one with --address, or allow dhcp-client if it gets one by DHCP")]
    NoAddress,
    /// A loopback address on another interface.
    #[error(
        "{address} is a loopback address, which never leaves its host: bind it to interface lo, not to {interface}"
    )]
    LoopbackAddress {
        /// The address.
        address: AddressBinding,
        /// The interface.
        interface: InterfaceRef,
    },
    /// The MAC of loopback frames on another interface.
    #[error(
        "{mac} is only for interface lo: give the MAC of the workload behind {interface}, or none to have it learned"
    )]
    ZeroMac {
        /// The MAC.
        mac: MacAddress,
        /// The interface.
        interface: InterfaceRef,
    },
    /// More than the tables should hold for one endpoint.
    #[error(
        "{count} {what} are too many for one endpoint (at most {max}): bind prefixes instead, or split it"
    )]
    TooMany {
        /// What.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        max: usize,
    },
}

/// Everything that is wrong with one spec; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct SpecErrors {
    /// Name of the endpoint, as written.
    pub endpoint: String,
    /// What is wrong.
    pub errors: Vec<SpecError>,
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint {}: ", shown(&self.endpoint))?;
        for (i, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
