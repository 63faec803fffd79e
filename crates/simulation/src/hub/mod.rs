//! The hub's store and its work, measured: real objects, the real decoding, the real store.

mod peers;

use std::time::Duration;

use anyhow::{Context, Result};
use portcullis_hub::map::{NodeMap, Store};
use portcullis_hub::status::Picture;
use serde::{Deserialize, Serialize};

use self::peers::Busy;
pub use self::peers::{Peering, peering, serve};

use crate::chance::Chance;
use crate::content::{self, Content, Detail};
use crate::ledger::number;

/// What a hub takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Store5000 {
    /// Resident memory for the whole map, in megabytes.
    pub resident_mb: f64,
    /// The most of it while everything is listed anew, with the map of before still there.
    pub relisting_mb: f64,
    /// From an event of the watch to its object being decoded, in microseconds.
    pub decode_us: f64,
    /// And put into the map.
    pub put_us: f64,
    /// Everything, read and put: seconds.
    pub list_s: f64,
    /// Looking for pods that are to be ended, in microseconds (after each change).
    pub offenders_us: f64,
    /// Summing up what nodes say of policies, in milliseconds (every five seconds, if anything changed).
    pub sum_ms: f64,
}

/// Measures a store of so many nodes. To be run in a process of its own: memory that was used before counts as well.
///
/// # Errors
/// If `/proc` does not tell of memory, or an object cannot be read.
pub fn measure(nodes: u32, pods: u32) -> Result<Store5000> {
    // What is made once for all nodes does not count.
    let _certificate = text(0, pods, 1);
    let before = memory("VmRSS:")?;
    let mut store = Store::default();
    let (mut decoding, mut putting) = (Duration::ZERO, Duration::ZERO);
    for node in 0..nodes {
        let event = text(node, pods, 1);
        let (map, took) = timed(|| serde_json::from_slice::<NodeMap>(event.as_bytes()))?;
        decoding += took;
        let map = map.context("an EndpointMap cannot be read")?;
        putting += timed(|| store.put(map))?.1;
    }
    let resident_mb = memory("VmRSS:")? - before;
    let list_s = (decoding + putting).as_secs_f64();
    let mut told = Store5000 { resident_mb, list_s, ..updates(&mut store, nodes, pods)? };
    // As `Change::All` hands them over: all of them, before the first is put.
    std::fs::write("/proc/self/clear_refs", "5").context("/proc/self/clear_refs")?;
    let all: Result<Vec<NodeMap>, _> =
        (0..nodes).map(|node| serde_json::from_str(&text(node, pods, 3))).collect();
    store.replace(all.context("an EndpointMap cannot be read")?);
    told.relisting_mb = memory("VmHWM:")? - before;
    Ok(told)
}

fn updates(store: &mut Store, nodes: u32, pods: u32) -> Result<Store5000> {
    const UPDATES: u32 = 400;
    const LOOKS: u32 = 50;
    let mut chance = Chance::new(3);
    let (mut decoding, mut putting) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..UPDATES {
        let node = u32::try_from(chance.below(nodes as usize))?;
        let event = text(node, pods, 2);
        let (map, took) = timed(|| serde_json::from_slice::<NodeMap>(event.as_bytes()))?;
        decoding += took;
        let map = map.context("an EndpointMap cannot be read")?;
        putting += timed(|| store.put(map))?.1;
    }
    let ((), looking) = timed(|| {
        for _ in 0..LOOKS {
            std::hint::black_box(store.offenders().count());
        }
    })?;
    let (_, summing) = timed(|| std::hint::black_box(Picture::new(store.maps())))?;
    let each = |time: Duration, count: u32| time.as_secs_f64() * 1e6 / f64::from(count);
    Ok(Store5000 {
        decode_us: each(decoding, UPDATES),
        put_us: each(putting, UPDATES),
        offenders_us: each(looking, LOOKS),
        sum_ms: summing.as_secs_f64() * 1e3,
        ..Store5000::default()
    })
}

/// The object of a node, as the API server sends it. Two pods differ from one turn to the next.
#[must_use]
pub fn text(node: u32, pods: u32, turn: u64) -> String {
    let first = u64::from(node) * u64::from(pods);
    let kept = first..first + u64::from(pods.saturating_sub(2));
    let new = (0..u64::from(pods.min(2))).map(|pod| (turn << 23) + u64::from(node) * 2 + pod);
    let content = Content { pods: kept.chain(new).collect(), generation: 1, ..Content::default() };
    content::object(node, &content::status(node, &content, Detail::Whole)).to_string()
}

/// Time on the processor: whatever else the machine does has no part in it.
fn timed<T>(work: impl FnOnce() -> T) -> Result<(T, Duration)> {
    let busy = Busy::now()?;
    let done = work();
    Ok((done, Duration::from_secs_f64(busy.elapsed_us()?.max(0.0) / 1e6)))
}

/// Megabytes, by the kernel's name for them.
pub(crate) fn memory(name: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("/proc/self/status has no {name}"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| name.to_owned())?;
    Ok(number(kilobytes) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_the_store() {
        let mut store = Store::default();
        for node in 0..3 {
            store.put(serde_json::from_str(&text(node, 20, 1)).unwrap());
        }
        assert_eq!(store.maps().map(|map| map.rows.len()).sum::<usize>(), 60);
        assert_eq!(store.shared().count(), 0, "no two pods have one address");
        let told = measure(4, 10).unwrap();
        // So little takes no time by the processor's clock.
        assert!(told.decode_us >= 0.0 && told.put_us >= 0.0 && told.list_s >= 0.0);
    }
}
