//! `hub`: the cluster-wide manager in the foreground.

use anyhow::Result;
use portcullis_hub::Options;
use portcullis_hub::election::Timing;

use crate::args::HubArgs;
use crate::failure::Exit;

/// Runs the hub until it is told to stop.
pub fn run(args: HubArgs) -> Result<Exit> {
    portcullis_hub::run(options(args, std::env::var("POD_NAME").ok()))?;
    Ok(Exit::Done)
}

fn options(args: HubArgs, pod: Option<String>) -> Options {
    Options {
        listen: args.listen,
        metrics_listen: args.metrics_listen,
        namespace: args.namespace,
        pod: pod.filter(|pod| !pod.is_empty()).unwrap_or_else(name_of_its_own),
        kubeconfig: args.kubeconfig,
        terminations_per_minute: args.terminations_per_minute,
        dry_run: args.dry_run,
        timing: Timing::default(),
    }
}

/// Outside of a pod: two on one machine must not take each other for themselves.
fn name_of_its_own() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let usable = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let host: String = host.chars().map(|c| if usable(c) { c } else { '-' }).take(40).collect();
    format!("{}-{}", host.trim_matches('-'), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_of_a_pod_it_has_a_name_that_may_stand_anywhere() {
        let name = name_of_its_own();
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name}");
        assert!(name.ends_with(&std::process::id().to_string()));
    }
}
