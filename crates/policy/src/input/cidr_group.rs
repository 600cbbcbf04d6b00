//! CiliumCIDRGroup: prefixes under a name.

use ipnet::IpNet;

use super::decode::{Context, Object, Path, Spanned};
use super::node::Node;
use super::prefix;

/// `spec` of a CiliumCIDRGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrGroup {
    pub prefixes: Vec<Spanned<IpNet>>,
}

pub(super) fn read(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<CidrGroup> {
    let object = Object::open(node, path, cx, &["externalCIDRs"])?;
    object.require("externalCIDRs", path, cx)?;
    object.list("externalCIDRs", path, cx, prefix::read).map(|prefixes| CidrGroup { prefixes })
}
