//! Which labels make up an identity: what the filter keeps, what rules ask for, and the prefixes rules mention.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use nexin_model::{Label, LabelSet};

use super::Engine;

impl Engine {
    /// Labels of the identity of something with these labels and addresses (workload, node, or the outside).
    ///
    /// A workload's label counts when the filter keeps it or a rule asks for it, whatever the filter says. An address
    /// adds the label of the longest prefix over it that rules mention and that may match this kind of peer.
    /// The result changes when documents change: ask again after [`Engine::apply`] and [`Engine::remove`].
    pub fn identity_labels(&self, labels: &LabelSet, addresses: &[IpAddr]) -> LabelSet {
        let world = ["world", "world-ipv4", "world-ipv6"].iter().any(|name| labels.has_reserved(name));
        let node = labels.has_reserved("host") || labels.has_reserved("remote-node");
        let mode = self.config.cidr_match;
        let all = world || if node { mode.nodes } else { mode.pods };
        let prefixes = addresses
            .iter()
            .filter_map(|address| self.cache.longest(*address, !all))
            .filter(|prefix| !(world && prefix.prefix_len() == 0));
        labels
            .filtered(|label| self.config.label_filter.keeps(label) || self.cache.selects_on(label))
            .with(prefixes.map(Label::cidr))
    }

    /// Labels of the identity of an address outside the cluster.
    pub fn external_labels(&self, address: IpAddr) -> LabelSet {
        self.identity_labels(&world_labels(address), &[address])
    }

    /// Prefixes that need an identity of their own (a number of local scope) so that rules can tell them apart. An address
    /// of no prefix is `reserved:world-ipv4` or `-ipv6`.
    pub fn prefixes(&self) -> BTreeSet<IpNet> {
        self.cache.prefixes().collect()
    }

    /// Labels of a prefix's identity.
    pub fn prefix_labels(&self, prefix: IpNet) -> LabelSet {
        world_labels(prefix.addr()).with([Label::cidr(prefix)])
    }
}

fn world_labels(address: IpAddr) -> LabelSet {
    let name = if address.is_ipv4() { "world-ipv4" } else { "world-ipv6" };
    std::iter::once(Label::reserved(name)).collect()
}
