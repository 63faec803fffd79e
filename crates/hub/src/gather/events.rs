//! Events of many agents as one stream. Agents are connected to only while somebody listens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_policy::api::{Event, NodeEvent, Notice};
use portcullis_web::{EventKind, Kinds, encode};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::peers::Peers;
use crate::bus::Bus;
use crate::clock::wall;
use crate::dice;
use crate::world::World;

/// Events that a slow reader may lag behind before the agents' are lost.
const BACKLOG: usize = 4096;
/// The past of all nodes is waited for so long before it is told, in order.
const PAST: Duration = Duration::from_millis(1500);
/// Nodes come and go while somebody listens.
const LOOK: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only of this node.
    pub node: Option<String>,
    /// Only of pods of this namespace.
    pub namespace: Option<String>,
    /// Only of this endpoint.
    pub endpoint: Option<String>,
    /// Only drops for this reason.
    pub reason: Option<String>,
    /// Only of these kinds.
    pub kinds: Option<Kinds>,
    /// So many of the past first.
    pub history: usize,
}

impl Wanted {
    /// Whether an event is.
    #[must_use]
    pub fn passes(&self, event: &NodeEvent) -> bool {
        let (endpoint, reason) = match &event.of {
            Event::Drop(drop) => (drop.endpoint.as_deref(), Some(drop.reason.as_str())),
            Event::Notice(notice) => (notice.endpoint.as_deref(), None),
            Event::Action(action) => (Some(action.endpoint.as_str()), None),
        };
        // Endpoints of pods are named `namespace/pod`.
        let namespace = endpoint.and_then(|endpoint| Some(endpoint.split_once('/')?.0));
        self.node.as_deref().is_none_or(|node| event.node == node)
            && self.namespace.as_deref().is_none_or(|wanted| namespace == Some(wanted))
            && self.endpoint.as_deref().is_none_or(|wanted| endpoint == Some(wanted))
            && self.reason.as_deref().is_none_or(|wanted| reason == Some(wanted))
            && self.kinds.as_ref().is_none_or(|Kinds(kinds)| kinds.contains(&EventKind::of(&event.of)))
    }

    fn path(&self, history: usize) -> String {
        let mut path = format!("/api/v1/events?history={history}");
        if let Some(Kinds(kinds)) = &self.kinds {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            path += &format!("&kind={}", kinds.join(","));
        }
        for (key, value) in [("endpoint", &self.endpoint), ("reason", &self.reason)] {
            if let Some(value) = value {
                path += &format!("&{key}={}", encode(value));
            }
        }
        path
    }
}

/// Something for whoever listens.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    /// An event.
    Event(Box<NodeEvent>),
    /// So many were lost, because this reader was too slow.
    Lost(u64),
}

/// What a node's follower has to say.
enum Told {
    Event(NodeEvent),
    /// The node's agent is not heard (any more, or yet): why.
    Gap(String, String),
    /// It is heard again.
    Back(String),
    Lost(u64),
}

/// Follows until whoever listens is gone.
pub async fn follow(
    (world, peers, bus): (World, Peers, Bus),
    wanted: Wanted,
    room: Arc<Semaphore>,
    listener: mpsc::Sender<Feed>,
) {
    let own = bus.subscribe();
    let (sender, told) = mpsc::channel(BACKLOG);
    let wanted = Arc::new(wanted);
    let connecting = connect((world, peers), Arc::clone(&wanted), room, sender);
    let telling = tell(bus, own, told, wanted, &listener);
    tokio::select! {
        () = connecting => {}
        () = telling => {}
        () = listener.closed() => {}
    }
}

/// First the past, in order; then what comes.
async fn tell(
    bus: Bus,
    mut own: broadcast::Receiver<Arc<NodeEvent>>,
    mut told: mpsc::Receiver<Told>,
    wanted: Arc<Wanted>,
    listener: &mpsc::Sender<Feed>,
) {
    if wanted.history > 0 {
        let mut past: Vec<NodeEvent> = bus.history().iter().map(|event| (**event).clone()).collect();
        let until = Instant::now() + PAST;
        while let Ok(Some(told)) = timeout_at(until, told.recv()).await {
            past.extend(into_event(told).and_then(Result::ok));
        }
        past.retain(|event| wanted.passes(event));
        past.sort_by_cached_key(|event| time(&event.of).parse::<Timestamp>().ok());
        let surplus = past.len().saturating_sub(wanted.history);
        for event in past.drain(surplus..) {
            if listener.send(Feed::Event(Box::new(event))).await.is_err() {
                return;
            }
        }
    }
    loop {
        let feed = tokio::select! {
            event = own.recv() => match event {
                Ok(event) => Some(Ok((*event).clone())),
                Err(RecvError::Lagged(lost)) => Some(Err(lost)),
                Err(RecvError::Closed) => return,
            },
            event = told.recv() => match event {
                Some(event) => into_event(event),
                None => return,
            },
        };
        let feed = match feed {
            Some(Ok(event)) if is_gap(&event) || wanted.passes(&event) => Feed::Event(Box::new(event)),
            Some(Err(lost)) => Feed::Lost(lost),
            _ => continue,
        };
        if listener.send(feed).await.is_err() {
            return;
        }
    }
}

