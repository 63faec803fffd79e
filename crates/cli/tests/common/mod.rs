//! The binary under test.

use std::process::{Command, Output, Stdio};

/// The binary under test, with an environment that does not depend on who runs it.
pub fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.env_remove("COLUMNS").env_remove("RUST_LOG").env_remove("PORTCULLIS_SOCKET").env("TZ", "UTC");
    command.stdin(Stdio::null());
    command
}

/// What a finished command said: exit code, standard output, standard error.
pub fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("the output is text");
    (output.status.code().expect("it was not killed"), text(output.stdout), text(output.stderr))
}
