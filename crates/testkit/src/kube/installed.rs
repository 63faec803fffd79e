//! Portcullis in a cluster, installed by its own chart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use portcullis_policy::api::{ContainerMap, Endpoint};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Cluster, Node, PORTCULLIS_IMAGE};
use crate::http;
use crate::process::checked_output;

/// Where the chart puts it.
pub const SYSTEM: &str = "portcullis-system";

/// The workspace's root.
fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the workspace")
}

/// Path of the newest real Helm there is.
fn helm() -> Result<PathBuf> {
    let fetched = checked_output(&mut Command::new(root()?.join("crates/deploy-check/helm")))?;
    Ok(fetched.lines().last().context("no helm")?.into())
}

/// The chart as Helm renders it for the tests' API server, with these values.
pub fn rendered(set: &[&str]) -> Result<String> {
    let mut command = Command::new(helm()?);
    command.args(["template", "portcullis"]).arg(root()?.join("deploy/helm/portcullis"));
    command.args(["--namespace", SYSTEM, "--kube-version", "v1.20.2", "--no-hooks"]);
    command.args(set.iter().flat_map(|value| ["--set", value]));
    checked_output(&mut command)
}

/// The values that name the nodes' image.
fn image() -> Result<[String; 3]> {
    let (repository, tag) = PORTCULLIS_IMAGE.rsplit_once(':').context("an image's name")?;
    Ok([
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
        "image.pullPolicy=Never".to_owned(),
    ])
}

impl Cluster {
    /// Installs the chart with these values besides the image, and waits until every part is ready. The nodes need
    /// the image ([`super::ClusterOptions::portcullis`]).
    pub fn install(&self, set: &[&str]) -> Result<()> {
        let image = image()?;
        let set: Vec<&str> = image
            .iter()
            .map(String::as_str)
            .chain(["namespace.create=true"])
            .chain(set.iter().copied())
            .collect();
        let control = self.control();
        control.apply(&rendered(&set)?)?;
        self.wait_installed()
    }

    /// Waits until every part is ready.
    pub fn wait_installed(&self) -> Result<()> {
        let control = self.control();
        control.wait_rollout(SYSTEM, "daemonset/portcullis-agent").with_context(|| self.news())?;
        control.wait_rollout(SYSTEM, "deployment/portcullis-hub").with_context(|| self.news())
    }

    /// `helm VERB portcullis …`, as the administrator: `install` and `upgrade` with the chart and these values, `uninstall`.
    pub fn helm(&self, verb: &str, set: &[&str]) -> Result<String> {
        let control = self.control();
        let mut command = control.namespace().command(helm()?);
        command.env("HOME", control.directory()).env("KUBECONFIG", control.admin()?);
        command.args([verb, "portcullis", "--namespace", SYSTEM]);
        if verb != "uninstall" {
            command.arg(root()?.join("deploy/helm/portcullis"));
            let image = image()?;
            let all = image.iter().map(String::as_str).chain(set.iter().copied());
            command.args(all.flat_map(|value| ["--set", value]));
        }
        checked_output(&mut command)
    }

    /// What our parts and the cluster say, for a test that fails.
    #[must_use]
    pub fn news(&self) -> String {
        let ask = |arguments: &[&str]| {
            self.control().kubectl(arguments).unwrap_or_else(|error| format!("{error:#}\n"))
        };
        let mut text = ask(&["-n", SYSTEM, "get", "pods", "-o", "wide"]);
        text += &ask(&["-n", SYSTEM, "get", "events", "--sort-by=.lastTimestamp"]);
        for part in ["agent", "hub"] {
            let label = format!("app.kubernetes.io/component={part}");
            text += &ask(&["-n", SYSTEM, "logs", "--prefix", "--all-containers", "--tail=60", "-l", &label]);
        }
        text
    }
}

impl Node {
    /// Asks the agent of this node, by its socket.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, String)> {
        let answer = http::request(&self.outside("/run/portcullis/portcullis.sock")?, method, path, body)?;
        Ok((answer.status, answer.text))
    }

    fn get_of_agent<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let (status, text) = self.ask("GET", path, None)?;
        if status != 200 {
            bail!("GET {path} of {}: {status} {text}", self.name());
        }
        serde_json::from_str(&text).with_context(|| text)
    }

    /// The agent's endpoint of this name (`namespace/pod`).
    pub fn endpoint(&self, name: &str) -> Result<Endpoint> {
        self.get_of_agent(&format!("/api/v1/endpoints/{}", name.replace('/', "%2F")))
    }

    /// The process of one of our parts (`agent`, `hub`) on this node.
    pub fn process(&self, part: &str) -> Result<u32> {
        let is_it = |pid: &u32| {
            let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let command = read("cmdline");
            let mut words = command.split('\0');
            words.next().is_some_and(|program| program.ends_with("portcullis"))
                && words.next() == Some(part)
                && read("cgroup").contains(self.tag())
        };
        let entries = fs::read_dir("/proc")?.flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(is_it).with_context(|| format!("no {part} runs on {}", self.name()))
    }

    /// `kill -9` for one of our parts.
    pub fn kill(&self, part: &str) -> Result<()> {
        checked_output(Command::new("kill").arg("-9").arg(self.process(part)?.to_string())).map(drop)
    }

    /// The agent's map.
    pub fn map(&self) -> Result<ContainerMap> {
        self.get_of_agent("/api/v1/map")
    }
}
