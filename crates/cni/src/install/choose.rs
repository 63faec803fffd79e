//! Which configuration is meant: as runtimes choose.

use std::fs;
use std::path::{Path, PathBuf};

use super::document::{Document, list_of_one};
use super::{InstallError, Which, file};

/// Endings that runtimes read (libcni, `ConfFiles`, as containerd and CRI-O call it).
const ENDINGS: [&str; 3] = ["conf", "conflist", "json"];
const LIST_ENDING: &str = "conflist";

/// A configuration that was chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Its path.
    pub(super) path: PathBuf,
    /// Its text.
    pub(super) text: String,
    /// Whether it is known by a link.
    is_link: bool,
}

impl Chosen {
    fn read(path: PathBuf) -> Result<Self, InstallError> {
        // A link stays a link: what it leads to is edited.
        let real = fs::canonicalize(&path);
        let is_link = path.is_symlink();
        let path = real.map_err(|source| InstallError::Io { what: "read", path, source })?;
        let text = file::read(&path)?;
        Ok(Self { path, text, is_link })
    }

    fn is_list(&self) -> bool {
        self.path.extension().is_some_and(|ending| ending == LIST_ENDING)
    }

    /// Where the list is written: a single plugin's file gives way to a list.
    pub(super) fn target(&self) -> PathBuf {
        if self.is_list() { self.path.clone() } else { self.path.with_extension(LIST_ENDING) }
    }

    /// Its text as a list.
    pub(super) fn to_list(&self) -> Result<String, String> {
        if self.is_list() { Ok(self.text.clone()) } else { list_of_one(&self.text) }
    }

    /// Whether a list can take the place of a single plugin's file.
    pub(super) fn check_place(&self) -> Result<(), InstallError> {
        if self.is_list() {
            return Ok(());
        }
        let refused = |why| Err(InstallError::Refused { path: self.path.clone(), why });
        let target = self.target();
        if self.is_link {
            return refused("a link leads to it, and a list is to take its place: copy it there".to_owned());
        }
        if target.exists() {
            return refused(format!(
                "it has a single plugin, and the list that is to take its place, {}, is there already: move one \
                 of them away",
                target.display()
            ));
        }
        // Runtimes take the first by name: the list must not change which network that is.
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let (low, high) = (self.path.as_path().min(&target), self.path.as_path().max(&target));
        match candidates(directory)?.into_iter().find(|path| low < path.as_path() && path.as_path() < high) {
            None => Ok(()),
            Some(other) => refused(format!(
                "a list in its place would be {}, on the other side of {}: rename one of them first",
                target.display(),
                other.display()
            )),
        }
    }

    /// Where it is kept as it was.
    pub(super) fn backup_path(&self) -> PathBuf {
        file::backup_of(&self.path)
    }

    /// Writes the list, with a backup of what was there if asked for. The files' mode and owner stay.
    pub(super) fn write(&self, text: &str, keep: bool) -> Result<(), InstallError> {
        let model = file::metadata(&self.path)?;
        // Network agents rewrite their files as they start.
        if file::read(&self.path)? != self.text {
            let why = "changed while it was being edited: try again".to_owned();
            return Err(InstallError::Refused { path: self.path.clone(), why });
        }
        if keep {
            file::replace_like(&self.backup_path(), self.text.as_bytes(), &model)?;
        }
        let target = self.target();
        file::replace_like(&target, text.as_bytes(), &model)?;
        if target != self.path {
            // The list is there: for a moment runtimes see both, and each gives the container its network.
            fs::remove_file(&self.path).map_err(|source| InstallError::Io {
                what: "remove",
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

/// The configuration that is meant.
pub(super) fn existing(directory: &Path, which: &Which) -> Result<Chosen, InstallError> {
    let mut candidates = candidates(directory)?;
    match which {
        Which::File(name) => {
            Chosen::read(directory.join(plain(name)?)).map_err(|error| missing(error, directory))
        }
        Which::First if candidates.is_empty() => Err(none(directory)),
        Which::First => Chosen::read(candidates.swap_remove(0)),
        Which::Network(name) => {
            let named = |chosen: &Chosen| network(chosen).is_some_and(|found| found == *name);
            // What cannot be read is not it.
            let found = candidates.into_iter().filter_map(|path| Chosen::read(path).ok()).find(named);
            found.ok_or_else(|| {
                InstallError::NotFound(format!(
                    "no configuration in {} is of network {name}",
                    directory.display()
                ))
            })
        }
    }
}

/// The configuration that is meant, to take the plugin out; and others that have it.
pub(super) fn with_plugin(directory: &Path, which: &Which) -> Result<(Chosen, Vec<PathBuf>), InstallError> {
    let has = |chosen: &Chosen| {
        Document::parse(&chosen.text).is_ok_and(|document| chosen.is_list() && document.has_plugin())
    };
    let mut having: Vec<Chosen> =
        candidates(directory)?.into_iter().filter_map(|path| Chosen::read(path).ok()).filter(has).collect();
    let chosen = match which {
        Which::First if !having.is_empty() => having.remove(0),
        _ => existing(directory, which)?,
    };
    let others = having.into_iter().map(|other| other.path).filter(|path| *path != chosen.path).collect();
    Ok((chosen, others))
}

/// Whether a directory has plugins that newer runtimes append to a list (libcni 1.3).
pub(super) fn has_further_plugins(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|ending| ending == "conf"))
}

/// Every configuration, in the order in which runtimes see them.
fn candidates(directory: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none(directory)),
        Err(source) => return Err(InstallError::Io { what: "read", path: directory.to_owned(), source }),
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)))
        .filter(|path| !path.is_dir())
        .collect();
    found.sort_unstable();
    Ok(found)
}

fn network(chosen: &Chosen) -> Option<String> {
    let list = chosen.to_list().ok()?;
    Document::parse(&list).ok().map(|document| document.name)
}

/// A file's name and nothing else: it must not lead out of the directory.
fn plain(name: &str) -> Result<&str, InstallError> {
    if name.is_empty() || name.contains('/') || matches!(name, "." | "..") {
        let why = format!("{name:?} is not the name of a file; its directory is said by --conf-dir");
        return Err(InstallError::Invalid(why));
    }
    if !Path::new(name).extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)) {
        let why = format!("runtimes do not read {name}: its name must end in .conflist, .conf or .json");
        return Err(InstallError::Invalid(why));
    }
    Ok(name)
}

fn missing(error: InstallError, directory: &Path) -> InstallError {
    match error {
        InstallError::Io { path, source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            InstallError::NotFound(format!(
                "there is no {}; see `ls {}`",
                path.display(),
                directory.display()
            ))
        }
        other => other,
    }
}

fn none(directory: &Path) -> InstallError {
    InstallError::NotFound(format!(
        "there is no network configuration in {}: install a network first, or name the directory with --conf-dir",
        directory.display()
    ))
}
