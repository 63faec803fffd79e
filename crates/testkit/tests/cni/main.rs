//! The CNI plugin behind the reference plugins, with the real agent: as libcni executes them, and in containerd.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod pods;

use std::path::Path;
use std::time::Duration;

use pods::{BRIDGE, Host, Pod, TAG, forgeries, gateway, is_active};
use portcullis_policy::api::EndpointState;
use portcullis_policy::model::Owner;
use portcullis_testkit::{
    Agent, Chain, Conflist, Containerd, FORGED, Flood, Forgery, Lab, Listener, Pace, ping, tagged_payload,
    wait_for, wait_until,
};
use serde_json::json;

const PTP: [&str; 2] = ["10.181.0.0/24", "fd81::/64"];

#[test]
fn the_first_frame_is_checked_behind_bridge_and_ptp() {
    let mut host = Host::new();
    let agent = Agent::start(&host.lab).unwrap();
    let ptp = Conflist::ptp("routed", &PTP).version("0.4.0");
    for (bridged, list) in [(true, host.bridge()), (false, host.list(ptp, &[]))] {
        let kind = if bridged { "bridge" } else { "ptp" };
        let mut far = host.pod(&format!("far-{kind}"), &list);
        far.add();
        let mut mallory = host.pod(&format!("mallory-{kind}"), &list);
        mallory.add();
        // Already bound: nobody waited for anything.
        let endpoint = mallory.endpoint(&agent).unwrap();
        assert_eq!((endpoint.state, endpoint.owner), (EndpointState::Active, Owner::Cni));
        assert_eq!(endpoint.addresses, [mallory.address(false), mallory.address(true)]);
        assert_eq!(endpoint.macs, [mallory.mac().to_string()]);
        assert_eq!(endpoint.workload.namespace.as_deref(), Some("default"));
        assert_eq!(endpoint.workload.container.as_deref(), Some(mallory.name.as_str()));

        let listener = Listener::start(&far.namespace, "eth0", tagged_payload(TAG)).unwrap();
        let frames = forgeries(&mallory, gateway(&mallory, &far, bridged), &far);
        let pace = Pace { per_second: 20_000, frames: 3000, ..Pace::default() };
        let sent = Flood::start(&mallory.namespace, "eth0", frames, pace).unwrap().finish().unwrap();
        wait_until("every forged frame to be counted", || {
            mallory.endpoint(&agent).unwrap().counters.dropped.packets >= sent
        })
        .unwrap();
        assert_eq!(listener.stop().unwrap(), 0, "{kind}: forged frames arrived");
        // What is honest goes through, in both families.
        for address in [far.address(false), far.address(true)] {
            assert!(ping(&mallory.namespace, &address, 3).unwrap().none_lost(), "{kind} {address}");
        }
        assert!(mallory.chain.check().unwrap().is_done());
        mallory.del();
        far.del();
        assert!(agent.endpoints().unwrap().is_empty());
    }
}

#[test]
fn without_the_gate_the_same_frames_arrive() {
    let mut host = Host::new();
    let list = Conflist::bridge("pods", "cni0", &BRIDGE).to_json(&host.books());
    let mut far = host.pod("far", &list);
    let mut mallory = host.pod("mallory", &list);
    for pod in [&mut far, &mut mallory] {
        assert!(pod.chain.add().unwrap().is_done());
    }
    let listener = Listener::start(&far.namespace, "eth0", tagged_payload(TAG)).unwrap();
    let frames = forgeries(&mallory, far.mac(), &far);
    let pace = Pace { frames: 300, ..Pace::default() };
    let sent = Flood::start(&mallory.namespace, "eth0", frames, pace).unwrap().finish().unwrap();
    listener.wait_for(sent).unwrap();
    mallory.del();
    far.del();
}

#[test]
fn del_comes_twice_and_to_namespaces_that_are_gone() {
    let mut host = Host::new();
    let agent = Agent::start(&host.lab).unwrap();
    let list = host.bridge();
    let before = host.traces();
    let mut pod = host.pod("web", &list);
    pod.add();
    assert!(is_active(pod.endpoint(&agent)));
    pod.del();
    assert!(pod.endpoint(&agent).is_none());
    pod.chain.forget();
    pod.del();
    let mut after = host.traces();
    after.remove("cni0");
    assert_eq!(after, before);

    // A namespace that goes before DEL, with the interface in it. Nothing here holds it open.
    let name = format!("{}-short", host.lab.tag());
    let path = Path::new("/run/netns").join(&name);
    host.lab.host().run(&format!("ip netns add {name}")).unwrap();
    let mut chain = Chain::new(host.lab.host(), &host.plugins, &list, "short", &path).unwrap();
    assert!(chain.add().unwrap().is_done());
    assert_eq!(agent.endpoints().unwrap().len(), 1);
    host.lab.host().run(&format!("ip netns del {name}")).unwrap();
    for answer in chain.del().unwrap() {
        assert!(answer.is_done(), "{answer:?}");
    }
    assert!(agent.endpoints().unwrap().is_empty());
    // Nor does DEL come at all: the agent sees the interface go.
    host.lab.host().run(&format!("ip netns add {name}")).unwrap();
    assert!(chain.add().unwrap().is_done());
    host.lab.host().run(&format!("ip netns del {name}")).unwrap();
    wait_until("the endpoint to go with its interface", || agent.endpoints().unwrap().is_empty()).unwrap();
    // An address is given out again at once.
    let mut next = host.pod("next", &list);
    next.add();
    assert!(is_active(next.endpoint(&agent)));
    next.del();
}

