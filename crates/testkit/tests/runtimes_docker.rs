//! What the sources say of containers that real runtimes run: Docker and Podman, as they are.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "runtimes_docker/follower.rs"]
mod follower;

use std::time::{Duration, Instant};

use portcullis_policy::container::{AttachmentPlace, Networking};
use portcullis_policy::guard::Termination;
use portcullis_runtimes::source::{Kind, Report, Request, SourceConfig};
use portcullis_testkit::{Docker, Engine, Lab, NetworkOptions, Podman, RunOptions, wait_until};

use follower::{Follower, assert_is_other_end, host};

fn lab() -> Lab {
    Lab::builder().without_outside().build().unwrap()
}

fn texts<T: ToString>(of: &[T]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

/// A container's life, as any of the two has to tell it.
fn life(lab: &Lab, api: &Engine, kind: Kind) {
    let source = Follower::start(kind, api.socket());
    source.wait("a connection", |said| said.connected.then_some(()));
    api.network_create("blue", &NetworkOptions::bridge(&["10.177.1.0/24", "fd77:1::/64"])).unwrap();
    api.network_create("red", &NetworkOptions::bridge(&["10.177.2.0/24"])).unwrap();
    source.wait("the networks", |said| said.networks.iter().any(|n| n.name == "red").then_some(()));

    let options = RunOptions::new().network("blue", &["10.177.1.20", "fd77:1::20"]).label("tier", "front");
    let id = api.run("web", &options).unwrap();
    let web = source.settled("web", 1);
    let inside = api.namespace("web").unwrap();
    assert_eq!((&web.id, &web.networking, &web.trouble), (&id, &Networking::Own, &None));
    assert_eq!(web.workload.runtime.as_deref(), Some(kind.name()));
    assert_eq!(web.workload.labels["tier"], "front");
    assert!(web.workload.image.is_some() && web.since.is_some() && web.netns.is_some(), "{web:?}");
    let attachment = &web.attachments[0];
    assert_eq!(attachment.network.as_deref(), Some("blue"));
    assert_eq!(attachment.inside.as_deref(), Some("eth0"));
    assert_eq!(texts(&attachment.addresses), ["10.177.1.20", "fd77:1::20"]);
    assert_eq!(texts(&attachment.macs), [api.mac("web", "blue").unwrap()]);
    assert_is_other_end(&host(&web, 0), lab.host(), &inside, "eth0");
    let bridge =
        source.wait("the bridge", |said| said.networks.iter().find(|n| n.name == "blue")?.bridge.clone());
    assert_eq!(bridge.netns, host(&web, 0).netns);
    assert!(
        lab.host()
            .run(&format!("ip -o link show master {}", bridge.name))
            .unwrap()
            .contains(&host(&web, 0).name)
    );

    // A second network, and away from it again; the runtime tells of it, or the interfaces do.
    api.network_connect("red", "web", &["10.177.2.20"]).unwrap();
    let web = source.settled("web", 2);
    let red = web.attachments.iter().position(|a| a.network.as_deref() == Some("red")).unwrap();
    assert_eq!(texts(&web.attachments[red].addresses), ["10.177.2.20"]);
    assert_is_other_end(&host(&web, red), lab.host(), &inside, "eth1");
    api.network_disconnect("red", "web").unwrap();
    source.settled("web", 1);

    // Two from the start.
    api.run("both", &RunOptions::new().network("blue", &[]).network("red", &[])).unwrap();
    let both = source.settled("both", 2);
    let inside = api.namespace("both").unwrap();
    for (number, attachment) in both.attachments.iter().enumerate() {
        assert_is_other_end(&host(&both, number), lab.host(), &inside, attachment.inside.as_deref().unwrap());
    }

    without_an_interface(&source, api, &id);
    endings(&source, api, &id);
}

/// Containers with the network of another, of the host, or none.
fn without_an_interface(source: &Follower, api: &Engine, web: &str) {
    api.run("side", &RunOptions::new().mode("container:web")).unwrap();
    let side = source.container("side", |_| true);
    assert_eq!(side.networking, Networking::Shared { with: web.to_owned() });
    api.run("open", &RunOptions::new().mode("host")).unwrap();
    assert_eq!(source.container("open", |_| true).networking, Networking::Host);
    api.run("shut", &RunOptions::new().mode("none")).unwrap();
    let shut = source.container("shut", |_| true);
    assert_eq!((shut.networking, shut.trouble), (Networking::None, None));
    for name in ["side", "open", "shut"] {
        assert!(source.container(name, |_| true).attachments.is_empty());
        api.remove(name).unwrap();
    }
}

/// Another name, an end, another life, removal.
fn endings(source: &Follower, api: &Engine, id: &str) {
    api.rename("web", "shop").unwrap();
    let before = source.settled("shop", 1).since;
    api.restart("shop").unwrap();
    // A source that was late sees the next life at once, and need not tell of the end between them.
    source.wait("the restart", |said| {
        let gone =
            said.log.iter().any(|(_, report)| matches!(report, Report::Gone { id: of, .. } if of == id));
        said.named("shop").filter(|shop| gone || shop.since != before).map(|_| ())
    });
    source.settled("shop", 1);
    api.kill("shop").unwrap();
    source.wait("its end", |said| said.named("shop").is_none().then_some(()));
    api.start("shop").unwrap();
    source.settled("shop", 1);
    api.remove("shop").unwrap();
    let removed = Report::Gone { id: id.to_owned(), removed: true };
    source.wait("its removal", |said| said.log.iter().any(|(_, report)| *report == removed).then_some(()));

    for how in [Termination::Kill, Termination::Stop] {
        let id = api.run("foe", &RunOptions::new().always_restart()).unwrap();
        source.settled("foe", 1);
        let before = Instant::now();
        source.terminate(&id, how).unwrap();
        println!("{how:?} took {:?}", before.elapsed());
        // Its processes are dead; the runtime may still be tidying up.
        let is_down = || api.inspect("foe").is_ok_and(|foe| foe["State"]["Running"] == false);
        wait_until("the runtime to know of the end", is_down).unwrap();
        source.wait("its end", |said| said.named("foe").is_none().then_some(()));
        source.terminate(&id, how).expect("it does not run any more, which is what was wanted");
        api.remove("foe").unwrap();
    }
    let id = api.run("foe", &RunOptions::new()).unwrap();
    let first = source.settled("foe", 1).since;
    source.terminate(&id, Termination::Restart).unwrap();
    source.container("foe", |foe| foe.since != first && foe.attachments.len() == 1);
    let error = source.terminate("../foe", Termination::Kill).unwrap_err();
    assert!(error.contains("not the id"), "{error}");
}

#[test]
fn docker_tells_a_life() {
    let lab = lab();
    let docker = Docker::start(lab.host()).unwrap();
    life(&lab, docker.api(), Kind::Docker);
}

#[test]
fn podman_tells_a_life() {
    let lab = lab();
    let podman = Podman::start(lab.host()).unwrap();
    life(&lab, podman.api(), Kind::Podman);
}

/// Before its process runs, a container is announced with what its interface will be.
#[test]
fn docker_says_what_to_expect() {
    let lab = lab();
    let docker = Docker::start(lab.host()).unwrap();
    let api = docker.api();
    api.network_create("blue", &NetworkOptions::bridge(&["10.177.1.0/24", "fd77:1::/64"])).unwrap();
    let source = Follower::start(Kind::Docker, api.socket());
    source.wait("a connection", |said| said.connected.then_some(()));
    let id = api.run("web", &RunOptions::new().network("blue", &[]).label("tier", "front")).unwrap();
    let web = source.settled("web", 1);
    let said = source.said();
    let mut changes = said.log.iter().filter_map(|(at, report)| match report {
        Report::Changed(container) if container.id == id => Some((at, container)),
        _ => None,
    });
    let (expected_at, expected) = changes.next().unwrap();
    let AttachmentPlace::Expected { bridge } = &expected.attachments[0].place else { panic!("{expected:?}") };
    assert_eq!(said.networks.iter().find(|n| n.name == "blue").unwrap().bridge.as_ref(), Some(bridge));
    assert_eq!(expected.attachments[0].macs, web.attachments[0].macs);
    assert_eq!(expected.attachments[0].addresses, web.attachments[0].addresses);
    assert_eq!(expected.workload, web.workload);
    let (found_at, _) = changes.next().unwrap();
    println!("expected {:?} before it was found", *found_at - *expected_at);
    assert!(changes.next().is_none(), "nothing is said twice");
    drop(said);

    // A start that fails takes its announcement back.
    let broken =
        api.create("broken", &RunOptions::new().network("blue", &[]).command(&["/no/such/file"])).unwrap();
    api.start("broken").unwrap_err();
    source.wait("the announcement and its end", |said| {
        let mut of = said.log.iter().filter(|(_, report)| match report {
            Report::Changed(container) => container.id == broken,
            Report::Gone { id, .. } => *id == broken,
            _ => false,
        });
        (matches!(of.next()?.1, Report::Changed(_))
            && of.any(|(_, report)| matches!(report, Report::Gone { .. })))
        .then_some(())
    });
    assert!(source.said().named("broken").is_none());
}

/// What has no host side can only be bound from inside. (ipvlan is missing from many kernels; the source's own
/// tests have it.)
#[test]
fn docker_macvlan_lies_inside() {
    let lab = lab();
    lab.host().run("ip link add up0 type veth peer name up1").unwrap();
    lab.host().run("ip link set up0 up").unwrap();
    lab.host().run("ip link set up1 up").unwrap();
    let docker = Docker::start(lab.host()).unwrap();
    let api = docker.api();
    let source = Follower::start(Kind::Docker, api.socket());
    api.network_create("lan", &NetworkOptions::on("macvlan", "up0", &["10.177.3.0/24"])).unwrap();
    api.network_create("blue", &NetworkOptions::bridge(&["10.177.1.0/24"])).unwrap();
    api.run("web", &RunOptions::new().network("lan", &["10.177.3.7"]).network("blue", &[])).unwrap();
    let web = source.settled("web", 2);
    assert_eq!((&web.trouble, &web.networking), (&None, &Networking::Own));
    let attachment = web.attachments.iter().find(|a| a.network.as_deref() == Some("lan")).unwrap();
    assert_eq!(texts(&attachment.addresses), ["10.177.3.7"]);
    let AttachmentPlace::Inside { kind, netns, interface } = &attachment.place else {
        panic!("{attachment:?}")
    };
    assert_eq!(kind, "macvlan");
    let inode = |path: &str| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    assert_eq!(inode(netns), inode(&format!("/proc/{}/ns/net", api.pid("web").unwrap())));
    let line = api.namespace("web").unwrap().run(&format!("ip -d link show dev {interface}")).unwrap();
    assert!(line.contains("macvlan"), "{line}");
    api.remove("web").unwrap();
    api.network_remove("lan").unwrap();
    source.wait("the network's end", |said| said.networks.iter().all(|n| n.name != "lan").then_some(()));
}

/// The daemon goes and comes back; what happened meanwhile is found.
#[test]
fn docker_goes_and_comes_back() {
    let lab = lab();
    let mut docker = Docker::start(lab.host()).unwrap();
    let socket = docker.api().socket().to_owned();
    for name in ["stays", "dies"] {
        docker.api().run(name, &RunOptions::new()).unwrap();
    }
    docker.stop_daemon().unwrap();
    let source = Follower::start(Kind::Docker, &socket);
    source.wait("absence", |said| (said.state == Some(Report::Absent)).then_some(()));
    docker.start_daemon().unwrap();
    source.wait("both", |said| (said.connected && said.containers.len() == 2).then_some(()));
    let stays = source.settled("stays", 1);

    // The socket's file stays behind after kill -9, and nobody answers there.
    let pid = docker.api().pid("dies").unwrap();
    docker.kill_daemon().unwrap();
    source.wait("failure", |said| matches!(said.state, Some(Report::Failing(_))).then_some(()));
    assert!(!source.said().connected);
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    docker.start_daemon().unwrap();
    source.wait("one", |said| (said.connected && said.named("dies").is_none()).then_some(()));
    assert_eq!(source.settled("stays", 1), stays, "what lives on is as it was");
    let snapshots = source.said().snapshots;
    assert_eq!(snapshots, 2);
    source.ask(Request::Resync);
    source.wait("another snapshot", |said| (said.snapshots == 3).then_some(()));
    // And it is followed again.
    docker.api().run("new", &RunOptions::new()).unwrap();
    source.settled("new", 1);
}

/// Many come and go at once, addresses and interface numbers are used again at once; the end is right.
fn churn(api: &Engine, kind: Kind, rounds: usize) {
    // No help from the periodic look.
    let config = SourceConfig { resync: Duration::from_secs(3600), ..SourceConfig::new(kind, api.socket()) };
    let source = Follower::with(config);
    source.wait("a connection", |said| said.connected.then_some(()));
    let before = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                for round in 0..rounds {
                    let name = format!("c{worker}-{round}");
                    api.run(&name, &RunOptions::new()).unwrap();
                    if round + 1 < rounds {
                        api.remove(&name).unwrap();
                    }
                }
            });
        }
    });
    println!("{} starts and ends in {:?}", 4 * rounds, before.elapsed());
    source.wait("the last four", |said| (said.containers.len() == 4).then_some(()));
    for worker in 0..4 {
        let name = format!("c{worker}-{}", rounds - 1);
        let container = source.settled(&name, 1);
        assert_eq!(texts(&container.attachments[0].addresses)[..1], api_address(api, &name));
        assert_eq!(container.trouble, None);
    }
    assert_eq!(source.said().snapshots, 1);
}

