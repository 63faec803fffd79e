//! The API's whole part of the desired state, replaced at once.

use std::collections::BTreeSet;

use portcullis_policy::api::State;
use portcullis_policy::model::{EndpointSpec, Owner};

use super::Core;
use crate::control::{BindOptions, Fault, Outcome};
use crate::store::Record;

impl Core {
    /// Makes the API's part of the desired state this one.
    pub(super) fn apply_state(&mut self, mut state: State) -> Result<(u32, u32, u32), Fault> {
        let policies = std::mem::take(&mut state.policies);
        let specs = state.validate().map_err(|errors| {
            Fault::Invalid(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let specs: Vec<EndpointSpec> = specs.into_iter().map(|spec| spec.into_inner()).collect();
        let policies_before = self.state().policies;
        let counts = self.replace_policies(policies)?;
        match self.apply_endpoints(specs) {
            Ok((created, updated, removed)) => {
                Ok((created + counts.0, updated + counts.1, removed + counts.2))
            }
            Err(fault) => {
                self.replace_policies(policies_before)?;
                Err(fault)
            }
        }
    }

    fn apply_endpoints(&mut self, specs: Vec<EndpointSpec>) -> Result<(u32, u32, u32), Fault> {
        let wanted: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let before: Vec<Record> = self
            .entries
            .values()
            .filter(|entry| entry.record.owner == Owner::Api)
            .map(|entry| entry.record.clone())
            .collect();
        let surplus: Vec<&Record> =
            before.iter().filter(|record| !wanted.contains(record.spec.name.as_str())).collect();
        let removed = surplus.len() as u32;
        // What goes makes room for what comes; if that fails, everything is put back.
        for record in &surplus {
            self.unbind(&record.spec.name)?;
        }
        let results = self.bind_many(specs, Owner::Api, BindOptions { allow_missing: true });
        let (mut created, mut updated) = (0, 0);
        for result in results {
            match result {
                Ok((_, Outcome::Created)) => created += 1,
                Ok((_, Outcome::Updated)) => updated += 1,
                Ok((_, Outcome::Unchanged)) => {}
                Err(fault) => {
                    self.put_back_all(before)?;
                    return Err(fault);
                }
            }
        }
        Ok((created, updated, removed))
    }

    fn put_back_all(&mut self, before: Vec<Record>) -> Result<(), Fault> {
        let names: BTreeSet<String> = before.iter().map(|record| record.spec.name.clone()).collect();
        let extra: Vec<String> = self
            .entries
            .values()
            .filter(|entry| entry.record.owner == Owner::Api && !names.contains(&entry.record.spec.name))
            .map(|entry| entry.record.spec.name.clone())
            .collect();
        for name in extra {
            self.unbind(&name)?;
        }
        let specs = before.into_iter().map(|record| record.spec).collect();
        for result in self.bind_many(specs, Owner::Api, BindOptions { allow_missing: true }) {
            result?;
        }
        Ok(())
    }
}