#[test]
fn an_agent_that_is_away_starts_nothing_and_nothing_is_left() {
    let mut host = Host::new();
    let list = host.bridge();
    // The bridge itself is no pod's.
    let mut first = host.pod("first", &Conflist::bridge("pods", "cni0", &BRIDGE).to_json(&host.books()));
    assert!(first.chain.add().unwrap().is_done());
    let before = host.traces();
    let mut pod = host.pod("web", &list);
    let answer = pod.chain.add().unwrap();
    assert_eq!((answer.code, answer.output["code"].as_u64()), (Some(1), Some(11)), "{answer:?}");
    assert_eq!(answer.output["cniVersion"], list["cniVersion"]);
    assert!(answer.took < Duration::from_secs(2), "{:?}", answer.took);
    // What the runtime does then.
    for answer in pod.chain.del().unwrap() {
        assert!(answer.is_done() && answer.took < Duration::from_secs(2), "{answer:?}");
    }
    assert_eq!(host.traces(), before);

    let passing = host.list(Conflist::bridge("pods", "cni0", &BRIDGE), &[("onAgentDown", json!("pass"))]);
    let mut pod = host.pod("open", &passing);
    let answer = pod.chain.add().unwrap();
    assert!(answer.is_done() && answer.log.contains("WITHOUT a binding"), "{answer:?}");
    assert!(answer.took < Duration::from_secs(2), "{:?}", answer.took);
    assert!(ping(&pod.namespace, &first.address(false), 3).unwrap().none_lost());
    assert!(pod.chain.check().unwrap().is_done());
    pod.del();
    assert_eq!(host.traces(), before);
    first.del();
}

#[test]
fn what_is_bound_too_late_does_not_stay() {
    let mut host = Host::new();
    let agent = Agent::start(&host.lab).unwrap();
    let list = host.bridge();
    let mut pod = host.pod("web", &list);
    let pid = agent.pid().unwrap();
    host.lab.host().run(&format!("kill -STOP {pid}")).unwrap();
    let answer = pod.chain.add().unwrap();
    assert_eq!(answer.output["code"].as_u64(), Some(11), "{answer:?}");
    assert!(answer.took < Duration::from_secs(2), "{:?}", answer.took);
    host.lab.host().run(&format!("kill -CONT {pid}")).unwrap();
    // Behind everything that waited for it.
    agent.status().unwrap();
    agent.status().unwrap();
    assert!(pod.endpoint(&agent).is_none());
    pod.del();

    // It lives on, and the next one is bound.
    let mut pod = host.pod("again", &list);
    pod.add();
    assert!(is_active(pod.endpoint(&agent)));
    pod.del();
}