fn api_address(api: &Engine, name: &str) -> [String; 1] {
    let answer = api.inspect(name).unwrap();
    let networks = answer["NetworkSettings"]["Networks"].as_object().unwrap();
    [networks.values().next().unwrap()["IPAddress"].as_str().unwrap().to_owned()]
}

#[test]
fn docker_churn_is_followed() {
    let lab = lab();
    let docker = Docker::start(lab.host()).unwrap();
    churn(docker.api(), Kind::Docker, 10);
}

#[test]
fn podman_churn_is_followed() {
    let lab = lab();
    let podman = Podman::start(lab.host()).unwrap();
    churn(podman.api(), Kind::Podman, 4);
}

#[test]
fn podman_goes_and_comes_back() {
    let lab = lab();
    let mut podman = Podman::start(lab.host()).unwrap();
    let source = Follower::start(Kind::Podman, podman.api().socket());
    podman.api().run("stays", &RunOptions::new()).unwrap();
    let stays = source.settled("stays", 1);
    podman.stop_service().unwrap();
    source.wait("absence or failure", |said| (!said.connected).then_some(()));
    podman.start_service().unwrap();
    source.wait("a connection", |said| (said.connected && said.snapshots > 1).then_some(()));
    assert_eq!(source.settled("stays", 1), stays);
}

/// What Podman does not list as running has processes all the same: paused, or told to stop and in no haste.
#[test]
fn podman_paused_or_stopping_is_still_there() {
    let lab = lab();
    let podman = Podman::start(lab.host()).unwrap();
    let api = podman.api();
    // A first process to which SIGTERM means nothing.
    api.run("slow", &RunOptions::new().command(&["/bin/sh", "-c", "sleep 1000; true"])).unwrap();
    let source = Follower::start(Kind::Podman, api.socket());
    let slow = source.settled("slow", 1);
    let read_anew = || {
        let snapshots = source.said().snapshots;
        source.ask(Request::Resync);
        source.wait("another snapshot", |said| (said.snapshots > snapshots).then_some(()));
        assert_eq!(source.said().named("slow"), Some(&slow));
    };
    api.ask("POST", "/containers/slow/pause", None).unwrap();
    read_anew();
    api.ask("POST", "/containers/slow/unpause", None).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| api.stop("slow", 60));
        wait_until("it to be stopping", || api.inspect("slow").unwrap()["State"]["Status"] == "stopping")
            .unwrap();
        read_anew();
        api.kill("slow").unwrap();
    });
    source.wait("its end", |said| said.named("slow").is_none().then_some(()));
}
