//! The tc hook before 6.6: a filter behind all others. It stays by itself, without a pin, and only this process's own
//! namespace is looked after: to hold another one open would keep its interfaces from going.

use std::os::fd::AsFd as _;

use super::attach::{Stand, attach_error};
use super::{Ground, Placed, Profile, Shield, Spot};
use crate::attach::{Hook, HookState};
use crate::clsact::{self, SHIELD};
use crate::error::{Error, Result};
use crate::namespace::Namespace;

impl Shield {
    /// Puts the program on the hook, in place of an earlier filter of ours.
    pub(super) fn attach_filter(
        &mut self,
        namespace: &Namespace,
        spot: Spot,
        hook: Hook,
        profile: Profile,
    ) -> Result<Placed> {
        let netns = namespace.inode();
        if netns != Namespace::current()?.inode() {
            return Err(Error::TcForeignNamespace { ifindex: spot.ifindex });
        }
        let loaded = self.program(profile, netns, spot.program())?;
        let program_id = loaded.id;
        namespace
            .within(|| clsact::attach(SHIELD, spot.ifindex, hook, loaded.fd.as_fd()))?
            .map_err(|source| attach_error(namespace, spot, source))?;
        Ok(Placed { spot, native_refused: None, netns, profile, program_id, stand: Stand::Filter(hook) })
    }

    /// Takes filters off all interfaces of this namespace but those of `keep`; says what went wrong first.
    pub(super) fn sweep_filters(&self, keep: &[&Placed]) -> Result<()> {
        if self.features.tcx {
            return Ok(());
        }
        let namespace = Namespace::current()?;
        let is_kept = |ifindex, hook| {
            keep.iter().any(|placed| {
                placed.netns == namespace.inode() && placed.spot == Spot { ifindex, ground: Ground::Tc(hook) }
            })
        };
        let mut outcome = Ok(());
        for ifindex in namespace.interfaces()? {
            for hook in [Hook::Ingress, Hook::Egress].into_iter().filter(|hook| !is_kept(ifindex, *hook)) {
                outcome = outcome.and(take_off(ifindex, hook));
            }
        }
        outcome
    }
}

/// Takes the filter off.
pub fn take_off(ifindex: u32, hook: Hook) -> Result<()> {
    clsact::detach(SHIELD, ifindex, hook)
        .map_err(|source| Error::system("taking a filter of the shield off", source))
}

/// Whether the filter is there with this program.
pub fn stands(ifindex: u32, hook: Hook, program_id: u32) -> bool {
    let state = clsact::state(SHIELD, ifindex, hook, program_id);
    matches!(state, HookState::First | HookState::Behind(_))
}
