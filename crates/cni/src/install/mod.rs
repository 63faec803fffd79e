//! Putting the plugin into a network configuration, and taking it out.
//!
//! Configurations belong to others: they are edited as text, so that nothing but our entry changes; written
//! beside and renamed, so that a runtime reads the old one or the new one; and kept as they were in a backup
//! whose name no runtime reads.

mod binary;
mod choose;
mod diff;
mod document;
mod entry;
mod file;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use crate::config::OnAgentDown;
pub use entry::Settings;
pub use file::BACKUP_SUFFIX;

use crate::PLUGIN_TYPE;
use choose::Chosen;
use document::Document;

/// Where runtimes look for configurations unless they are told otherwise.
pub const DEFAULT_CONF_DIR: &str = "/etc/cni/net.d";
/// Where they look for plugins.
pub const DEFAULT_BIN_DIR: &str = "/opt/cni/bin";
/// Where distributions keep them instead, and tell their runtimes so.
const OTHER_BIN_DIRS: [&str; 2] = ["/usr/lib/cni", "/usr/libexec/cni"];

/// The directory of plugins of this host: the usual one, or another if only that exists.
#[must_use]
pub fn default_bin_dir() -> PathBuf {
    let all = [DEFAULT_BIN_DIR].into_iter().chain(OTHER_BIN_DIRS).map(PathBuf::from);
    all.into_iter().find(|directory| directory.is_dir()).unwrap_or_else(|| DEFAULT_BIN_DIR.into())
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is nothing to put it into.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A configuration is not what it should be.
    #[error("{}: {why}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A system call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Which configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The first by name: the one that runtimes use. (To uninstall: the first that has the plugin.)
    #[default]
    First,
    /// The file of this name.
    File(String),
    /// The network of this name.
    Network(String),
}

/// What to install where.
#[derive(Clone, Debug)]
pub struct Install {
    /// Directory of network configurations.
    pub conf_dir: PathBuf,
    /// Directory of plugins.
    pub bin_dir: PathBuf,
    /// Which configuration.
    pub which: Which,
    /// What the entry is to say; what is not given stays as it is.
    pub settings: Settings,
    /// The binary that becomes the plugin.
    pub binary: PathBuf,
    /// Change nothing, only say what would be.
    pub dry_run: bool,
}

/// What to uninstall where.
#[derive(Clone, Debug)]
pub struct Uninstall {
    /// Directory of network configurations.
    pub conf_dir: PathBuf,
    /// Directory of plugins.
    pub bin_dir: PathBuf,
    /// Which configuration.
    pub which: Which,
    /// Remove the binary too.
    pub remove_binary: bool,
    /// Change nothing, only say what would be.
    pub dry_run: bool,
}

/// What became of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was not there.
    Installed,
    /// It was there and differed.
    Updated,
    /// It was there just so.
    Unchanged,
    /// It is gone.
    Removed,
    /// It was not there and is not now.
    Absent,
    /// It was left where it is.
    Kept,
}

/// What was done, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The configuration.
    pub file: PathBuf,
    /// Its network.
    pub network: String,
    /// What became of the plugin's entry.
    pub outcome: Outcome,
    /// Where the configuration is kept as it was; none: it was not changed, or is kept there from before.
    pub backup: Option<PathBuf>,
    /// The plugin's file.
    pub binary: PathBuf,
    /// What became of it.
    pub binary_outcome: Outcome,
    /// Whether nothing was really done.
    pub dry_run: bool,
    /// The change, line by line; empty where there is none.
    pub diff: String,
    /// What else to know.
    pub notes: Vec<String>,
}

