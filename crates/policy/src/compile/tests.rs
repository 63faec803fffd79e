use std::collections::HashSet;

use portcullis_abi::FurtherKind;
use proptest::prelude::*;

use super::*;
use crate::generate::{any_address, any_learned, any_mac, any_spec, spec};
use crate::model::Permission;
use crate::reference;

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

fn learned(macs: &[&str], link_local: &[&str], local: &[&str]) -> Learned {
    Learned {
        macs: macs.iter().map(|m| mac(m)).collect(),
        link_local: link_local.iter().map(|a| a.parse().unwrap()).collect(),
        local: local.iter().map(|a| a.parse().unwrap()).collect(),
    }
}

/// Asks the entries as the kernel does: inline, then only the tables that `allow` names.
struct Tables<'a>(&'a CompiledBinding);

impl Tables<'_> {
    fn has(&self, bits: u32) -> bool {
        Allow(self.0.endpoint.allow).has(bits)
    }

    fn mac(&self, mac: Mac) -> bool {
        let further = self.has(Allow::FURTHER_MAC) && self.0.further.contains(&FurtherKey::mac(BINDING, mac));
        !mac.is_group() && (mac == self.0.endpoint.mac || further)
    }

    fn address(&self, address: IpAddr) -> bool {
        let endpoint = &self.0.endpoint;
        let (inline, further, prefix) = match address {
            IpAddr::V4(v4) => {
                let inline = !v4.is_unspecified() && Ipv4::from(v4) == endpoint.ipv4;
                (inline, Allow::FURTHER_IPV4, Allow::PREFIX_IPV4)
            }
            // IPv4 and IPv6 share the tables: a mapped source in an IPv6 header must never get that far.
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => return false,
            IpAddr::V6(v6) => {
                let inline =
                    [endpoint.ipv6, endpoint.link_local].contains(&v6.into()) && !v6.is_unspecified();
                (inline, Allow::FURTHER_IPV6, Allow::PREFIX_IPV6)
            }
        };
        let mapped = Ipv6::from(address);
        let key = FurtherKey::address(BINDING, mapped);
        let bits = u128::from_be_bytes(mapped.0);
        let in_prefix = |p: &PrefixKey| {
            let free = 128 - (p.prefix_len - PrefixKey::BASE_BITS);
            p.binding == BINDING
                && (bits ^ u128::from_be_bytes(portcullis_abi::Ipv6::from_words(p.address).0))
                    .checked_shr(free)
                    .unwrap_or(0)
                    == 0
        };
        let longest = self.0.prefixes.iter().filter(|p| in_prefix(p)).map(|p| p.prefix_len).max();
        inline
            || self.has(further) && self.0.further.contains(&key)
            || self.has(prefix) && longest.is_some_and(|len| !is_broadcast(address, len))
    }

    fn vlan(&self, id: u16) -> bool {
        let key = FurtherKey::vlan(BINDING, id);
        self.has(Allow::ANY_VLAN) || self.has(Allow::FURTHER_VLAN) && self.0.further.contains(&key)
    }

    fn ethertype(&self, number: u16) -> bool {
        let key = FurtherKey::ethertype(BINDING, number);
        self.has(Allow::ANY_ETHERTYPE) || self.has(Allow::FURTHER_ETHERTYPE) && self.0.further.contains(&key)
    }
}

const BINDING: u32 = 7;

/// The engine's rule for the address of a matched prefix whose key has `len` bits.
fn is_broadcast(address: IpAddr, len: u32) -> bool {
    let len = len - PrefixKey::BASE_BITS;
    match address {
        IpAddr::V4(v4) => len - 96 <= 30 && u32::from(v4) | u32::MAX.unbounded_shl(128 - len) == u32::MAX,
        IpAddr::V6(_) => false,
    }
}

#[test]
fn the_common_case_is_inline_and_alone() {
    let mut web = spec("web", "veth0", &["10.0.0.2", "fd00::2"]);
    web.macs = vec!["02:42:0a:00:00:02".parse().unwrap()];
    let compiled = compile(&web, &Learned::default(), &Answer::default(), 3, BINDING);
    let want = Endpoint {
        mac: mac("02:42:0a:00:00:02"),
        mode: 2,
        quarantine: 0,
        ipv4: Ipv4([10, 0, 0, 2]),
        slot: 3,
        ipv6: Ipv6("fd00::2".parse::<Ipv6Addr>().unwrap().octets()),
        link_local: Ipv6("fe80::42:aff:fe00:2".parse::<Ipv6Addr>().unwrap().octets()),
        allow: 0,
        threshold: 10,
        window_ms: 60_000,
        ..Endpoint::default()
    };
    assert_eq!(compiled, CompiledBinding { endpoint: want, further: vec![], prefixes: vec![] });
}

