//! The Docker API, which Podman speaks too.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::options::{NetworkOptions, RunOptions, joining};
use crate::http::{self, Response};
use crate::namespace::Namespace;
use crate::wait::wait_until;

/// A daemon that speaks the Docker API.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    cgroup: String,
}

impl Engine {
    pub(super) const fn new(socket: PathBuf, cgroup: String) -> Self {
        Self { socket, cgroup }
    }

    /// Path of its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks; fails unless the answer is a good one.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        good(&format!("{method} {path}"), http::request(&self.socket, method, path, body)?)
    }

    pub(super) fn answers(&self) -> bool {
        http::request(&self.socket, "GET", "/_ping", None).is_ok_and(|response| response.status == 200)
    }

    pub(super) fn wait_ready(&self, mut running: impl FnMut() -> bool) -> Result<()> {
        let mut alive = true;
        wait_until("a container runtime to answer", || {
            alive = running();
            !alive || self.answers()
        })?;
        if !alive {
            bail!("it ended before it answered");
        }
        Ok(())
    }

    pub(super) fn load(&self, archive: &Path) -> Result<()> {
        good("loading the image", http::upload(&self.socket, "/images/load", archive)?).map(drop)
    }

    /// Makes a container and starts it; gives its id.
    pub fn run(&self, name: &str, options: &RunOptions) -> Result<String> {
        let id = self.create(name, options)?;
        self.start(&id)?;
        Ok(id)
    }

    /// Makes a container without starting it; gives its id.
    pub fn create(&self, name: &str, options: &RunOptions) -> Result<String> {
        let body = options.body(&self.cgroup);
        let answer = self.ask("POST", &format!("/containers/create?name={name}"), Some(&body))?;
        let id = answer["Id"].as_str().with_context(|| format!("no id of {name}: {answer}"))?.to_owned();
        for (network, settings) in options.further_networks() {
            self.join(network, &id, &settings)?;
        }
        Ok(id)
    }

    /// Starts a container.
    pub fn start(&self, container: &str) -> Result<()> {
        self.post(&format!("/containers/{container}/start"))
    }

    /// Stops a container: SIGTERM, and SIGKILL after this many seconds.
    pub fn stop(&self, container: &str, patience: u32) -> Result<()> {
        self.post(&format!("/containers/{container}/stop?t={patience}"))
    }

    /// Kills a container.
    pub fn kill(&self, container: &str) -> Result<()> {
        self.post(&format!("/containers/{container}/kill"))
    }

    /// Stops and starts a container.
    pub fn restart(&self, container: &str) -> Result<()> {
        self.post(&format!("/containers/{container}/restart?t=1"))
    }

    /// Renames a container.
    pub fn rename(&self, container: &str, name: &str) -> Result<()> {
        self.post(&format!("/containers/{container}/rename?name={name}"))
    }

    /// Removes a container, running or not.
    pub fn remove(&self, container: &str) -> Result<()> {
        self.ask("DELETE", &format!("/containers/{container}?force=true"), None).map(drop)
    }

    /// All that is known of a container.
    pub fn inspect(&self, container: &str) -> Result<Value> {
        self.ask("GET", &format!("/containers/{container}/json"), None)
    }

    /// Process id of a running container.
    pub fn pid(&self, container: &str) -> Result<u32> {
        let answer = self.inspect(container)?;
        let pid = answer["State"]["Pid"].as_u64().filter(|pid| *pid > 0);
        u32::try_from(pid.with_context(|| format!("{container} does not run: {}", answer["State"]))?)
            .context("a process id")
    }

    /// The network namespace of a running container.
    pub fn namespace(&self, container: &str) -> Result<Namespace> {
        Namespace::of_process(self.pid(container)?)
    }

    /// Addresses of a container in a network, IPv4 first.
    pub fn addresses(&self, container: &str, network: &str) -> Result<Vec<String>> {
        let answer = self.inspect(container)?;
        let settings = &answer["NetworkSettings"]["Networks"][network];
        let of = |key: &str| settings[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let found: Vec<String> = ["IPAddress", "GlobalIPv6Address"].into_iter().filter_map(of).collect();
        if found.is_empty() {
            bail!("{container} has no address in {network}: {}", answer["NetworkSettings"]);
        }
        Ok(found)
    }

    /// MAC of a container in a network.
    pub fn mac(&self, container: &str, network: &str) -> Result<String> {
        let answer = self.inspect(container)?;
        let mac = answer["NetworkSettings"]["Networks"][network]["MacAddress"].as_str();
        Ok(mac.with_context(|| format!("{container} has no MAC in {network}"))?.to_owned())
    }

    /// What a container has printed, headers of the stream and all.
    pub fn logs(&self, container: &str) -> Result<String> {
        let path = format!("/containers/{container}/logs?stdout=true&stderr=true");
        Ok(http::request(&self.socket, "GET", &path, None)?.text)
    }

    /// Makes a network.
    pub fn network_create(&self, name: &str, options: &NetworkOptions) -> Result<()> {
        self.ask("POST", "/networks/create", Some(&options.body(name))).map(drop)
    }

    /// Removes a network.
    pub fn network_remove(&self, name: &str) -> Result<()> {
        self.ask("DELETE", &format!("/networks/{name}"), None).map(drop)
    }

    /// Connects a container to a network, with these addresses if any.
    pub fn network_connect(&self, network: &str, container: &str, addresses: &[&str]) -> Result<()> {
        self.join(network, container, &joining(network, addresses))
    }

    /// Takes a container out of a network.
    pub fn network_disconnect(&self, network: &str, container: &str) -> Result<()> {
        let body = json!({"Container": container, "Force": false});
        self.ask("POST", &format!("/networks/{network}/disconnect"), Some(&body)).map(drop)
    }

    fn join(&self, network: &str, container: &str, settings: &Value) -> Result<()> {
        let body = json!({"Container": container, "EndpointConfig": settings});
        self.ask("POST", &format!("/networks/{network}/connect"), Some(&body)).map(drop)
    }

    fn post(&self, path: &str) -> Result<()> {
        self.ask("POST", path, None).map(drop)
    }
}

/// 304 is a good answer: it is so already.
fn good(what: &str, response: Response) -> Result<Value> {
    if !(200..300).contains(&response.status) && response.status != 304 {
        bail!("{what}: HTTP {}: {}", response.status, response.text.trim());
    }
    Ok(response.json())
}
