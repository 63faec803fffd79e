//! Where the shield stands: put up, looked after, put up again when an interface or a container comes back.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_datapath::shield::{Ground, Placed, Spot, XdpMode as KernelMode};
use portcullis_datapath::{Error as KernelError, Namespace};
use portcullis_inventory::{Link, LinkKind};
use portcullis_policy::api::{Hook, PlaceSpec, PlaceState, PlaceView, XdpMode};

use super::signs::{Sign, Signs};
use super::target::{Missing, Target, target};
use super::{Keeper, unkept};
use crate::control::{Fault, Outcome};
use crate::core::Agent;

/// Places of a node.
const MOST_PLACES: usize = 1024;
/// A veth's page must hold the frame with XDP's headroom and tailroom (Linux, `veth_xdp_set`).
const VETH_XDP_MTU: u32 = 3506;

/// After its start an agent may not know all containers yet.
const SETTLING: Duration = Duration::from_secs(60);

/// A place, and how it stands there.
#[derive(Debug)]
pub(super) struct Place {
    spec: PlaceSpec,
    standing: Option<Standing>,
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Standing {
    placed: Placed,
    interface: String,
    mtu: u32,
    kind: LinkKind,
    /// Of a container: the namespace and index of its interface as the inventory has it.
    door: Option<(u32, u32)>,
    since: Timestamp,
}

#[derive(Debug)]
enum Trouble {
    /// What it is to stand on is not there.
    Waiting(String),
    /// It could not be put up.
    Failed(String),
}

impl Place {
    pub const fn new(spec: PlaceSpec) -> Self {
        Self { spec, standing: None, trouble: None }
    }

    /// What was asked for.
    pub const fn spec(&self) -> &PlaceSpec {
        &self.spec
    }

    fn id(&self) -> String {
        id_of(&self.spec)
    }

    fn stands(&self) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.placed.stands())
    }

    fn stands_at(&self, target: &Target) -> bool {
        let is_there = |standing: &Standing| {
            standing.placed.spot().ifindex == target.link.index
                && standing.placed.netns() == target.netns.id.0
        };
        self.standing.as_ref().is_some_and(is_there) && self.stands()
    }

    /// Whether it stands for a container whose door is still the same: to look inside would take a walk through all
    /// namespaces.
    fn stands_as_asked(&self, agent: &Agent) -> bool {
        let (Some(container), Some(standing)) = (&self.spec.container, &self.standing) else { return false };
        let door = agent.doorstep(container).ok().map(|step| step.door());
        self.trouble.is_none() && door.is_some() && door == standing.door && self.stands()
    }

    fn view(&self) -> PlaceView {
        let hook = hook_of(&self.spec);
        let (state, message) = match (&self.standing, &self.trouble) {
            (_, Some(Trouble::Waiting(why))) => (PlaceState::Waiting, Some(why.clone())),
            (_, Some(Trouble::Failed(why))) => (PlaceState::Failed, Some(why.clone())),
            (Some(standing), None) => (PlaceState::Active, standing.remark()),
            (None, None) => (PlaceState::Waiting, None),
        };
        let standing = self.standing.as_ref().filter(|_| state == PlaceState::Active);
        let mode = standing.and_then(|standing| match standing.placed.spot().ground {
            Ground::Xdp(Some(KernelMode::Generic)) => Some(XdpMode::Generic),
            Ground::Xdp(_) => Some(XdpMode::Native),
            Ground::Tc(_) => None,
        });
        PlaceView {
            id: self.id(),
            spec: self.spec.clone(),
            state,
            message,
            interface: standing.map(|standing| standing.interface.clone()),
            ifindex: standing.map(|standing| standing.placed.spot().ifindex),
            netns: standing.map(|standing| standing.placed.netns()),
            hook,
            xdp_mode: mode,
            mtu: standing.map(|standing| standing.mtu),
            mtu_max: standing.filter(|_| mode == Some(XdpMode::Native)).and_then(Standing::mtu_max),
            since: standing.map(|standing| standing.since.to_string()),
        }
    }
}

impl Standing {
    fn is_native(&self) -> bool {
        matches!(self.placed.spot().ground, Ground::Xdp(mode) if mode != Some(KernelMode::Generic))
    }

    fn mtu_max(&self) -> Option<u32> {
        (self.kind == LinkKind::Veth).then_some(VETH_XDP_MTU)
    }

    fn remark(&self) -> Option<String> {
        if let Some(why) = self.placed.native_refused() {
            return Some(format!(
                "generic XDP, because the driver refuses it ({why}): packets are built before they are looked at, and a tc hook costs less"
            ));
        }
        (self.is_native() && self.kind == LinkKind::Veth).then(|| {
            "TCP through native XDP on a veth is several times slower than at --hook tc (docs/shield.md)"
                .to_owned()
        })
    }
}

