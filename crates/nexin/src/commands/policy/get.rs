//! `nexin policy get` and `nexin policy delete`.

use std::process::ExitCode;

use clap::Args;
use nexin_api::v1::{Policy, PolicyKind, PolicyOrigin, PolicyState};

use super::super::Context;
use super::super::identity::numbers;
use crate::error::{CliError, Result};
use crate::output::{Cell, Format, Paint, Style, Table};
use nexin_runtime::settings::nearest;

#[derive(Args)]
pub(crate) struct Get {
    /// NAME, KIND/NAME or KIND/NAMESPACE/NAME (cluster-wide kinds: -); kubectl's short kinds are understood
    #[arg(value_name = "POLICY")]
    wanted: Option<String>,
    /// Only this namespace
    #[arg(short, long)]
    namespace: Option<String>,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// NAME, KIND/NAME or KIND/NAMESPACE/NAME (cluster-wide kinds: -)
    #[arg(required = true)]
    policies: Vec<String>,
    /// Namespace of names without one
    #[arg(short, long)]
    namespace: Option<String>,
}

pub(crate) async fn get(context: &Context, args: &Get) -> Result<ExitCode> {
    let mut policies = context.client()?.policies().await?;
    policies.retain(|policy| in_namespace(policy, args.namespace.as_deref()));
    match &args.wanted {
        None => context.out.show(&policies, |style| table(&policies, style))?,
        Some(wanted) => {
            let policy = select(&policies, wanted)?;
            if context.out.format == Format::Table {
                context
                    .out
                    .text(&format!("# {} {}:{}\n{}", policy.reference, policy.file, policy.line, policy.yaml))?;
            } else {
                context.out.show(policy, |_| String::new())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn delete(context: &Context, args: &Delete) -> Result<ExitCode> {
    let client = context.client()?;
    let mut policies = client.policies().await?;
    policies.retain(|policy| in_namespace(policy, args.namespace.as_deref()));
    let chosen = args.policies.iter().map(|wanted| select(&policies, wanted)).collect::<Result<Vec<_>>>()?;
    for policy in chosen {
        client.delete_policy(&policy.reference).await?;
        context.out.item(&policy.reference, |_| format!("{} deleted", policy.reference))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Cluster-wide documents are in every namespace.
fn in_namespace(policy: &Policy, namespace: Option<&str>) -> bool {
    match (namespace, &policy.reference.namespace) {
        (Some(wanted), Some(has)) => wanted == has,
        _ => true,
    }
}

/// The one document that `wanted` names.
fn select<'a>(policies: &'a [Policy], wanted: &str) -> Result<&'a Policy> {
    let parts: Vec<&str> = wanted.split('/').collect();
    let (kind, namespace, name) = match parts[..] {
        [name] => (None, None, name),
        [kind, name] => (Some(kind), None, name),
        [kind, namespace, name] => (Some(kind), Some(namespace), name),
        _ => {
            return Err(CliError::input(
                format!("{wanted:?} names no policy"),
                "write NAME, KIND/NAME or KIND/NAMESPACE/NAME",
            ));
        }
    };
    let kind: Option<PolicyKind> = match kind.map(str::parse) {
        Some(Err(error)) => return Err(CliError::Input { what: format!("{wanted:?}: {error}"), next: None }),
        Some(Ok(kind)) => Some(kind),
        None => None,
    };
    let fits = |policy: &&Policy| {
        let reference = &policy.reference;
        kind.is_none_or(|kind| reference.kind == kind)
            && namespace.is_none_or(|wanted| reference.namespace.as_deref().unwrap_or("-") == wanted)
            && reference.name == name
    };
    let found: Vec<&Policy> = policies.iter().filter(fits).collect();
    match found[..] {
        [policy] => Ok(policy),
        [] => Err(CliError::input(
            format!("no policy {wanted} is in force"),
            match nearest(name, policies.iter().map(|policy| policy.reference.name.as_str())) {
                Some(near) if near != name => format!("did you mean {near}?"),
                _ => "`nexin policy get` shows those there are".to_owned(),
            },
        )),
        _ => {
            let all: Vec<String> = found.iter().map(|policy| policy.reference.to_string()).collect();
            Err(CliError::input(
                format!("{wanted} is not the name of one policy alone"),
                format!("name one of {}", all.join(", ")),
            ))
        }
    }
}

fn table(policies: &[Policy], style: Style) -> String {
    let head = ["KIND", "NAMESPACE", "NAME", "STATE", "RULES", "ENDPOINTS", "FROM"];
    let mut table = Table::new(&head, "no policy is in force: everything may talk to everything");
    for policy in policies {
        let state = match policy.state {
            PolicyState::Enforced => Cell::new(Paint::Good, "enforced"),
            PolicyState::Shadow => Cell::new(Paint::Warn, "shadow"),
            PolicyState::Stale => Cell::new(Paint::Bad, "stale"),
        };
        let origin = match policy.origin {
            PolicyOrigin::Api => format!("{}:{}", policy.file, policy.line),
            PolicyOrigin::Directory => format!("{}:{} (directory)", policy.file, policy.line),
        };
        table.row([
            policy.reference.kind.name().into(),
            Cell::maybe(policy.reference.namespace.as_deref()),
            policy.reference.name.as_str().into(),
            state,
            policy.rules.to_string().into(),
            numbers(&policy.endpoints).into(),
            origin.into(),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use nexin_api::v1::{PolicyRef, Timestamp};

    use super::*;

    fn policy(kind: PolicyKind, namespace: Option<&str>, name: &str) -> Policy {
        Policy {
            reference: PolicyRef { kind, namespace: namespace.map(str::to_owned), name: name.into() },
            origin: PolicyOrigin::Api,
            state: PolicyState::Enforced,
            file: "p.yaml".into(),
            line: 3,
            rules: 2,
            endpoints: vec![1, 4],
            applied: Timestamp(0),
            yaml: String::new(),
        }
    }

    fn all() -> Vec<Policy> {
        vec![
            policy(PolicyKind::CiliumNetworkPolicy, Some("default"), "rule1"),
            policy(PolicyKind::NetworkPolicy, Some("shop"), "rule1"),
            policy(PolicyKind::CiliumClusterwideNetworkPolicy, None, "lockdown"),
        ]
    }

    #[test]
    fn policies_are_named_as_briefly_as_is_clear() {
        let all = all();
        let name = |wanted: &str| {
            select(&all, wanted).map(|policy| policy.reference.to_string()).map_err(|error| error.next())
        };
        assert_eq!(name("cnp/rule1"), Ok("CiliumNetworkPolicy/default/rule1".into()));
        assert_eq!(name("networkpolicy/shop/rule1"), Ok("NetworkPolicy/shop/rule1".into()));
        assert_eq!(name("ccnp/-/lockdown"), Ok("CiliumClusterwideNetworkPolicy/-/lockdown".into()));
        assert_eq!(name("lockdwon"), Err(Some("did you mean lockdown?".into())));
        let both = "name one of CiliumNetworkPolicy/default/rule1, NetworkPolicy/shop/rule1";
        assert_eq!(name("rule1"), Err(Some(both.into())));
    }

    #[test]
    fn the_table_tells_where_a_policy_came_from() {
        assert_eq!(
            table(&all()[2..], Style::new(false)),
            "KIND                            NAMESPACE  NAME      STATE     RULES  ENDPOINTS  FROM\n\
             CiliumClusterwideNetworkPolicy  -          lockdown  enforced  2      1,4        p.yaml:3\n"
        );
    }
}
