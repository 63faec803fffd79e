//! Arguments of `map`, and the filters that it shares with `endpoint list`.

use clap::Args;
use portcullis_policy::api::MapState;
use portcullis_policy::guard::glob;
use portcullis_policy::model::Workload;

use super::values;

/// Arguments of `map`.
#[derive(Debug, Args)]
#[command(after_help = "\
States:
  bound            verified in the kernel
  quarantined      bound, and everything from and to it is dropped
  unbound          a container without a binding: its frames are not verified
  held             not yet bound; meanwhile everything that it sends is dropped
  orphan           a binding without its container, or without its interface
  shared           in another container's network, and covered by its binding
  host-network     in the host's network: there is nothing to bind
  no-network       without a network
  not-protectable  no host side (macvlan, ipvlan): can only be bound from inside

What needs a look stands first, in capitals, and in the last line.

Examples:
  portcullis map
  portcullis map --state unbound,held,orphan
  portcullis map --network 'shop_*' --label app=web -o wide
  portcullis map -o dot | dot -Tsvg > map.svg")]
pub struct MapArgs {
    /// Which workloads.
    #[command(flatten)]
    pub workloads: WorkloadFilter,
    /// Only in this state
    #[arg(long, value_name = "STATE", value_parser = values::map_state(), value_delimiter = ',')]
    #[arg(hide_possible_values = true)]
    pub state: Vec<MapState>,
}

/// Which workloads are wanted. In texts `*` stands for anything, as in policies.
#[derive(Debug, Default, Args)]
pub struct WorkloadFilter {
    /// Only of this container network; `*` stands for any text
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Only of this runtime (docker, podman, containerd, …)
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<String>,
    /// Only with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::label, value_delimiter = ',')]
    pub label: Vec<(String, String)>,
}

impl WorkloadFilter {
    /// Whether a workload's attachment to `network` is wanted.
    pub fn passes(&self, workload: &Workload, network: Option<&str>) -> bool {
        let fits = |pattern: &Option<String>, text: Option<&str>| {
            pattern.as_deref().is_none_or(|pattern| glob(pattern, text.unwrap_or_default()))
        };
        fits(&self.network, network)
            && fits(&self.runtime, workload.runtime.as_deref())
            && self
                .label
                .iter()
                .all(|(key, pattern)| workload.labels.get(key).is_some_and(|value| glob(pattern, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_asked_for_must_hold() {
        let workload = Workload {
            runtime: Some("docker".into()),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ..Workload::default()
        };
        let passes = |network: &str, runtime: &str, label: (&str, &str)| {
            let filter = WorkloadFilter {
                network: Some(network.into()),
                runtime: Some(runtime.into()),
                label: vec![(label.0.into(), label.1.into())],
            };
            filter.passes(&workload, Some("shop_default"))
        };
        assert!(passes("shop_*", "docker", ("app", "web")));
        assert!(!passes("shop", "docker", ("app", "web")));
        assert!(!passes("*", "podman", ("app", "web")));
        assert!(!passes("*", "*", ("app", "db")));
        assert!(!passes("*", "*", ("tier", "*")));
        assert!(WorkloadFilter::default().passes(&Workload::default(), None));
        let unnamed = WorkloadFilter { network: Some("bridge".into()), ..WorkloadFilter::default() };
        assert!(!unnamed.passes(&workload, None));
    }
}
