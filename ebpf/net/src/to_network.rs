//! Packets that leave by a device of the node. Masquerades flows of workloads that go where their address means nothing.

use aya_ebpf::bindings::__sk_buff;

use crate::skb::act;

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
pub extern "C" fn to_network(_context: *mut __sk_buff) -> i32 {
    act::OK
}
