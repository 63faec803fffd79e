use proptest::prelude::*;

use super::*;
use crate::generate::{any_spec, spec};

fn refusal(spec: EndpointSpec) -> String {
    let error = spec.validate().unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn names() {
    for good in ["a", "web-1", "ns/pod:eth0", "a.b_c", "7", &"x".repeat(253)] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
    for bad in ["", "-a", "/a", "a b", "a\n", "é", "a\"", &"x".repeat(254)] {
        let error = refusal(spec(bad, "veth0", &["10.0.0.2"]));
        assert!(error.contains("cannot be an endpoint's name: use 1 to 253 letters"), "{error}");
    }
}

#[test]
fn interfaces_and_namespaces() {
    for good in ["veth0", "eth0.42", "lo", "a-very-long-nam", "été"] {
        assert_eq!(check_interface(good), Ok(()), "{good}");
    }
    for bad in ["", ".", "..", "a/b", "a b", "eth0:1", "a\t", "a-very-long-name", "éééééééé"] {
        let error = refusal(spec("web", bad, &["10.0.0.2"]));
        assert!(error.contains("cannot be an interface's name: write 1 to 15 bytes"), "{error}");
    }
    for (path, good) in [
        ("/run/netns/web", true),
        ("/proc/1/ns/net", true),
        ("web", false),
        ("", false),
        ("/", false),
        ("/run/../x", false),
    ] {
        let mut web = spec("web", "veth0", &["10.0.0.2"]);
        web.interface.netns = Some(path.into());
        match web.validate() {
            Ok(_) => assert!(good, "{path}"),
            Err(e) => {
                assert!(!good && e.to_string().contains("write an absolute path such as"), "{path}: {e}")
            }
        }
    }
}

#[test]
fn an_endpoint_needs_something_to_send_from() {
    assert!(refusal(spec("web", "veth0", &[])).contains("it has no address: give it one with --address"));
    let mut dhcp = spec("web", "veth0", &[]);
    dhcp.allow = vec![Permission::DhcpClient];
    assert!(dhcp.validate().is_ok());
    assert!(spec("lo", "lo", &[]).validate().is_ok());
}

#[test]
fn loopback_is_for_lo() {
    for address in ["127.0.0.1", "127.0.0.0/8", "::1"] {
        let error = refusal(spec("web", "veth0", &[address]));
        let says =
            format!("{address} is a loopback address, which never leaves its host: bind it to interface lo");
        assert!(error.contains(&says), "{error}");
        assert!(spec("lo", "lo", &[address]).validate().is_ok());
    }
    for (interface, good) in [("veth0", false), ("lo", true)] {
        let mut zero = spec("web", interface, &["10.0.0.2"]);
        zero.macs = vec!["00:00:00:00:00:00".parse().unwrap()];
        assert_eq!(zero.validate().is_ok(), good);
    }
}

#[test]
fn duplicates_go_and_the_order_stays() {
    let mut web = spec("web", "veth0", &["10.0.0.9", "10.0.0.2", "10.0.0.9/32", "10.0.0.2"]);
    web.macs = vec!["02:00:00:00:00:02".parse().unwrap(), "02-00-00-00-00-02".parse().unwrap()];
    web.allow = vec![Permission::Router, Permission::Router];
    let web = web.validate().unwrap();
    assert_eq!(web.addresses, ["10.0.0.9".parse().unwrap(), "10.0.0.2".parse().unwrap()]);
    assert_eq!((web.macs.len(), web.allow.len()), (1, 1));
}

#[test]
fn limits() {
    let many = |n: u32| {
        let mut web = spec("web", "veth0", &[]);
        let address = |i: u32| std::net::IpAddr::from((0x0a00_0000 + i).to_be_bytes());
        web.addresses = (0..n).map(|i| address(i).try_into().unwrap()).collect();
        web
    };
    assert!(many(4096).validate().is_ok());
    assert!(refusal(many(4097)).contains("4097 addresses are too many for one endpoint (at most 4096)"));
    let mut web = spec("web", "veth0", &["10.0.0.2"]);
    web.macs = (0..65).map(|i| portcullis_abi::Mac([2, 0, 0, 0, 0, i]).try_into().unwrap()).collect();
    assert!(refusal(web).contains("65 MACs are too many"));
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let error = refusal(spec("we b", "a/b", &[]));
    assert_eq!(error.matches("; ").count(), 2, "{error}");
    assert!(error.starts_with("endpoint \"we b\": "), "{error}");
}

#[test]
fn a_state_has_each_name_once() {
    let web = || spec("web", "veth0", &["10.0.0.2"]);
    let errors = State { endpoints: vec![web(), spec("bad", "veth1", &[]), web()], ..State::default() }
        .validate()
        .unwrap_err();
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].contains("\"bad\"") && errors[1].contains("this name stands twice"), "{errors:?}");
    assert_eq!(State { endpoints: vec![web()], ..State::default() }.validate().unwrap().len(), 1);
}

proptest! {
    #[test]
    fn validation_is_idempotent(spec in any_spec()) {
        let once = spec.validate().unwrap();
        prop_assert_eq!(once.clone().into_inner().validate().unwrap(), once);
    }

    #[test]
    fn no_name_panics(name in "\\PC{0,300}", interface in "\\PC{0,20}") {
        let mut spec = spec("a", "b", &["10.0.0.2"]);
        (spec.name, spec.interface.name) = (name, interface);
        let _ = spec.validate();
    }
}
