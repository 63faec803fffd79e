use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_policy::api::Sender;

use super::{Attribution, Budget, Instant, printable};

// ---- the real thing: cgroups and namespaces of our own ------------------------------------------

/// A cgroup of the test's own, with the children in it; both end with it.
struct Cgroup {
    dir: PathBuf,
    children: Vec<Child>,
}

impl Cgroup {
    fn new(attribution: &Attribution) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pc-{}-attribution-{number}", std::process::id());
        let dir = attribution.mount_point().expect("this machine has no cgroup2 mount").join(name);
        fs::create_dir(&dir).unwrap_or_else(|e| panic!("{}: {e} (this test needs root)", dir.display()));
        Self { dir, children: Vec::new() }
    }

    fn id(&self) -> u64 {
        self.dir.metadata().unwrap().ino()
    }

    fn path(&self) -> String {
        format!("/{}", self.dir.file_name().unwrap().to_str().unwrap())
    }

    /// Runs a child in it that says `ready`, and answers its pid.
    fn run(&mut self, command: &mut Command) -> u32 {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        fs::write(self.dir.join("cgroup.procs"), child.id().to_string()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let pid = child.id();
        self.children.push(child);
        assert!(lines.any(|line| line.ends_with("ready")), "the child did not get ready");
        pid
    }

    /// Ends the child with this pid.
    fn end(&mut self, pid: u32) {
        let index = self.children.iter().position(|child| child.id() == pid).unwrap();
        let mut child = self.children.remove(index);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _gone = child.kill();
            let _gone = child.wait();
        }
        for _ in 0..100 {
            match fs::remove_dir(&self.dir) {
                Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

const ROLE: &str = "PORTCULLIS_ATTRIBUTION_TEST_ROLE";

/// This test program again, as a child that plays a role: `idle`, `packet`, `raw`, or
/// `thread:PATH` (a thread of it enters the network namespace PATH). In a namespace of its own,
/// where `isolated`.
fn actor(role: &str, isolated: bool) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = if isolated { Command::new("unshare") } else { Command::new(&program) };
    if isolated {
        command.args(["--net", "--"]).arg(&program);
    }
    let name = format!("{}::the_one_process_is_named", module_path!());
    let name = name.split_once("::").unwrap().1;
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command
}

/// What a child does: plays its role until it is killed or its parent is gone.
fn play(role: &str) {
    use rustix::net::{AddressFamily, SocketType, ipproto, socket};
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let wait = || std::io::stdin().read_line(&mut String::new()).map(drop).unwrap();
    let ready = move || {
        println!("ready");
        std::io::stdout().flush().unwrap();
        wait();
    };
    match role.split_once(':') {
        None if role == "packet" => {
            let _held = socket(AddressFamily::PACKET, SocketType::RAW, None).unwrap();
            ready();
        }
        None if role == "raw" => {
            let _held = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::UDP)).unwrap();
            ready();
        }
        Some(("thread", path)) => {
            let netns = fs::File::open(path).unwrap();
            std::thread::spawn(move || {
                use std::os::fd::AsFd;
                move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                ready();
            })
            .join()
            .unwrap();
        }
        _ => ready(),
    }
}

fn netns_of(pid: u32) -> u32 {
    u32::try_from(fs::metadata(format!("/proc/{pid}/ns/net")).unwrap().ino()).unwrap()
}

#[track_caller]
fn assert_sender(sender: &Sender, cgroup: &Cgroup, pid: Option<u32>) {
    assert_eq!(sender.cgroup_id, cgroup.id());
    assert_eq!(sender.cgroup.as_deref(), Some(&*cgroup.path()));
    assert_eq!(sender.pid, pid);
    let command = pid.map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim().to_owned());
    assert_eq!(sender.command, command);
}

