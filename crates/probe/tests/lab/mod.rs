//! A lab of network namespaces, gone with its value. Needs root and iproute2.
#![allow(clippy::unwrap_used, reason = "the lab's helpers are test code, outside of #[test] functions")]
#![allow(dead_code, reason = "every test program uses its own part of it")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_probe::{Observed, Options, Outcome, ScoreCard, run};

/// Namespaces of one test, gone with it.
pub struct Lab {
    prefix: String,
    names: Vec<&'static str>,
}

static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    pub fn new(names: &[&'static str]) -> Self {
        let prefix = format!("pc-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let lab = Self { prefix, names: names.to_vec() };
        for name in names {
            sh("ip", &["netns", "add", &lab.ns(name)]);
            lab.ip(name, "link set lo up");
        }
        lab
    }

    pub fn ns(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/run/netns").join(self.ns(name))
    }

    pub fn ip(&self, name: &str, line: &str) {
        let ns = self.ns(name);
        let mut args = vec!["-n", ns.as_str()];
        args.extend(line.split(' '));
        sh("ip", &args);
    }

    /// Index of an interface.
    pub fn index(&self, name: &str, interface: &str) -> u32 {
        let args = ["-n", &self.ns(name), "-o", "link", "show", interface];
        let output = Command::new("ip").args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(':').next().unwrap().parse().unwrap()
    }

    /// A container: eth0 in its namespace, `v<name>` in the host's, the addresses .N.
    pub fn container(&self, name: &'static str, n: u8) {
        let ns = self.ns(name);
        self.ip("host", &format!("link add v{name} type veth peer name eth0 netns {ns}"));
        self.ip(name, &format!("link set eth0 address 02:42:0a:4d:00:{n:02x}"));
        self.ip(name, &format!("addr add 10.77.0.{n}/24 dev eth0"));
        self.ip(name, &format!("addr add fd77::{n}/64 dev eth0 nodad"));
        self.ip(name, "link set eth0 up");
        self.ip("host", &format!("link set v{name} up"));
    }

    pub fn bridged() -> Self {
        let lab = Self::new(&["host", "c1", "c2"]);
        lab.ip("host", "link add br0 type bridge");
        lab.ip("host", "addr add 10.77.0.1/24 dev br0");
        lab.ip("host", "addr add fd77::1/64 dev br0 nodad");
        lab.ip("host", "link set br0 up");
        for (name, n) in [("c1", 2), ("c2", 9)] {
            lab.container(name, n);
            lab.ip("host", &format!("link set v{name} master br0"));
            lab.ip(name, "route add default via 10.77.0.1");
            lab.ip(name, "-6 route add default via fd77::1");
        }
        lab
    }

    pub fn options(&self, name: &str, interface: &str) -> Options {
        Options { netns: Some(self.path(name)), ..Options::new(interface) }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", &self.ns(name)]).status();
        }
    }
}

pub fn sh(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn probe(options: &Options) -> ScoreCard {
    run(options, &mut |_| {}).unwrap()
}

/// Ids of the outcomes that this holds for.
pub fn ids(card: &ScoreCard, wanted: impl Fn(&Outcome) -> bool) -> BTreeSet<&'static str> {
    card.outcomes.iter().filter(|o| wanted(o)).map(|o| o.id).collect()
}

pub fn assert_nothing_honest_lost(card: &ScoreCard) {
    let lost = ids(card, |o| o.expected == "pass" && o.observed != Observed::Passed);
    assert!(lost.is_empty(), "honest frames were lost: {lost:?}");
}
