//! The crates of the workspace and what they depend on.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A crate, by its directory's name, with the dependencies that are not only its tests'.
pub struct Manifest {
    pub name: String,
    pub directory: PathBuf,
    pub dependencies: Vec<String>,
}

/// Every crate below `crates`, and xtask.
pub fn all(root: &Path) -> Result<Vec<Manifest>> {
    let crates = root.join("crates");
    let mut directories = vec![root.join("xtask")];
    for entry in fs::read_dir(&crates).with_context(|| format!("cannot read {}", crates.display()))? {
        directories.push(entry?.path());
    }
    directories.sort();
    directories.into_iter().filter(|directory| directory.join("Cargo.toml").is_file()).map(read).collect()
}

fn read(directory: PathBuf) -> Result<Manifest> {
    let path = directory.join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = directory.file_name().context("a crate without a name")?.to_string_lossy().into_owned();
    Ok(Manifest { name, dependencies: dependencies(&text), directory })
}

fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            // Tests may use what they like.
            inside = section.ends_with("dependencies") && !section.ends_with("dev-dependencies");
            if let Some((_, name)) = section.split_once("dependencies.")
                && !section.contains("dev-dependencies.")
            {
                found.push(name.to_owned());
            }
        } else if inside && !line.starts_with('#') {
            let name: String = line
                .chars()
                .take_while(|&char| char.is_ascii_alphanumeric() || "-_".contains(char))
                .collect();
            if !name.is_empty() && line[name.len()..].contains('=') {
                found.push(name);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_forms_of_dependencies() {
        let text = "[package]\nname = \"x\"\n[dependencies]\n# why\na.workspace = true\nb = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\nc = { path = \"c\" }\n[dependencies.d]\nversion = \"1\"\n\
                    [build-dependencies]\ne = \"1\"\n[dev-dependencies]\nf = \"1\"\n";
        assert_eq!(dependencies(text), ["a", "b", "c", "d", "e"]);
    }
}
