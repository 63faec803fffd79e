//! `BPF_PROG_TEST_RUN`: frames through the loaded programs without any network.

use std::os::fd::AsFd;

use crate::error::{Error, Result};
use crate::object::{Datapath, Gate};
use crate::sys;

/// A frame and the context it comes in.
#[derive(Clone, Copy, Debug)]
pub struct TestFrame<'a> {
    /// Its bytes; the kernel wants at least 14.
    pub bytes: &'a [u8],
    /// Index of an interface of the caller's network namespace; 0: the kernel takes loopback (1).
    pub ifindex: u32,
    /// GSO segment size; 0: not a super-packet.
    pub gso_size: u32,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    /// What the program returned: -1 hands on, 2 drops.
    pub action: i32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// Nanoseconds per run, averaged over all runs.
    pub duration_ns: u32,
}

/// Offsets in `struct __sk_buff`.
const IFINDEX_AT: usize = 40;
const GSO_SIZE_AT: usize = 176;
const CONTEXT_LEN: usize = 192;

impl Datapath {
    /// Runs a program of the primary namespace's set `repeat` times on a frame.
    pub fn test(&mut self, gate: Gate, frame: TestFrame<'_>, repeat: u32) -> Result<TestOutcome> {
        let mut context = [0u8; CONTEXT_LEN];
        context[IFINDEX_AT..IFINDEX_AT + 4].copy_from_slice(&frame.ifindex.to_ne_bytes());
        context[GSO_SIZE_AT..GSO_SIZE_AT + 4].copy_from_slice(&frame.gso_size.to_ne_bytes());
        let netns = self.primary();
        let program = self.program(netns, gate, 0)?;
        let (action, bytes, duration_ns) =
            sys::test_run(program.fd.as_fd(), frame.bytes, &context, repeat)
                .map_err(|source| Error::system(format!("test run of {}", gate.name()), source))?;
        Ok(TestOutcome { action, frame: bytes, duration_ns })
    }
}
