//! The world: a namespace that joins the nodes, routes between them, and has services' addresses but no way out.

use ipnet::IpNet;
use nexin_netlink::{IfName, Mac, Netns, NodeSysctl, VethSpec};

use crate::node::{UPLINK, configure};
use crate::plan::{OUTSIDE, uplink, world};
use crate::{Lab, Result};

const MTU: u32 = 1500;

impl Lab {
    /// Makes the namespaces of the nodes and the outside, and the wires between them.
    pub(crate) fn make_network(&self) -> Result<()> {
        let outside = Netns::create_named(&self.netns_name(OUTSIDE))?;
        let local: Vec<IpNet> = world().map(IpNet::from).to_vec();
        configure(&outside, "lo", &local, &[])?;
        outside.run(|| NodeSysctl::ForwardAll(nexin_netlink::Family::V4).write(1))??;
        outside.run(|| NodeSysctl::ForwardAll(nexin_netlink::Family::V6).write(1))??;
        for (number, node) in self.spec.nodes.iter().enumerate() {
            let netns = Netns::create_named(&self.netns_name(&node.name))?;
            configure(&netns, "lo", &[], &[])?;
            self.wire(&outside, &netns, number)?;
            self.address_node(number)?;
        }
        Ok(())
    }

    /// A pair of links between outside and a node. Only with several nodes does the outside know the way to workloads:
    /// otherwise their packets must come back by masquerading, or not at all.
    fn wire(&self, outside: &Netns, netns: &Netns, node: usize) -> Result<()> {
        let name = IfName::new(&format!("node{node}"))?;
        let inside = IfName::new(UPLINK)?;
        let seed = self.netns_name(&self.spec.nodes[node].name);
        let pair = VethSpec {
            name: &name,
            mac: Mac::derived(&format!("{seed} outside")),
            peer_name: &inside,
            peer_mac: Mac::derived(&seed),
            peer_netns: netns,
            mtu: MTU,
        };
        outside.netlink()?.run(&[pair.create()])?;
        let (uplink, pools) = (uplink(node), self.spec.pools(node));
        let [node4, node6] = uplink.node.map(|net| net.addr());
        let routes = [(pools.v4.into(), node4), (pools.v6.into(), node6)];
        let known = if self.spec.nodes.len() > 1 { &routes[..] } else { &[] };
        configure(outside, name.as_str(), &uplink.outside, known)
    }
}
