//! The CNI plugin, executed as a runtime does for pods whose pair is there.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use portcullis_testkit::{Namespace, portcullis};
use serde_json::{Value, json};

use super::pods::{BRIDGE, Pod};

/// The plugin and the agent that it speaks to.
pub struct Plugin {
    binary: PathBuf,
    socket: PathBuf,
}

impl Plugin {
    /// Speaks to the agent at this socket.
    pub fn new(socket: PathBuf) -> Result<Self> {
        Ok(Self { binary: portcullis()?, socket })
    }

    /// `ADD`: when this returns, the pod is bound.
    pub fn add(&self, host: &Namespace, pod: &Pod) -> Result<()> {
        self.execute("ADD", host, pod)
    }

    /// `DEL`.
    pub fn del(&self, host: &Namespace, pod: &Pod) -> Result<()> {
        self.execute("DEL", host, pod)
    }

    fn execute(&self, what: &str, host: &Namespace, pod: &Pod) -> Result<()> {
        let mut command = host.command(&self.binary);
        command.env_clear().env("CNI_COMMAND", what).env("CNI_CONTAINERID", pod.id());
        command.env("CNI_IFNAME", "eth0").env("CNI_NETNS", pod.netns()).env("CNI_PATH", "/usr/lib/cni");
        command.env(
            "CNI_ARGS",
            format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={}", pod.name()),
        );
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting the plugin")?;
        let mut input = child.stdin.take().context("no standard input")?;
        let written = input.write_all(self.config(pod).to_string().as_bytes());
        drop(input);
        let output = child.wait_with_output().context("waiting for the plugin")?;
        if !output.status.success() {
            bail!("{what} of {}: {}", pod.name(), String::from_utf8_lossy(&output.stdout));
        }
        written.context("writing to the plugin")
    }

    fn config(&self, pod: &Pod) -> Value {
        json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "type": "portcullis",
            "socket": self.socket,
            "prevResult": {
                "cniVersion": "1.0.0",
                "interfaces": [
                    {"name": BRIDGE},
                    {"name": pod.host_interface()},
                    {"name": "eth0", "mac": pod.mac(), "sandbox": pod.netns()},
                ],
                "ips": [
                    {"address": format!("{}/16", pod.ipv4()), "interface": 2},
                    {"address": format!("{}/64", pod.ipv6()), "interface": 2},
                ],
            },
        })
    }
}
