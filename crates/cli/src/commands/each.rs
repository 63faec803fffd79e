//! One command for several names.

use anyhow::Result;
use serde::Serialize;

use crate::client::ClientError;
use crate::context::Context;
use crate::failure::{self, Exit};

/// Does the same to each, whatever becomes of the others, and says so in a line; the first failure chooses the exit code.
pub fn each<T: Serialize>(
    context: &mut Context,
    names: &[String],
    act: impl Fn(&str) -> Result<T, ClientError>,
    line: impl Fn(&T) -> String,
) -> Result<Exit> {
    let mut exit = Exit::Done;
    for name in names {
        match act(name) {
            // Several objects make a stream, one is itself.
            Ok(done) if names.len() > 1 => context.item(&done, |_, _| line(&done))?,
            Ok(done) => context.object(&done, |_, _| line(&done))?,
            Err(error) if names.len() == 1 || error.exit() == Exit::Unreachable => return Err(error.into()),
            Err(error) => {
                failure::say(&error.to_string());
                exit = if exit == Exit::Done { error.exit() } else { exit };
            }
        }
    }
    Ok(exit)
}