/// The hook of a place.
pub(super) fn hook_of(spec: &PlaceSpec) -> Hook {
    spec.hook.unwrap_or(if spec.container.is_some() { Hook::Tc } else { Hook::Xdp })
}

/// The name of a place.
pub(super) fn id_of(spec: &PlaceSpec) -> String {
    let hook = hook_of(spec);
    match (&spec.container, &spec.interface, &spec.netns) {
        (Some(container), None, _) => format!("{container}:{hook}"),
        (Some(container), Some(interface), _) => format!("{container}:{interface}:{hook}"),
        (None, Some(interface), None) => format!("{interface}:{hook}"),
        (None, Some(interface), Some(netns)) => {
            let name = Path::new(netns)
                .file_name()
                .map_or_else(|| netns.clone(), |name| name.to_string_lossy().into());
            let name =
                if netns.starts_with("/proc/") { netns.trim_matches('/').replace('/', "-") } else { name };
            format!("{name}:{interface}:{hook}")
        }
        (None, None, _) => String::new(),
    }
}

/// Whether this can be a place.
pub(super) fn check(spec: &PlaceSpec) -> Result<(), Fault> {
    let refuse = |why: &str| Err(Fault::Invalid(why.to_owned()));
    match (&spec.interface, &spec.container) {
        (None, None) => return refuse("say where the shield is to stand: an interface, or a container"),
        (_, Some(_)) if spec.netns.is_some() => {
            return refuse("a container's namespace is found by itself: leave `netns` out");
        }
        _ => {}
    }
    if spec.xdp_mode.is_some() && hook_of(spec) == Hook::Tc {
        return refuse(
            "`xdp_mode` belongs to hook \"xdp\"; a container's default hook is \"tc\": say --hook xdp too",
        );
    }
    let texts = [&spec.interface, &spec.netns, &spec.container];
    let is_odd = |text: &&String| text.is_empty() || text.len() > 255 || text.contains(char::is_control);
    if texts.into_iter().flatten().any(|text| is_odd(&text)) {
        return refuse("a name is empty, too long, or has control characters");
    }
    Ok(())
}

impl Keeper {
    pub(super) fn place_views(&self) -> Vec<PlaceView> {
        self.places.iter().map(Place::view).collect()
    }

    pub(super) fn attach(&mut self, agent: &Agent, spec: PlaceSpec) -> Result<(PlaceView, Outcome), Fault> {
        check(&spec)?;
        let id = id_of(&spec);
        let known = self.places.iter().position(|place| place.id() == id);
        if let Some(place) = known.and_then(|at| self.places.get(at))
            && place.spec == spec
            && place.stands()
        {
            return Ok((place.view(), Outcome::Unchanged));
        }
        if known.is_none() && self.places.len() >= MOST_PLACES {
            return Err(Fault::Invalid(format!(
                "the shield stands at {MOST_PLACES} places at most: detach it somewhere"
            )));
        }
        // Whoever asks is told what is wrong now, and not in a state.
        let target = target(agent, &spec).map_err(Missing::fault)?;
        let before = known.map(|at| self.places.remove(at));
        if let Some(Place { standing: Some(standing), .. }) = before
            && let Some(kernel) = &self.kernel
        {
            kernel.shield.detach(standing.placed);
        }
        self.open(agent)?;
        let standing = self.put_up(target)?;
        self.places.push(Place { spec, standing: Some(standing), trouble: None });
        self.sort_places();
        self.keep_places()?;
        let view = self.places.iter().find(|place| place.id() == id).map(Place::view);
        let view = view.ok_or_else(|| Fault::Failed("the place is not there any more".to_owned()))?;
        self.bus.notice("shield", view.spec.container.as_deref(), format!("the shield stands at {id}"));
        Ok((view, if known.is_some() { Outcome::Updated } else { Outcome::Created }))
    }

    pub(super) fn detach(&mut self, id: &str) -> Result<PlaceView, Fault> {
        let at = self.places.iter().position(|place| place.id() == id).ok_or_else(|| {
            Fault::NotFound(format!(
                "the shield does not stand at {id:?}: `portcullis shield list` shows where it does"
            ))
        })?;
        let place = self.places.remove(at);
        let view = place.view();
        if let (Some(standing), Some(kernel)) = (place.standing, &self.kernel) {
            kernel.shield.detach(standing.placed);
        }
        self.keep_places()?;
        self.bus.notice(
            "shield",
            view.spec.container.as_deref(),
            format!("the shield stands at {id} no more"),
        );
        Ok(view)
    }

    pub(super) fn sort_places(&mut self) {
        self.places.sort_by(|a, b| a.spec.cmp(&b.spec));
    }

