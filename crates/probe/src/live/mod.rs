//! Sends the table from inside a network namespace and listens on the far side.
//!
//! Frames are sent only into the namespace that was named, from its own interface, and only
//! listened for elsewhere. On a network that stops nothing, a forgery has the effect of a forgery:
//! for some seconds a neighbour's ARP entry may be wrong.
//!
//! Where to listen matters. A packet socket for all protocols on the host's end of a pair sees a
//! frame before TC may drop it, so it proves nothing. Behind the gate are: the bridge itself
//! (which passes everything up while it is promiscuous), another container's interface, and
//! sockets for single ethertypes on the host's end, which the kernel serves after TC.

mod far;
mod learn;
mod listen;
mod namespace;
mod netlink;
mod send;
mod sys;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_abi::{Ipv4, Ipv6, Mac};

use crate::card::{Observed, Outcome, ScoreCard};
use crate::cases::{self, Case, Identity};
use learn::Target;
use listen::Listener;
use namespace::Namespace;
use send::Sender;

/// What to probe, and from where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The workload's network namespace; the caller's own where none is given.
    pub netns: Option<PathBuf>,
    /// The workload's interface in it.
    pub interface: String,
    /// Another namespace to listen in; else the far side is found over the other end of the pair.
    pub to: Option<PathBuf>,
    /// The interface to listen on there; else the first one that is not loopback.
    pub to_interface: Option<String>,
    /// Where the other end of the pair is; else the caller's namespace, the named ones and the
    /// first process's are searched.
    pub host_netns: Option<PathBuf>,
    /// What is known better than the namespace shows it.
    pub overrides: Overrides,
    /// How long to wait for the last frame.
    pub timeout: Duration,
}

impl Options {
    /// The interface of this name in the caller's namespace, everything else found by itself.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            netns: None,
            interface: interface.into(),
            to: None,
            to_interface: None,
            host_netns: None,
            overrides: Overrides::default(),
            timeout: Duration::from_secs(2),
        }
    }
}

/// Parts of the identity that are given instead of learned.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The bound MAC.
    pub mac: Option<Mac>,
    /// All bound addresses, link-local ones among them: nothing beyond these counts as honest.
    pub addresses: Option<Vec<std::net::IpAddr>>,
    /// The gateway's IPv4 address.
    pub gateway4: Option<Ipv4>,
    /// The gateway's IPv6 address.
    pub gateway6: Option<Ipv6>,
    /// The IPv4 address of a neighbour, to be claimed.
    pub neighbour4: Option<Ipv4>,
    /// The IPv6 address of a neighbour, to be claimed.
    pub neighbour6: Option<Ipv6>,
    /// The MAC of a neighbour, to be claimed.
    pub neighbour_mac: Option<Mac>,
    /// An IPv4 address of the node.
    pub node4: Option<Ipv4>,
    /// An IPv6 address of the node.
    pub node6: Option<Ipv6>,
}

/// What the probe is doing.
#[derive(Debug, Clone)]
pub enum Progress {
    /// The far side is found.
    FarSide(String),
    /// Own addresses and neighbours are known.
    Identity(Box<Identity>),
    /// A case is being sent.
    Case {
        /// Cases before this one.
        done: usize,
        /// All cases.
        total: usize,
        /// Its stable name.
        id: &'static str,
    },
    /// Everything is sent; late frames are waited for.
    Waiting,
}

/// Why the probe could not run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A namespace could not be opened or worked in.
    #[error("network namespace {path}: {source}; check the path, and that you are root")]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The interface is not there.
    #[error("network namespace {namespace} has no interface {interface}; it has: {present}")]
    NoInterface {
        /// Its name.
        interface: String,
        /// Where it was looked for.
        namespace: String,
        /// What is there.
        present: String,
    },
    /// The interface cannot carry the suite.
    #[error("interface {interface} {problem}")]
    Unsuitable {
        /// Its name.
        interface: String,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// Nobody knows where to listen.
    #[error(
        "cannot find where frames of {interface} come out: {problem}; name a place to listen with --to NETNS"
    )]
    NoFarSide {
        /// The workload's interface.
        interface: String,
        /// What was found instead.
        problem: String,
    },
    /// A packet socket failed.
    #[error("packet socket: {doing}: {source}; CAP_NET_RAW in both namespaces is needed")]
    Socket {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is nothing honest to compare with.
    #[error("interface {interface} has no address, so no honest frame can be told; give it one first")]
    NoAddress {
        /// The workload's interface.
        interface: String,
    },
}

/// Sends every case and tells what arrived.
///
/// Honest cases go first, so that what forgeries teach an open network does not lose them.
pub fn run(options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<ScoreCard, ProbeError> {
    let namespace = match &options.netns {
        Some(path) => Namespace::open(path)?,
        None => Namespace::current()?,
    };
    let target = Target::read(namespace, &options.interface)?;
    let far = far::find(&target, options)?;
    progress(Progress::FarSide(far.name.clone()));
    let identity = learn::identity(&target, &far, &options.overrides);
    let sentinel = cases::sentinel(&identity)
        .ok_or_else(|| ProbeError::NoAddress { interface: options.interface.clone() })?;
    progress(Progress::Identity(Box::new(identity.clone())));
    let cases = cases::suite(&identity);
    let mut listener = Listener::open(&far, &cases, &sentinel)?;
    let mut sender = Sender::open(&target)?;
    let refused = send_all(&cases, &mut sender, &mut listener, progress)?;
    progress(Progress::Waiting);
    listener.wait_for_sentinel(&mut sender, options.timeout)?;
    let outcomes = cases.iter().zip(refused).enumerate().map(|(i, (case, refused))| {
        let observed = refused.map_or_else(|| Observed::of(case, listener.seen(i)), Observed::NotSent);
        Outcome::new(case, observed)
    });
    Ok(ScoreCard::new(target.describe(), far.name.clone(), &identity, outcomes.collect()))
}

/// Sends the cases, the honest ones first; tells of each why it could not be sent.
fn send_all(
    cases: &[Case],
    sender: &mut Sender,
    listener: &mut Listener,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Option<String>>, ProbeError> {
    let mut refused = vec![None; cases.len()];
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|&i| !cases[i].expect.is_pass());
    for (done, i) in order.into_iter().enumerate() {
        let case = &cases[i];
        progress(Progress::Case { done, total: cases.len(), id: case.id });
        for frame in &case.frames {
            if let Err(error) = sender.send(case.via, frame) {
                refused[i] = Some(format!("the sending kernel refused it: {error}"));
                break;
            }
        }
        listener.drain()?;
    }
    Ok(refused)
}
