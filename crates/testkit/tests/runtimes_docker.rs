//! What the sources say of containers that real runtimes run: Docker and Podman, as they are.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "runtimes_docker/follower.rs"]
mod follower;

use std::time::{Duration, Instant};

use portcullis_policy::container::{AttachmentPlace, Networking};
use portcullis_policy::guard::Termination;
use portcullis_policy::model::Owner;
use portcullis_runtimes::source::{Kind, Report, Request, SourceConfig};
use portcullis_testkit::{Docker, Engine, Lab, NetworkOptions, Podman, RunOptions};

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
    let bridge = source.wait("the bridge", |said| said.networks.iter().find(|n| n.name == "blue")?.bridge.clone());
    assert_eq!(bridge.netns, host(&web, 0).netns);
    assert!(lab.host().run(&format!("ip -o link show master {}", bridge.name)).unwrap().contains(&host(&web, 0).name));

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
    source.settled("shop", 1);
    api.restart("shop").unwrap();
    source.wait("the restart", |said| {
        let gone = said.log.iter().any(|(_, report)| matches!(report, Report::Gone { id: of, .. } if of == id));
        (gone && said.named("shop").is_some()).then_some(())
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
        assert_eq!(api.inspect("foe").unwrap()["State"]["Running"], false);
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
