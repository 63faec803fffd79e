//! When an interface's carrier came, and when its binding was in the kernel: both seen from outside of the agent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use portcullis_abi::{ABI_VERSION, HELD_BINDING, Pointer};
use portcullis_testkit::Namespace;

/// Between two looks at what is awaited: short beside what is measured, and no load of its own.
const LOOK: Duration = Duration::from_micros(50);
/// A lab's namespace has no higher interface index than this.
const INDEXES: u32 = 4096;
// linux/rtnetlink.h and linux/if.h
const LINK_GROUP: u32 = 1;
const NEW_LINK: u16 = 16;
const LOWER_UP: u32 = 1 << 16;

/// What was seen of an interface.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// Its carrier came.
    pub up: Instant,
    /// A binding of its own was in the kernel.
    pub bound: Option<Instant>,
}

/// The table by which the programs find bindings, as it is pinned.
pub struct Anchors(Array<MapData, u64>);

impl Anchors {
    /// Of the agent whose pins are here.
    pub fn open(bpffs: &Path) -> Result<Self> {
        let path: PathBuf = bpffs.join(format!("v{ABI_VERSION}/maps/ANCHORS"));
        let data = MapData::from_pin(&path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Self(Array::try_from(Map::Array(data)).context("the table of anchors has another shape")?))
    }

    /// The binding of an interface of the agent's namespace; none: it has none, or is held.
    pub fn binding(&self, ifindex: u32) -> Option<u32> {
        let binding = Pointer(self.0.get(&ifindex, 0).ok()?).binding();
        (binding != 0 && binding != HELD_BINDING).then_some(binding)
    }

    /// How many interfaces are bound.
    pub fn bound(&self) -> usize {
        (1..INDEXES).filter(|ifindex| self.binding(*ifindex).is_some()).count()
    }
}

/// Watches the interfaces of a namespace.
pub struct Doors {
    seen: Arc<Mutex<BTreeMap<u32, Door>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Doors {
    /// From the return on nothing is missed.
    pub fn watch(host: &Namespace, anchors: Anchors) -> Result<Self> {
        let socket = host.within(listen)?.context("listening for interfaces")?;
        let (seen, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (told, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || follow(&socket, &anchors, &told, &ended));
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// Interfaces that were seen bound, in the order of their indexes.
    pub fn bound(&self) -> Vec<(u32, Door)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(_, door)| door.bound.is_some()).map(|(index, door)| (*index, *door)).collect()
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn listen() -> std::io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.add_membership(LINK_GROUP)?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

fn follow(socket: &Socket, anchors: &Anchors, seen: &Mutex<BTreeMap<u32, Door>>, stop: &AtomicBool) {
    let mut message = Vec::with_capacity(32 << 10);
    while !stop.load(Ordering::Acquire) {
        let mut all = seen.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            message.clear();
            if socket.recv(&mut message, 0).is_err() {
                break;
            }
            let up = Instant::now();
            if let Some(index) = came_up(&message) {
                all.entry(index).or_insert(Door { up, bound: None });
            }
        }
        for (index, door) in all.iter_mut().filter(|(_, door)| door.bound.is_none()) {
            if anchors.binding(*index).is_some() {
                door.bound = Some(Instant::now());
            }
        }
        drop(all);
        thread::sleep(LOOK);
    }
}

/// The interface that has a carrier, says a message.
fn came_up(message: &[u8]) -> Option<u32> {
    // struct nlmsghdr, struct ifinfomsg
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let index = u32::from_ne_bytes(message.get(20..24)?.try_into().ok()?);
    let flags = u32::from_ne_bytes(message.get(24..28)?.try_into().ok()?);
    (kind == NEW_LINK && flags & LOWER_UP != 0).then_some(index)
}
