//! `nexin policy explain`: why traffic is allowed or refused.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nexin_api::Client;
use nexin_api::v1::{
    Direction, DirectionAnswer, ExplainQuery, ExplainReply, Labels, PeerRef, PolicyRef, PortProtocol, Verdict,
};

use super::super::Context;
use super::super::endpoint::{self, short_labels};
use super::super::monitor::{verdict_name, verdict_paint};
use super::offline;
use crate::error::Result;
use crate::output::{Paint, Style};

#[derive(Args)]
pub(crate) struct Explain {
    /// Who opens the flow: namespace/name, endpoint:N, address, key=value[,...], identity:N, world, host
    from: PeerRef,
    /// Whom it opens it to
    to: PeerRef,
    /// Destination port and protocol, such as 80/TCP, or ICMP
    port: PortProtocol,
    /// Ask this case file instead of the agent
    #[arg(long, value_name = "FILE")]
    offline: Option<PathBuf>,
    /// The case, where the file has several
    #[arg(long, value_name = "NAME", requires = "offline")]
    case: Option<String>,
}

pub(crate) async fn explain(context: &Context, args: &Explain) -> Result<ExitCode> {
    let query = ExplainQuery { from: args.from.clone(), to: args.to.clone(), port: args.port };
    let reply = match &args.offline {
        Some(file) => offline::explain(file, args.case.as_deref(), &query)?,
        None => ask(&context.client()?, &query).await?,
    };
    context.out.show(&reply, |style| render(&query, &reply, style))?;
    Ok(ExitCode::SUCCESS)
}

/// A name that nobody has is answered with the one that was probably meant.
async fn ask(client: &Client, query: &ExplainQuery) -> Result<ExplainReply> {
    match client.explain(query).await {
        Err(error) if error.is_not_found() => {
            for peer in [&query.from, &query.to] {
                if let PeerRef::Workload { namespace, name } = peer {
                    endpoint::find(client, &format!("{namespace}/{name}")).await?;
                }
            }
            Err(error.into())
        }
        answer => Ok(answer?),
    }
}

fn render(query: &ExplainQuery, reply: &ExplainReply, style: Style) -> String {
    let side = |peer: &PeerRef, identity: u32, labels: &Labels| {
        let labels = match short_labels(labels) {
            labels if labels.is_empty() || labels == peer.to_string() => String::new(),
            labels => format!(" {{{labels}}}"),
        };
        let identity = if identity == 0 { String::new() } else { format!(" (identity {identity})") };
        format!("{}{}", style.strong(&peer.to_string()), style.dim(&format!("{labels}{identity}")))
    };
    let mut text = format!(
        "{} -> {}, {}: {}\n",
        side(&query.from, reply.from_identity, &reply.from_labels),
        side(&query.to, reply.to_identity, &reply.to_labels),
        reply.port,
        style.paint(verdict_paint(reply.verdict), outcome(reply.verdict)),
    );
    for (peer, answer) in [(&query.from, &reply.egress), (&query.to, &reply.ingress)] {
        text.push('\n');
        direction(&mut text, &peer.to_string(), answer, style);
    }
    text
}

const fn outcome(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allowed",
        Verdict::Deny | Verdict::DefaultDeny => "refused",
        Verdict::Audit => "let through by audit mode, else refused",
    }
}

