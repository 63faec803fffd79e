//! Thousands of nodes and an API server, in virtual time.
//!
//! When a node writes is decided by the real [`Publisher`](portcullis_kubernetes::publish::Publisher) of each. The driver only
//! tells it what is so, and gives it the API server's answers.

mod hub;
mod node;
mod notes;
mod queue;
mod server;
mod story;

use std::time::{Duration, Instant};

use portcullis_kubernetes::publish::{Outcome, same_content};

use self::hub::Hub;
use self::node::{Node, Turn};
use self::notes::Notes;
use self::queue::Queue;
use crate::chance::Chance;
use crate::content::{Content, Sizes};
use crate::followers::Cut;
use crate::ledger::Ledger;
use crate::plan::Plan;

/// Before the measured time: everybody has started, and has written.
const WARM_UP: Duration = Duration::from_secs(900);
/// Agents start within this.
const STARTS: Duration = Duration::from_secs(300);
/// After the measured time nothing happens any more: the last state must arrive.
const COOL_DOWN: Duration = Duration::from_secs(150);

/// What came of it.
#[derive(Debug)]
pub struct Told {
    /// What was asked of the API server in the measured time.
    pub ledger: Ledger,
    /// From what is so to its being written, in seconds, in order.
    pub ages: Vec<f64>,
    /// When each node wrote, from the beginning on, also before the measured time; and whether offenders had changed.
    pub writes: Vec<Vec<(f64, bool)>>,
    /// Bytes of all objects at the end.
    pub at_rest: u64,
    /// Nodes whose object does not say at the end what is so.
    pub wrong: u32,
    /// Changes of nodes' content in the measured time.
    pub changes: u64,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A publisher may have something to do.
    Wake(u32, u32),
    /// An agent looks at what is so.
    Look(u32, u32),
    /// The API server's answer arrives.
    Answer(u32, u32, Answer),
    Start(u32),
    Stop(u32),
    /// Frames are dropped somewhere.
    Traffic,
    /// Some pod is replaced.
    Replace,
    /// This pod is replaced.
    ReplaceThis(u32, u64),
    /// A pod is gone.
    Gone(u32, u64),
    /// A pod comes, somewhere or there.
    Come(Option<u32>, u64),
    /// Its labels and policies are known.
    Grown(u32, u64),
    /// A node knows this generation of the policies.
    Generation(u32, i64),
    /// A pod is over its threshold.
    Forge(u32, u64),
    /// An agent can follow the API, or cannot.
    CutOff(u32, bool),
    /// What pods forge on a node is counted.
    Count(u32),
    /// A node may write an Event.
    Post(u32),
    /// The hub does something.
    Hub(hub::Work),
}

/// Of the API server.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Written,
    Same,
    Present,
    Refused(Option<Duration>),
}

struct Fleet<'a> {
    plan: &'a Plan,
    sizes: Sizes,
    queue: Queue<Event>,
    nodes: Vec<Node>,
    hub: Hub,
    notes: Notes,
    chance: Chance,
    /// Of its own: what else happens must not depend on traffic.
    traffic: Chance,
    now: Instant,
    /// The measured time.
    zero: Instant,
    end: Instant,
    pods: u64,
    /// Writes within this second.
    busy: (u64, u32),
    versions: u64,
    told: Told,
}

/// Runs a plan; `cuts` says when agents could not follow the API.
#[must_use]
pub fn run(plan: &Plan, cuts: &[Cut]) -> Told {
    let start = Instant::now();
    let zero = start + WARM_UP;
    let mut chance = Chance::new(plan.seed);
    let per_node = u64::from(plan.pods);
    let nodes: Vec<Node> = (0..plan.nodes)
        .map(|number| {
            let first = u64::from(number) * per_node;
            let content = Content { pods: (first..first + per_node).collect(), ..Content::default() };
            Node::new(number, content, plan.interval, chance.number())
        })
        .collect();
    let mut fleet = Fleet {
        plan,
        sizes: Sizes::measured(),
        queue: Queue::default(),
        hub: Hub::new(u64::from(plan.nodes)),
        notes: Notes::default(),
        chance,
        traffic: Chance::new(!plan.seed),
        now: start,
        zero,
        end: zero + plan.time,
        pods: u64::from(plan.nodes) * per_node,
        busy: (0, 0),
        versions: 0,
        told: Told {
            ledger: Ledger::default(),
            ages: Vec::new(),
            writes: vec![Vec::new(); nodes.len()],
            at_rest: 0,
            wrong: 0,
            changes: 0,
        },
        nodes,
    };
    fleet.begin(cuts);
    let over = fleet.end + COOL_DOWN;
    while let Some((at, event)) = fleet.queue.next(over) {
        fleet.now = at;
        fleet.handle(event);
    }
    fleet.sum_up()
}

