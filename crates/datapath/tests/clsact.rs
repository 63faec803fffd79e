//! Filters on the clsact qdisc, in namespaces of the test's own. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the lab's functions are tests too")]

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_abi::Mode;
use portcullis_datapath::{
    Attachment, Datapath, Error, Gate, Hook, HookState, Method, Namespace, Settings, Site,
};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Runs a command and gives its output; `None` if it fails.
fn attempt(command: &str) -> Option<String> {
    // A no-break space stands for one inside a word.
    let words: Vec<String> = command.split(' ').map(|word| word.replace('\u{a0}', " ")).collect();
    let output = Command::new(&words[0]).args(&words[1..]).output().expect(command);
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(command: &str) -> String {
    attempt(command).unwrap_or_else(|| panic!("`{command}` failed"))
}

/// Pins a loaded program of this number, as `bpftool prog pin` does, which not every machine has.
fn pin_program(id: u32, path: &str) -> std::io::Result<()> {
    let mut all = aya::programs::loaded_programs().flatten();
    let program = all.find(|program| program.id() == id).ok_or(std::io::ErrorKind::NotFound)?;
    let program = program.fd().map_err(std::io::Error::other)?;
    let path = std::ffi::CString::new(path)?;
    // What `BPF_OBJ_PIN` reads of `union bpf_attr`: the path's address, the descriptor, flags.
    let attributes = [path.as_ptr() as u64, program.as_fd().as_raw_fd() as u64];
    const OBJ_PIN: libc::c_int = 6;
    // SAFETY: the kernel reads as many bytes as are told, and the path up to its NUL; both outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, OBJ_PIN, attributes.as_ptr(), std::mem::size_of_val(&attributes))
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// A host namespace with `h0`, at its other end a workload's namespace with `w0`.
struct Lab {
    host: String,
    workload: String,
    base: PathBuf,
    datapath: Datapath,
    namespace: Namespace,
    ifindex: u32,
}

impl Lab {
    fn new(unbound: Mode) -> Self {
        let unique = format!("pc-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (host, workload) = (format!("{unique}-h"), format!("{unique}-w"));
        run(&format!("ip netns add {host}"));
        run(&format!("ip netns add {workload}"));
        run(&format!("ip -n {host} link add h0 type veth peer name w0 netns {workload}"));
        for (netns, name, last) in [(&host, "h0", 1), (&workload, "w0", 2)] {
            run(&format!("ip -n {netns} addr add 10.9.0.{last}/24 dev {name}"));
            run(&format!("ip -n {netns} link set {name} address 02:00:00:00:00:0{last} up"));
            let other = 3 - last;
            let entry = format!("10.9.0.{other} lladdr 02:00:00:00:00:0{other} dev {name}");
            run(&format!("ip -n {netns} neigh replace {entry} nud permanent"));
        }
        let base = PathBuf::from(format!("/sys/fs/bpf/{unique}"));
        let settings = Settings { unbound, ..Settings::default() };
        let datapath = Datapath::open(&base, settings).expect("loading the kernel side").datapath;
        let namespace = Namespace::open(&PathBuf::from(format!("/run/netns/{host}"))).unwrap();
        let index = run(&format!("nsenter --net=/run/netns/{host} cat /proc/net/dev_mcast"));
        let ifindex = index.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let index = words.next()?.parse().ok()?;
            (words.next()? == "h0").then_some(index)
        });
        let ifindex = ifindex.expect("the index of h0");
        Self { host, workload, base, datapath, namespace, ifindex }
    }

    fn site(&self, hook: Hook) -> Site {
        Site { ifindex: self.ifindex, hook, method: Method::Clsact }
    }

    fn attach(&mut self, hook: Hook, gate: Gate) -> Result<(Attachment, bool), Error> {
        let site = self.site(hook);
        self.datapath.attach(&self.namespace, site, gate)
    }

    fn state(&self, attachment: &Attachment) -> HookState {
        self.datapath.states(&self.namespace, &[attachment]).unwrap().remove(0)
    }

    fn put_first(&mut self, attachment: &mut Attachment) {
        self.datapath.put_first(&self.namespace, attachment).unwrap();
    }

    fn detach(&self, attachment: Attachment) {
        self.datapath.detach(Some(&self.namespace), attachment).unwrap();
    }

    fn tc(&self, arguments: &str) -> String {
        // `tc -n` would hide the mounted bpffs.
        run(&format!("nsenter --net=/run/netns/{} tc {arguments}", self.host))
    }

    /// The lines about filters (not the heads of their lists) in the order of running.
    fn filters(&self, hook: &str) -> Vec<String> {
        let all = self.tc(&format!("filter show dev h0 {hook}"));
        let is_filter = |line: &&str| line.contains(" handle ") || line.contains(" fh 800::");
        all.lines().filter(is_filter).map(str::to_owned).collect()
    }

    fn ours(&self, hook: &str) -> usize {
        self.filters(hook).iter().filter(|line| line.contains(" portcullis ")).count()
    }

    /// A program of ours pinned for `tc` to use as a stranger's; its path and id.
    fn foreign_program(&mut self) -> (String, u32) {
        let (attachment, _) = self.attach(Hook::Egress, Gate::Empty).unwrap();
        let line = self.filters("egress").remove(0);
        let id = line.split_whitespace().skip_while(|word| *word != "id").nth(1).unwrap().to_owned();
        let path = self.base.join("foreign").display().to_string();
        let id = id.parse().unwrap();
        pin_program(id, &path).unwrap();
        self.detach(attachment);
        assert!(self.filters("egress").is_empty());
        (path, id)
    }

    /// Echo requests from the workload that the host has received, after sending one.
    fn echo(&self, seconds: u32) -> (bool, u32) {
        let command =
            format!("nsenter --net=/run/netns/{} ping -n -c 1 -W {seconds} 10.9.0.1", self.workload);
        let answered = attempt(&command).is_some();
        let counters = run(&format!("nsenter --net=/run/netns/{} cat /proc/net/snmp", self.host));
        let mut lines = counters.lines().filter(|line| line.starts_with("Icmp:"));
        let column = lines.next().unwrap().split_whitespace().position(|name| name == "InEchos");
        let received = lines.next().unwrap().split_whitespace().nth(column.unwrap()).unwrap();
        (answered, received.parse().unwrap())
    }

    /// Frames that the workload has sent.
    fn sent(&self) -> u32 {
        let counters = run(&format!("ip -n {} -s link show dev w0", self.workload));
        let (_, counters) = counters.split_once("TX:").expect("counters");
        counters.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for netns in [&self.host, &self.workload] {
            attempt(&format!("ip netns del {netns}"));
        }
        let _not_there = std::fs::remove_file(self.base.join("foreign"));
        self.datapath.unpin_all();
        let _not_empty = std::fs::remove_dir(&self.base);
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

#[test]
fn one_filter_replaced_in_place() {
    let mut lab = Lab::new(Mode::Off);
    let (first, replaced) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    assert!(!replaced);
    assert_eq!(lab.state(&first), HookState::First);
    let line = lab.filters("ingress").remove(0);
    for part in ["protocol all", "pref 1 ", "handle 0x7063", " portcullis ", "direct-action", " id "] {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    assert!(lab.filters("egress").is_empty());

    let (second, replaced) = lab.attach(Hook::Ingress, Gate::Empty).unwrap();
    assert!(replaced);
    assert_eq!(lab.filters("ingress").len(), 1);
    assert_eq!(lab.state(&second), HookState::First);
    assert_eq!(lab.state(&first), HookState::Missing, "that program is off");

    let (egress, replaced) = lab.attach(Hook::Egress, Gate::Quarantine).unwrap();
    assert!(!replaced, "each hook by itself");
    assert_eq!((lab.ours("ingress"), lab.ours("egress")), (1, 1));
    assert_eq!(
        lab.datapath.states(&lab.namespace, &[&second, &egress]).unwrap(),
        [HookState::First, HookState::First]
    );

    lab.detach(egress);
    assert_eq!((lab.ours("ingress"), lab.ours("egress")), (1, 0));
    assert_eq!(lab.state(&second), HookState::First);
}

#[test]
fn back_to_the_front_of_its_own_kind() {
    let mut lab = Lab::new(Mode::Off);
    let (foreign, id) = lab.foreign_program();
    let (mut gate, _) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();

    lab.tc(&format!("filter add dev h0 ingress pref 1 protocol all bpf da pinned {foreign}"));
    assert_eq!(lab.state(&gate), HookState::Behind(vec![id]), "the newest runs first");
    lab.put_first(&mut gate);
    assert_eq!(lab.state(&gate), HookState::First);
    assert_eq!((lab.filters("ingress").len(), lab.ours("ingress")), (2, 1));
    assert!(lab.filters("ingress")[0].contains("handle 0x7064 portcullis"));

    lab.tc(&format!("filter add dev h0 ingress pref 1 protocol all bpf da pinned {foreign}"));
    assert_eq!(lab.state(&gate), HookState::Behind(vec![id]));
    lab.put_first(&mut gate);
    assert_eq!(lab.state(&gate), HookState::First);
    assert!(lab.filters("ingress")[0].contains("handle 0x7063 portcullis"));
    assert_eq!((lab.filters("ingress").len(), lab.ours("ingress")), (3, 1));

    // Others behind us concern nobody, and stay when we go.
    lab.tc(&format!("filter add dev h0 ingress pref 2 protocol all bpf da pinned {foreign}"));
    lab.tc("filter add dev h0 ingress pref 3 protocol ip u32 match u32 0 0 classid 1:1");
    assert_eq!(lab.state(&gate), HookState::First);
    lab.detach(gate);
    assert_eq!((lab.filters("ingress").len(), lab.ours("ingress")), (4, 0));
    assert!(lab.tc("qdisc show dev h0").contains("clsact"));
}

#[test]
fn behind_another_kind_at_priority_1() {
    let mut lab = Lab::new(Mode::Off);
    lab.tc("qdisc add dev h0 clsact");
    lab.tc("filter add dev h0 ingress pref 1 protocol all u32 match u32 0 0 classid 1:1");
    let (mut gate, replaced) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    assert!(!replaced);
    assert_eq!(lab.state(&gate), HookState::Behind(vec![0]));
    let before = lab.filters("ingress");
    lab.put_first(&mut gate);
    assert_eq!(lab.filters("ingress"), before, "there is no better place");

    // A tree of u32 tables is one thing before us, not several.
    lab.tc("filter del dev h0 ingress pref 1");
    lab.tc("filter add dev h0 ingress pref 1 protocol ip u32 match ip dst 192.0.2.1 classid 1:1");
    assert_eq!(lab.state(&gate), HookState::Behind(vec![0]));

    lab.tc("filter del dev h0 ingress pref 1");
    assert_eq!(lab.state(&gate), HookState::First, "nobody is before us at priority 2");
    lab.put_first(&mut gate);
    assert_eq!(lab.state(&gate), HookState::First);
    let filters = lab.filters("ingress");
    assert!(filters.len() == 1 && filters[0].contains("pref 1 "), "{filters:?}");
}

#[test]
fn other_chains_and_protocols() {
    let mut lab = Lab::new(Mode::Off);
    let (foreign, _) = lab.foreign_program();
    lab.tc("filter add dev h0 ingress chain 5 pref 1 protocol all u32 match u32 0 0 classid 1:1");
    let (gate, _) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    assert_eq!(lab.state(&gate), HookState::First, "chain 5 does not run by itself");
    assert!(
        lab.filters("ingress").iter().any(|line| line.contains("pref 1 ") && line.contains("portcullis"))
    );
    lab.detach(gate);

    // Priority 1 for one protocol only, with our handle: not ours, and left alone.
    let filter = format!("pref 1 protocol ip handle 0x7063 bpf da pinned {foreign}");
    lab.tc(&format!("filter add dev h0 ingress {filter}"));
    let (gate, replaced) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    assert!(!replaced);
    assert!(matches!(lab.state(&gate), HookState::Behind(ids) if ids.len() == 1));
    lab.detach(gate);
    assert_eq!(lab.filters("ingress").iter().filter(|line| line.contains("protocol ip ")).count(), 1);
}

#[test]
fn qdisc_deleted_and_back() {
    let mut lab = Lab::new(Mode::Off);
    let (mut gate, _) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    lab.tc("qdisc del dev h0 clsact");
    assert_eq!(lab.state(&gate), HookState::Missing);
    lab.put_first(&mut gate);
    assert_eq!(lab.state(&gate), HookState::First);
    lab.tc("filter del dev h0 ingress");
    assert_eq!(lab.state(&gate), HookState::Missing);
    let (again, replaced) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    assert!(!replaced);
    assert_eq!(lab.state(&again), HookState::First);
    lab.tc("qdisc del dev h0 clsact");
    lab.detach(again);
    lab.detach(gate);
}

#[test]
fn the_older_qdisc_has_no_egress() {
    let mut lab = Lab::new(Mode::Off);
    lab.tc("qdisc add dev h0 ingress");
    let (gate, _) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    assert_eq!(lab.state(&gate), HookState::First);
    let error = lab.attach(Hook::Egress, Gate::Quarantine).unwrap_err().to_string();
    assert!(error.contains("qdisc \"ingress\", which has no egress hook"), "{error}");
    assert_eq!(lab.filters("ingress").len(), 1, "nothing went to the wrong hook");
}

#[test]
fn shared_blocks_are_refused_in_the_kernels_words() {
    let mut lab = Lab::new(Mode::Off);
    lab.tc("qdisc add dev h0 ingress_block 22 clsact");
    let error = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap_err().to_string();
    assert!(error.contains("block is shared"), "{error}");
}

#[test]
fn interface_gone() {
    let mut lab = Lab::new(Mode::Off);
    let (gate, _) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    lab.tc("qdisc show dev h0");
    run(&format!("ip -n {} link del h0", lab.host));
    assert_eq!(lab.state(&gate), HookState::NoInterface);
    let error = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap_err();
    assert!(matches!(error, Error::NoInterface { ifindex } if ifindex == lab.ifindex), "{error}");
    lab.detach(gate);
}

#[test]
fn traffic_of_a_workload() {
    let mut lab = Lab::new(Mode::Enforce);
    assert_eq!(lab.echo(30), (true, 1), "without a gate");
    let (empty, _) = lab.attach(Hook::Ingress, Gate::Empty).unwrap();
    assert_eq!(lab.echo(30), (true, 2), "a program that passes");
    let (gate, replaced) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    assert!(replaced);
    assert_eq!(lab.echo(1), (false, 2), "unbound, enforced");
    assert_eq!(lab.state(&empty), HookState::Missing);
    lab.detach(gate);
    assert_eq!(lab.echo(30), (true, 3), "detached");
}

#[test]
fn traffic_passes_when_unbound_is_off() {
    let mut lab = Lab::new(Mode::Off);
    let (gate, _) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    assert_eq!(lab.state(&gate), HookState::First);
    assert_eq!(lab.echo(30), (true, 1));
}

/// Others before and after the gate see what it lets through, and only that.
#[test]
fn the_gate_is_first_in_fact() {
    let mut lab = Lab::new(Mode::Enforce);
    let (mut gate, _) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    lab.tc("filter add dev h0 ingress pref 1 protocol all bpf da bytecode 1,6\u{a0}0\u{a0}0\u{a0}0");
    assert_eq!(lab.state(&gate), HookState::Behind(vec![0]));
    assert_eq!(lab.echo(30), (true, 1), "accepted before the gate");
    lab.put_first(&mut gate);
    assert_eq!(lab.state(&gate), HookState::First);
    assert_eq!(lab.echo(1), (false, 1), "the gate comes first again");
}

/// Frames that arrive while filters are exchanged meet either the old one or the new one.
#[test]
fn no_gap_while_filters_are_exchanged() {
    let mut lab = Lab::new(Mode::Enforce);
    let (foreign, _) = lab.foreign_program();
    let (mut gate, _) = lab.attach(Hook::Ingress, Gate::Ethernet).unwrap();
    let netns = format!("--net=/run/netns/{}", lab.workload);
    let flood = ["ping", "-q", "-n", "-i", "0.001", "-s", "8", "10.9.0.1"];
    let flood = Command::new("nsenter").arg(netns).args(flood).stdout(Stdio::null()).spawn();
    let mut flood = Running(flood.expect("ping"));
    let mut exchanged = 0;
    while lab.sent() < 500 || exchanged < 20 {
        lab.tc(&format!("filter add dev h0 ingress pref 1 protocol all bpf da pinned {foreign}"));
        lab.put_first(&mut gate);
        lab.put_first(&mut gate);
        assert_eq!(lab.state(&gate), HookState::First);
        lab.tc("filter del dev h0 ingress pref 1 handle 1 bpf");
        exchanged += 1;
        assert!(flood.0.try_wait().unwrap().is_none(), "ping has ended");
    }
    drop(flood);
    let frames = lab.sent();
    assert_eq!(lab.echo(1), (false, 0), "of {frames} frames");
}
