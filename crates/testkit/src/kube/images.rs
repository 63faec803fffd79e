//! The image with the real binary, made without a registry.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Result;

use crate::runtime::image::{self, Contents};

/// Name of the image that has nothing but the static `portcullis`.
pub const PORTCULLIS_IMAGE: &str = "portcullis.test/portcullis:1";

/// The archive of that image; the binary is `PORTCULLIS_STATIC` if set, else built now.
pub fn portcullis() -> Result<PathBuf> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let make = || {
        let binary =
            std::fs::read(image::static_program("PORTCULLIS_STATIC", "portcullis-cli", "portcullis")?)?;
        let contents = Contents {
            name: PORTCULLIS_IMAGE,
            command: &["/usr/local/bin/portcullis"],
            directories: &[
                "usr/",
                "usr/local/",
                "usr/local/bin/",
                "tmp/",
                "etc/",
                "run/",
                "var/",
                "proc/",
                "sys/",
                "dev/",
            ],
            files: &[("usr/local/bin/portcullis", 0o755, &binary)],
            links: &[("portcullis", "usr/local/bin/portcullis")],
        };
        image::find_or_make(&contents)
    };
    MADE.get_or_init(|| make().map_err(|error: anyhow::Error| format!("the image of portcullis: {error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}