#[test]
fn the_one_process_is_named() {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role);
    }
    let mut attribution = Attribution::new();
    let mut cgroup = Cgroup::new(&attribution);
    assert_sender(&attribution.sender(cgroup.id(), None), &cgroup, None);
    let here = cgroup.run(&mut actor("idle", false));
    assert_sender(&attribution.sender(cgroup.id(), None), &cgroup, Some(here));
    assert_sender(&attribution.sender(cgroup.id(), Some(netns_of(here))), &cgroup, Some(here));
    // A second one elsewhere: only with its namespace can they be told apart.
    let elsewhere = cgroup.run(&mut actor("idle", true));
    assert_ne!(netns_of(here), netns_of(elsewhere));
    assert_sender(&attribution.sender(cgroup.id(), None), &cgroup, None);
    assert_sender(&attribution.sender(cgroup.id(), Some(netns_of(here))), &cgroup, Some(here));
    assert_sender(&attribution.sender(cgroup.id(), Some(netns_of(elsewhere))), &cgroup, Some(elsewhere));
    assert_sender(&attribution.sender(cgroup.id(), Some(1)), &cgroup, None);
    // Nobody is named who has gone.
    cgroup.end(here);
    assert_sender(&attribution.sender(cgroup.id(), Some(netns_of(std::process::id()))), &cgroup, None);
    let (id, path) = (cgroup.id(), cgroup.path());
    drop(cgroup);
    let gone = Sender { cgroup_id: id, cgroup: Some(path), pid: None, command: None };
    assert_eq!(attribution.sender(id, None), gone, "the path is still known");
    assert_eq!(Attribution::new().sender(id, None), Sender { cgroup: None, ..gone });
}

#[test]
fn of_several_the_one_with_a_forging_socket_is_named() {
    for role in ["packet", "raw"] {
        let mut attribution = Attribution::new();
        let mut cgroup = Cgroup::new(&attribution);
        let first = cgroup.run(&mut actor("idle", true));
        let netns = Some(netns_of(first));
        let enter = |role: &str| {
            let mut command = Command::new("nsenter");
            let plain = actor(role, false);
            command.arg(format!("--net=/proc/{first}/ns/net")).arg("--").arg(plain.get_program());
            command.args(plain.get_args()).env(ROLE, role);
            command
        };
        let forger = cgroup.run(&mut enter(role));
        assert_eq!(netns_of(forger), netns_of(first));
        assert_sender(&attribution.sender(cgroup.id(), netns), &cgroup, Some(forger));
        let second = cgroup.run(&mut enter("packet"));
        assert_sender(&attribution.sender(cgroup.id(), netns), &cgroup, None);
        cgroup.end(forger);
        assert_sender(&attribution.sender(cgroup.id(), netns), &cgroup, Some(second));
    }
}

#[test]
fn a_thread_in_the_namespace_counts() {
    let mut attribution = Attribution::new();
    let (mut workload, mut cgroup) = (Cgroup::new(&attribution), Cgroup::new(&attribution));
    let inside = workload.run(&mut actor("idle", true));
    let _bystander = cgroup.run(&mut actor("idle", false));
    let visitor = cgroup.run(&mut actor(&format!("thread:/proc/{inside}/ns/net"), false));
    assert_sender(&attribution.sender(cgroup.id(), Some(netns_of(inside))), &cgroup, Some(visitor));
}

#[test]
fn a_threaded_cgroup_lists_threads() {
    let mut attribution = Attribution::new();
    let mut cgroup = Cgroup::new(&attribution);
    let process = cgroup.run(&mut actor("idle", false));
    let threads = || fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|t| t.unwrap().file_name());
    // The test harness of the child runs the test on a thread of its own.
    let other = threads().find(|t| *t != *process.to_string()).expect("the child has one thread only");
    let inner = cgroup.dir.join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("cgroup.type"), "threaded").unwrap();
    fs::write(inner.join("cgroup.threads"), other.to_str().unwrap()).unwrap();
    let sender = attribution.sender(inner.metadata().unwrap().ino(), None);
    assert_eq!(sender.cgroup, Some(format!("{}/inner", cgroup.path())));
    assert_eq!(sender.pid, Some(process));
    cgroup.end(process);
    fs::remove_dir(&inner).unwrap();
}

#[test]
fn the_root_and_the_unknown() {
    let mut attribution = Attribution::new();
    let root = attribution.mount_point().unwrap().metadata().unwrap().ino();
    assert_eq!(attribution.sender(root, Some(1)).cgroup.as_deref(), Some("/"));
    assert_eq!(attribution.sender(0, None), Sender::default());
    let nobody = u64::MAX - 1;
    assert_eq!(attribution.sender(nobody, None), Sender { cgroup_id: nobody, ..Sender::default() });
    let mut nowhere = Attribution::at(None, Path::new("/proc"));
    assert_eq!(nowhere.sender(7, None), Sender { cgroup_id: 7, ..Sender::default() });
}

// ---- what real processes do not do on demand: a tree of files in place of /proc ------------------

struct Fake {
    tree: tempfile::TempDir,
    pids: Vec<u32>,
}

