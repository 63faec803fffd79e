use super::*;
use crate::generate::spec;

const MAC: &str = "02:42:0a:00:00:02";
const OTHER: &str = "02:42:0a:00:00:03";

fn web() -> EndpointSpec {
    let mut web = spec("web", "veth0", &["10.0.0.2", "10.9.0.0/16", "fd00::2"]);
    web.macs = vec![MAC.parse().unwrap()];
    web
}

fn claims(source: Option<&str>, arp: Option<(&str, &str)>, ip: Option<&str>) -> Claims {
    Claims {
        ethernet_source: source.map(|m| m.parse().unwrap()),
        arp_sender: arp.map(|(m, a)| (m.parse().unwrap(), a.parse().unwrap())),
        ip_source: ip.map(|a| a.parse().unwrap()),
    }
}

#[test]
fn claims_one_by_one() {
    for (source, arp, ip, want) in [
        (Some(MAC), None, Some("10.0.0.2"), true),
        (Some(MAC), None, Some("10.9.255.1"), true),
        (Some(MAC), None, Some("10.9.255.255"), false),
        (Some(MAC), None, Some("fd00::2"), true),
        (Some(MAC), None, Some("fe80::42:aff:fe00:2"), true),
        (Some(MAC), None, Some("fe80::42:aff:fe00:3"), false),
        (Some(MAC), None, Some("10.0.0.3"), false),
        (Some(OTHER), None, Some("10.0.0.2"), false),
        (None, None, Some("10.0.0.2"), true),
        (None, None, Some("127.0.0.1"), false),
        (None, None, Some("0.0.0.0"), false),
        (None, None, Some("::"), false),
        (None, None, Some("255.255.255.255"), false),
        (Some(MAC), Some((MAC, "10.0.0.2")), None, true),
        (Some(MAC), Some((MAC, "0.0.0.0")), None, true),
        (Some(MAC), Some((MAC, "10.0.0.1")), None, false),
        (Some(MAC), Some((OTHER, "10.0.0.2")), None, false),
        (Some(OTHER), Some((MAC, "10.0.0.2")), None, false),
        (None, None, None, true),
    ] {
        let claims = claims(source, arp, ip);
        assert_eq!(allows(&web(), &Learned::default(), &claims), want, "{claims:?}");
    }
}

#[test]
fn two_macs_of_one_endpoint_do_not_speak_for_each_other_in_arp() {
    let mut web = web();
    web.macs.push(OTHER.parse().unwrap());
    let claims = claims(Some(OTHER), Some((MAC, "10.0.0.2")), None);
    assert!(!allows(&web, &Learned::default(), &claims));
}
