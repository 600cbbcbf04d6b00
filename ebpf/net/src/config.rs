//! Load-time constants. The loader overwrites them before the programs are verified; the verifier then knows their
//! values and removes the branches they rule out. What may change while programs run is in map `nx_config`.

use aya_ebpf::Global;

macro_rules! globals {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $default:expr;)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            static $name: Global<$ty> = Global::new($default);
        )*
        /// Current values, by lower-case use.
        #[derive(Clone, Copy)]
        pub struct Setting;
        #[allow(non_snake_case)]
        impl Setting {
            $(
                #[inline(always)]
                pub fn $name() -> $ty {
                    $name.load()
                }
            )*
        }
    };
}

globals! {
    /// Timer interrupts a second of the running kernel (CONFIG_HZ).
    NX_HZ: u32 = 250;
    /// Seconds an established TCP flow lives without a packet.
    NX_TCP_ESTABLISHED_S: u32 = 8000;
    /// Seconds a TCP flow has to become established.
    NX_TCP_SYN_S: u32 = 60;
    /// Seconds a TCP flow lives after a FIN.
    NX_TCP_FIN_S: u32 = 10;
    /// Seconds of every other flow.
    NX_OTHER_S: u32 = 60;
    /// TCP flows one endpoint may have half open (index 0 of the counters: all that come from outside). 0 = unlimited.
    NX_HALF_OPEN_LIMIT: u32 = 8192;
    /// 1 = the source MAC of a workload's packets must be its own.
    NX_CHECK_MAC: u32 = 0;
    /// Bytes in a ring buffer that wake its reader up, a power of two; fewer are found when it polls.
    NX_WAKE_BYTES: u32 = 128 << 10;
    /// Nanoseconds between two events of a class, on the average; 0 = no limit. And how far a burst may be ahead of that.
    NX_EVENT_GAP_NS: u32 = 0;
    NX_EVENT_BURST_NS: u32 = 0;
    /// UDP ports of tunnels that workloads may not talk to on nodes, 0 = none.
    NX_TUNNEL_PORT1: u32 = 8472;
    NX_TUNNEL_PORT2: u32 = 6081;
    /// First and last port (and ICMP identifier) for masquerading.
    NX_NAT_FIRST: u32 = 61_000;
    NX_NAT_LAST: u32 = 65_535;
    /// Gateway addresses as they stand in packets: who speaks in ICMP errors made here. 0 = the address that the refused
    /// packet was sent to.
    NX_GATEWAY4: u32 = 0;
    NX_GATEWAY6: [u32; 4] = [0; 4];
}
