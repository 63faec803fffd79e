//! Results of plugins: what the chain before us made, and what we hand on.

use std::borrow::Cow;

use portcullis_policy::address::{AddressBinding, MacAddress};
use serde::Deserialize;
use serde_json::Value;

use crate::error::CniError;
use crate::version::{Version, unsupported};

/// A result, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(crate) struct Previous {
    #[serde(rename = "cniVersion")]
    cni_version: Option<String>,
    #[serde(default)]
    interfaces: Option<Vec<Interface>>,
    #[serde(default)]
    ips: Option<Vec<Ip>>,
}

/// An interface that a plugin made or touched.
#[derive(Debug, Deserialize)]
pub(crate) struct Interface {
    /// Its name.
    pub(crate) name: String,
    #[serde(default)]
    mac: Option<String>,
    /// The namespace it lies in; nothing: the host's.
    #[serde(default)]
    sandbox: Option<String>,
}

impl Interface {
    /// Whether it lies on the host.
    pub(crate) fn is_on_host(&self) -> bool {
        self.sandbox.as_ref().is_none_or(String::is_empty)
    }
}

#[derive(Debug, Deserialize)]
struct Ip {
    address: String,
    /// Which of the interfaces it is of; none: of all.
    #[serde(default)]
    interface: Option<usize>,
}

impl Previous {
    /// Reads a `prevResult`.
    pub(crate) fn read(text: &str) -> Result<Self, CniError> {
        serde_json::from_str(text).map_err(|error| {
            CniError::config(
                "prevResult is not valid",
                format!("the result of the plugins before us: {error}"),
            )
        })
    }

    /// Interfaces on the host that it names.
    pub(crate) fn on_host(&self) -> impl Iterator<Item = &Interface> {
        self.listed().iter().filter(|interface| interface.is_on_host())
    }

    /// The addresses of the container's interface of this name, without their networks' lengths: a container
    /// may use its address, not its neighbours'.
    pub(crate) fn addresses(&self, name: &str) -> Result<Vec<AddressBinding>, CniError> {
        let ips = self.ips.as_deref().unwrap_or_default();
        if ips.is_empty() {
            return Err(CniError::config(
                "prevResult has no ips",
                "no plugin before us gave the container an address, so there is nothing to bind it to; \
                 portcullis must come after the plugin that does",
            ));
        }
        let mut addresses = Vec::with_capacity(ips.len());
        for ip in ips {
            if self.is_of(ip, name)? {
                addresses.push(address(&ip.address)?);
            }
        }
        if addresses.is_empty() {
            let details =
                format!("every address in prevResult is of another interface than {name} (CNI_IFNAME)");
            return Err(CniError::config("prevResult has no address for this interface", details));
        }
        addresses.sort_unstable_by_key(ToString::to_string);
        addresses.dedup();
        Ok(addresses)
    }

    /// The MAC of the container's interface of this name, if it is told.
    pub(crate) fn mac(&self, name: &str) -> Result<Option<MacAddress>, CniError> {
        let inside = self.listed().iter().find(|interface| interface.name == name && !interface.is_on_host());
        let Some(text) = inside.and_then(|inside| inside.mac.as_deref()).filter(|mac| !mac.is_empty()) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error| {
            CniError::config("prevResult has a MAC that is none", format!("interface {name}: {error}"))
        })
    }

    fn listed(&self) -> &[Interface] {
        self.interfaces.as_deref().unwrap_or_default()
    }

    fn is_of(&self, ip: &Ip, name: &str) -> Result<bool, CniError> {
        let Some(index) = ip.interface else { return Ok(true) };
        let interface = self.listed().get(index).ok_or_else(|| {
            let count = self.listed().len();
            let details = format!("address {} is of interface {index}, and there are {count}", ip.address);
            CniError::config("prevResult contradicts itself", details)
        })?;
        Ok(interface.name == name && !interface.is_on_host())
    }
}

fn address(text: &str) -> Result<AddressBinding, CniError> {
    let host = text.split_once('/').map_or(text, |(host, _length)| host);
    host.parse().map_err(|error| {
        CniError::config("prevResult has an address that cannot be bound", format!("{text:?}: {error}"))
    })
}

/// The result to hand on: what came in, in the configuration's version. Text that needs no change stays as
/// it is, byte for byte.
pub(crate) fn handed_on<'a>(
    text: &'a str,
    previous: &Previous,
    version: Version,
) -> Result<Cow<'a, str>, CniError> {
    let claimed = previous.cni_version.as_deref();
    if claimed == Some(version.as_str()) {
        return Ok(Cow::Borrowed(text));
    }
    let claimed = claimed.unwrap_or(version.as_str());
    let before = Version::named(claimed).ok_or_else(|| unsupported("cniVersion of prevResult", claimed))?;
    let unreadable =
        |error: serde_json::Error| CniError::config("prevResult is not valid", error.to_string());
    let mut value: Value = serde_json::from_str(text).map_err(unreadable)?;
    convert(&mut value, before, version);
    serde_json::to_string(&value).map(Cow::Owned).map_err(unreadable)
}

/// Since 1.0.0 an address does not say its IP version any more; all else that differs is optional.
fn convert(result: &mut Value, before: Version, after: Version) {
    result["cniVersion"] = after.as_str().into();
    if before.addresses_have_versions() == after.addresses_have_versions() {
        return;
    }
    for ip in result["ips"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if after.addresses_have_versions() {
            let is_v6 =
                ip.get("address").and_then(Value::as_str).is_some_and(|address| address.contains(':'));
            ip.insert("version".to_owned(), if is_v6 { "6" } else { "4" }.into());
        } else {
            ip.remove("version");
        }
    }
}
