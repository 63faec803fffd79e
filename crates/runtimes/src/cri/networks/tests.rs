use std::collections::HashMap;

use serde_json::json;

use super::*;

fn status(config: &str) -> StatusResponse {
    StatusResponse { info: HashMap::from([("cniconfig".to_owned(), config.to_owned())]) }
}

#[test]
fn containerd_tells_its_networks() {
    let network = |name: &str, inside: &str, plugin: &str, source: &str| {
        json!({"IFName": inside, "Config": {"Name": name,
            "Plugins": [{"Network": {"type": plugin}, "Source": source}]}})
    };
    let config = json!({"Networks": [
        network("cni-loopback", "lo", "loopback", "{}"),
        network("pods", "eth0", "bridge", "{\"bridge\":\"br7\"}"),
        network("plain", "eth1", "bridge", "not JSON"),
        network("p2p", "eth2", "ptp", "{}"),
        json!({"IFName": "eth3"}),
    ]});
    let read = read(&status(&config.to_string()));
    let shown: Vec<_> =
        read.iter().map(|n| (n.name.as_str(), n.driver.as_str(), n.bridge.as_deref())).collect();
    assert_eq!(
        shown,
        [("pods", "bridge", Some("br7")), ("plain", "bridge", Some("cni0")), ("p2p", "ptp", None)]
    );
    assert_eq!(name_of(&read, "eth2").as_deref(), Some("p2p"));
    assert_eq!(name_of(&read, "net1"), None);
}

#[test]
fn what_is_not_told_is_none() {
    for config in ["", "{}", "[]", "{\"Networks\":7}", "{\"Networks\":[null,7,{}]}"] {
        assert_eq!(read(&status(config)), []);
    }
    assert_eq!(read(&StatusResponse::default()), []);
}