#[test]
fn a_killed_agent_leaves_the_gate_shut_and_finds_its_pods() {
    let mut host = Host::new();
    let mut agent = Agent::start(&host.lab).unwrap();
    let list = host.bridge();
    let mut far = host.pod("far", &list);
    let mut mallory = host.pod("mallory", &list);
    let mut gone = host.pod("gone", &list);
    for pod in [&mut far, &mut mallory, &mut gone] {
        pod.add();
    }
    let listener = Listener::start(&far.namespace, "eth0", tagged_payload(TAG)).unwrap();
    let frames = forgeries(&mallory, far.mac(), &far);
    let flood = Flood::start(&mallory.namespace, "eth0", frames, Pace::default()).unwrap();
    flood.wait_for(200).unwrap();
    agent.kill9().unwrap();
    flood.wait_for(flood.sent() + 500).unwrap();
    // DEL while it is away is done, and the interface goes with it.
    gone.del();
    agent.restart().unwrap();
    wait_until("the pods that are there", || {
        is_active(far.endpoint(&agent)) && is_active(mallory.endpoint(&agent))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#?}; {}", agent.endpoints(), agent.log()));
    wait_until("the one that is gone to be forgotten", || gone.endpoint(&agent).is_none()).unwrap();
    flood.wait_for(flood.sent() + 500).unwrap();
    flood.stop().unwrap();
    assert_eq!(listener.stop().unwrap(), 0);
    assert!(mallory.chain.check().unwrap().is_done());
    mallory.del();
    far.del();
    assert!(agent.endpoints().unwrap().is_empty());
}

#[test]
fn check_gc_status_and_version() {
    let mut host = Host::new();
    let mut agent = Agent::start(&host.lab).unwrap();
    let list = host.bridge();
    let (mut one, mut two) = (host.pod("one", &list), host.pod("two", &list));
    one.add();
    two.add();
    let newest = [("cniVersion", json!("1.1.0"))];
    let status = |pod: &Pod| pod.chain.one("STATUS", "portcullis", &newest).unwrap();
    assert!(status(&one).is_done());
    let version = one.chain.one("VERSION", "portcullis", &[]).unwrap();
    assert_eq!(version.output["supportedVersions"].as_array().unwrap().len(), 5);

    // Only `one` is in use; another network's attachments are not ours to judge.
    let in_use = json!([{"containerID": "one", "ifname": "eth0"}]);
    let collect = |name: &str| {
        let keys = [newest[0].clone(), ("name", json!(name)), ("cni.dev/valid-attachments", in_use.clone())];
        one.chain.one("GC", "portcullis", &keys).unwrap()
    };
    assert!(collect("elsewhere").is_done());
    assert!(two.chain.check().unwrap().is_done());
    assert!(collect("pods").is_done());
    assert!(is_active(one.endpoint(&agent)));
    assert!(two.endpoint(&agent).is_none());
    let answer = two.chain.check().unwrap();
    assert_eq!(answer.output["code"].as_u64(), Some(100), "{answer:?}");

    agent.stop().unwrap();
    assert_eq!(status(&one).output["code"].as_u64(), Some(50));
    assert_eq!(one.chain.check().unwrap().output["code"].as_u64(), Some(11));
    agent.restart().unwrap();
    assert!(one.chain.check().unwrap().is_done());
    one.del();
    two.del();
}

#[test]
fn installed_into_containerd_every_pod_is_bound_from_its_first_frame() {
    let lab = Lab::builder().without_outside().build().unwrap();
    let agent = Agent::start(&lab).unwrap();
    let pods = Conflist::bridge("pods", "cni0", &["10.182.0.0/24", "fd82::/64"]);
    let containerd = Containerd::start(lab.host(), &pods).unwrap();
    let directory = |path: &Path| path.to_str().unwrap().to_owned();
    let (conf, bin) = (directory(&containerd.cni_directory()), directory(&containerd.plugin_directory()));
    let socket = directory(&agent.socket());
    let words = ["cni", "install", "--conf-dir", &conf, "--bin-dir", &bin, "--agent-socket", &socket];
    assert!(agent.cli_ok(&words).unwrap().contains("installed into"));
    assert!(agent.cli_ok(&words).unwrap().contains("already installed"));

    let far = containerd.run_pod("far", &[]).unwrap();
    let find = |name: &str| {
        let all = agent.endpoints().unwrap();
        all.into_iter().find(|endpoint| endpoint.workload.pod.as_deref() == Some(name))
    };
    // containerd reads its configuration anew when the file changes.
    wait_for("a pod that is bound", || {
        find("far").or_else(|| {
            let again = containerd.run_pod("again", &[]).ok()?;
            let bound = find("again");
            containerd.remove_pod(&again.id).ok()?;
            bound
        })
    })
    .unwrap();
    let inside = containerd.namespace(&far.id).unwrap();
    let listener = Listener::start(&inside, "eth0", tagged_payload(FORGED)).unwrap();
    let mallory = containerd.run_pod("mallory", &[("tier", "front")]).unwrap();
    assert!(is_active(find("mallory")), "bound when the pod is there");
    containerd.run_forger(&mallory, &Forgery::ALL, 700, 100).unwrap();
    wait_until("every forged frame to be counted", || {
        find("mallory").unwrap().counters.dropped.packets >= 700
    })
    .unwrap();
    assert_eq!(listener.stop().unwrap(), 0);
    let endpoint = find("mallory").unwrap();
    assert_eq!(endpoint.workload.container.as_deref(), Some(mallory.id.as_str()));
    assert_eq!(endpoint.workload.namespace.as_deref(), Some("default"));
    containerd.remove_pod(&mallory.id).unwrap();
    assert!(find("mallory").is_none());

    let words = ["cni", "uninstall", "--conf-dir", &conf, "--bin-dir", &bin];
    assert!(agent.cli_ok(&words).unwrap().contains("removed from"));
    containerd.remove_pod(&far.id).unwrap();
}
