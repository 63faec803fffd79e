//! Where exactly a place is: from names to a namespace and an interface.

use portcullis_datapath::Hook as KernelHook;
use portcullis_datapath::shield::{Ground, XdpMode as KernelMode};
use portcullis_inventory::{Link, Netns, link_by_index, link_by_name, links};
use portcullis_policy::api::{Hook, PlaceSpec, XdpMode};

use super::places::hook_of;
use crate::control::Fault;
use crate::core::{Agent, Doorstep};

/// Where exactly.
pub(super) struct Target {
    pub netns: Netns,
    pub link: Link,
    pub ground: Ground,
    /// Of a container: [`Doorstep::door`].
    pub door: Option<(u32, u32)>,
}

/// Why there is no target.
pub(super) enum Missing {
    /// It is not there, and may come.
    Waiting(String),
    /// It cannot be told.
    Failed(String),
}

impl Missing {
    /// As whoever asked is told.
    pub fn fault(self) -> Fault {
        match self {
            Self::Waiting(why) => Fault::NotFound(why),
            Self::Failed(why) => Fault::Invalid(why),
        }
    }
}

/// Where a place is now.
pub(super) fn target(agent: &Agent, spec: &PlaceSpec) -> Result<Target, Missing> {
    let mode = spec.xdp_mode.map(|mode| match mode {
        XdpMode::Native => KernelMode::Native,
        XdpMode::Generic => KernelMode::Generic,
    });
    let hook = hook_of(spec);
    if let Some(container) = &spec.container {
        let step = agent.doorstep(container).map_err(|fault| Missing::Waiting(fault.to_string()))?;
        return match hook {
            Hook::Tc => outside(step),
            Hook::Xdp => inside(&step, container, spec.interface.as_deref(), Ground::Xdp(mode)),
        };
    }
    let ground = match hook {
        Hook::Xdp => Ground::Xdp(mode),
        Hook::Tc => Ground::Tc(KernelHook::Ingress),
    };
    let failed = |error: portcullis_inventory::Error| Missing::Failed(error.to_string());
    let netns = match &spec.netns {
        None => Netns::current().map_err(failed)?,
        Some(path) => Netns::open(path).map_err(|error| Missing::Waiting(error.to_string()))?,
    };
    let name = spec.interface.as_deref().unwrap_or_default();
    let link = link_by_name(&netns, name).map_err(failed)?;
    let link = link.ok_or_else(|| {
        let place = spec.netns.as_ref().map(|path| format!(" in {path}")).unwrap_or_default();
        Missing::Waiting(format!("there is no interface {name}{place}: `ip link` shows which there are"))
    })?;
    Ok(Target { netns, link, ground, door: None })
}

/// On the host side of a container's interface: what goes to the container goes out there.
fn outside(step: Doorstep) -> Result<Target, Missing> {
    let link = link_by_index(&step.netns, step.ifindex).ok().flatten();
    let link = link.ok_or_else(|| Missing::Waiting("its interface is not there".to_owned()))?;
    let hook = if step.is_inside { KernelHook::Ingress } else { KernelHook::Egress };
    let door = Some(step.door());
    Ok(Target { netns: step.netns, link, ground: Ground::Tc(hook), door })
}

/// On a container's interface in its own namespace.
fn inside(
    step: &Doorstep,
    container: &str,
    interface: Option<&str>,
    ground: Ground,
) -> Result<Target, Missing> {
    let (netns, ifindex) = step.inside().ok_or_else(|| {
        Missing::Waiting(format!(
            "the network namespace of {container} cannot be entered: use --hook tc, on the host side"
        ))
    })?;
    let all = links(&netns).map_err(|error| Missing::Waiting(error.to_string()))?;
    let wanted = |link: &Link| match interface {
        Some(name) => link.name == name,
        None => link.index == ifindex,
    };
    let link = all.into_iter().find(wanted).ok_or_else(|| {
        Missing::Waiting(format!(
            "there is no interface {} in {container}",
            interface.unwrap_or("of its own")
        ))
    })?;
    Ok(Target { netns, link, ground, door: Some(step.door()) })
}
