//! Numbers for people.

use jiff::{Timestamp, tz::TimeZone};

/// `98 B`, `1.2 KiB`, `34 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // 63 - leading zeros is the binary logarithm; ten bits to a unit.
    let power = (63 - count.leading_zeros()) / 10;
    let whole = count >> (power * 10);
    let unit = UNITS.get(power as usize - 1).copied().unwrap_or("EiB");
    if whole >= 10 {
        return format!("{whole} {unit}");
    }
    let tenths = ((count >> ((power - 1) * 10)) & 1023) * 10 / 1024;
    format!("{whole}.{tenths} {unit}")
}

/// Time since an RFC 3339 time, in its two largest units: `3d 4h`, `12m 5s`.
pub fn since(start: &str, now: Timestamp) -> String {
    let Ok(start) = start.parse::<Timestamp>() else { return "unknown".to_owned() };
    let seconds = (now - start).get_seconds().max(0).unsigned_abs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, length)| seconds >= *length).unwrap_or(3);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, length) in units.iter().skip(first).take(2) {
        parts.push(format!("{}{name}", rest / length));
        rest %= length;
    }
    parts.join(" ")
}

/// The clock time of an RFC 3339 time in the local zone, with microseconds; the text itself where
/// it is no time.
pub fn clock(time: &str, zone: &TimeZone) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%H:%M:%S.%6f").to_string(),
        Err(_) => super::clean(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_digits_or_more() {
        let pairs = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (10_240, "10 KiB")];
        for (count, text) in pairs {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(5 << 30), "5.0 GiB");
        assert_eq!(bytes(u64::MAX), "15 EiB");
    }

    #[test]
    fn spans_show_two_units() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        assert_eq!(since("2026-11-21T11:59:58Z", now), "2s");
        assert_eq!(since("2026-11-21T11:47:55Z", now), "12m 5s");
        assert_eq!(since("2026-11-18T07:30:00Z", now), "3d 4h");
        assert_eq!(since("2026-11-21T13:00:00Z", now), "0s");
        assert_eq!(since("yesterday", now), "unknown");
    }

    #[test]
    fn clocks_keep_microseconds() {
        assert_eq!(clock("2026-11-21T11:59:58.123456789Z", &TimeZone::UTC), "11:59:58.123456");
    }
}
