//! What is kept of an endpoint, and its form in bytes.

use jiff::Timestamp;
use portcullis_policy::address::AddressBinding;
use portcullis_policy::model::{EndpointSpec, Mode, Owner};
use serde::{Deserialize, Serialize};

/// Version of the form in bytes. A form that an older agent could not read gets a new number.
const VERSION: u32 = 2;

/// An endpoint as the agent remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Stable id.
    pub id: String,
    /// What was asked for.
    pub spec: EndpointSpec,
    /// By whom.
    pub owner: Owner,
    /// When it was first bound.
    pub since: Timestamp,
    /// Its counter slot.
    pub slot: u32,
    /// Where a source found it; none: it was bound by hand.
    pub origin: Option<Origin>,
}

/// Where a source found an endpoint. It lives as long as its interface does: whatever gets that name or that
/// index afterwards is another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the source.
    pub source: String,
    /// Index of the interface, in the namespace that the spec names.
    pub index: u32,
    /// The workload's network namespace, where the source told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// The addresses that the source told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressBinding>,
    /// The mode that somebody set by hand; it wins over policies and the source's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// A record as JSON; the version comes first so that it can be read before all else.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<S> {
    version: u32,
    id: String,
    owner: Owner,
    since: Timestamp,
    slot: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
    spec: S,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Record {
    /// The record in bytes: JSON with a version, for the state file and the kernel's journal alike.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let written = Written {
            version: VERSION,
            id: self.id.clone(),
            owner: self.owner,
            since: self.since,
            slot: self.slot,
            origin: self.origin.clone(),
            spec: &self.spec,
        };
        serde_json::to_vec(&written).map_err(|e| RecordError::Unreadable(e.to_string()))
    }

    /// Reads a record from bytes. Zeros at the end are padding: the journal keeps chunks of one size.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let bytes = &bytes[..len];
        let unreadable = |e: serde_json::Error| RecordError::Unreadable(e.to_string());
        let Versioned { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if version > VERSION {
            return Err(RecordError::Newer(version));
        }
        let written: Written<EndpointSpec> = serde_json::from_slice(bytes).map_err(unreadable)?;
        let Written { id, owner, since, slot, origin, spec, .. } = written;
        Ok(Self { id, spec, owner, since, slot, origin })
    }
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not what an agent ever wrote.
    #[error("not a record of an endpoint: {0}")]
    Unreadable(String),
    /// A newer agent wrote it.
    #[error("a newer agent wrote it (form {0}, this one knows {VERSION}): start the newer agent again")]
    Newer(u32),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    #[test]
    fn bytes_and_back() {
        let before = record(7);
        let mut bytes = before.encode().unwrap();
        assert_eq!(Record::decode(&bytes).unwrap(), before);
        bytes.resize(4096, 0);
        assert_eq!(Record::decode(&bytes).unwrap(), before);
    }

    /// The form is a promise to later versions: what stands here must be readable for good.
    #[test]
    fn version_1_stays_readable() {
        let text = r#"{"version":1,"id":"e-1","owner":"api","since":"2026-11-21T10:00:00Z","slot":3,
            "spec":{"name":"web","interface":{"name":"veth1"},"addresses":["10.0.0.2"]}}"#;
        let record = Record::decode(text.as_bytes()).unwrap();
        assert_eq!((record.id.as_str(), record.slot, record.owner), ("e-1", 3, Owner::Api));
        assert_eq!(record.spec.interface.name, "veth1");
        assert_eq!(record.since.to_string(), "2026-11-21T10:00:00Z");
    }

    #[test]
    fn what_is_no_record_is_told_from_what_is_newer() {
        for bad in [&b""[..], b"\0\0", b"{}", b"[1]", b"\xff", br#"{"version":1}"#] {
            assert!(matches!(Record::decode(bad), Err(RecordError::Unreadable(_))), "{bad:?}");
        }
        let newer = br#"{"version":3,"anything":true}"#;
        assert_eq!(Record::decode(newer), Err(RecordError::Newer(3)));
    }
}
