//! Finding Kubernetes' programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A program of the cluster: in `PORTCULLIS_KUBERNETES`, else where `./dev setup kubernetes` says that it is.
pub fn tool(name: &str) -> Result<PathBuf> {
    let linked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/kubernetes");
    let directory = std::env::var_os("PORTCULLIS_KUBERNETES").map_or(linked, PathBuf::from);
    let path = directory.join("bin").join(name);
    path.canonicalize()
        .with_context(|| format!("{} is not there: run ./dev setup kubernetes", path.display()))
}
