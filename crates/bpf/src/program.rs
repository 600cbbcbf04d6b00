//! A loaded program: what the kernel says of it, and running it on a packet of ours (`BPF_PROG_TEST_RUN`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::error::{Error, Result};
use crate::sys;

/// A tc classifier or an XDP program in the kernel.
#[derive(Debug)]
pub struct Program {
    name: String,
    fd: OwnedFd,
    id: u32,
    verified_insns: u32,
}

impl Program {
    pub(crate) fn from_fd(name: String, fd: OwnedFd) -> Result<Self> {
        let info = sys::prog_info(fd.as_fd()).map_err(|source| Error::Call { call: "program info", source })?;
        Ok(Self { name, fd, id: info.id, verified_insns: info.verified_insns })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kernel id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Instructions the verifier walked (kernel 5.16 and later, else 0); the limit is a million.
    pub fn verified_insns(&self) -> u32 {
        self.verified_insns
    }

    /// Runs the program on one packet. Helpers that redirect do not send anything: the return value says what would happen.
    pub fn test_run(&self, run: &TestRun<'_>) -> Result<TestOutcome> {
        // The kernel may push headers (at most a page is given to the packet).
        let mut data = if run.want_data { vec![0; 4096.max(run.data.len() + 512)] } else { Vec::new() };
        let mut ctx = run.ctx;
        let ran = sys::test_run(self.fd.as_fd(), run.data, &mut data, ctx.as_mut_bytes(), run.repeat.max(1))
            .map_err(|source| Error::Call { call: "BPF_PROG_TEST_RUN", source })?;
        data.truncate(ran.data_len as usize);
        Ok(TestOutcome {
            retval: ran.retval as i32,
            data: run.want_data.then_some(data),
            ctx,
            mean: Duration::from_nanos(ran.duration.into()),
        })
    }
}

impl Program {
    /// Sends `count` frames through an XDP program as if they came in on `ifindex` of the current network namespace, with all
    /// that follows from what it says; the mean time a frame has that in it. The device must have an XDP program of its own
    /// ([`Self::attach_xdp`]). Frames are used again as whoever had them last left them.
    pub fn live_frames(&self, frame: &[u8], ifindex: u32, count: u32) -> Result<Duration> {
        let mean = sys::live_frames(self.fd.as_fd(), frame, ifindex, count)
            .map_err(|source| Error::Call { call: "BPF_PROG_TEST_RUN of live frames", source })?;
        Ok(Duration::from_nanos(mean.into()))
    }

    /// Attaches an XDP program to `ifindex` for as long as the result lives.
    pub fn attach_xdp(&self, ifindex: u32) -> Result<OwnedFd> {
        sys::link_create_xdp(self.fd.as_fd(), ifindex).map_err(|source| Error::Call { call: "attaching XDP", source })
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What to run a program on.
#[derive(Clone, Copy, Debug)]
pub struct TestRun<'a> {
    /// The packet from its Ethernet header on; at least 14 bytes.
    pub data: &'a [u8],
    pub ctx: SkBuff,
    /// Runs, for timing; the packet is not restored between them.
    pub repeat: u32,
    /// Whether the packet is wanted back.
    pub want_data: bool,
}

impl<'a> TestRun<'a> {
    /// One run on `data`, arriving at (or leaving through) interface `ifindex` of the current network namespace.
    pub fn new(data: &'a [u8], ifindex: u32) -> Self {
        let ctx = SkBuff { ifindex, ingress_ifindex: ifindex, ..SkBuff::default() };
        Self { data, ctx, repeat: 1, want_data: true }
    }
}

/// What a test run did.
#[derive(Clone, Debug)]
pub struct TestOutcome {
    /// `TC_ACT_*`: 0 ok, 2 shot, 7 redirect, -1 unspec.
    pub retval: i32,
    pub data: Option<Vec<u8>>,
    pub ctx: SkBuff,
    /// Mean time of a run.
    pub mean: Duration,
}

/// `struct __sk_buff` (include/uapi/linux/bpf.h). For a test run only `mark`, `priority`, `ingress_ifindex`, `ifindex`, `cb`,
/// `tstamp`, `wire_len`, `gso_segs`, `gso_size` and `hwtstamp` may differ from zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct SkBuff {
    pub len: u32,
    pub pkt_type: u32,
    pub mark: u32,
    pub queue_mapping: u32,
    pub protocol: u32,
    pub vlan_present: u32,
    pub vlan_tci: u32,
    pub vlan_proto: u32,
    pub priority: u32,
    pub ingress_ifindex: u32,
    pub ifindex: u32,
    pub tc_index: u32,
    pub cb: [u32; 5],
    pub hash: u32,
    pub tc_classid: u32,
    pub data: u32,
    pub data_end: u32,
    pub napi_id: u32,
    pub family: u32,
    pub remote_ip4: u32,
    pub local_ip4: u32,
    pub remote_ip6: [u32; 4],
    pub local_ip6: [u32; 4],
    pub remote_port: u32,
    pub local_port: u32,
    pub data_meta: u32,
    pub flow_keys: u64,
    pub tstamp: u64,
    pub wire_len: u32,
    pub gso_segs: u32,
    pub sk: u64,
    pub gso_size: u32,
    pub tstamp_type: u32,
    pub hwtstamp: u64,
}

const _: () = assert!(size_of::<SkBuff>() == 192);

/// Waits until no program that runs now can still hold on to what it looked up before. Takes milliseconds.
///
/// # Errors
/// `EINVAL` on kernels with full dynticks (`nohz_full`), where the caller has to let time pass instead.
pub fn wait_for_programs() -> io::Result<()> {
    sys::wait_for_programs()
}