impl Fake {
    fn new() -> Self {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("cgroup/box")).unwrap();
        Self { tree, pids: Vec::new() }
    }

    fn process(&mut self, pid: u32, netns: u32, comm: &str) -> PathBuf {
        let dir = self.tree.path().join("proc").join(pid.to_string());
        for inner in ["ns", "net", "fd", "task"] {
            fs::create_dir_all(dir.join(inner)).unwrap();
        }
        symlink(format!("net:[{netns}]"), dir.join("ns/net")).unwrap();
        fs::write(dir.join("comm"), format!("{comm}\n")).unwrap();
        self.member(pid);
        dir
    }

    /// Lists a process that need not exist.
    fn member(&mut self, pid: u32) {
        self.pids.push(pid);
        let list: String = self.pids.iter().map(|pid| format!("{pid}\n")).collect();
        fs::write(self.tree.path().join("cgroup/box/cgroup.procs"), list).unwrap();
    }

    fn attribution(&self) -> Attribution {
        Attribution::at(Some(self.tree.path().join("cgroup")), &self.tree.path().join("proc"))
    }

    fn pid(&self, attribution: &mut Attribution) -> Option<u32> {
        let id = self.tree.path().join("cgroup/box").metadata().unwrap().ino();
        let sender = attribution.sender(id, Some(5));
        assert_eq!(sender.cgroup.as_deref(), Some("/box"));
        sender.pid
    }
}

/// Gives the process at `dir` descriptors, the last of them a packet socket.
fn open_files(dir: &Path, count: u32) {
    fs::write(
        dir.join("net/packet"),
        "sk RefCnt Type Proto  Iface R Rmem   User   Inode\n00 2 3 0 0 0 0 0 77\n",
    )
    .unwrap();
    for fd in 0..count - 1 {
        symlink("/dev/null", dir.join(format!("fd/{fd}"))).unwrap();
    }
    symlink("socket:[77]", dir.join(format!("fd/{count}"))).unwrap();
}

#[test]
fn processes_that_vanish_are_passed_over() {
    let mut fake = Fake::new();
    fake.member(0);
    fake.member(41);
    fake.process(42, 5, "a b");
    let half_gone = fake.process(43, 5, "x");
    fs::remove_dir_all(half_gone.join("ns")).unwrap();
    assert_eq!(fake.pid(&mut fake.attribution()), Some(42));
}

#[test]
fn nobody_can_hide_behind_a_limit_and_leave_the_blame_to_another() {
    // Too many descriptors.
    let mut fake = Fake::new();
    open_files(&fake.process(42, 5, "honest"), 3);
    let hidden = fake.process(43, 5, "forger");
    assert_eq!(fake.pid(&mut fake.attribution()), Some(42));
    open_files(&hidden, 1500);
    assert_eq!(fake.pid(&mut fake.attribution()), None);
    // Too many processes.
    let mut fake = Fake::new();
    fake.process(42, 5, "honest");
    assert_eq!(fake.pid(&mut fake.attribution()), Some(42));
    (1000..3200).for_each(|pid| fake.pids.push(pid));
    fake.member(3200);
    assert_eq!(fake.pid(&mut fake.attribution()), None);
}

#[test]
fn the_work_of_a_second_is_bounded() {
    let mut fake = Fake::new();
    fake.process(42, 5, "x");
    let mut attribution = fake.attribution();
    attribution.budget = Budget { left: 2, since: Instant::now() + std::time::Duration::from_secs(3600) };
    assert_eq!(fake.pid(&mut attribution), Some(42));
    assert_eq!(fake.pid(&mut attribution), Some(42));
    assert_eq!(fake.pid(&mut attribution), None, "the cgroup alone");
    let past = Instant::now().checked_sub(std::time::Duration::from_secs(2)).unwrap();
    attribution.budget.since = past;
    assert_eq!(fake.pid(&mut attribution), Some(42));
}

#[test]
fn names_cannot_command_a_terminal() {
    assert_eq!(printable("nginx: worker"), "nginx: worker");
    assert_eq!(printable("\u{1b}[2Jx\n"), "\\u{1b}[2Jx\\n");
    assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    let mut fake = Fake::new();
    fake.process(42, 5, "\u{1b}]0;x\u{7}");
    let id = fake.tree.path().join("cgroup/box").metadata().unwrap().ino();
    let sender = fake.attribution().sender(id, None);
    assert_eq!(sender.command.as_deref(), Some("\\u{1b}]0;x\\u{7}"));
}
