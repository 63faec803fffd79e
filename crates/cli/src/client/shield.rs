//! The shield: places, blocklist, rules, flood guard.

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use portcullis_policy::api::{
    AddressTest, BlocklistChange, BlocklistChanged, BlocklistPage, GuardSpec, GuardView, ImportOutcome,
    PacketSpec, PacketVerdict, PlaceSpec, PlaceView, RuleSpec, RuleView, ShieldView,
};
use tokio::sync::mpsc;

use super::{Client, ClientError, NOTHING, encode, parse};

impl Client {
    /// The shield as a whole.
    pub fn shield(&self) -> Result<ShieldView, ClientError> {
        self.get("/api/v1/shield")
    }

    /// Puts it up; also answers whether it is new there.
    pub fn attach_shield(&self, spec: &PlaceSpec) -> Result<(PlaceView, bool), ClientError> {
        let (status, body) = self.send(Method::POST, "/api/v1/shield/places", Some(spec))?;
        Ok((parse(&body)?, status == StatusCode::CREATED))
    }

    /// Takes it away from a place.
    pub fn detach_shield(&self, id: &str) -> Result<PlaceView, ClientError> {
        parse(&self.send(Method::DELETE, &format!("/api/v1/shield/places/{}", encode(id)), NOTHING)?.1)
    }

    /// The flood guard.
    pub fn guard(&self) -> Result<GuardView, ClientError> {
        self.get("/api/v1/shield/guard")
    }

    /// Has the flood guard do this; none: it is off.
    pub fn put_guard(&self, spec: Option<&GuardSpec>) -> Result<GuardView, ClientError> {
        let method = if spec.is_some() { Method::PUT } else { Method::DELETE };
        parse(&self.send(method, "/api/v1/shield/guard", spec)?.1)
    }

    /// Lets a source go.
    pub fn unblock(&self, source: &str) -> Result<(), ClientError> {
        let path = format!("/api/v1/shield/guard/blocked?source={}", encode(source));
        self.send(Method::DELETE, &path, NOTHING).map(drop)
    }

    /// Changes entries of the blocklist.
    pub fn change_blocklist(&self, change: &BlocklistChange) -> Result<BlocklistChanged, ClientError> {
        parse(&self.send(Method::POST, "/api/v1/blocklist", Some(change))?.1)
    }

    /// A part of the blocklist; `query` begins with `?` where it is not empty.
    pub fn blocklist(&self, query: &str) -> Result<BlocklistPage, ClientError> {
        self.get(&format!("/api/v1/blocklist{query}"))
    }

    /// What becomes of an address.
    pub fn test_address(&self, address: std::net::IpAddr) -> Result<AddressTest, ClientError> {
        self.get(&format!("/api/v1/blocklist/test?address={}", encode(&address.to_string())))
    }

    /// Has a source say what comes in pieces; `query` begins with `?` where it is not empty.
    pub fn import(
        &self,
        source: &str,
        query: &str,
        pieces: mpsc::Receiver<std::io::Result<Bytes>>,
    ) -> Result<ImportOutcome, ClientError> {
        let path = format!("/api/v1/blocklist/sources/{}{query}", encode(source));
        parse(&self.upload(&path, pieces)?)
    }

    /// Takes a source's entries away; answers how many.
    pub fn remove_source(&self, source: &str) -> Result<serde_json::Value, ClientError> {
        let path = format!("/api/v1/blocklist/sources/{}", encode(source));
        parse(&self.send(Method::DELETE, &path, NOTHING)?.1)
    }

    /// All rules.
    pub fn rules(&self) -> Result<Vec<RuleView>, ClientError> {
        self.get("/api/v1/rules")
    }

    /// Puts a rule; `replace`: also where there is one of that name.
    pub fn put_rule(&self, rule: &RuleSpec, replace: bool, query: &str) -> Result<RuleView, ClientError> {
        let (method, path) = match replace {
            true => (Method::PUT, format!("/api/v1/rules/{}{query}", encode(&rule.name))),
            false => (Method::POST, format!("/api/v1/rules{query}")),
        };
        parse(&self.send(method, &path, Some(rule))?.1)
    }

    /// Takes a rule away.
    pub fn remove_rule(&self, name: &str, force: bool) -> Result<RuleView, ClientError> {
        let query = if force { "?force=true" } else { "" };
        parse(&self.send(Method::DELETE, &format!("/api/v1/rules/{}{query}", encode(name)), NOTHING)?.1)
    }

    /// What would become of a packet.
    pub fn test_packet(&self, packet: &PacketSpec) -> Result<PacketVerdict, ClientError> {
        parse(&self.send(Method::POST, "/api/v1/rules/test", Some(packet))?.1)
    }
}
