//! The shield in the API: blocklist, rules, flood guard, and where it stands.

mod blocklist;
mod guard;
mod meaning;
mod packet;
mod place;
mod rate;
mod rule;
mod section;

pub use blocklist::{
    AddressTest, AddressVerdict, BlocklistChange, BlocklistChanged, BlocklistEntry, BlocklistPage,
    EntryAction, EntryKey, EntryProtocol, ImportOutcome, SourceView,
};
pub use guard::{BlockedSource, BlockingSpec, GuardSpec, GuardView, HalfOpenSpec, RateSpec};
pub use packet::PacketRecord;
pub use place::{Hook, PlaceSpec, PlaceState, PlaceView, ShieldView, XdpMode};
pub use rule::{
    BadRule, FragmentMatch, PacketSpec, PacketVerdict, Rate, RuleAction, RuleSpec, RuleView, SourcePrefix,
};
pub use section::ShieldSection;