/// Whoever listens should know what is missing, whatever was asked for.
fn is_gap(event: &NodeEvent) -> bool {
    matches!(&event.of, Event::Notice(notice) if notice.topic == "gap" || notice.topic == "gap-over")
}

fn into_event(told: Told) -> Option<Result<NodeEvent, u64>> {
    let notice = |node: String, topic: &str, message: String| {
        let notice = Notice { time: wall(), topic: topic.to_owned(), endpoint: None, message };
        NodeEvent { node, of: Event::Notice(notice) }
    };
    Some(match told {
        Told::Event(event) => Ok(event),
        Told::Lost(lost) => Err(lost),
        Told::Gap(node, why) => {
            Ok(notice(node, "gap", format!("{why}; its events are missing from here on")))
        }
        Told::Back(node) => {
            let message = format!("events of node {node} are complete again from here on");
            Ok(notice(node, "gap-over", message))
        }
    })
}

fn time(event: &Event) -> &str {
    match event {
        Event::Drop(drop) => &drop.time,
        Event::Notice(notice) => &notice.time,
        Event::Action(action) => &action.time,
    }
}

/// Keeps a follower for each node that is wanted.
async fn connect(
    (world, peers): (World, Peers),
    wanted: Arc<Wanted>,
    room: Arc<Semaphore>,
    sender: mpsc::Sender<Told>,
) {
    let mut followed: BTreeSet<String> = BTreeSet::new();
    let mut tasks: JoinSet<String> = JoinSet::new();
    let mut first = true;
    loop {
        let nodes: Vec<String> = {
            let map = world.map();
            let told = map.nodes().filter(|(_, entry)| entry.map.is_some()).map(|(node, _)| node.to_string());
            told.filter(|node| wanted.node.as_ref().is_none_or(|wanted| wanted == node)).collect()
        };
        for node in nodes {
            if followed.contains(&node) {
                continue;
            }
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                let why = "this hub follows as many agents as it can (close other streams, or name a node)";
                followed.insert(node.clone());
                if sender.send(Told::Gap(node, why.to_owned())).await.is_err() {
                    return;
                }
                continue;
            };
            followed.insert(node.clone());
            let follower = Follower {
                node,
                world: world.clone(),
                peers: peers.clone(),
                wanted: Arc::clone(&wanted),
                sender: sender.clone(),
                // A node that is new has its whole past to tell; of the others it is told once.
                history: if first { wanted.history } else { 0 },
                _permit: permit,
            };
            tasks.spawn(follower.run());
        }
        first = false;
        tokio::select! {
            () = sleep(LOOK) => {}
            Some(Ok(node)) = tasks.join_next() => { followed.remove(&node); }
        }
    }
}

/// Follows one node while it exists.
struct Follower {
    node: String,
    world: World,
    peers: Peers,
    wanted: Arc<Wanted>,
    sender: mpsc::Sender<Told>,
    history: usize,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    async fn run(mut self) -> String {
        let mut pause = FIRST_PAUSE;
        let mut gap = false;
        while self.world.map().get(&self.node).is_some_and(|entry| entry.map.is_some()) {
            let why = match self.peers.events(&self.node, &self.wanted.path(self.history)).await {
                Ok(mut events) => {
                    self.history = 0;
                    if std::mem::take(&mut gap) && self.say(Told::Back(self.node.clone())).await.is_err() {
                        break;
                    }
                    pause = FIRST_PAUSE;
                    loop {
                        match events.next().await {
                            Ok(Some(event)) => {
                                if let Some(told) = self.read(&event.kind, &event.data)
                                    && self.say(told).await.is_err()
                                {
                                    return self.node;
                                }
                            }
                            Ok(None) => {
                                break format!("the agent of node {} has ended its stream", self.node);
                            }
                            Err(error) => break error.to_string(),
                        }
                    }
                }
                Err(why) => why.to_string(),
            };
            if !std::mem::replace(&mut gap, true)
                && self.say(Told::Gap(self.node.clone(), why)).await.is_err()
            {
                break;
            }
            sleep(pause / 2 + dice::up_to(pause)).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
        self.node
    }

    async fn say(&self, told: Told) -> Result<(), ()> {
        self.sender.send(told).await.map_err(|_| ())
    }

    fn read(&self, kind: &str, data: &str) -> Option<Told> {
        #[derive(serde::Deserialize)]
        struct Lost {
            lost: u64,
        }
        if kind == "lost" {
            return serde_json::from_str::<Lost>(data).ok().map(|Lost { lost }| Told::Lost(lost));
        }
        // Kinds of later versions are passed over.
        let event = serde_json::from_str::<Event>(data).ok()?;
        Some(Told::Event(NodeEvent { node: self.node.clone(), of: event }))
    }
}
