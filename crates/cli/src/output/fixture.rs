//! Objects for the tests of the output.

pub mod containers;

use portcullis_policy::api::{DropRecord, Endpoint, Status};
use serde_json::json;

/// An active endpoint with drops, and one in quarantine.
pub fn endpoints() -> Vec<Endpoint> {
    let endpoint = |name: &str, interface, addresses: &[&str], mode: &str, state: &str, counters| {
        let value = json!({
            "id": format!("id-{name}"), "name": name,
            "workload": {"runtime": null, "container": null, "pod": null, "namespace": null, "labels": {"app": "web"}},
            "interface": interface, "direction": "ingress", "addresses": addresses,
            "macs": ["02:42:0a:00:00:02"], "learned": ["fe80::42:aff:fe00:2"], "mode": mode, "state": state,
            "allow": ["dhcp-client"], "vlans": [], "ethertypes": [], "owner": "api",
            "since": "2026-11-21T10:00:00Z", "counters": counters,
        });
        serde_json::from_value::<Endpoint>(value).unwrap()
    };
    vec![
        endpoint(
            "web-1",
            json!({"name": "veth1", "index": 12, "netns": null}),
            &["10.0.0.2", "fd00::2"],
            "enforce",
            "active",
            json!({"allowed": {"packets": 120, "bytes": 11_760}, "dropped": {"packets": 15, "bytes": 900},
                   "reasons": {"spoofed-ipv4": 12, "spoofed-mac": 3}, "unreported": 2}),
        ),
        endpoint(
            "db",
            json!({"name": "eth0", "index": null, "netns": "/run/netns/db"}),
            &["10.0.0.3"],
            "audit",
            "quarantined",
            json!({"allowed": {"packets": 0, "bytes": 0}, "dropped": {"packets": 0, "bytes": 0}, "reasons": {}}),
        ),
    ]
}

/// The agent of these endpoints.
pub fn status() -> Status {
    let row = |interface: &str,
               kind: &str,
               peer: Option<&str>,
               endpoint: Option<&str>,
               coverage: &str,
               reason: &str| {
        json!({"interface": interface, "index": 12, "netns": null, "kind": kind, "peer": peer,
               "endpoint": endpoint, "coverage": coverage, "reason": reason})
    };
    let value = json!({
        "version": "0.1.0", "pid": 4711, "started": "2026-11-21T08:55:00Z", "kernel": "6.18.0",
        "attachment": "tcx", "bpffs": "/sys/fs/bpf/portcullis", "state_file": "/var/lib/portcullis/state.redb",
        "unbound": "allow",
        "endpoints": {"total": 2, "active": 1, "waiting": 0, "quarantined": 1, "failed": 0, "capacity": 4096},
        "counters": {"allowed": {"packets": 120, "bytes": 11_760}, "dropped": {"packets": 15, "bytes": 900},
                     "reasons": {"spoofed-ipv4": 12, "spoofed-mac": 3}},
        "events_lost": 0, "repairs": 1, "warnings": ["veth9 has no binding"],
        "coverage": [
            row("veth1", "veth", Some("eth0 in /run/netns/web"), Some("web-1"), "protected", "bound, first on the hook"),
            row("mv0", "macvlan", None, None, "not-protectable", "leaves by its parent, past any hook of the host"),
        ],
    });
    serde_json::from_value(value).unwrap()
}

/// A forged frame from web-1, as one event.
pub fn drop_record() -> DropRecord {
    let frame = "ffffffffffff02420a0000020800450000280001000040110000c000020a0a00000100010002001400000000";
    let value = json!({
        "time": "2026-11-21T10:00:00.123456789Z", "endpoint": "web-1", "interface": "veth1", "ifindex": 12,
        "netns": 4_026_531_840_u32, "reason": "spoofed-ipv4", "verdict": "dropped",
        "claimed": {"mac": "02:42:0a:00:00:02", "address": "192.0.2.10"}, "bound": ["10.0.0.2"],
        "sender": {"cgroup_id": 77, "cgroup": "/docker/abc", "pid": 812, "command": "scapy\u{1b}[2J"},
        "length": 60, "summary": "IPv4 192.0.2.10 > 10.0.0.1 UDP 1 > 2", "frame": frame,
    });
    serde_json::from_value(value).unwrap()
}
