//! What the shield's hooks need.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{LINK_CREATE, PROG_TEST_RUN, ProgramInfo, bpf, owned};

const PROG_LOAD: u32 = 5;
const PROG_GET_FD_BY_ID: u32 = 13;
const LINK_DETACH: u32 = 34;

/// `enum bpf_attach_type`.
const XDP: u32 = 37;
/// `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`.
const SKB_MODE: u32 = 1 << 1;
const DRV_MODE: u32 = 1 << 2;
/// `BPF_F_TEST_XDP_LIVE_FRAMES` (5.18).
const LIVE_FRAMES: u32 = 1 << 1;

/// Where a device runs an XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In its driver, before there is a socket buffer.
    Native,
    /// In the kernel's generic receive path.
    Generic,
}

/// Puts an XDP program on an interface of the calling thread's network namespace (5.9). A device has room for one:
/// `EBUSY` where there is another.
pub fn link_create_xdp(program: BorrowedFd<'_>, ifindex: u32, mode: XdpMode) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct LinkCreateAttr {
        program: u32,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let flags = match mode {
        XdpMode::Native => DRV_MODE,
        XdpMode::Generic => SKB_MODE,
    };
    let mut attr = LinkCreateAttr { program: program.as_raw_fd() as u32, ifindex, attach_type: XDP, flags };
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// Puts a program behind all others on a TCX hook of an interface of the calling thread's network namespace (6.6).
pub fn link_create_last(program: BorrowedFd<'_>, ifindex: u32, attach_type: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct LinkCreateAttr {
        program: u32,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = LinkCreateAttr { program: program.as_raw_fd() as u32, ifindex, attach_type, flags: 0 };
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// A loaded program, whosever it is.
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(PROG_GET_FD_BY_ID, &mut [id, 0, 0]).map(owned)
}

impl ProgramInfo {
    /// Its name, as its owner gave it; cut to fifteen bytes.
    pub fn name(&self) -> String {
        let text = self.name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

/// Takes a link's program off its hook at once (5.9). The last descriptor or pin does so when it goes, but a pin goes
/// only after all readers have passed by (`bpf_free_inode`).
pub fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_DETACH, &mut (link.as_raw_fd() as u32)).map(drop)
}

/// Runs an XDP program on `repeat` copies of a frame that go on as its verdicts say, as if they had come in on this
/// interface. Answers the nanoseconds for each.
pub fn test_run_live(program: BorrowedFd<'_>, frame: &[u8], ifindex: u32, repeat: u32) -> io::Result<u32> {
    #[repr(C)]
    struct TestRunAttr {
        program: u32,
        return_value: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        pad: u32,
    }
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, frame.len() as u32, 0, ifindex, 0, 0];
    let mut attr = TestRunAttr {
        program: program.as_raw_fd() as u32,
        return_value: 0,
        data_size_in: frame.len() as u32,
        data_size_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat,
        duration: 0,
        ctx_size_in: size_of_val(&context) as u32,
        ctx_size_out: 0,
        ctx_in: context.as_ptr() as u64,
        ctx_out: 0,
        flags: LIVE_FRAMES,
        cpu: 0,
        batch_size: 0,
        pad: 0,
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    Ok(attr.duration)
}

/// Whether the kernel takes an XDP program that looks at a SYN cookie (`bpf_tcp_raw_check_syncookie_ipv4`).
pub fn has_syn_cookies() -> bool {
    #[repr(C)]
    struct LoadAttr {
        kind: u32,
        instructions_count: u32,
        instructions: u64,
        license: u64,
    }
    const PROG_TYPE_XDP: u32 = 6;
    // An IP header and a TCP header of zeros on the stack, their addresses, and the call.
    let zeros = [-48i16, -40, -32, -24, -16, -8].map(|at| instruction(0x7a, 10, at, 0));
    let address = |register: u8, at: i32| {
        [instruction(0xbf, 0xa0 | register, 0, 0), instruction(0x07, register, 0, at)]
    };
    let call = [instruction(0x85, 0, 0, 206), instruction(0xb7, 0, 0, 0), instruction(0x95, 0, 0, 0)];
    let program = [&zeros[..], &address(1, -48), &address(2, -24), &call].concat();
    let license = c"GPL";
    let mut attr = LoadAttr {
        kind: PROG_TYPE_XDP,
        instructions_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    bpf(PROG_LOAD, &mut attr).map(owned).is_ok()
}

/// `struct bpf_insn`; the registers are four bits each, the destination the lower ones.
const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let (o, i) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
    [code, registers, o[0], o[1], i[0], i[1], i[2], i[3]]
}
