//! The kernel side under a directory of its own, and frames through it by test run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use portcullis_abi::{Counters, Endpoint, FurtherKey, Mode, PrefixKey};
use portcullis_datapath::{Anchor, Datapath, Gate, Opened, Settings, TestFrame};
use portcullis_probe::cases::Identity;

/// Every namespace has the loopback interface under this index.
pub const LOOPBACK: u32 = 1;
/// Binding and slot of the endpoint under test.
pub const BINDING: u32 = 2;

/// What a program answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Handed on to the next program.
    Next,
    /// Dropped.
    Drop,
}

/// Tables and programs.
pub struct Kernel {
    pub opened: Opened,
    base: PathBuf,
    keep: bool,
}

/// Where this process pins things.
pub fn base(name: &str) -> PathBuf {
    PathBuf::from(format!("/sys/fs/bpf/portcullis-check-{}-{name}", std::process::id()))
}

impl Kernel {
    /// Fresh tables; gone when this is dropped.
    pub fn open(name: &str, settings: Settings) -> Result<Self> {
        Self::at(&base(name), settings)
    }

    /// The tables below a directory.
    pub fn at(base: &Path, settings: Settings) -> Result<Self> {
        let opened = Datapath::open(base, settings).context("opening the kernel side")?;
        Ok(Self { opened, base: base.to_owned(), keep: false })
    }

    /// Leaves everything pinned.
    pub fn keep(mut self) {
        self.keep = true;
    }

    /// Binds the loopback interface.
    pub fn bind(&self, endpoint: &Endpoint, further: &[FurtherKey], prefixes: &[PrefixKey]) -> Result<()> {
        self.bind_interface(LOOPBACK, endpoint, further, prefixes)
    }

    /// Binds an interface.
    pub fn bind_interface(
        &self,
        ifindex: u32,
        endpoint: &Endpoint,
        further: &[FurtherKey],
        prefixes: &[PrefixKey],
    ) -> Result<()> {
        let tables = &self.opened.tables;
        tables.write_binding(BINDING, endpoint, further, prefixes)?;
        let anchor = Anchor { netns: self.opened.datapath.primary(), ifindex };
        Ok(tables.point(anchor, BINDING)?)
    }

    /// Runs a frame; `None` where the kernel does not take it for a test run (shorter than its
    /// Ethernet header, since 6.17 than its IP header, or longer than a page).
    pub fn try_run(&mut self, gate: Gate, frame: &[u8], gso_size: u32) -> Result<Option<Action>> {
        const EINVAL: i32 = 22;
        let frame = TestFrame { bytes: frame, ifindex: LOOPBACK, gso_size };
        match self.opened.datapath.test(gate, frame, 1) {
            Ok(outcome) if outcome.frame != frame.bytes => bail!("the program changed the frame"),
            Ok(outcome) => match outcome.action {
                -1 => Ok(Some(Action::Next)),
                2 => Ok(Some(Action::Drop)),
                other => bail!("the program returned {other}"),
            },
            Err(error) if error.raw_os_error() == Some(EINVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs an Ethernet frame that the kernel must take.
    pub fn run(&mut self, frame: &[u8]) -> Result<Action> {
        self.try_run(Gate::Ethernet, frame, 0)?.context("the kernel refused the test run")
    }

    /// Runs a frame and fails where it comes to something else.
    pub fn expect(&mut self, what: &str, frame: &[u8], want: Action) -> Result<()> {
        let action = self.run(frame).with_context(|| what.to_owned())?;
        if action != want {
            bail!("{what}: {action:?} instead of {want:?}");
        }
        Ok(())
    }

    /// The endpoint's counters.
    pub fn counters(&self) -> Result<Counters> {
        Ok(self.opened.tables.counters(BINDING)?)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if !self.keep {
            self.opened.datapath.unpin_all();
            let _not_empty = std::fs::remove_dir(&self.base);
        }
    }
}

/// The entry that binds an identity's addresses.
pub fn endpoint(identity: &Identity, mode: Mode) -> Endpoint {
    Endpoint {
        mac: identity.mac,
        mode: mode as u8,
        ipv4: identity.ipv4.unwrap_or_default(),
        slot: BINDING,
        ipv6: identity.ipv6.unwrap_or_default(),
        link_local: identity.link_local,
        ..Endpoint::default()
    }
}
