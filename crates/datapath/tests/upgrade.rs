//! An agent of this layout takes over from one of an older layout. Needs root.
//!
//! The older one is this one, its pins renamed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the lab's functions are tests too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use portcullis_abi::{ABI_VERSION, Counters, Mode, Response};
use portcullis_datapath::{
    Anchor, Attachment, Datapath, Gate, Hook, HookState, Method, Namespace, Opened, Settings, Site,
};

const SETTINGS: Settings =
    Settings { unbound: Mode::Enforce, event_rate: 10, event_burst: 20, endpoints: 64 };

fn attempt(command: &str) -> Option<String> {
    let words: Vec<&str> = command.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect(command);
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(command: &str) -> String {
    attempt(command).unwrap_or_else(|| panic!("`{command}` failed"))
}

/// A host namespace with `h0`, at its other end a workload's namespace with `w0`, and a directory of pins.
struct Lab {
    host: String,
    workload: String,
    base: PathBuf,
    namespace: Namespace,
    ifindex: u32,
}

impl Lab {
    fn new(name: &str) -> Self {
        let unique = format!("pcu-{}-{name}", std::process::id());
        let (host, workload) = (format!("{unique}-h"), format!("{unique}-w"));
        for netns in [&host, &workload] {
            run(&format!("ip netns add {netns}"));
        }
        run(&format!("ip -n {host} link add h0 type veth peer name w0 netns {workload}"));
        for (netns, name, last) in [(&host, "h0", 1), (&workload, "w0", 2)] {
            run(&format!("ip -n {netns} addr add 10.9.0.{last}/24 dev {name}"));
            run(&format!("ip -n {netns} link set {name} address 02:00:00:00:00:0{last} up"));
            let other = 3 - last;
            let entry = format!("10.9.0.{other} lladdr 02:00:00:00:00:0{other} dev {name}");
            run(&format!("ip -n {netns} neigh replace {entry} nud permanent"));
        }
        let namespace = Namespace::open(Path::new(&format!("/run/netns/{host}"))).unwrap();
        let line = run(&format!("ip -n {host} -o link show dev h0"));
        let ifindex = line.split(':').next().unwrap().parse().unwrap();
        Self { host, workload, base: PathBuf::from(format!("/sys/fs/bpf/{unique}")), namespace, ifindex }
    }

    fn open(&self) -> Opened {
        Datapath::open(&self.base, SETTINGS).expect("loading the kernel side")
    }

    fn site(&self, datapath: &Datapath) -> Site {
        let method = if datapath.features().tcx { Method::Tcx } else { Method::Clsact };
        Site { ifindex: self.ifindex, hook: Hook::Ingress, method }
    }

    fn attach(&self, datapath: &mut Datapath) -> Attachment {
        datapath.attach(&self.namespace, self.site(datapath), Gate::Ethernet).unwrap().0
    }

    fn anchor(&self) -> Anchor {
        Anchor { netns: self.namespace.inode(), ifindex: self.ifindex }
    }

    /// Makes what is pinned look as if an older agent had left it.
    fn age(&self) {
        fs::rename(self.base.join(format!("v{ABI_VERSION}")), self.older()).unwrap();
    }

    fn older(&self) -> PathBuf {
        self.base.join("v1")
    }

    /// Programs on the hook that are there by links.
    fn linked(&self, datapath: &Datapath) -> usize {
        if datapath.features().tcx {
            datapath.programs_on(&self.namespace, self.site(datapath)).unwrap().len()
        } else {
            0
        }
    }

    /// Frames that the workload has sent, and those that reached the host's stack.
    fn seen(&self) -> (u64, u64) {
        let counters = run(&format!("ip -n {} -s link show dev w0", self.workload));
        let (_, counters) = counters.split_once("TX:").expect("counters");
        let sent = counters.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap();
        let snmp = run(&format!("nsenter --net=/run/netns/{} cat /proc/net/snmp", self.host));
        let mut lines = snmp.lines().filter(|line| line.starts_with("Icmp:"));
        let column = lines.next().unwrap().split_whitespace().position(|name| name == "InEchos");
        let received = lines.next().unwrap().split_whitespace().nth(column.unwrap()).unwrap();
        (sent.parse().unwrap(), received.parse().unwrap())
    }

    /// Waits until the workload has sent so many more.
    fn wait_for_frames(&self, more: u64) {
        let (before, started) = (self.seen().0, Instant::now());
        while self.seen().0 < before + more {
            assert!(started.elapsed() < Duration::from_secs(60), "the workload sends nothing");
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for netns in [&self.host, &self.workload] {
            attempt(&format!("ip netns del {netns}"));
        }
        let _nothing_left = fs::remove_dir(&self.base);
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _has_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Interfaces without a binding may send nothing here, and nothing arrives: neither under the old programs,
/// nor under both, nor under the new ones.
#[test]
fn old_programs_go_when_the_new_ones_stand_and_not_before() {
    let lab = Lab::new("gap");
    let mut old = lab.open();
    let old_gate = lab.attach(&mut old.datapath);
    drop((old_gate, old));
    lab.age();
    let flood = ["ping", "-q", "-n", "-i", "0.001", "-s", "8", "10.9.0.1"];
    let netns = format!("--net=/run/netns/{}", lab.workload);
    let flood = Command::new("nsenter").arg(netns).args(flood).stdout(Stdio::null()).spawn();
    let _flood = Running(flood.expect("ping"));
    lab.wait_for_frames(100);

    let mut new = lab.open();
    assert!(!new.adopted && new.replaced.is_none());
    lab.wait_for_frames(100);
    let gate = lab.attach(&mut new.datapath);
    let of_links = usize::from(new.datapath.features().tcx);
    assert_eq!(lab.linked(&new.datapath), 2 * of_links);
    lab.wait_for_frames(100);
    assert_eq!(new.datapath.retire_older(), of_links);
    assert_eq!(lab.linked(&new.datapath), of_links);
    assert_eq!(new.datapath.states(&lab.namespace, &[&gate]).unwrap(), [HookState::First]);
    assert!(!lab.older().exists());
    lab.wait_for_frames(100);
    assert_eq!(lab.seen().1, 0);
    assert_eq!(new.datapath.retire_older(), 0);
    new.datapath.detach(Some(&lab.namespace), gate).unwrap();
    new.datapath.unpin_all();
}

#[test]
fn counters_and_the_journal_come_along() {
    let lab = Lab::new("carry");
    let old = lab.open();
    let mut counters = Counters::default();
    (counters.dropped.packets, counters.reasons[1]) = (7, 7);
    old.tables.set_counters(3, &counters).unwrap();
    old.tables.write_journal(3, b"web").unwrap();
    drop(old);
    lab.age();
    let new = lab.open();
    assert_eq!(new.tables.counters(3).unwrap(), counters);
    assert_eq!(new.tables.journal().unwrap()[&3], b"web");
    new.datapath.retire_older();
    new.datapath.unpin_all();
}

#[test]
fn taking_everything_down_takes_older_layouts_down_too() {
    let lab = Lab::new("down");
    let mut old = lab.open();
    let old_gate = lab.attach(&mut old.datapath);
    drop((old_gate, old));
    lab.age();
    let mut new = lab.open();
    let gate = lab.attach(&mut new.datapath);
    new.tables.point(lab.anchor(), portcullis_abi::HELD_BINDING).unwrap();
    drop(gate);
    new.datapath.take_down(&new.tables).unwrap();
    assert_eq!(lab.linked(&new.datapath), 0);
    assert!(!lab.older().exists() && !lab.base.join(format!("v{ABI_VERSION}")).exists());
}

#[test]
fn a_quarantine_survives_tables_of_another_size() {
    let lab = Lab::new("size");
    let old = lab.open();
    let entry = portcullis_abi::Endpoint { slot: 5, ..Default::default() };
    let entry = entry.with_threshold(1, 1000, Response::Quarantine);
    old.tables.write_binding(2, &entry, &[], &[]).unwrap();
    // As the kernel does at the threshold; `tests/conduct.rs` has it do so.
    let mut conduct = old.tables.conduct(5).unwrap();
    (conduct.attempts, conduct.tripped_ns, conduct.tripped_answer) = (1, 1, Response::Quarantine as u8);
    old.tables.set_conduct(5, &conduct).unwrap();
    drop(old);
    let new = Datapath::open(&lab.base, Settings { endpoints: 128, ..SETTINGS }).unwrap();
    assert!(new.replaced.is_some());
    new.tables.write_binding(2, &entry, &[], &[]).unwrap();
    new.tables.point(lab.anchor(), 2).unwrap();
    assert_eq!(new.tables.endpoint(2).unwrap().quarantine, 1);
    new.datapath.unpin_all();
}