    /// Names of places, for events.
    pub(super) fn signs(&self) -> Signs {
        let standing = self.places.iter().filter_map(|place| Some((place, place.standing.as_ref()?)));
        let places = standing.map(|(place, standing)| {
            let sign =
                Sign { interface: standing.interface.clone(), container: place.spec.container.clone() };
            ((standing.placed.netns(), standing.placed.spot().ifindex), sign)
        });
        let rules = self
            .rules
            .keys()
            .filter_map(|name| Some((self.kernel.as_ref()?.counter_of(name)?, name.clone())));
        Signs {
            places: places.collect(),
            rules: rules.collect(),
            entries: self.book.len() as u64,
            counters: self.counters(),
            is_busy: self.kernel.is_some(),
        }
    }

    pub(super) fn keep_places(&self) -> Result<(), Fault> {
        let specs: Vec<PlaceSpec> = self.places.iter().map(|place| place.spec.clone()).collect();
        self.store.put_shield_places(&specs).map_err(unkept)
    }

    fn put_up(&mut self, target: Target) -> Result<Standing, Fault> {
        let Some(kernel) = &mut self.kernel else {
            return Err(Fault::Failed("the shield's kernel side is not open".to_owned()));
        };
        let handle = std::os::fd::AsFd::as_fd(&target.netns).try_clone_to_owned();
        let namespace = handle.map_err(|error| Fault::Failed(error.to_string()))?;
        let namespace =
            Namespace::from_handle(namespace).map_err(|error| Fault::Failed(error.to_string()))?;
        let spot = Spot { ifindex: target.link.index, ground: target.ground };
        let profile = kernel.profile();
        let placed =
            kernel.shield.attach(&namespace, spot, profile).map_err(|error| refused(&target.link, error))?;
        Ok(Standing {
            placed,
            interface: target.link.name,
            mtu: target.link.mtu,
            kind: target.link.kind,
            door: target.door,
            since: Timestamp::now(),
        })
    }

    /// Puts it up where it does not stand any more, or not yet.
    pub(super) fn look_after(&mut self, agent: &Agent) {
        for at in 0..self.places.len() {
            let Some(place) = self.places.get(at) else { break };
            if place.stands_as_asked(agent) {
                continue;
            }
            let trouble = match target(agent, &place.spec) {
                Ok(target) if place.stands_at(&target) => None,
                Ok(target) => self.put_up_again(at, target),
                // What still stands is not taken down because its name is unknown for a moment.
                Err(_) if place.stands() => None,
                Err(Missing::Waiting(why)) => Some(Trouble::Waiting(why)),
                Err(Missing::Failed(why)) => Some(Trouble::Failed(why)),
            };
            if let Some(place) = self.places.get_mut(at) {
                if matches!(trouble, Some(Trouble::Waiting(_))) {
                    place.standing = None;
                }
                place.trouble = trouble;
            }
        }
        self.sweep();
    }

    /// Takes down what stands where nobody wants it: what an earlier agent left. Not while a place may be one of
    /// these that has not been found yet.
    fn sweep(&self) {
        let waits = self.places.iter().any(|place| matches!(place.trouble, Some(Trouble::Waiting(_))));
        if waits && self.started.elapsed() < SETTLING {
            return;
        }
        let Some(kernel) = &self.kernel else { return };
        let standing = self.places.iter().filter_map(|place| place.standing.as_ref());
        kernel.shield.sweep(standing.map(|standing| &standing.placed));
    }

    fn put_up_again(&mut self, at: usize, target: Target) -> Option<Trouble> {
        let was_there = self.places.get(at).is_some_and(|place| place.standing.is_some());
        match self.put_up(target) {
            Ok(standing) => {
                let place = self.places.get_mut(at)?;
                place.standing = Some(standing);
                let (id, container) = (place.id(), place.spec.container.clone());
                let again = if was_there {
                    " again: it had been taken away, or its interface is another one"
                } else {
                    ""
                };
                self.bus.notice("shield", container.as_deref(), format!("the shield stands at {id}{again}"));
                None
            }
            Err(fault) => Some(Trouble::Failed(fault.to_string())),
        }
    }
}

fn refused(link: &Link, error: KernelError) -> Fault {
    let name = &link.name;
    match error {
        KernelError::XdpBusy { program, .. } => {
            let named = program.map(|(id, name)| format!(" ({name:?}, program {id})"));
            let program =
                named.or_else(|| link.xdp_prog.map(|id| format!(" (program {id})"))).unwrap_or_default();
            Fault::Conflict(format!(
                "interface {name} has another XDP program{program}: it was left alone; remove it (`ip link set dev {name} xdp off`), or use --hook tc"
            ))
        }
        KernelError::NoInterface { .. } => Fault::NotFound(format!("interface {name} is not there any more")),
        other => Fault::Failed(format!("the shield cannot stand on interface {name}: {other}")),
    }
}
