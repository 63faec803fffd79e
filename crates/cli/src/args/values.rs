//! Values that come as text: the types of `policy` do the judging, so that a malformed one is
//! refused here with the words it is refused with everywhere.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use portcullis_abi::DropReason;
use portcullis_cni::install::OnAgentDown;
use portcullis_policy::api::{EntryProtocol, FragmentMatch, Hook, MapState, RuleAction, XdpMode};
use portcullis_policy::guard::{Response, Termination};
use portcullis_policy::model::{Direction, Mode, Owner, Permission, UnboundPolicy};
use serde::de::DeserializeOwned;
use serde::de::value::{Error, StringDeserializer};

/// One of `words`, as serde reads it.
fn word<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|text| T::deserialize(StringDeserializer::<Error>::new(text)))
}

/// One of the words of a type.
pub fn of<T>() -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static + Words,
{
    PossibleValuesParser::new(T::words())
        .try_map(|text| T::deserialize(StringDeserializer::<Error>::new(text)))
}

/// A type that is one of a few words.
pub trait Words {
    /// The words.
    fn words() -> Vec<&'static str>;
}

macro_rules! words {
    ($($type:ident),+) => {$(
        impl Words for $type {
            fn words() -> Vec<&'static str> {
                Self::ALL.iter().map(|word| word.name()).collect()
            }
        }
    )+};
}

words!(EntryProtocol, FragmentMatch, Hook, RuleAction, XdpMode);

/// A mode.
pub fn mode() -> impl TypedValueParser<Value = Mode> {
    word(&["enforce", "audit", "off"])
}

/// A direction.
pub fn direction() -> impl TypedValueParser<Value = Direction> {
    word(&["ingress", "egress"])
}

/// What an interface without a binding may do.
pub fn unbound() -> impl TypedValueParser<Value = UnboundPolicy> {
    word(&["allow", "audit", "drop"])
}

/// What becomes of a container while no agent answers.
pub fn on_agent_down() -> impl TypedValueParser<Value = OnAgentDown> {
    word(&["fail", "pass"])
}

/// A permission.
pub fn permission() -> impl TypedValueParser<Value = Permission> {
    word(&["dhcp-client", "dhcp-server", "router", "any-vlan", "any-ethertype", "tunnel", "no-source-route"])
}

/// What happens at the threshold.
pub fn response() -> impl TypedValueParser<Value = Response> {
    word(&["report", "quarantine", "terminate"])
}

/// How a container is ended.
pub fn termination() -> impl TypedValueParser<Value = Termination> {
    word(&["kill", "stop", "restart"])
}

/// A state of the map.
pub fn map_state() -> impl TypedValueParser<Value = MapState> {
    PossibleValuesParser::new(MapState::ALL.iter().map(|state| state.name()))
        .try_map(|text| text.parse::<MapState>())
}

/// A source.
pub fn owner() -> impl TypedValueParser<Value = Owner> {
    PossibleValuesParser::new(Owner::ALL.iter().map(|owner| owner.name()))
        .try_map(|text| text.parse::<Owner>())
}

/// A drop reason.
pub fn reason() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(DropReason::ALL.iter().map(|reason| reason.name()))
}

/// `key=value`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write a label as key=value".to_owned()),
    }
}

/// `2`, `1s`, `500ms`: not less than a tenth of a second, not more than an hour.
pub fn interval(text: &str) -> Result<Duration, String> {
    let bare = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let written = if bare { format!("{text}s") } else { text.to_owned() };
    let span: jiff::SignedDuration =
        written.parse().map_err(|_| "write a time such as 1s, 500ms or 2m".to_owned())?;
    let (least, most) = (jiff::SignedDuration::from_millis(100), jiff::SignedDuration::from_hours(1));
    if span < least || span > most {
        return Err("write a time from 100ms to 1h".to_owned());
    }
    span.try_into().map_err(|_| "write a time from 100ms to 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_with_and_without_a_unit() {
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "0", "-1s", "soon", "2h", "1.2.3"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_split_at_the_first_sign() {
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(label("a="), Ok(("a".into(), String::new())));
        assert!(label("a").is_err());
        assert!(label("=b").is_err());
    }
}
