//! CNI without a runtime: the plugins of a list, executed one after the other as libcni does.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::namespace::Namespace;
use crate::runtime::program;

/// The directory of the reference plugins.
pub fn reference_plugins() -> Result<PathBuf> {
    let plugin = program("host-local")?;
    Ok(plugin.parent().context("host-local is in no directory")?.to_owned())
}

/// What one plugin said.
#[derive(Debug, Clone)]
pub struct PluginAnswer {
    /// Which one.
    pub plugin: String,
    /// Exit code.
    pub code: Option<i32>,
    /// Standard output as JSON; null where there is none.
    pub output: Value,
    /// Standard error.
    pub log: String,
    /// How long it ran.
    pub took: Duration,
}

impl PluginAnswer {
    /// Whether it was done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.code == Some(0)
    }
}

/// One attachment of a container to a list's network.
#[derive(Debug, Clone)]
pub struct Chain {
    command: (PathBuf, OsString),
    list: Value,
    container: String,
    netns: PathBuf,
    arguments: String,
    /// The result of `ADD`, as runtimes keep it.
    previous: Option<Value>,
}

impl Chain {
    /// A container to be attached as `eth0`. Plugins are executed in `host` and looked for in `directories`.
    pub fn new(
        host: &Namespace,
        directories: &[PathBuf],
        list: &Value,
        container: &str,
        netns: &Path,
    ) -> Result<Self> {
        let path = std::env::join_paths(directories).context("CNI_PATH")?;
        Ok(Self {
            command: (host.path().to_owned(), path),
            list: list.clone(),
            container: container.to_owned(),
            netns: netns.to_owned(),
            arguments: format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container};K8S_POD_UID=uid-{container}"
            ),
            previous: None,
        })
    }

    /// The result of `ADD`.
    #[must_use]
    pub fn result(&self) -> Option<&Value> {
        self.previous.as_ref()
    }

    /// Whatever `ADD` said is not known any more.
    pub fn forget(&mut self) {
        self.previous = None;
    }

    /// `ADD` of every plugin, up to the first that fails; gives what the last one said.
    pub fn add(&mut self) -> Result<PluginAnswer> {
        let mut previous = None;
        let mut last = None;
        for plugin in self.plugins() {
            let answer = self.execute("ADD", &plugin, previous.as_ref(), true)?;
            if !answer.is_done() {
                return Ok(answer);
            }
            previous = Some(answer.output.clone());
            last = Some(answer);
        }
        self.previous = previous;
        last.context("a list without plugins")
    }

    /// `DEL` of every plugin, the last one first; each is executed whatever the others say. Gives what each said.
    pub fn del(&self) -> Result<Vec<PluginAnswer>> {
        let has_namespace = self.netns.exists();
        self.plugins()
            .iter()
            .rev()
            .map(|plugin| self.execute("DEL", plugin, self.previous.as_ref(), has_namespace))
            .collect()
    }

    /// `CHECK` of every plugin, up to the first that fails; gives what the last one said.
    pub fn check(&self) -> Result<PluginAnswer> {
        let mut last = None;
        for plugin in self.plugins() {
            let answer = self.execute("CHECK", &plugin, self.previous.as_ref(), true)?;
            if !answer.is_done() {
                return Ok(answer);
            }
            last = Some(answer);
        }
        last.context("a list without plugins")
    }

    /// `CHECK`, `GC`, `STATUS` or `VERSION` of one plugin, with further keys in its configuration.
    pub fn one(&self, command: &str, plugin: &str, further: &[(&str, Value)]) -> Result<PluginAnswer> {
        let mut entry = self
            .plugins()
            .into_iter()
            .find(|entry| entry["type"] == plugin)
            .with_context(|| format!("the list has no {plugin}"))?;
        for (key, value) in further {
            entry[*key] = value.clone();
        }
        self.execute(command, &entry, self.previous.as_ref(), true)
    }

    fn plugins(&self) -> Vec<Value> {
        self.list["plugins"].as_array().cloned().unwrap_or_default()
    }

    fn execute(
        &self,
        command: &str,
        plugin: &Value,
        previous: Option<&Value>,
        has_namespace: bool,
    ) -> Result<PluginAnswer> {
        // What an entry says itself is what a test wants.
        let mut config = json!({"name": self.list["name"], "cniVersion": self.list["cniVersion"]});
        for (key, value) in plugin.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        let name = plugin["type"].as_str().context("a plugin without a type")?;
        let (netns, path) = &self.command;
        let file =
            std::env::split_paths(path).map(|directory| directory.join(name)).find(|file| file.is_file());
        let mut process = Command::new("nsenter");
        process.arg(format!("--net={}", netns.display())).arg("--");
        process.arg(file.with_context(|| format!("there is no plugin {name}"))?);
        process.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        process.env("CNI_COMMAND", command).env("CNI_CONTAINERID", &self.container).env("CNI_IFNAME", "eth0");
        process.env("CNI_NETNS", if has_namespace { self.netns.as_os_str() } else { "".as_ref() });
        process.env("CNI_ARGS", &self.arguments).env("CNI_PATH", path);
        run(process, name, &config)
    }
}

fn run(mut process: Command, name: &str, config: &Value) -> Result<PluginAnswer> {
    let start = Instant::now();
    let mut child = process
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let mut input = child.stdin.take().context("no standard input")?;
    let written = input.write_all(json!(config).to_string().as_bytes());
    drop(input);
    let output = child.wait_with_output().with_context(|| format!("waiting for {name}"))?;
    let took = start.elapsed();
    // What a plugin says that does not read matters more than the broken pipe.
    if output.status.success() {
        written.with_context(|| format!("writing to {name}"))?;
    }
    Ok(PluginAnswer {
        plugin: name.to_owned(),
        code: output.status.code(),
        output: serde_json::from_slice(&output.stdout).unwrap_or_default(),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
        took,
    })
}
