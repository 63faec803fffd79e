//! `agent`: the daemon in the foreground.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Result, bail};
use portcullis_agent::Ended;
use portcullis_agent::config::{Config, Sources};
use portcullis_cni::install::{Uninstall, Which};

use crate::args::AgentArgs;
use crate::failure::{Exit, Failure};

/// Where the chart put the plugin, for the day on which it is taken out.
const CNI_CONF_DIR: &str = "PORTCULLIS_CNI_CONF_DIR";
const CNI_BIN_DIR: &str = "PORTCULLIS_CNI_BIN_DIR";

/// Runs the agent until it is told to stop.
pub fn run(socket: Option<PathBuf>, args: AgentArgs) -> Result<Exit> {
    let teardown = args.teardown;
    let config = merge(socket, args)?;
    if teardown {
        if UnixStream::connect(&config.socket).is_ok() {
            bail!(
                "an agent answers at {}: stop it first, or it puts everything back",
                config.socket.display()
            );
        }
        portcullis_agent::teardown(&config)?;
        return Ok(Exit::Done);
    }
    match portcullis_agent::run(config.clone())? {
        Ended::Stopped => {}
        Ended::Dismissed => dismiss(&config)?,
    }
    Ok(Exit::Done)
}

/// No other agent comes: the plugin leaves the chain, so that pods start without us, and the gate is opened, since nobody would
/// look after it.
fn dismiss(config: &Config) -> Result<()> {
    tracing::info!("the DaemonSet of this agent was deleted: the gate is opened");
    if let Some(conf_dir) = std::env::var_os(CNI_CONF_DIR) {
        let bin_dir = std::env::var_os(CNI_BIN_DIR);
        let bin_dir = bin_dir.map_or_else(portcullis_cni::install::default_bin_dir, PathBuf::from);
        let uninstall = Uninstall {
            which: Which::First,
            conf_dir: conf_dir.into(),
            bin_dir,
            remove_binary: false,
            dry_run: false,
        };
        match uninstall.run() {
            Ok(report) => tracing::info!(file = %report.file.display(), "the plugin was taken out"),
            Err(error) => {
                tracing::error!(%error, "the plugin is still in the chain: `portcullis cni uninstall`")
            }
        }
    }
    Ok(portcullis_agent::teardown(config)?)
}

/// The configuration file, and over it what the command line says.
fn merge(socket: Option<PathBuf>, args: AgentArgs) -> Result<Config> {
    let mut config =
        Config::load(args.config.as_deref()).map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(socket) = socket {
        config.socket = socket;
    }
    if let Some(state_dir) = args.state_dir {
        config.state_dir = state_dir;
    }
    if let Some(bpffs) = args.bpffs {
        config.bpffs = bpffs;
    }
    config.listen = args.listen.or(config.listen);
    config.token_file = args.token_file.or(config.token_file);
    if args.no_sources {
        config.sources = Sources::None;
        config.source_list.clear();
    } else if !args.source.is_empty() {
        config.sources = Sources::Auto;
        config.source_list = args.source;
    }
    config.kubernetes.enabled |= args.kubernetes;
    config.kubernetes.node = args.node_name.unwrap_or(config.kubernetes.node);
    config.kubernetes.kubeconfig = args.kubeconfig.unwrap_or(config.kubernetes.kubeconfig);
    config.answer.dry_run |= args.dry_run;
    config.unbound = args.unbound.unwrap_or(config.unbound);
    config.check().map_err(|rejection| Failure::usage(format!("{}: {}", rejection.key, rejection.why)))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use portcullis_policy::model::UnboundPolicy;

    use super::*;

    fn args() -> AgentArgs {
        AgentArgs {
            config: None,
            state_dir: None,
            bpffs: None,
            listen: None,
            token_file: None,
            unbound: None,
            source: vec![],
            no_sources: false,
            kubernetes: false,
            node_name: None,
            kubeconfig: None,
            dry_run: false,
            teardown: false,
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("portcullis.toml");
        std::fs::write(&file, "socket = \"/a/a.sock\"\nunbound = \"audit\"\nstate_dir = \"/a/state\"\n")
            .unwrap();
        let given = AgentArgs {
            config: Some(file.clone()),
            state_dir: Some("/b/state".into()),
            unbound: Some(UnboundPolicy::Drop),
            ..args()
        };
        let config = merge(None, given).unwrap();
        assert_eq!(config.socket, PathBuf::from("/a/a.sock"));
        assert_eq!(config.state_dir, PathBuf::from("/b/state"));
        assert_eq!(config.unbound, UnboundPolicy::Drop);
        let config = merge(Some("/c/c.sock".into()), AgentArgs { config: Some(file), ..args() }).unwrap();
        assert_eq!((config.socket, config.unbound), ("/c/c.sock".into(), UnboundPolicy::Audit));
    }

    #[test]
    fn sources_of_the_command_line_replace_those_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("portcullis.toml");
        std::fs::write(&file, "[[source]]\nkind = \"podman\"\nmode = \"audit\"\n").unwrap();
        let given = |source: &[&str], no_sources| {
            let source = source.iter().map(|text| text.parse().unwrap()).collect();
            let args = AgentArgs { config: Some(file.clone()), source, no_sources, dry_run: true, ..args() };
            merge(None, args).unwrap()
        };
        let sockets = |config: &Config| -> Vec<PathBuf> {
            config.effective_sources().into_iter().map(|source| source.socket).collect()
        };
        assert_eq!(sockets(&given(&[], false)), [PathBuf::from("/run/podman/podman.sock")]);
        assert_eq!(sockets(&given(&["docker=/x"], false)), [PathBuf::from("/x")]);
        assert!(sockets(&given(&[], true)).is_empty());
        assert!(given(&[], true).answer.dry_run);
    }

    #[test]
    fn settings_that_contradict_each_other_are_usage_errors() {
        let error =
            merge(None, AgentArgs { listen: Some("127.0.0.1:8080".parse().unwrap()), ..args() }).unwrap_err();
        assert_eq!(crate::failure::exit_of(&error), Exit::Usage);
        assert!(error.to_string().contains("token"), "{error}");
    }
}