impl Fleet<'_> {
    /// Since the beginning of the measured time.
    fn at(&self) -> Option<Duration> {
        self.now.checked_duration_since(self.zero)
    }

    fn is_measured(&self) -> bool {
        self.now >= self.zero && self.now < self.end
    }

    fn later(&mut self, pause: Duration, event: Event) {
        self.queue.add(self.now + pause, event);
    }

    fn node(&mut self, number: u32) -> &mut Node {
        &mut self.nodes[number as usize]
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Wake(number, life) => {
                let now = self.now;
                let node = self.node(number);
                if node.life == life && node.wake.take_if(|wake| *wake == now).is_some() {
                    self.turn(number);
                }
            }
            Event::Look(node, life) if self.node(node).life == life => {
                self.node(node).look_due = false;
                self.changed(node);
            }
            Event::Answer(node, life, answer) => self.answered(node, life, answer),
            Event::Hub(work) => self.work(work),
            Event::Count(node) => self.count(node),
            Event::Post(node) => self.post(node),
            Event::Look(..) => {}
            event => self.tell(event),
        }
    }

    /// The agent of a node looks at what is so.
    fn changed(&mut self, number: u32) {
        if self.is_measured() {
            self.told.changes += 1;
        }
        let (now, detail) = (self.now, self.plan.detail);
        let node = self.node(number);
        let life = node.life;
        if let Some(due) = node.changed(now, detail) {
            self.queue.add(due, Event::Look(number, life));
        }
        self.turn(number);
    }

    fn turn(&mut self, number: u32) {
        let now = self.now;
        let node = self.node(number);
        let life = node.life;
        match node.turn(now) {
            Turn::Ask(ask) => {
                let (answer, took) = self.ask(number, &ask);
                self.later(took, Event::Answer(number, life, answer));
            }
            Turn::Wait(Some(due)) if node.wake != Some(due) => {
                node.wake = Some(due);
                self.queue.add(due, Event::Wake(number, life));
            }
            Turn::Wait(_) => {}
        }
    }

    fn answered(&mut self, number: u32, life: u32, answer: Answer) {
        let now = self.now;
        let (measured, detail) = (self.is_measured(), self.plan.detail);
        let node = self.node(number);
        if node.life != life {
            return; // whoever asked is no more
        }
        let object = node.object.as_ref();
        if !matches!(answer, Answer::Refused(_)) {
            node.version = object.map(|object| object.version);
        }
        let outcome = match answer {
            Answer::Written => Outcome::Written,
            Answer::Same => Outcome::Same,
            Answer::Present => Outcome::Present(object.map(|object| object.status.clone())),
            Answer::Refused(retry_after) => Outcome::Failed { retry_after },
        };
        node.answered(outcome, now);
        if matches!(answer, Answer::Written)
            && let Some(since) = node.stale
        {
            // What became so while it was being written is still to come.
            let wanted = node.wanted(detail);
            let current = node.object.as_ref().is_some_and(|object| same_content(&object.status, &wanted));
            node.stale = (!current).then_some(now);
            if measured {
                self.told.ages.push((now - since).as_secs_f64());
            }
        }
        self.turn(number);
    }

    fn sum_up(mut self) -> Told {
        for node in &self.nodes {
            let Some(object) = &node.object else {
                self.told.wrong += 1;
                continue;
            };
            self.told.at_rest += self.sizes.object(object.rows, object.status.offenders.len());
            let wanted = node.wanted(self.plan.detail);
            self.told.wrong += u32::from(!same_content(&object.status, &wanted));
        }
        self.told.ages.sort_by(f64::total_cmp);
        self.told
    }
}