fn list(policies: &[PolicyRef]) -> String {
    policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn direction(text: &mut String, peer: &str, answer: &DirectionAnswer, style: Style) {
    let name = match answer.direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let verdict = style.paint(verdict_paint(answer.verdict), verdict_name(answer.verdict));
    text.push_str(&format!("{} {peer}: {verdict}", style.strong(&format!("{name} of"))));
    if !answer.enforced {
        text.push_str(&style.dim(" (no policy isolates it)"));
    } else if answer.verdict == Verdict::DefaultDeny {
        text.push_str(&format!(": no rule allows it, and it is isolated by {}", list(&answer.isolated_by)));
    }
    text.push('\n');
    // Where a rule decides, it is marked below.
    let unsaid =
        answer.enforced && answer.verdict != Verdict::DefaultDeny && !answer.rules.iter().any(|rule| rule.winner);
    if unsaid && !answer.reason.is_empty() {
        text.push_str(&style.dim(&format!("    {}\n", answer.reason)));
    }
    for rule in &answer.rules {
        let mark = if rule.winner { style.paint(Paint::Strong, "=>") } else { "  ".to_owned() };
        let shadow = if rule.shadow { " (shadow)" } else { "" };
        let verdict = style.paint(verdict_paint(rule.verdict), &format!("{:<5}", verdict_name(rule.verdict)));
        text.push_str(&format!(
            " {mark} {verdict} {}{shadow} {} at {}:{}\n",
            rule.policy, rule.field, rule.file, rule.line
        ));
        if !rule.reason.is_empty() {
            text.push_str(&style.dim(&format!("          {}\n", rule.reason)));
        }
    }
    if let Some(shadow) = answer.shadow_verdict {
        let paint = verdict_paint(shadow);
        text.push_str(&format!(
            "    with the shadow policies in force: {}\n",
            style.paint(paint, verdict_name(shadow))
        ));
    }
    match answer.kernel_verdict {
        Some(kernel) if kernel == answer.verdict => text.push_str(&style.dim("    the kernel's tables say the same\n")),
        Some(kernel) => text.push_str(&style.paint(
            Paint::Bad,
            &format!(
                "    the kernel's tables say {}: please report this, with `nexin bugtool`\n",
                verdict_name(kernel)
            ),
        )),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use nexin_api::v1::{PolicyKind, SpokenRule};

    use super::*;

    fn answer(direction: Direction, verdict: Verdict, enforced: bool) -> DirectionAnswer {
        DirectionAnswer {
            direction,
            enforced,
            verdict,
            rules: Vec::new(),
            isolated_by: Vec::new(),
            reason: String::new(),
            shadow_verdict: None,
            kernel_verdict: None,
        }
    }

    fn policy() -> PolicyRef {
        PolicyRef { kind: PolicyKind::CiliumNetworkPolicy, namespace: Some("default".into()), name: "rule1".into() }
    }

    fn ask(ingress: DirectionAnswer) -> String {
        let query = ExplainQuery {
            from: "default/xwing".parse().unwrap(),
            to: "default/deathstar".parse().unwrap(),
            port: "80/TCP".parse().unwrap(),
        };
        let reply = ExplainReply {
            from_identity: 4712,
            from_labels: [("k8s:org", "alliance")].into_iter().collect(),
            to_identity: 4711,
            to_labels: [("k8s:org", "empire")].into_iter().collect(),
            port: query.port,
            verdict: ingress.verdict,
            egress: answer(Direction::Egress, Verdict::Allow, false),
            ingress,
        };
        render(&query, &reply, Style::new(false))
    }

    #[test]
    fn a_default_deny_names_who_isolates() {
        let mut ingress = answer(Direction::Ingress, Verdict::DefaultDeny, true);
        ingress.isolated_by = vec![policy()];
        ingress.kernel_verdict = Some(Verdict::DefaultDeny);
        assert_eq!(
            ask(ingress),
            "default/xwing {org=alliance} (identity 4712) -> default/deathstar {org=empire} (identity 4711), 80/TCP: refused\n\
             \n\
             egress of default/xwing: allow (no policy isolates it)\n\
             \n\
             ingress of default/deathstar: default deny: no rule allows it, and it is isolated by CiliumNetworkPolicy/default/rule1\n    \
             the kernel's tables say the same\n"
        );
    }

    #[test]
    fn the_winner_is_marked_and_a_kernel_that_differs_is_an_alarm() {
        let mut ingress = answer(Direction::Ingress, Verdict::Allow, true);
        ingress.kernel_verdict = Some(Verdict::Deny);
        ingress.rules = vec![SpokenRule {
            policy: policy(),
            file: "sw.yaml".into(),
            line: 12,
            field: "spec.ingress[0]".into(),
            verdict: Verdict::Allow,
            winner: true,
            shadow: false,
            reason: "the only rule that matches".into(),
        }];
        let text = ask(ingress);
        assert!(text.contains(" => allow CiliumNetworkPolicy/default/rule1 spec.ingress[0] at sw.yaml:12\n"), "{text}");
        assert!(text.contains("          the only rule that matches\n"), "{text}");
        assert!(text.contains("the kernel's tables say deny: please report"), "{text}");
    }
}
