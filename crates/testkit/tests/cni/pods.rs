//! Pods as libcni attaches them: the reference plugins, ours last.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use portcullis_abi::{Ipv4, Ipv6, Mac};
use portcullis_policy::api::{Endpoint, EndpointState};
use portcullis_testkit::{
    Agent, Chain, Conflist, Lab, Namespace, forge_udp4, forge_udp6, portcullis, reference_plugins,
};
use serde_json::{Value, json};

/// What every forged frame carries.
pub const TAG: &[u8] = b"cni-forged";
/// Subnets of the bridge's pods.
pub const BRIDGE: [&str; 2] = ["10.180.0.0/24", "fd80::/64"];

/// A host with plugins, and the books of host-local.
pub struct Host {
    pub lab: Lab,
    pub plugins: Vec<PathBuf>,
}

impl Host {
    pub fn new() -> Self {
        let lab = Lab::builder().without_outside().build().unwrap();
        lab.host().sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]).unwrap();
        let own = lab.directory().join("plugins");
        fs::create_dir(&own).unwrap();
        // What `cni install` makes: runtimes execute the file that the configuration's `type` names.
        symlink(portcullis().unwrap(), own.join("portcullis")).unwrap();
        Self { plugins: vec![own, reference_plugins().unwrap()], lab }
    }

    pub fn books(&self) -> PathBuf {
        self.lab.directory().join("books")
    }

    /// The list, with our entry last.
    pub fn list(&self, network: Conflist, further: &[(&str, Value)]) -> Value {
        let mut entry = json!({"type": "portcullis", "socket": self.lab.directory().join("portcullis.sock")});
        for (key, value) in further {
            entry[*key] = value.clone();
        }
        network.chained(entry).to_json(&self.books())
    }

    pub fn bridge(&self) -> Value {
        self.list(Conflist::bridge("pods", "cni0", &BRIDGE), &[])
    }

    /// A pod's namespace and its way to the network.
    pub fn pod(&mut self, name: &str, list: &Value) -> Pod {
        let namespace = Namespace::open(self.lab.add_namespace(name).unwrap().name()).unwrap();
        let chain = Chain::new(self.lab.host(), &self.plugins, list, name, namespace.path()).unwrap();
        Pod { name: name.to_owned(), chain, namespace }
    }

    /// Everything that an attachment could leave behind: interfaces of the host, books of host-local.
    pub fn traces(&self) -> BTreeSet<String> {
        let links = self.lab.host().run("ip -o link show").unwrap();
        let links = links.lines().filter_map(|line| line.split(": ").nth(1).map(str::to_owned));
        let books = fs::read_dir(self.books().join("pods")).into_iter().flatten();
        let books = books.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // The bridge itself and the last address given out are not of an attachment.
        links.chain(books.filter(|name| !name.starts_with("last_reserved") && name != "lock")).collect()
    }
}

pub struct Pod {
    pub name: String,
    pub chain: Chain,
    pub namespace: Namespace,
}

impl Pod {
    pub fn add(&mut self) {
        let answer = self.chain.add().unwrap();
        assert!(answer.is_done(), "{answer:?}");
        assert_eq!((answer.plugin.as_str(), answer.log.as_str()), ("portcullis", ""));
    }

    pub fn del(&self) {
        for answer in self.chain.del().unwrap() {
            assert!(answer.is_done(), "{answer:?}");
        }
    }

    /// The address of a family, without its length.
    pub fn address(&self, v6: bool) -> String {
        let ips = self.chain.result().unwrap()["ips"].as_array().unwrap().clone();
        let text = |ip: &Value| ip["address"].as_str().unwrap().split('/').next().unwrap().to_owned();
        ips.iter().map(text).find(|address| address.contains(':') == v6).unwrap()
    }

    pub fn mac(&self) -> Mac {
        let links = self.namespace.run("ip -o link show eth0").unwrap();
        links.split("link/ether ").nth(1).unwrap()[..17].parse().unwrap()
    }

    pub fn endpoint(&self, agent: &Agent) -> Option<Endpoint> {
        let all = agent.endpoints().unwrap();
        all.into_iter().find(|endpoint| endpoint.workload.pod.as_deref() == Some(&self.name))
    }
}

/// Frames to a neighbour that claim what is nobody's.
pub fn forgeries(from: &Pod, gateway: Mac, to: &Pod) -> Vec<Vec<u8>> {
    let ipv4 = |text: &str| Ipv4(text.parse::<Ipv4Addr>().unwrap().octets());
    let ipv6 = |text: &str| Ipv6(text.parse::<Ipv6Addr>().unwrap().octets());
    let (far4, far6) = (ipv4(&to.address(false)), ipv6(&to.address(true)));
    let (mac, foreign4, foreign6) = (from.mac(), ipv4("10.180.0.99"), ipv6("fd80::99"));
    vec![
        forge_udp4((mac, foreign4), (gateway, far4), TAG),
        forge_udp6((mac, foreign6), (gateway, far6), TAG),
        forge_udp4((Mac([2, 0x66, 0, 0, 0, 1]), foreign4), (gateway, far4), TAG),
    ]
}

/// MAC of the interface at a pod's other end, or of its neighbour on a bridge.
pub fn gateway(pod: &Pod, to: &Pod, bridged: bool) -> Mac {
    if bridged {
        return to.mac();
    }
    let result = pod.chain.result().unwrap();
    result["interfaces"][0]["mac"].as_str().unwrap().parse().unwrap()
}

pub fn is_active(endpoint: Option<Endpoint>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.state == EndpointState::Active)
}