impl Install {
    /// Installs, or says what it would do.
    pub fn run(&self) -> Result<Report, InstallError> {
        if let Some(socket) = &self.settings.socket
            && !socket.is_absolute()
        {
            let why = format!("the agent's socket is {}; write the whole path, from /", socket.display());
            return Err(InstallError::Invalid(why));
        }
        let chosen = choose::existing(&self.conf_dir, &self.which)?;
        let refused = |why| InstallError::Refused { path: chosen.path.clone(), why };
        chosen.check_place()?;
        let text = chosen.to_list().map_err(refused)?;
        let document = Document::parse(&text).map_err(refused)?;
        document.check().map_err(refused)?;
        let had = document.has_plugin();
        let after = document.with_plugin(&self.settings).map_err(refused)?;
        let changed = after != chosen.text || chosen.target() != chosen.path;
        let outcome = match (had, changed) {
            (false, _) => Outcome::Installed,
            (true, true) => Outcome::Updated,
            (true, false) => Outcome::Unchanged,
        };
        // The binary first: a configuration must never name a plugin that is not there.
        let (binary, binary_outcome) = binary::put(&self.binary, &self.bin_dir, self.dry_run)?;
        // With the entry in it, it is only worth keeping where nothing was kept before.
        let backup = Some(chosen.backup_path()).filter(|kept| changed && !(had && kept.exists()));
        if changed && !self.dry_run {
            chosen.write(&after, backup.is_some())?;
        }
        Ok(Report {
            file: chosen.target(),
            network: document.name.clone(),
            outcome,
            backup,
            binary,
            binary_outcome,
            dry_run: self.dry_run,
            diff: diff::lines(&chosen.text, &after),
            notes: self.notes(&chosen, &document),
        })
    }

    fn notes(&self, chosen: &Chosen, document: &Document<'_>) -> Vec<String> {
        let mut notes = Vec::new();
        if chosen.target() != chosen.path {
            notes.push(format!(
                "{} has a single plugin, and chains stand in lists: {} takes its place",
                chosen.path.display(),
                chosen.target().display()
            ));
        }
        let further = self.conf_dir.join(&document.name);
        if choose::has_further_plugins(&further) {
            notes.push(format!(
                "newer runtimes append the plugins in {} to the list: those run after this one",
                further.display()
            ));
        }
        notes
    }
}

impl Uninstall {
    /// Uninstalls, or says what it would do.
    pub fn run(&self) -> Result<Report, InstallError> {
        let (chosen, others) = choose::with_plugin(&self.conf_dir, &self.which)?;
        let refused = |why| InstallError::Refused { path: chosen.path.clone(), why };
        let text = chosen.to_list().map_err(refused)?;
        let document = Document::parse(&text).map_err(refused)?;
        let had = document.has_plugin();
        let after = if had { document.without_plugin().map_err(refused)? } else { chosen.text.clone() };
        if had && !self.dry_run {
            chosen.write(&after, false)?;
        }
        let mut notes = Vec::new();
        for other in &others {
            notes.push(format!("{} has the plugin too", other.display()));
        }
        let binary = self.bin_dir.join(PLUGIN_TYPE);
        let binary_outcome = self.binary(&binary, &others, &mut notes)?;
        Ok(Report {
            file: chosen.path.clone(),
            network: document.name.clone(),
            outcome: if had { Outcome::Removed } else { Outcome::Absent },
            backup: None,
            binary,
            binary_outcome,
            dry_run: self.dry_run,
            diff: diff::lines(&chosen.text, &after),
            notes,
        })
    }

    /// Runtimes keep the configuration that a container was started with, and call its plugins when it ends:
    /// without the binary these containers could not be taken down.
    fn binary(
        &self,
        path: &Path,
        others: &[PathBuf],
        notes: &mut Vec<String>,
    ) -> Result<Outcome, InstallError> {
        if !path.exists() {
            return Ok(Outcome::Absent);
        }
        if !self.remove_binary {
            notes.push(format!(
                "{} stays, for runtimes call it when containers end that were started with it; \
                 --remove-binary removes it",
                path.display()
            ));
            return Ok(Outcome::Kept);
        }
        if !others.is_empty() {
            notes.push(format!("{} stays, since another configuration names it", path.display()));
            return Ok(Outcome::Kept);
        }
        if !self.dry_run {
            std::fs::remove_file(path).map_err(|source| InstallError::Io {
                what: "remove",
                path: path.to_owned(),
                source,
            })?;
        }
        Ok(Outcome::Removed)
    }
}