#[test]
fn the_rest_goes_to_the_tables_and_says_so() {
    let mut web =
        spec("web", "veth0", &["10.0.1.0/24", "10.0.0.2", "10.0.0.3", "fd00::2", "fd00::3", "fd01::/64"]);
    web.macs = vec!["02:42:0a:00:00:02".parse().unwrap(), "02:42:0a:00:00:03".parse().unwrap()];
    web.vlans = vec![42.try_into().unwrap()];
    web.ethertypes = vec![0x88cc.try_into().unwrap()];
    let compiled = compile(&web, &Learned::default(), &Answer::default(), 3, BINDING);
    let bits = [
        Allow::FURTHER_MAC,
        Allow::FURTHER_IPV4,
        Allow::FURTHER_IPV6,
        Allow::FURTHER_VLAN,
        Allow::FURTHER_ETHERTYPE,
        Allow::PREFIX_IPV4,
        Allow::PREFIX_IPV6,
    ];
    assert_eq!(compiled.endpoint.allow, bits.iter().sum::<u32>());
    let ll = mac("02:42:0a:00:00:03").eui64_link_local();
    let v6 = Ipv6::from("fd00::3".parse::<Ipv6Addr>().unwrap());
    let want = [
        FurtherKey::mac(BINDING, mac("02:42:0a:00:00:03")),
        FurtherKey::address(BINDING, Ipv4([10, 0, 0, 3]).mapped()),
        FurtherKey::address(BINDING, v6),
        FurtherKey::address(BINDING, ll),
        FurtherKey::vlan(BINDING, 42),
        FurtherKey::ethertype(BINDING, 0x88cc),
    ];
    assert_eq!(compiled.further, want);
    let v4 = Ipv4([10, 0, 1, 0]).mapped();
    let v6 = Ipv6::from("fd01::".parse::<Ipv6Addr>().unwrap());
    assert_eq!(compiled.prefixes, [PrefixKey::prefix(BINDING, v4, 120), PrefixKey::prefix(BINDING, v6, 64)]);
}

#[test]
fn each_permission_and_state_has_its_bit() {
    for permission in Permission::ALL {
        let mut web = spec("web", "veth0", &["10.0.0.2"]);
        web.allow = vec![*permission];
        assert_eq!(
            compile(&web, &Learned::default(), &Answer::default(), 1, 1).endpoint.allow,
            permission.bit(),
            "{permission}"
        );
    }
    for (mode, number) in
        [(crate::model::Mode::Off, 0), (crate::model::Mode::Audit, 1), (crate::model::Mode::Enforce, 2)]
    {
        let mut web = spec("web", "veth0", &["10.0.0.2"]);
        (web.mode, web.quarantined) = (mode, number == 1);
        let endpoint = compile(&web, &Learned::default(), &Answer::default(), 1, 1).endpoint;
        assert_eq!((endpoint.mode, endpoint.quarantine), (number, u8::from(number == 1)));
    }
}

#[test]
fn the_kernel_quarantines_where_the_answer_says_so_and_the_mode_enforces() {
    use crate::guard::Response::{Quarantine, Report, Terminate};
    use crate::model::Mode::{Audit, Enforce, Off};
    let cases = [
        (Report, false, Enforce, 0),
        (Quarantine, false, Enforce, 1),
        (Terminate, false, Enforce, 1),
        (Terminate, true, Enforce, 0),
        (Quarantine, false, Audit, 0),
        (Quarantine, false, Off, 0),
    ];
    for (response, dry_run, mode, want) in cases {
        let window = crate::span::Span::from_millis(500);
        let answer = Answer { attempts: 100, window, response, dry_run, ..Answer::default() };
        let web = EndpointSpec { mode, ..spec("web", "veth0", &["10.0.0.2"]) };
        let endpoint = compile(&web, &Learned::default(), &answer, 1, 2).endpoint;
        assert_eq!((endpoint.answer, endpoint.threshold, endpoint.window_ms), (want, 100, 500));
        assert_eq!(endpoint.stride_shift, abi::Conduct::stride_shift(100));
    }
}

#[test]
fn link_local_addresses_are_declared_else_learned_else_derived() {
    let shown = |spec: &EndpointSpec, learned: &Learned| -> Vec<String> {
        effective(spec, learned).link_local.iter().map(ToString::to_string).collect()
    };
    // Bound for an endpoint with nothing but IPv4, too.
    let web = spec("web", "veth0", &["10.0.0.2"]);
    assert_eq!(shown(&web, &learned(&["02:42:0a:00:00:02"], &[], &[])), ["fe80::42:aff:fe00:2"]);
    assert_eq!(
        shown(&web, &learned(&["02:42:0a:00:00:02"], &["fe80::5", "fe80::6"], &[])),
        ["fe80::5", "fe80::6"]
    );
    assert_eq!(shown(&web, &learned(&[], &["fd00::5", "::"], &[])), Vec::<String>::new());
    let web = spec("web", "veth0", &["10.0.0.2", "fe80::9"]);
    assert_eq!(shown(&web, &learned(&["02:42:0a:00:00:02"], &["fe80::5"], &[])), ["fe80::9"]);
    // Declared MACs take the place of learned ones, in their addresses as well.
    let mut web = spec("web", "veth0", &["10.0.0.2"]);
    web.macs = vec!["02:42:0a:00:00:07".parse().unwrap()];
    assert_eq!(shown(&web, &learned(&["02:42:0a:00:00:02"], &[], &[])), ["fe80::42:aff:fe00:7"]);
}

