//! The runtimes themselves: what they promise the other tests, and that nothing is left of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use portcullis_testkit::{
    Conflist, Containerd, Docker, Engine, FORGED, Forgery, Lab, Listener, NetworkOptions, Podman, RunOptions,
    ping, tagged_payload,
};

fn lab() -> Lab {
    Lab::builder().without_outside().build().unwrap()
}

/// What a runtime has to do for the tests, whichever it is.
fn exercise(lab: &Lab, api: &Engine) {
    let network = NetworkOptions::bridge(&["10.177.1.0/24", "fd77:1::/64"]);
    api.network_create("blue", &network).unwrap();
    api.network_create("red", &NetworkOptions::bridge(&["10.177.2.0/24"])).unwrap();
    let web = RunOptions::new().network("blue", &["10.177.1.20", "fd77:1::20"]).label("tier", "front");
    let id = api.run("web", &web).unwrap();
    api.run("far", &RunOptions::new().network("blue", &[])).unwrap();
    assert_eq!(api.addresses("web", "blue").unwrap(), ["10.177.1.20", "fd77:1::20"]);
    assert_eq!(api.inspect("web").unwrap()["Id"], id);
    let web = api.namespace("web").unwrap();
    for address in api.addresses("far", "blue").unwrap() {
        assert!(ping(&web, &address, 3).unwrap().none_lost(), "{address}");
    }
    api.network_connect("red", "web", &[]).unwrap();
    assert!(api.addresses("web", "red").is_ok());
    assert!(web.has_interface("eth1"));
    api.network_disconnect("red", "web").unwrap();
    assert!(!web.has_interface("eth1"));

    // Every forgery arrives where nobody stands guard.
    let far = api.namespace("far").unwrap();
    let listener = Listener::start(&far, "eth0", tagged_payload(FORGED)).unwrap();
    let mallory = RunOptions::new().network("blue", &[]).forging("eth0", &Forgery::ALL, 70, 500);
    api.run("mallory", &mallory).unwrap();
    listener.wait_for(70).unwrap();
    assert_eq!(listener.stop().unwrap(), 70);

    api.stop("mallory", 10).unwrap();
    api.start("mallory").unwrap();
    api.kill("mallory").unwrap();
    api.rename("far", "near").unwrap();
    api.remove("near").unwrap();
    assert!(api.inspect("near").is_err());
    assert!(lab.host().run("ip -o link show type veth").unwrap().lines().count() >= 1);
}

#[test]
fn docker() {
    let lab = lab();
    let before = Instant::now();
    let mut docker = Docker::start(lab.host()).unwrap();
    println!("docker ready after {:?}", before.elapsed());
    exercise(&lab, docker.api());
    let pid = docker.api().pid("web").unwrap();
    docker.stop_daemon().unwrap();
    assert!(docker.api().inspect("web").is_err());
    docker.start_daemon().unwrap();
    assert_eq!(docker.api().pid("web").unwrap(), pid, "containers outlive the daemon");
    docker.kill_daemon().unwrap();
    docker.start_daemon().unwrap();
    assert_eq!(docker.api().pid("web").unwrap(), pid);
    println!("all done after {:?}", before.elapsed());
}

#[test]
fn podman() {
    let lab = lab();
    let before = Instant::now();
    let mut podman = Podman::start(lab.host()).unwrap();
    println!("podman ready after {:?}", before.elapsed());
    exercise(&lab, podman.api());
    let pid = podman.api().pid("web").unwrap();
    podman.stop_service().unwrap();
    podman.start_service().unwrap();
    assert_eq!(podman.api().pid("web").unwrap(), pid);
    println!("all done after {:?}", before.elapsed());
}

