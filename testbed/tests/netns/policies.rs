//! Policy texts that several tests use.

/// `to` (label app) takes traffic only from `from`, in namespace `default`. The policy is called like `to`.
pub(crate) fn allow_from(to: &str, from: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: {to}
  namespace: default
spec:
  endpointSelector:
    matchLabels:
      app: {to}
  ingress:
  - fromEndpoints:
    - matchLabels:
        app: {from}
"
    )
}

/// `app` may send to nobody, by default deny.
pub(crate) fn no_egress(app: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: {app}-egress
  namespace: default
spec:
  endpointSelector:
    matchLabels:
      app: {app}
  egress:
  - {{}}
  enableDefaultDeny:
    egress: true
"
    )
}

/// A Cilium policy named `name` for `app` with these lines (indented by two) as the rest of its spec.
pub(crate) fn cilium(name: &str, app: &str, rest: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: {name}
  namespace: default
spec:
  endpointSelector:
    matchLabels:
      app: {app}
{rest}
"
    )
}
