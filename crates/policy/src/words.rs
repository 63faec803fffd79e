//! The model's words as text (for the command line and messages) and as the kernel's numbers.

use std::fmt;
use std::str::FromStr;

use portcullis_abi::Allow;
use thiserror::Error;

use crate::api::{
    ActionOutcome, EntryAction, EntryProtocol, FragmentMatch, Hook, MapState, PlaceState, RuleAction,
    SourceState, XdpMode,
};
use crate::guard::{Response, Termination};
use crate::model::{Direction, InterfaceRef, Mode, Owner, Permission, UnboundPolicy};

/// A text that is none of the words that may stand there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown {what} {text:?}: write one of {known}")]
pub struct UnknownWord {
    what: &'static str,
    text: String,
    known: String,
}

/// `ALL`, `name()`, `Display` and `FromStr` of a plain enum; the words are serde's.
macro_rules! words {
    ($type:ident, $what:literal, $($variant:ident = $word:literal),+ $(,)?) => {
        impl $type {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in files, in the API and on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|w| w.name() == text).ok_or_else(|| UnknownWord {
                    what: $what,
                    text: text.chars().take(60).collect(),
                    known: [$($word),+].join(", "),
                })
            }
        }
    };
}

words!(Mode, "mode", Enforce = "enforce", Audit = "audit", Off = "off");
words!(Direction, "direction", Ingress = "ingress", Egress = "egress");
words!(
    Owner,
    "owner",
    Api = "api",
    File = "file",
    Cni = "cni",
    Cri = "cri",
    Docker = "docker",
    Podman = "podman",
    Kubernetes = "kubernetes",
);
words!(UnboundPolicy, "policy for unbound interfaces", Allow = "allow", Audit = "audit", Drop = "drop");
words!(
    Permission,
    "permission",
    DhcpClient = "dhcp-client",
    DhcpServer = "dhcp-server",
    Router = "router",
    AnyVlan = "any-vlan",
    AnyEthertype = "any-ethertype",
    Tunnel = "tunnel",
    NoSourceRoute = "no-source-route",
);

words!(Response, "response", Report = "report", Quarantine = "quarantine", Terminate = "terminate",);
words!(Termination, "way to end a container", Kill = "kill", Stop = "stop", Restart = "restart");
words!(
    ActionOutcome,
    "outcome",
    Done = "done",
    DryRun = "dry-run",
    Withheld = "withheld",
    Failed = "failed",
    Requested = "requested",
);
words!(
    SourceState,
    "state of a source",
    Absent = "absent",
    Connecting = "connecting",
    Connected = "connected",
    Failing = "failing",
);
words!(
    MapState,
    "state",
    Bound = "bound",
    Quarantined = "quarantined",
    Unbound = "unbound",
    Held = "held",
    Orphan = "orphan",
    HostNetwork = "host-network",
    Shared = "shared",
    NoNetwork = "no-network",
    NotProtectable = "not-protectable",
);

words!(EntryAction, "action of an entry", Block = "block", Allow = "allow");
words!(EntryProtocol, "protocol of an entry", Tcp = "tcp", Udp = "udp", Icmp = "icmp", Other = "other");
words!(RuleAction, "action", Drop = "drop", Pass = "pass", Limit = "limit", Log = "log");
words!(FragmentMatch, "kind of fragments", Any = "any", First = "first", Later = "later", None = "none");
words!(Hook, "hook", Xdp = "xdp", Tc = "tc");
words!(XdpMode, "XDP mode", Native = "native", Generic = "generic");
words!(PlaceState, "state of a place", Active = "active", Waiting = "waiting", Failed = "failed");

impl Permission {
    /// The bit in [`portcullis_abi::Endpoint::allow`].
    #[must_use]
    pub const fn bit(self) -> u32 {
        match self {
            Self::DhcpClient => Allow::DHCP_CLIENT,
            Self::DhcpServer => Allow::DHCP_SERVER,
            Self::Router => Allow::ROUTER,
            Self::AnyVlan => Allow::ANY_VLAN,
            Self::AnyEthertype => Allow::ANY_ETHERTYPE,
            Self::Tunnel => Allow::TUNNEL,
            Self::NoSourceRoute => Allow::NO_SOURCE_ROUTE,
        }
    }
}

impl From<Mode> for portcullis_abi::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Enforce,
            Mode::Audit => Self::Audit,
            Mode::Off => Self::Off,
        }
    }
}

impl From<portcullis_abi::Mode> for Mode {
    fn from(mode: portcullis_abi::Mode) -> Self {
        match mode {
            portcullis_abi::Mode::Enforce => Self::Enforce,
            portcullis_abi::Mode::Audit => Self::Audit,
            portcullis_abi::Mode::Off => Self::Off,
        }
    }
}

impl From<UnboundPolicy> for portcullis_abi::Mode {
    /// An interface without a binding is an endpoint that may claim nothing.
    fn from(policy: UnboundPolicy) -> Self {
        match policy {
            UnboundPolicy::Allow => Self::Off,
            UnboundPolicy::Audit => Self::Audit,
            UnboundPolicy::Drop => Self::Enforce,
        }
    }
}

impl From<Direction> for portcullis_abi::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self::Ingress,
            Direction::Egress => Self::Egress,
        }
    }
}

impl From<portcullis_abi::Direction> for Direction {
    fn from(direction: portcullis_abi::Direction) -> Self {
        match direction {
            portcullis_abi::Direction::Ingress => Self::Ingress,
            portcullis_abi::Direction::Egress => Self::Egress,
        }
    }
}

impl fmt::Display for InterfaceRef {
    /// `eth0`, or `eth0 in /run/netns/web`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.netns {
            None => f.pad(&self.name),
            Some(netns) => f.pad(&format!("{} in {netns}", self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are the ones that serde writes and reads.
    fn check<T>(all: &[T])
    where
        T: Copy + fmt::Display + fmt::Debug + PartialEq + serde::Serialize + FromStr<Err = UnknownWord>,
    {
        for word in all {
            assert_eq!(serde_json::to_string(word).unwrap(), format!("\"{word}\""));
            assert_eq!(word.to_string().parse(), Ok(*word));
        }
    }

    #[test]
    fn words_are_serdes_words() {
        check(Mode::ALL);
        check(Direction::ALL);
        check(Owner::ALL);
        check(UnboundPolicy::ALL);
        check(Permission::ALL);
        check(Response::ALL);
        check(Termination::ALL);
        check(ActionOutcome::ALL);
        check(SourceState::ALL);
        check(MapState::ALL);
        assert_eq!(
            "strict".parse::<Mode>().unwrap_err().to_string(),
            "unknown mode \"strict\": write one of enforce, audit, off"
        );
    }

    #[test]
    fn conversions_to_the_kernel_and_back_are_the_identity() {
        for mode in Mode::ALL {
            assert_eq!(Mode::from(portcullis_abi::Mode::from(*mode)), *mode);
            assert_eq!(portcullis_abi::Mode::from(*mode).name(), mode.name());
        }
        for direction in Direction::ALL {
            assert_eq!(Direction::from(portcullis_abi::Direction::from(*direction)), *direction);
            assert_eq!(portcullis_abi::Direction::from(*direction).name(), direction.name());
        }
    }

    #[test]
    fn permission_bits_are_apart_from_each_other() {
        let bits: u32 = Permission::ALL.iter().fold(0, |bits, p| {
            assert_eq!(bits & p.bit(), 0, "{p}");
            bits | p.bit()
        });
        assert_eq!(bits.count_ones() as usize, Permission::ALL.len());
    }
}
