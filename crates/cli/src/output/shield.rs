//! Where the shield stands, its rules, its flood guard.

use jiff::tz::TimeZone;
use portcullis_policy::api::{
    GuardSpec, GuardView, PacketRecord, PacketVerdict, PlaceState, PlaceView, RuleAction, RuleView,
    ShieldView,
};

use super::endpoint::reasons;
use super::units::clock;
use super::{Paint, Style, Table, bytes, clean};

/// Where it stands, and what it has dropped.
pub fn list(view: &ShieldView, style: &Style, wide: bool) -> String {
    if view.places.is_empty() {
        let text = "the shield stands nowhere; put it up: portcullis shield attach --interface eth0\n";
        return text.to_owned() + &totals(view, style);
    }
    let mut head = vec!["PLACE", "INTERFACE", "HOOK", "MODE", "MTU", "STATE", "MESSAGE"];
    if wide {
        head.extend(["NETNS", "SINCE"]);
    }
    let mut table = Table::new(style, &head).name(0).right(&[4]);
    for place in &view.places {
        let mut cells = vec![
            clean(&place.id),
            place.interface.as_deref().map(clean).unwrap_or_default(),
            place.hook.to_string(),
            place.xdp_mode.map(|mode| mode.to_string()).unwrap_or_default(),
            mtu(place),
            state(place.state),
            place.message.as_deref().map(clean).unwrap_or_default(),
        ];
        if wide {
            cells.extend([
                place.netns.map(|netns| netns.to_string()).unwrap_or_default(),
                place.since.as_deref().map(clean).unwrap_or_default(),
            ]);
        }
        table.row(cells);
    }
    table.render() + &totals(view, style)
}

fn totals(view: &ShieldView, style: &Style) -> String {
    let entries: u64 = view.blocklist.iter().map(|source| source.entries).sum();
    let dropped = &view.counters.dropped;
    let by = match view.counters.reasons.is_empty() {
        true => String::new(),
        false => format!(": {}", reasons(&view.counters.reasons)),
    };
    let warnings: String = view
        .warnings
        .iter()
        .map(|warning| Paint::resolve(&Paint::Doubtful.on(&clean(warning)), style) + "\n")
        .collect();
    format!(
        "{entries} entries in the blocklist, {} rules, flood guard {}; dropped {} packets ({}){by}\n{warnings}",
        view.rules,
        if view.guard { "on" } else { "off" },
        dropped.packets,
        bytes(dropped.bytes)
    )
}

fn mtu(place: &PlaceView) -> String {
    match (place.mtu, place.mtu_max) {
        (Some(mtu), Some(most)) => format!("{mtu} (≤ {most})"),
        (Some(mtu), None) => mtu.to_string(),
        (None, _) => String::new(),
    }
}

fn state(state: PlaceState) -> String {
    let paint = match state {
        PlaceState::Active => Paint::Good,
        PlaceState::Waiting => Paint::Doubtful,
        PlaceState::Failed => Paint::Bad,
    };
    paint.on(state.name())
}

/// The line after `shield attach`.
pub fn attached(view: &PlaceView, created: bool) -> String {
    let mode = view.xdp_mode.map(|mode| format!(" ({mode})")).unwrap_or_default();
    format!(
        "the shield {} at {}: interface {}, hook {}{mode}\n",
        if created { "stands" } else { "stands already" },
        clean(&view.id),
        view.interface.as_deref().map(clean).unwrap_or_default(),
        view.hook
    )
}

/// All rules, a row each.
pub fn rules(rules: &[RuleView], style: &Style, wide: bool) -> String {
    if rules.is_empty() {
        return "no rules; add one: portcullis rule add no-telnet --protocol tcp --port 23 --action drop\n"
            .to_owned();
    }
    let mut head = vec!["NAME", "PRIORITY", "MATCH", "ACTION", "PACKETS", "BYTES"];
    if wide {
        head.extend(["ORDER", "LOG", "COMMENT"]);
    }
    let mut table = Table::new(style, &head).name(0).right(&[1, 4, 5]);
    for view in rules {
        let mut cells = vec![
            clean(&view.rule.name),
            view.rule.priority.to_string(),
            matching(view),
            action(view),
            view.packets.to_string(),
            bytes(view.bytes),
        ];
        if wide {
            cells.extend([
                view.order.to_string(),
                if view.rule.log { "yes" } else { "" }.to_owned(),
                view.rule.comment.as_deref().map(clean).unwrap_or_default(),
            ]);
        }
        table.row(cells);
    }
    table.render()
}

