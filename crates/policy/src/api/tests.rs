//! The state as a file: it reads back what it wrote, in every format, and names what it does not know.

use super::*;
use crate::guard::{Response, Selector, Termination};
use crate::model::InterfaceRef;
use crate::model::{Direction, Mode, Permission, Workload};
use crate::span::Span;
use proptest::prelude::*;

const FULL: &str = r#"
[[endpoint]]
name = "shop/web-1:eth0"
interface = { name = "veth1a2b", netns = "/run/netns/host" }
direction = "ingress"
addresses = ["10.0.0.2", "10.0.0.5/32", "10.9.0.0/16", "fd00::2"]
macs = ["02-42-0A-00-00-02"]
mode = "audit"
allow = ["dhcp-client", "no-source-route"]
vlans = [42]
ethertypes = ["0x88cc", 0x88b5]
quarantined = true
network = "front"
inside = "eth0"

[endpoint.workload]
runtime = "docker"
container = "0123abcd"
labels = { app = "shop", "a.b/c" = "" }

[[endpoint]]
name = "lo"
interface.name = "lo"
direction = "egress"
addresses = ["127.0.0.1"]

[[policy]]
name = "strict"
match = { name = "web-*", labels = { app = "shop" } }
priority = 5
mode = "enforce"
allow = ["router"]
addresses = ["10.9.9.9"]
attempts = 3
window = "10s"
response = "terminate"
terminate = "restart"
release_after = "10m"
dry_run = true
"#;

fn full() -> State {
    let web = EndpointSpec {
        name: "shop/web-1:eth0".into(),
        interface: InterfaceRef { name: "veth1a2b".into(), netns: Some("/run/netns/host".into()) },
        direction: Direction::Ingress,
        addresses: ["10.0.0.2", "10.0.0.5", "10.9.0.0/16", "fd00::2"].map(|a| a.parse().unwrap()).into(),
        macs: vec!["02:42:0a:00:00:02".parse().unwrap()],
        mode: Mode::Audit,
        allow: vec![Permission::DhcpClient, Permission::NoSourceRoute],
        vlans: vec![42.try_into().unwrap()],
        ethertypes: vec![0x88cc.try_into().unwrap(), 0x88b5.try_into().unwrap()],
        quarantined: true,
        workload: Workload {
            runtime: Some("docker".into()),
            container: Some("0123abcd".into()),
            labels: [("app".to_string(), "shop".to_string()), ("a.b/c".to_string(), String::new())].into(),
            ..Workload::default()
        },
        network: Some("front".into()),
        inside: Some("eth0".into()),
    };
    let lo = EndpointSpec {
        name: "lo".into(),
        interface: InterfaceRef { name: "lo".into(), netns: None },
        direction: Direction::Egress,
        addresses: vec!["127.0.0.1".parse().unwrap()],
        macs: vec![],
        mode: Mode::Enforce,
        allow: vec![],
        vlans: vec![],
        ethertypes: vec![],
        quarantined: false,
        workload: Workload::default(),
        network: None,
        inside: None,
    };
    let policy = GatePolicy {
        name: "strict".into(),
        selector: Selector {
            name: Some("web-*".into()),
            labels: [("app".to_owned(), "shop".to_owned())].into(),
            ..Selector::default()
        },
        priority: 5,
        mode: Some(Mode::Enforce),
        allow: vec![Permission::Router],
        addresses: vec!["10.9.9.9".parse().unwrap()],
        attempts: Some(3),
        window: Some(Span::from_secs(10)),
        response: Some(Response::Terminate),
        terminate: Some(Termination::Restart),
        release_after: Some(Span::from_secs(600)),
        dry_run: Some(true),
    };
    State { endpoints: vec![web, lo], policies: vec![policy], ..State::default() }
}

#[test]
fn a_file_as_people_write_it_is_read() {
    assert_eq!(toml::from_str::<State>(FULL).unwrap(), full());
    assert_eq!(toml::from_str::<State>("").unwrap(), State::default());
    let yaml = "
endpoint:
- name: web
  interface: {name: veth0}
  addresses: [10.0.0.2, 'fd00::2', fd00::/64]
  macs: [02:42:10:00:00:02]
  vlans: [42]
  ethertypes: [0x88cc, '0x88b5']
";
    let state: State = serde_yaml_ng::from_str(yaml).unwrap();
    let web = &state.endpoints[0];
    assert_eq!((web.addresses.len(), web.macs[0].to_string().as_str()), (3, "02:42:10:00:00:02"));
    assert_eq!(web.ethertypes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0x88cc", "0x88b5"]);
}

fn round_trip(state: &State) -> Result<(), TestCaseError> {
    let text = toml::to_string(state).unwrap();
    prop_assert_eq!(&toml::from_str::<State>(&text).unwrap(), state, "{}", text);
    let text = toml::to_string_pretty(state).unwrap();
    prop_assert_eq!(&toml::from_str::<State>(&text).unwrap(), state, "{}", text);
    let text = serde_yaml_ng::to_string(state).unwrap();
    prop_assert_eq!(&serde_yaml_ng::from_str::<State>(&text).unwrap(), state, "{}", text);
    let text = serde_json::to_string(state).unwrap();
    prop_assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), state, "{}", text);
    Ok(())
}

#[test]
fn the_full_state_round_trips() {
    round_trip(&full()).unwrap();
    round_trip(&State::default()).unwrap();
    assert!(toml::to_string(&full()).unwrap().starts_with("[[endpoint]]\nname = \"shop/web-1:eth0\"\n"));
}

/// The reader of one format; its error as text.
type Reader = fn(&str) -> Result<State, String>;

