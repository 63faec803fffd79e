//! What a candidate asks for, and what it makes of the answers. Pure.

use std::time::Duration;

use super::Term;
use crate::clock::Moment;

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Others wait so long after the last change that they saw.
    pub lease: Duration,
    /// A leader is certain for so long after it began its last renewal. Well below `lease`: what was sent in the last
    /// moment has to arrive before the next leader acts.
    pub renew: Duration,
    /// Between two attempts.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { lease: seconds(15), renew: seconds(10), retry: seconds(2) }
    }
}

/// What a lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty: nobody.
    pub holder: String,
    /// When its holder renewed it, as it wrote it. Only whether that changes is looked at.
    pub renewed: String,
    /// When it was acquired.
    pub acquired: String,
    /// How often it changed hands.
    pub transitions: i32,
}

/// What is to be asked of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What the lease says.
    Read,
    /// A new lease.
    Create(Record),
    /// The lease of this version is to say this.
    Replace(Record, String),
}

/// What it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lease says this, at this version.
    Found(Record, String),
    /// There is none.
    Absent,
    /// It says what was asked for, at this version.
    Written(Record, String),
    /// Somebody else was faster.
    Conflict,
    /// It is not known whether anything came of it.
    Failed,
}

#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    version: String,
    /// When this process saw it change.
    at: Moment,
}

/// One that would lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: String,
    timing: Timing,
    seen: Option<Seen>,
    until: Option<Moment>,
    /// What was seen may be old.
    stale: bool,
}

impl Candidate {
    /// A candidate of this name.
    #[must_use]
    pub fn new(identity: impl Into<String>, timing: Timing) -> Self {
        Self { identity: identity.into(), timing, seen: None, until: None, stale: true }
    }

    /// What to ask first in an attempt; `wall` is the time as others will read it.
    #[must_use]
    pub fn next(&self, wall: &str) -> Ask {
        match &self.seen {
            Some(seen) if !self.stale && seen.record.holder == self.identity => self.claim(seen, wall),
            _ => Ask::Read,
        }
    }

    /// Hears an answer to what was sent at `sent`; what to ask next within the same attempt.
    pub fn heard(&mut self, sent: Moment, now: Moment, answer: Answer, wall: &str) -> Option<Ask> {
        self.stale = !matches!(answer, Answer::Found(..) | Answer::Written(..));
        match answer {
            Answer::Absent => {
                (self.seen, self.until) = (None, None);
                let record = Record { transitions: 0, ..self.own(wall, wall) };
                Some(Ask::Create(record))
            }
            Answer::Found(record, version) => self.found(now, record, version, wall),
            Answer::Written(record, version) => {
                self.until = (record.holder == self.identity).then(|| sent + self.timing.renew);
                self.seen = Some(Seen { record, version, at: now });
                None
            }
            // What was certain before stays so: only time takes it away, and seeing that another one holds it.
            Answer::Conflict => Some(Ask::Read),
            Answer::Failed => None,
        }
    }

    fn found(&mut self, now: Moment, record: Record, version: String, wall: &str) -> Option<Ask> {
        let at = match &self.seen {
            Some(seen) if seen.record == record => seen.at,
            _ => now,
        };
        let seen = Seen { record, version, at };
        let mine = seen.record.holder == self.identity;
        let free = seen.record.holder.is_empty() || now >= seen.at + self.timing.lease;
        let ask = (mine || free).then(|| self.claim(&seen, wall));
        if !mine {
            self.until = None;
        }
        self.seen = Some(seen);
        ask
    }

    /// What gives the lease back; nothing, if it is not ours.
    #[must_use]
    pub fn release(&self, wall: &str) -> Option<Ask> {
        let seen = self.seen.as_ref().filter(|seen| seen.record.holder == self.identity)?;
        let record = Record { holder: String::new(), renewed: wall.to_owned(), ..seen.record.clone() };
        Some(Ask::Replace(record, seen.version.clone()))
    }

    /// What is known now.
    #[must_use]
    pub fn term(&self) -> Term {
        let record = self.seen.as_ref().map(|seen| &seen.record);
        Term {
            until: self.until,
            holder: record.map(|record| record.holder.clone()).filter(|holder| !holder.is_empty()),
            transitions: record.map_or(0, |record| record.transitions),
        }
    }

    fn claim(&self, seen: &Seen, wall: &str) -> Ask {
        let mine = seen.record.holder == self.identity;
        let acquired = if mine { seen.record.acquired.as_str() } else { wall };
        let transitions = seen.record.transitions + i32::from(!mine);
        Ask::Replace(Record { transitions, ..self.own(acquired, wall) }, seen.version.clone())
    }

    fn own(&self, acquired: &str, renewed: &str) -> Record {
        let (acquired, renewed) = (acquired.to_owned(), renewed.to_owned());
        Record { holder: self.identity.clone(), renewed, acquired, transitions: 0 }
    }
}
