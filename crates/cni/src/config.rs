//! What the runtime says on standard input: our entry of the configuration, and what the chain made so far.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_policy::api::CniValid;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::DEFAULT_SOCKET;
use crate::error::{CniError, Code};
use crate::version::{Version, unsupported};

/// How long an operation may take in all, and the most that it may be told: runtimes are promised an answer
/// within two seconds.
const DEFAULT_TIMEOUT_MS: u64 = 1500;
const MAX_TIMEOUT_MS: u64 = 1900;

/// What becomes of a container while the agent is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnAgentDown {
    /// It is not started.
    #[default]
    Fail,
    /// It is started without a binding.
    Pass,
}

/// Our own keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The agent's socket.
    pub(crate) socket: PathBuf,
    /// While it is away.
    pub(crate) on_agent_down: OnAgentDown,
    /// For all that an operation does.
    pub(crate) timeout: Duration,
    /// Bind an interface without a host side (macvlan, ipvlan, …) from inside its namespace.
    pub(crate) bind_inside: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            on_agent_down: OnAgentDown::default(),
            timeout: Duration::from_millis(DEFAULT_TIMEOUT_MS),
            bind_inside: false,
        }
    }
}

/// A configuration that is a JSON object; each key is read when it is needed, since what is wrong with one
/// must not keep an operation from succeeding that does not need it (`DEL` above all).
pub(crate) struct Config<'a> {
    keys: BTreeMap<String, &'a RawValue>,
    /// Its version.
    pub(crate) version: Version,
}

/// The version that a configuration claims, whatever else is wrong with it: errors are told in it.
pub(crate) fn claimed_version(input: &[u8]) -> Option<String> {
    let claimed = object(input).ok()?;
    serde_json::from_str(claimed.get("cniVersion")?.get()).ok()
}

fn object(input: &[u8]) -> Result<BTreeMap<String, &RawValue>, CniError> {
    let broken = |why: String| {
        let details = format!("standard input is not a JSON object: {why}");
        CniError::new(Code::Decode, "failed to decode the network configuration", details)
    };
    let text = std::str::from_utf8(input).map_err(|error| broken(error.to_string()))?;
    serde_json::from_str(text).map_err(|error| broken(error.to_string()))
}

impl<'a> Config<'a> {
    /// Reads a configuration.
    pub(crate) fn read(input: &'a [u8]) -> Result<Self, CniError> {
        let keys = object(input)?;
        let mut config = Self { keys, version: Version::NEWEST };
        // Without a version it is the first one, says the specification: before there were chains.
        let text: String = config.get("cniVersion")?.unwrap_or_else(|| "0.1.0".to_owned());
        config.version = Version::named(&text).ok_or_else(|| unsupported("cniVersion", &text))?;
        Ok(config)
    }

    /// The network's name.
    pub(crate) fn name(&self) -> Result<String, CniError> {
        let name: Option<String> = self.get("name")?;
        name.filter(|name| !name.is_empty()).ok_or_else(|| {
            CniError::config("the network configuration has no name", "every configuration states its `name`")
        })
    }

    /// What the plugins before us made, as it was written; none: there were none.
    pub(crate) fn previous(&self) -> Option<&'a str> {
        self.keys.get("prevResult").map(|raw| raw.get()).filter(|text| *text != "null")
    }

    /// The attachments that are still in use; none: the runtime does not say.
    pub(crate) fn valid_attachments(&self) -> Result<Option<Vec<CniValid>>, CniError> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(rename = "containerID")]
            container: String,
            ifname: String,
        }
        // Runtimes set both keys: the specification had the second one by mistake (libcni, issue 1101).
        let mut listed: Option<Vec<Wire>> = self.get("cni.dev/valid-attachments")?;
        if listed.is_none() {
            listed = self.get("cni.dev/attachments")?;
        }
        let valid = |wire: Wire| CniValid { container: wire.container, interface: wire.ifname };
        Ok(listed.map(|listed| listed.into_iter().map(valid).collect()))
    }

    /// Our own keys.
    pub(crate) fn options(&self) -> Result<Options, CniError> {
        let mut options = Options::default();
        if let Some(socket) = self.get::<PathBuf>("socket")? {
            if !socket.is_absolute() {
                let details = format!("`socket` is {}; write the whole path, from /", socket.display());
                return Err(CniError::config("the agent's socket is not a whole path", details));
            }
            options.socket = socket;
        }
        options.on_agent_down = self.get("onAgentDown")?.unwrap_or_default();
        options.bind_inside = self.get("bindInside")?.unwrap_or_default();
        if let Some(timeout_ms) = self.get::<u64>("timeoutMs")? {
            if !(1..=MAX_TIMEOUT_MS).contains(&timeout_ms) {
                let details = format!("`timeoutMs` is {timeout_ms}; write 1 to {MAX_TIMEOUT_MS}");
                return Err(CniError::config("the time limit is out of range", details));
            }
            options.timeout = Duration::from_millis(timeout_ms);
        }
        Ok(options)
    }

    /// Our own keys as far as they can be read: a container that is to go must not be kept by a typing error.
    pub(crate) fn lenient_options(&self) -> Options {
        self.options().unwrap_or_else(|_| {
            let socket = self.get("socket").ok().flatten().filter(|socket: &PathBuf| socket.is_absolute());
            Options { socket: socket.unwrap_or_else(|| DEFAULT_SOCKET.into()), ..Options::default() }
        })
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, CniError> {
        let Some(raw) = self.keys.get(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|error| {
            let shown: String = raw.get().chars().take(80).collect();
            CniError::config(format!("`{key}` is not valid"), format!("`{key}` is {shown}: {error}"))
        })
    }
}
