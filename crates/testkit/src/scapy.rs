//! Frames that none of us wrote.

use std::process::Command;

use anyhow::{Context, Result};

use crate::namespace::Namespace;
use crate::process::checked_output;

/// Runs a scapy script inside a namespace (`from scapy.all import *` is done already); gives its output.
pub fn scapy(namespace: &Namespace, script: &str) -> Result<String> {
    let script = format!(
        "import logging, warnings\nwarnings.simplefilter('ignore')\n\
         logging.getLogger('scapy.runtime').setLevel(logging.ERROR)\n\
         from scapy.all import *\nconf.verb = 0\n{script}"
    );
    let mut command: Command = namespace.command("/usr/bin/python3");
    checked_output(command.arg("-c").arg(script)).context("running scapy: is python3-scapy installed?")
}
