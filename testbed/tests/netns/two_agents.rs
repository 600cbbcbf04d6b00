//! Two agents on one kernel, in two network namespaces, with other paths: they do not meet.

use nexin_testbed::{
    Node, Result, isolated,
    traffic::{Outcome, TcpEcho, tcp},
};

use crate::policies::allow_from;

#[test]
fn two_agents_do_not_meet() -> Result {
    isolated(|| {
        let (mut one, two) = (Node::up("one")?, Node::up("two")?);
        let pairs = [&one, &two].map(|node| {
            let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
            let server = TcpEcho::start(&b.ns, 80)?;
            Ok::<_, nexin_testbed::Error>((a, b, server))
        });
        let [first, second] = pairs;
        let ((a1, b1, _s1), (a2, b2, _s2)) = (first?, second?);
        assert_eq!(b1.v4, b2.v4, "both use the same addresses");
        one.apply("b.yaml", &allow_from("b", "nobody"))?;
        assert_eq!(tcp(&a1.ns, b1.v4.into(), 80)?, Outcome::Silence);
        assert_eq!(tcp(&a2.ns, b2.v4.into(), 80)?, Outcome::Answered);
        one.agent()?.crash()?;
        assert_eq!(tcp(&a2.ns, b2.v4.into(), 80)?, Outcome::Answered);
        two.api()?.delete(&format!("/v1/endpoints/{}", b2.id))?;
        assert_eq!(tcp(&a2.ns, b2.v4.into(), 80)?, Outcome::Silence);
        one.agent()?.start_again(None)?;
        assert_eq!(tcp(&a1.ns, b1.v4.into(), 80)?, Outcome::Silence);
        one.api()?.delete("/v1/policies/CiliumNetworkPolicy/default/b")?;
        assert_eq!(tcp(&a1.ns, b1.v4.into(), 80)?, Outcome::Answered);
        Ok(())
    })
}