#[test]
fn containerd() {
    let lab = lab();
    let before = Instant::now();
    let bridge = Conflist::bridge("pods", "cni0", &["10.178.0.0/24", "fd78::/64"]);
    let mut containerd = Containerd::start(lab.host(), &bridge).unwrap();
    println!("containerd ready after {:?}", before.elapsed());
    let far = containerd.run_pod("far", &[("tier", "back")]).unwrap();
    let web = containerd.run_pod("web", &[]).unwrap();
    println!("two pods after {:?}", before.elapsed());
    let (addresses, inside) =
        (containerd.addresses(&far.id).unwrap(), containerd.namespace(&web.id).unwrap());
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for address in &addresses {
        assert!(ping(&inside, address, 3).unwrap().none_lost(), "{address}");
    }

    let listener =
        Listener::start(&containerd.namespace(&far.id).unwrap(), "eth0", tagged_payload(FORGED)).unwrap();
    containerd.run_forger(&web, &Forgery::ALL, 70, 500).unwrap();
    listener.wait_for(70).unwrap();
    assert_eq!(listener.stop().unwrap(), 70);

    containerd.set_network(&Conflist::ptp("routed", &["10.179.0.0/24", "fd79::/64"])).unwrap();
    let routed = containerd.run_pod("routed", &[]).unwrap();
    let address = &containerd.addresses(&routed.id).unwrap()[0];
    assert!(address.starts_with("10.179.0."), "{address}");
    assert!(ping(&containerd.namespace(&routed.id).unwrap(), &addresses[0], 3).unwrap().none_lost());

    containerd.stop_daemon().unwrap();
    containerd.start_daemon().unwrap();
    assert!(containerd.is_ready(&web.id).unwrap(), "pods outlive the daemon");
    containerd.remove_pod(&web.id).unwrap();
    assert!(!containerd.is_ready(&web.id).unwrap());
    containerd.kill_daemon().unwrap();
    println!("all done after {:?}", before.elapsed());
}

/// Two of each at once, killed in the middle of their work: nothing of them is left.
#[test]
fn nothing_is_left_even_after_a_panic() {
    let (send, receive) = std::sync::mpsc::channel();
    let worker = move || {
        let labs = [lab(), lab()];
        let pods = || Conflist::bridge("pods", "cni0", &["10.178.0.0/24", "fd78::/64"]);
        let all = labs.each_ref().map(|lab| {
            let docker = Docker::start(lab.host()).unwrap();
            let podman = Podman::start(lab.host()).unwrap();
            let containerd = Containerd::start(lab.host(), &pods()).unwrap();
            // In one host namespace there can be only one of these bridges' subnets each; names may be the same.
            for (api, subnet) in [(docker.api(), "10.177.1.0/24"), (podman.api(), "10.177.2.0/24")] {
                api.network_create("blue", &NetworkOptions::bridge(&[subnet])).unwrap();
                api.run("web", &RunOptions::new().network("blue", &[])).unwrap();
                api.run("forger", &RunOptions::new().forging("eth0", &Forgery::ALL, 0, 100)).unwrap();
            }
            let pod = containerd.run_pod("web", &[]).unwrap();
            containerd.run_forger(&pod, &Forgery::ALL, 0, 100).unwrap();
            for directory in [docker.directory(), podman.directory(), containerd.directory()] {
                send.send(directory.to_owned()).unwrap();
            }
            (docker, podman, containerd)
        });
        assert!(all.is_empty(), "as tests do");
    };
    assert!(std::thread::spawn(worker).join().is_err());
    let directories: Vec<PathBuf> = receive.try_iter().collect();
    assert_eq!(directories.len(), 6);
    for directory in &directories {
        assert!(!directory.exists());
        // What the directory is called, without its random end, is what its cgroup is called.
        let name = directory.file_name().unwrap().to_str().unwrap();
        let cgroup = name.rsplit_once('-').unwrap().0;
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(directory.to_str().unwrap()), "{mounts}");
        for hierarchy in mounts.lines().filter(|line| line.contains(" cgroup")) {
            let place = Path::new(hierarchy.split(' ').nth(1).unwrap()).join(cgroup);
            assert!(!place.exists(), "{}", place.display());
        }
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&line).contains(name), "{process:?}");
        }
    }
}
