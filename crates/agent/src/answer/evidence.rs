//! The last frames that counted, for each endpoint that sent some.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use portcullis_policy::api::DropRecord;

/// Frames that are kept of one endpoint.
const FRAMES: usize = 16;
/// Endpoints of which some are kept; the one that was quiet for longest is forgotten for a further one.
const ENDPOINTS: usize = 256;

/// Frames by endpoint. Whoever decodes events puts them in.
#[derive(Debug, Default)]
pub struct Evidence(Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    by_endpoint: HashMap<String, File>,
    clock: u64,
}

#[derive(Debug, Default)]
struct File {
    frames: VecDeque<DropRecord>,
    /// `CLOCK_MONOTONIC` of the newest frame.
    newest_ns: u64,
    touched: u64,
}

impl Evidence {
    /// Keeps a frame that counts against `endpoint`.
    pub fn keep(&self, endpoint: &str, timestamp_ns: u64, frame: &DropRecord) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.clock += 1;
        let clock = files.clock;
        if !files.by_endpoint.contains_key(endpoint) && files.by_endpoint.len() >= ENDPOINTS {
            let quietest = files.by_endpoint.iter().min_by_key(|(_, file)| file.touched);
            if let Some(name) = quietest.map(|(name, _)| name.clone()) {
                files.by_endpoint.remove(&name);
            }
        }
        let file = files.by_endpoint.entry(endpoint.to_owned()).or_default();
        if file.frames.len() >= FRAMES {
            file.frames.pop_front();
        }
        file.frames.push_back(frame.clone());
        file.newest_ns = file.newest_ns.max(timestamp_ns);
        file.touched = clock;
    }

    /// Whether the frame of that moment, or a later one, is there.
    pub(super) fn reaches(&self, endpoint: &str, timestamp_ns: u64) -> bool {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.by_endpoint.get(endpoint).is_some_and(|file| file.newest_ns >= timestamp_ns)
    }

    /// Takes what there is, oldest first: the next action rests on what came after this one.
    pub(super) fn take(&self, endpoint: &str) -> Vec<DropRecord> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.by_endpoint.remove(endpoint).map_or_else(Vec::new, |file| file.frames.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::frame;
    use super::*;

    #[test]
    fn the_newest_frames_are_kept_and_taken_once() {
        let evidence = Evidence::default();
        for n in 0..20 {
            evidence.keep("web", n, &frame("web", n));
        }
        assert!(evidence.reaches("web", 19) && !evidence.reaches("web", 20) && !evidence.reaches("db", 0));
        let frames = evidence.take("web");
        assert_eq!((frames.len(), frames[0].length, frames[15].length), (16, 4, 19));
        assert_eq!(evidence.take("web"), []);
    }

    #[test]
    fn memory_is_bounded() {
        let evidence = Evidence::default();
        for n in 0..1000 {
            evidence.keep(&format!("e{n}"), n, &frame("e", n));
            evidence.keep("noisy", n, &frame("noisy", n));
        }
        assert_eq!(evidence.0.lock().unwrap().by_endpoint.len(), ENDPOINTS);
        assert_eq!(evidence.take("noisy").len(), FRAMES);
        assert_eq!((evidence.take("e0").len(), evidence.take("e999").len()), (0, 1));
    }
}
