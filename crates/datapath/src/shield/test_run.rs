//! `BPF_PROG_TEST_RUN`: frames through the loaded programs without any network.

use std::os::fd::AsFd as _;

use super::{Profile, Program, Shield};
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::sys;
use crate::test_run::TestOutcome;

impl Shield {
    /// Runs a program `repeat` times on a frame of at least 14 bytes.
    pub fn test(
        &mut self,
        profile: Profile,
        program: Program,
        frame: &[u8],
        repeat: u32,
    ) -> Result<TestOutcome> {
        let loaded = self.program(profile, 0, program)?;
        let (action, frame, duration_ns) = sys::test_run(loaded.fd.as_fd(), frame, &[], repeat)
            .map_err(|source| Error::system(format!("test run of {}", program.name()), source))?;
        Ok(TestOutcome { action, frame, duration_ns })
    }

    /// Runs an XDP program on `repeat` copies of a frame as if they came in on an interface of the namespace, and does
    /// as the program says (5.18).
    pub fn run_live(
        &mut self,
        namespace: &Namespace,
        program: Program,
        frame: &[u8],
        ifindex: u32,
        repeat: u32,
    ) -> Result<()> {
        let loaded = self.program(Profile(0), namespace.inode(), program)?;
        namespace
            .within(|| sys::test_run_live(loaded.fd.as_fd(), frame, ifindex, repeat))?
            .map(drop)
            .map_err(|source| Error::system(format!("live test run of {}", program.name()), source))
    }
}