#[test]
fn loopback_gets_the_addresses_of_its_namespace_and_no_other_interface_does() {
    let facts =
        learned(&["00:00:00:00:00:00"], &[], &["127.0.0.1", "10.0.0.2", "::1", "fe80::2", "::", "224.0.0.1"]);
    let lo = effective(&spec("lo", "lo", &["127.0.0.1"]), &facts);
    let want = Effective {
        macs: vec![Mac::ZERO],
        ipv4: vec![Ipv4([127, 0, 0, 1]), Ipv4([10, 0, 0, 2])],
        ipv6: vec!["::1".parse::<Ipv6Addr>().unwrap().into()],
        link_local: vec!["fe80::2".parse::<Ipv6Addr>().unwrap().into()],
        prefixes: vec![],
    };
    assert_eq!(lo, want);
    let veth = effective(&spec("web", "veth0", &["10.0.0.2"]), &facts);
    assert_eq!(veth, Effective { ipv4: vec![Ipv4([10, 0, 0, 2])], ..Effective::default() });
}

#[test]
fn thousands_of_addresses_compile() {
    let mut web = spec("web", "veth0", &[]);
    web.addresses = (0..4096u32)
        .map(|i| IpAddr::from((0x0a00_0000 + i).to_be_bytes()).try_into().unwrap())
        .skip(1)
        .collect();
    assert_eq!(compile(&web, &Learned::default(), &Answer::default(), 1, 1).further.len(), 4094);
}

proptest! {
    #[test]
    fn tables_decide_as_the_reference_does(
        spec in any_spec(), learned in any_learned(),
        macs in prop::collection::vec(any_mac(), 1..8),
        addresses in prop::collection::vec(any_address(), 1..24),
        vlans in prop::collection::vec(0..=4095u16, 4),
        ethertypes in prop::collection::vec(0x9000..=0xffffu16, 4),
    ) {
        let compiled = compile(&spec, &learned, &Answer::default(), 1, BINDING);
        let tables = Tables(&compiled);
        // An endpoint without a MAC has zeros in its entry: see `effective_macs`.
        let known = !effective_macs(&spec, &learned).is_empty();
        for mac in macs.into_iter().filter(|m| known || *m != Mac::ZERO) {
            prop_assert_eq!(tables.mac(mac), reference::is_mac_bound(&spec, &learned, mac), "{}", mac);
        }
        for address in addresses {
            prop_assert_eq!(tables.address(address), reference::is_address_bound(&spec, &learned, address), "{}", address);
        }
        for id in vlans.into_iter().chain(spec.vlans.iter().map(|v| v.number())) {
            prop_assert_eq!(tables.vlan(id), reference::is_vlan_allowed(&spec, id));
        }
        for number in ethertypes.into_iter().chain(spec.ethertypes.iter().map(|e| e.number())) {
            prop_assert_eq!(tables.ethertype(number), reference::is_ethertype_allowed(&spec, number));
        }
    }

    #[test]
    fn no_key_stands_twice_or_belongs_to_another(spec in any_spec(), learned in any_learned()) {
        let compiled = compile(&spec, &learned, &Answer::default(), 1, BINDING);
        let keys: HashSet<_> = compiled.further.iter().collect();
        prop_assert_eq!(keys.len(), compiled.further.len());
        let prefixes: HashSet<_> = compiled.prefixes.iter().collect();
        prop_assert_eq!(prefixes.len(), compiled.prefixes.len());
        prop_assert!(compiled.further.iter().all(|k| k.binding == BINDING && (1..=4).contains(&k.kind)));
        prop_assert!(compiled.prefixes.iter().all(|k| k.binding == BINDING));
        // A bit of a table is set exactly where the table has something.
        for (bit, kind) in [
            (Allow::FURTHER_MAC, FurtherKind::Mac),
            (Allow::FURTHER_VLAN, FurtherKind::Vlan),
            (Allow::FURTHER_ETHERTYPE, FurtherKind::Ethertype),
        ] {
            let some = compiled.further.iter().any(|k| k.kind == kind as u32);
            prop_assert_eq!(Allow(compiled.endpoint.allow).has(bit), some);
        }
    }
}