fn matching(view: &RuleView) -> String {
    let rule = &view.rule;
    let parts = [
        rule.source.map(|net| format!("from {net}")),
        rule.destination.map(|net| format!("to {net}")),
        rule.protocol.map(|protocol| protocol.to_string()),
        rule.port.map(|ports| format!("port {ports}")),
        rule.tcp_flags.map(|flags| format!("flags {flags}")),
        rule.icmp_type.map(|number| format!("type {number}")),
        rule.fragment.map(|which| format!("fragments {which}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "everything".to_owned() } else { parts.join(" ") }
}

fn action(view: &RuleView) -> String {
    let rule = &view.rule;
    if rule.action != RuleAction::Limit {
        return rule.action.to_string();
    }
    let rate = rule.rate.map(|rate| rate.to_string()).unwrap_or_default();
    let burst = rule.burst.map(|burst| format!(" burst {burst}")).unwrap_or_default();
    let per = rule.per.map(|per| format!(" per {per}")).unwrap_or_default();
    format!("limit {rate}{burst}{per}")
}

/// The line after `rule add`.
pub fn added(view: &RuleView, dry_run: bool) -> String {
    let would = if dry_run { "would be" } else { "is" };
    format!("rule \"{}\" {would} asked in place {}\n", clean(&view.rule.name), view.order)
}

/// What `rule test` says.
pub fn verdict(verdict: &PacketVerdict, style: &Style) -> String {
    let paint = match verdict.verdict.as_str() {
        "drop" => Paint::Bad,
        "limit" => Paint::Doubtful,
        _ => Paint::Good,
    };
    let logged =
        verdict.logged_by.as_ref().map(|rule| format!("; rule {rule:?} reports it")).unwrap_or_default();
    Paint::resolve(
        &format!("{}: {}{logged}\n", paint.on(&verdict.verdict), clean(&verdict.explanation)),
        style,
    )
}

/// A packet of the monitor: `time place length summary`.
pub fn packet(packet: &PacketRecord, zone: &TimeZone, style: &Style) -> String {
    let place = packet.container.as_ref().or(packet.interface.as_ref());
    let place = place.map_or_else(|| format!("(ifindex {})", packet.ifindex), |name| clean(name));
    let parts = [
        Paint::Faint.on(&clock(&packet.time, zone)),
        format!("{place:<16}"),
        format!("{:>5}", packet.length),
        clean(&packet.summary),
    ];
    Paint::resolve(&parts.join("  "), style) + "\n"
}

/// The flood guard and whom it blocks.
pub fn guard(view: &GuardView, style: &Style, wide: bool) -> String {
    let Some(spec) = &view.guard else {
        return "the flood guard is off; turn it on: portcullis shield guard --source-rate 10kpps --syn-rate 1kpps --block 60s\n"
            .to_owned();
    };
    let mut text = said(spec);
    if view.blocked.is_empty() {
        text.push_str("nobody is blocked\n");
    } else {
        let mut table =
            Table::new(style, &["BLOCKED", "FOR", "SINCE", "UNTIL", "OFFENCE"]).name(0).right(&[4]);
        for source in &view.blocked {
            table.row(vec![
                clean(&source.source),
                clean(&source.reason),
                clean(&source.since),
                clean(&source.until),
                source.offences.to_string(),
            ]);
        }
        text.push_str(&table.render());
    }
    if wide {
        view.protected.iter().for_each(|line| text.push_str(&format!("never blocked: {}\n", clean(line))));
    }
    text
}

fn said(spec: &GuardSpec) -> String {
    let mut text = String::new();
    if let Some(source) = spec.source {
        text.push_str(&format!("a source may send {}\n", source.rate));
    }
    if let Some(syn) = spec.syn {
        text.push_str(&format!("a destination may get {} of SYNs\n", syn.rate));
    }
    if let Some(share) = spec.half_open {
        text.push_str(&format!(
            "{} % of its handshakes may stay unfinished (of at least {} in {})\n",
            share.percent, share.least, share.window
        ));
    }
    if spec.syn_cookies {
        text.push_str("SYNs of a flood are answered by cookies\n");
    }
    if let Some(block) = spec.block {
        let strict = if block.strict { ", once it has proved that it is real" } else { "" };
        text.push_str(&format!(
            "a source that goes over its limit {} times is blocked for {}, twice as long each time, at most {}{strict}\n",
            block.strikes, block.first, block.longest
        ));
    }
    text
}
