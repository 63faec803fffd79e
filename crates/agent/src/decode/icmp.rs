//! ICMP and ICMPv6, neighbour discovery among it, in words.

use std::net::Ipv6Addr;

use portcullis_abi::Mac;
use portcullis_engine::header::{Icmp, NdOption, NeighbourMessage, be16};

use super::Decoding;

/// Options of a neighbour message that are looked at.
const MAX_OPTIONS: usize = 8;

impl Decoding<'_> {
    pub(super) fn icmp(&mut self) {
        let Some(Icmp { kind, code, .. }) = self.take::<Icmp>("ICMP") else { return };
        match kind {
            0 => self.say_echo("ICMP echo reply"),
            8 => self.say_echo("ICMP echo request"),
            3 => self.quote(&format!("ICMP unreachable ({}),", unreachable(code))),
            4 => self.quote("ICMP source quench,"),
            5 => {
                let gateway = self.rest.look::<[u8; 4]>().map(std::net::Ipv4Addr::from);
                let gateway = gateway.map_or_else(String::new, |g| format!(" to {g}"));
                self.quote(&format!("ICMP redirect{gateway},"));
            }
            11 => self.quote("ICMP time exceeded,"),
            12 => self.quote("ICMP parameter problem,"),
            9 => self.say(format_args!("ICMP router advertisement")),
            10 => self.say(format_args!("ICMP router solicitation")),
            13 => self.say(format_args!("ICMP timestamp request")),
            14 => self.say(format_args!("ICMP timestamp reply")),
            _ => self.say(format_args!("ICMP type {kind} code {code}")),
        }
    }

    fn say_echo(&mut self, name: &str) {
        match self.rest.look::<[u8; 4]>() {
            Some([a, b, c, d]) => {
                self.say(format_args!("{name} id {} seq {}", be16([a, b]), be16([c, d])));
            }
            None => self.say_end(name),
        }
    }

    /// An error quotes the packet that it is about, after four bytes of its own.
    fn quote(&mut self, name: &str) {
        self.rest.skip(4);
        self.inside(&format!("{name} quoting"), Self::layer3);
    }

    pub(super) fn icmpv6(&mut self) {
        let Some(Icmp { kind, code, .. }) = self.rest.look::<Icmp>() else { return self.say_end("ICMPv6") };
        if matches!(kind, 133..=137) {
            return self.neighbour_discovery(kind);
        }
        self.rest.skip(size_of::<Icmp>());
        match kind {
            1 => self.quote(&format!("ICMPv6 unreachable (code {code}),")),
            2 => self.quote("ICMPv6 packet too big,"),
            3 => self.quote("ICMPv6 time exceeded,"),
            4 => self.quote("ICMPv6 parameter problem,"),
            128 => self.say_echo("ICMPv6 echo request"),
            129 => self.say_echo("ICMPv6 echo reply"),
            130..=132 => self.multicast_listener(kind),
            143 => self.say(format_args!("ICMPv6 MLDv2 report")),
            _ => self.say(format_args!("ICMPv6 type {kind} code {code}")),
        }
    }

    /// MLDv1 (RFC 2710) and the query of MLDv2.
    fn multicast_listener(&mut self, kind: u8) {
        let name = match kind {
            130 => "query",
            131 => "report",
            _ => "done",
        };
        match self.rest.look_at::<[u8; 16]>(4).map(Ipv6Addr::from) {
            Some(group) if group.is_unspecified() => self.say(format_args!("ICMPv6 MLD general {name}")),
            Some(group) => self.say(format_args!("ICMPv6 MLD {name} {group}")),
            None => self.say_end(&format!("ICMPv6 MLD {name}")),
        }
    }

    /// RFC 4861 section 4.
    fn neighbour_discovery(&mut self, kind: u8) {
        let (name, fixed_len) = match kind {
            133 => ("ICMPv6 router solicitation", 8),
            134 => ("ICMPv6 router advertisement", 16),
            135 => ("ICMPv6 neighbour solicitation", 24),
            136 => ("ICMPv6 neighbour advertisement", 24),
            _ => ("ICMPv6 redirect", 40),
        };
        if self.rest.look_at::<u8>(fixed_len - 1).is_none() {
            return self.say_end(name);
        }
        let has_target = matches!(kind, 135..=137);
        let message = if has_target { self.rest.look::<NeighbourMessage>() } else { None };
        match (kind, message) {
            (135, Some(m)) => self.say(format_args!("{name} who-has {}", m.target)),
            (_, Some(m)) => self.say(format_args!("{name} target {}", m.target)),
            (134, None) => {
                let lifetime = be16(self.rest.look_at(6).unwrap_or_default());
                self.say(format_args!("{name} lifetime {lifetime}s"));
            }
            (_, None) => self.say(format_args!("{name}")),
        }
        if let (135 | 136, Some(message), 0) = (kind, message, self.depth) {
            self.target = Some(message.target.0.into());
        }
        self.rest.skip(fixed_len);
        self.options();
    }

    /// Tells of the options that make forgeries: link-layer addresses, prefixes, DNS servers.
    fn options(&mut self) {
        for _ in 0..MAX_OPTIONS {
            let Some(option) = self.rest.look::<NdOption>() else { return };
            match option.kind {
                1 | 2 => {
                    let whose = if option.kind == 1 { "source" } else { "target" };
                    let Some(mac) = self.rest.look_at::<Mac>(2) else { return };
                    self.say(format_args!("{whose} MAC {mac}"));
                }
                3 => {
                    let (Some(len), Some(prefix)) =
                        (self.rest.look_at::<u8>(2), self.rest.look_at::<[u8; 16]>(16))
                    else {
                        return;
                    };
                    self.say(format_args!("prefix {}/{len}", Ipv6Addr::from(prefix)));
                }
                25 => {
                    let Some(server) = self.rest.look_at::<[u8; 16]>(8) else { return };
                    self.say(format_args!("DNS {}", Ipv6Addr::from(server)));
                }
                _ => {}
            }
            if option.len == 0 {
                return self.say(format_args!("[option of length 0]"));
            }
            self.rest.skip(usize::from(option.len) * 8);
        }
    }
}

/// Codes of ICMP destination unreachable (RFC 792, RFC 1812).
const fn unreachable(code: u8) -> &'static str {
    match code {
        0 => "network",
        1 => "host",
        2 => "protocol",
        3 => "port",
        4 => "fragmentation needed",
        5 => "source route failed",
        9 | 10 | 13 => "prohibited",
        _ => "other",
    }
}