const TOML: Reader = |text| toml::from_str(text).map_err(|e| e.to_string());
const YAML: Reader = |text| serde_yaml_ng::from_str(text).map_err(|e| e.to_string());
const JSON: Reader = |text| serde_json::from_str(text).map_err(|e| e.to_string());

#[test]
fn errors_name_the_key_or_value_that_is_wrong() {
    let endpoint = |line: &str| format!("[[endpoint]]\nname = \"a\"\ninterface.name = \"b\"\n{line}\n");
    let yaml = |line: &str| format!("endpoint:\n- name: a\n  interface: {{name: b}}\n  {line}\n");
    let json =
        |line: &str| format!(r#"{{"endpoint": [{{"name": "a", "interface": {{"name": "b"}}, {line}}}]}}"#);
    for (read, text, says) in [
        (TOML, endpoint("adresses = []"), "unknown field `adresses`"),
        (YAML, yaml("adresses: []"), "unknown field `adresses`"),
        (JSON, json(r#""adresses": []"#), "unknown field `adresses`"),
        (TOML, "[[endpoints]]\nname = \"a\"\n".into(), "unknown field `endpoints`"),
        (TOML, endpoint("interface.ns = \"x\""), "unknown field `ns`"),
        (TOML, endpoint("workload.colour = \"x\""), "unknown field `colour`"),
        (TOML, "[[policy]]\nname = \"a\"\nmatch = { nam = \"x\" }\n".into(), "unknown field `nam`"),
        (
            TOML,
            "[[policy]]\nname = \"a\"\nmatch.name = \"x\"\nwindow = \"60\"\n".into(),
            "such as 500ms, 60s",
        ),
        (TOML, "[[endpoint]]\nname = \"a\"\n".into(), "missing field `interface`"),
        (TOML, endpoint("mode = \"strict\""), "unknown variant `strict`"),
        (TOML, endpoint("allow = [\"everything\"]"), "unknown variant `everything`"),
        (TOML, endpoint("addresses = [\"0.0.0.0/0\"]"), "would let it use every address as its source"),
        (YAML, yaml("addresses: [10.0.0.2/24]"), "write 10.0.0.2 for that address alone"),
        (JSON, json(r#""macs": ["x"]"#), "\"x\" is not a MAC address"),
        (TOML, endpoint("vlans = [0]"), "0 is not a VLAN id"),
        (TOML, endpoint("vlans = [-1]"), "-1 is not a VLAN id"),
        (TOML, endpoint("vlans = [70000]"), "70000 is not a VLAN id"),
        (TOML, endpoint("ethertypes = [0x0800]"), "bind addresses instead"),
        (YAML, yaml("ethertypes: [-1]"), "is not an ethertype"),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.contains(says), "{text}gave: {error}");
    }
}

#[test]
fn the_schema_has_texts_where_the_json_has_texts() {
    use utoipa::PartialSchema;
    let schema = |s: utoipa::openapi::RefOr<utoipa::openapi::Schema>| serde_json::to_value(s).unwrap();
    assert_eq!(schema(crate::address::AddressBinding::schema())["type"], "string");
    assert_eq!(schema(crate::address::MacAddress::schema())["type"], "string");
    assert_eq!(schema(crate::address::EtherType::schema())["type"], "string");
    assert_eq!(schema(crate::address::VlanId::schema())["type"], "integer");
    assert!(schema(State::schema())["properties"]["endpoint"].is_object());
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]{1,8}",
        "\\PC{0,12}",
        Just("null".to_string()),
        Just("1e3".to_string()),
        Just("a\"b\n#".into())
    ]
}

fn any_workload() -> impl Strategy<Value = Workload> {
    let text = || prop::option::of(any_text());
    (text(), text(), text(), text(), prop::collection::btree_map(any_text(), any_text(), 0..3)).prop_map(
        |(runtime, container, pod, namespace, labels)| Workload {
            runtime,
            container,
            pod,
            namespace,
            labels,
            ..Workload::default()
        },
    )
}

fn any_spec() -> impl Strategy<Value = EndpointSpec> {
    const ADDRESSES: &[&str] = &["10.0.0.2", "10.9.0.0/16", "fd00::2", "fd00::/64", "fe80::1"];
    (
        any_text(),
        any_text(),
        prop::option::of(any_text()),
        prop::sample::select(Direction::ALL),
        prop::sample::select(Mode::ALL),
        prop::sample::subsequence(ADDRESSES, 0..=ADDRESSES.len()),
        prop::sample::subsequence(Permission::ALL, 0..=Permission::ALL.len()),
        prop::collection::vec(1..=4094u16, 0..3),
        any::<bool>(),
        any_workload(),
    )
        .prop_map(
            |(name, interface, netns, direction, mode, addresses, allow, vlans, quarantined, workload)| {
                EndpointSpec {
                    name,
                    interface: InterfaceRef { name: interface, netns },
                    direction,
                    addresses: addresses.into_iter().map(|a| a.parse().unwrap()).collect(),
                    macs: vec!["02:00:00:00:00:01".parse().unwrap()],
                    mode,
                    allow,
                    vlans: vlans.iter().map(|v| (*v).try_into().unwrap()).collect(),
                    ethertypes: vlans.iter().map(|v| (0xa000 + v).try_into().unwrap()).collect(),
                    quarantined,
                    workload,
                    network: None,
                    inside: None,
                }
            },
        )
}

proptest! {
    #[test]
    fn every_state_round_trips(endpoints in prop::collection::vec(any_spec(), 0..4)) {
        round_trip(&State { endpoints, ..State::default() })?;
    }
}
