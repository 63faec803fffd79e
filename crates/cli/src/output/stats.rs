//! Allowed and dropped, per endpoint.

use std::collections::HashMap;
use std::time::Duration;

use portcullis_policy::api::{Counters, Endpoint};

use super::endpoint::{dropped, reasons};
use super::{Paint, Style, Table, bytes, clean};

/// The counts of an earlier look, and how long ago it was.
pub struct Earlier {
    counters: HashMap<String, Counters>,
    ago: Duration,
}

impl Earlier {
    /// Remembers a look.
    pub fn new(endpoints: &[Endpoint], ago: Duration) -> Self {
        let counters = endpoints.iter().map(|e| (e.id.clone(), e.counters.clone())).collect();
        Self { counters, ago }
    }

    fn rate(&self, id: &str, now: &Counters, of: fn(&Counters) -> u64) -> Option<f64> {
        // An endpoint that was bound in between has its first count in this look.
        let before = self.counters.get(id).map(of)?;
        Some(of(now).saturating_sub(before) as f64 / self.ago.as_secs_f64().max(1e-3))
    }
}

/// A row for each endpoint, and their sum.
pub fn table(endpoints: &[Endpoint], earlier: Option<&Earlier>, style: &Style) -> String {
    if endpoints.is_empty() {
        return "no endpoints; bind one: portcullis endpoint bind NAME --interface IF --address IP\n".into();
    }
    let mut head = vec!["ENDPOINT", "ALLOWED", "BYTES", "DROPPED", "BYTES", "AUDITED", "REASONS"];
    if earlier.is_some() {
        head.splice(6..6, ["ALLOWED/S", "DROPPED/S"]);
    }
    let numbers: Vec<usize> = (1..head.len() - 1).collect();
    // What counts on a narrow terminal: who forges, how much, how.
    let mut table = Table::new(style, &head).name(0).whole(&numbers).right(&numbers).optional(&[4, 2, 5]);
    let mut total = Counters::default();
    let mut rates = [None::<f64>; 2];
    for endpoint in endpoints {
        add(&mut total, &endpoint.counters);
        let own = earlier.map_or([None; 2], |earlier| {
            [|c: &Counters| c.allowed.packets, |c: &Counters| c.dropped.packets]
                .map(|of| earlier.rate(&endpoint.id, &endpoint.counters, of))
        });
        for (sum, own) in rates.iter_mut().zip(own) {
            *sum = own.map_or(*sum, |own| Some(sum.unwrap_or(0.0) + own));
        }
        table.row(cells(clean(&endpoint.name), &endpoint.counters, earlier.map(|_| own)));
    }
    if endpoints.len() > 1 {
        table.row(cells(Paint::Faint.on("total"), &total, earlier.map(|_| rates)));
    }
    table.render()
}

fn cells(name: String, counters: &Counters, rates: Option<[Option<f64>; 2]>) -> Vec<String> {
    let mut cells = vec![
        name,
        counters.allowed.packets.to_string(),
        bytes(counters.allowed.bytes),
        dropped(counters.dropped.packets),
        bytes(counters.dropped.bytes),
        counters.audited.packets.to_string(),
    ];
    let rate = |rate: Option<f64>| rate.map_or_else(String::new, |rate| format!("{rate:.0}"));
    cells.extend(rates.into_iter().flatten().map(rate));
    cells.push(reasons(&counters.reasons));
    cells
}

fn add(total: &mut Counters, counters: &Counters) {
    let pairs = [
        (&mut total.allowed, &counters.allowed),
        (&mut total.dropped, &counters.dropped),
        (&mut total.audited, &counters.audited),
    ];
    for (sum, count) in pairs {
        sum.packets += count.packets;
        sum.bytes += count.bytes;
    }
    for (reason, count) in &counters.reasons {
        *total.reasons.entry(reason.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn counts_reasons_and_their_sum() {
        let expected = "\
ENDPOINT  ALLOWED   BYTES  DROPPED  BYTES  AUDITED  REASONS
web-1         120  11 KiB       15  900 B        0  spoofed-ipv4 12, spoofed-mac 3
db              0     0 B        0    0 B        0  -
total         120  11 KiB       15  900 B        0  spoofed-ipv4 12, spoofed-mac 3
";
        assert_eq!(table(&fixture::endpoints(), None, &Style::default()), expected);
    }

    #[test]
    fn rates_are_per_second_and_only_for_who_was_there() {
        let now = fixture::endpoints();
        let mut before = vec![now[0].clone()];
        before[0].counters.allowed.packets = 100;
        before[0].counters.dropped.packets = 5;
        let text = table(&now, Some(&Earlier::new(&before, Duration::from_secs(2))), &Style::default());
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("web-1")[8..10], ["10", "5"]);
        assert_eq!(row("db")[8..10], ["-", "-"]);
        assert_eq!(row("total")[8..10], ["10", "5"]);
    }
}
