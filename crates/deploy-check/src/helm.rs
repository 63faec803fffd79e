//! Helm itself.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::object::{Object, parse};
use crate::{NAMESPACE, chart, root};

/// A Helm.
#[derive(Clone, Debug)]
pub struct Helm {
    path: PathBuf,
}

/// What to render, and for what cluster.
#[derive(Clone, Debug, Default)]
pub struct Render<'a> {
    /// Values as `--set` takes them.
    pub set: &'a [&'a str],
    /// Values as `--set-json` takes them.
    pub set_json: &'a [&'a str],
    /// Version of Kubernetes; none: Helm's own.
    pub kubernetes: Option<&'a str>,
    /// What the API server has besides, as `GROUP/VERSION/KIND`.
    pub apis: &'a [&'a str],
    /// Only this template.
    pub only: Option<&'a str>,
    /// Leave out what is made for a moment only.
    pub no_hooks: bool,
}

/// ValidatingAdmissionPolicies, which a server older than 1.30 lacks.
pub const ADMISSION: &str = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy";

impl Helm {
    /// Every Helm that charts are tested with, the newest last. Fetched when first asked for.
    pub fn all() -> Result<&'static [Self]> {
        static ALL: OnceLock<Result<Vec<Helm>, String>> = OnceLock::new();
        let all = ALL.get_or_init(|| fetch().map_err(|error| format!("{error:#}")));
        all.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// The newest.
    pub fn newest() -> Result<&'static Self> {
        Self::all()?.last().context("there is no Helm")
    }

    /// The chart as text.
    pub fn text(&self, render: &Render<'_>) -> Result<String> {
        let mut command = Command::new(&self.path);
        command.args(["template", "portcullis"]).arg(chart()).args(["--namespace", NAMESPACE]);
        let lists = [("--set", render.set), ("--set-json", render.set_json), ("--api-versions", render.apis)];
        let each = lists.iter().flat_map(|(flag, values)| values.iter().map(move |value| (*flag, *value)));
        let kubernetes = render.kubernetes.map(|version| ("--kube-version", version));
        let only = render.only.map(|template| ("--show-only", template));
        for (flag, value) in each.chain(kubernetes).chain(only) {
            command.args([flag, value]);
        }
        if render.no_hooks {
            command.arg("--no-hooks");
        }
        // Neither plugins nor repositories of whoever runs the tests.
        let nowhere = root().join("target/helm");
        for name in ["HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"] {
            command.env(name, &nowhere);
        }
        let output = command.output().with_context(|| format!("cannot run {}", self.path.display()))?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context("Helm printed what is no text")
    }

    /// The chart's objects.
    pub fn objects(&self, render: &Render<'_>) -> Result<Vec<Object>> {
        parse(&self.text(render)?)
    }
}

fn fetch() -> Result<Vec<Helm>> {
    let script = root().join("crates/deploy-check/helm");
    let output =
        Command::new(&script).output().with_context(|| format!("cannot run {}", script.display()))?;
    if !output.status.success() {
        bail!("no Helm: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let paths = String::from_utf8(output.stdout).context("paths of Helm")?;
    Ok(paths.lines().map(|path| Helm { path: path.into() }).collect())
}
