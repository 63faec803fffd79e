//! Where the log goes: standard error, as much as asked for.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

/// Sets the log up. `RUST_LOG` wins over `-v`; `base` is the level without either.
pub fn init(verbose: u8, base: &str) -> Result<()> {
    let level = match (verbose, base) {
        (0, base) => base,
        (1, "warn") => "info",
        (1, _) | (2, "warn") => "debug",
        _ => "trace",
    };
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(&text).with_context(|| format!("RUST_LOG={text} is not understood"))?
        }
        _ => EnvFilter::new(level),
    };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(verbose > 0)
        .try_init()
        .map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))
}
