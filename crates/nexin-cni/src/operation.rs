//! The six operations of the CNI specification (section 4).

use crate::{
    agent::{Agent, is_absent, told},
    check::Expected,
    config::{Config, SpecVersion, address, version_of},
    error::{Code, Error},
    invocation::{Args, Attachment, Invocation},
    log, queue, result,
};
use nexin_api::v1::{ComponentState, EndpointCreate, EndpointState, Labels, StatusReply};
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Instant};

pub(crate) fn perform(invocation: &Invocation, input: &[u8]) -> Result<Option<Value>, Error> {
    if *invocation == Invocation::Version {
        return Ok(Some(result::supported_versions(version_of(input))));
    }
    let (config, start) = (Config::parse(input)?, Instant::now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::new(Code::Io, format!("cannot start: {e}")))?;
    let outcome = runtime.block_on(dispatch(&config, invocation));
    log::write(&config, invocation, &outcome, start.elapsed());
    outcome
}

async fn dispatch(config: &Config, invocation: &Invocation) -> Result<Option<Value>, Error> {
    match invocation {
        Invocation::Add(attachment, netns, args) => add(config, attachment, netns, args).await.map(Some),
        Invocation::Del(attachment) => del(config, attachment).await.map(|()| None),
        Invocation::Check(attachment, netns) => {
            since(config, SpecVersion::V0_4_0, invocation)?;
            check(config, attachment, netns).await.map(|()| None)
        }
        Invocation::Status => {
            since(config, SpecVersion::V1_1_0, invocation)?;
            status(config).await.map(|()| None)
        }
        Invocation::Gc => {
            since(config, SpecVersion::V1_1_0, invocation)?;
            gc(config).await.map(|()| None)
        }
        Invocation::Version => Ok(Some(result::supported_versions(Some(config.version.to_string())))),
    }
}

fn since(config: &Config, first: SpecVersion, invocation: &Invocation) -> Result<(), Error> {
    if config.version >= first {
        return Ok(());
    }
    let message = format!("cniVersion {} has no {}", config.version, invocation.name());
    Err(Error::new(Code::IncompatibleVersion, message)
        .hint(format!("write {first} or newer into the network configuration")))
}

async fn add(config: &Config, attachment: &Attachment, netns: &Path, args: &Args) -> Result<Value, Error> {
    let request = request(config, attachment, netns, args)?;
    // What cannot be reported in the end must not be made in the first place.
    result::of_chain(config, attachment)?;
    let agent = Agent::new(config)?;
    let endpoint = agent.ask(async |client| client.create_endpoint(&request).await).await.map_err(|e| told(&e))?;
    let answer = result::of_add(config, attachment, netns, &endpoint);
    if answer.is_err() {
        // An error tells the runtime that there is nothing; so there must be nothing.
        del(config, attachment).await?;
    }
    answer
}

fn request(config: &Config, attachment: &Attachment, netns: &Path, args: &Args) -> Result<EndpointCreate, Error> {
    let mut ips = config.ips.clone();
    if ips.is_empty() {
        ips = args.ips.iter().map(|ip| address(ip)).collect::<Result<_, _>>()?;
    }
    let (mut ipv4, mut ipv6) = (None, None);
    for ip in ips {
        let taken = match ip {
            IpAddr::V4(v4) => ipv4.replace(v4).map(IpAddr::from),
            IpAddr::V6(v6) => ipv6.replace(v6).map(IpAddr::from),
        };
        if let Some(other) = taken {
            let message = format!("both {other} and {ip} are asked for, but an interface has one address of a family");
            return Err(Error::new(Code::InvalidConfig, message));
        }
    }
    let labels = match (&config.labels, &args.labels) {
        (None, None) => None,
        (network, own) => Some(
            network
                .iter()
                .flatten()
                .chain(own.iter().flatten())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<Labels>(),
        ),
    };
    Ok(EndpointCreate {
        container_id: Some(attachment.container_id.clone()),
        name: args.pod_name.clone().unwrap_or_else(|| attachment.container_id.clone()),
        namespace: args.pod_namespace.clone().unwrap_or_else(|| "default".to_owned()),
        netns: netns.to_owned(),
        interface: Some(attachment.interface.to_string()),
        labels,
        named_ports: Vec::new(),
        service_account: None,
        ipv4,
        ipv6,
        mac: config.mac.clone().or_else(|| args.mac.clone()),
        network: Some(config.name.clone()),
        no_source_check: false,
    })
}

/// Succeeds when there is nothing to delete, and when no agent runs: then the deletion waits for one.
async fn del(config: &Config, attachment: &Attachment) -> Result<(), Error> {
    let agent = Agent::new(config)?;
    let remove = async |client: &nexin_api::Client| {
        client.delete_attachment(&attachment.container_id, attachment.interface.as_str()).await
    };
    match agent.ask_once(remove).await {
        Ok(_) => return Ok(()),
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) if !is_absent(&e) => return Err(told(&e)),
        Err(_) => queue::push(&config.queue, attachment)?,
    }
    // An agent that started meanwhile may have looked at the queue just before.
    match agent.ask_once(remove).await {
        Ok(_) => queue::remove(&config.queue, attachment),
        Err(_) => Ok(()),
    }
}

async fn check(config: &Config, attachment: &Attachment, netns: &Path) -> Result<(), Error> {
    let expected = Expected::of(config, attachment)?;
    let agent = Agent::new(config)?;
    let endpoints = agent.ask(async |client| client.endpoints().await).await.map_err(|e| told(&e))?;
    let ours = endpoints
        .iter()
        .find(|e| e.container_id == attachment.container_id && e.interface == attachment.interface.as_str());
    match ours {
        None => {
            let message = format!(
                "the agent has no endpoint for {} of container {}",
                attachment.interface, attachment.container_id
            );
            Err(Error::new(Code::UnknownContainer, message))
        }
        Some(endpoint) if endpoint.state == EndpointState::Broken => Err(Error::new(
            Code::Differs,
            format!("endpoint {} is broken: its link or network namespace is gone", endpoint.id),
        )),
        Some(_) => expected.compare(netns, attachment),
    }
}

async fn status(config: &Config) -> Result<(), Error> {
    let agent = Agent::new(config)?;
    let reply = agent.ask_once(async |client| client.status().await).await.map_err(|e| {
        let told = told(&e);
        Error { code: Code::NotAvailable, ..told }
    })?;
    let failed = reply.components.iter().find(|component| component.health == ComponentState::Failed);
    match (reply.ready, failed) {
        (true, None) => Ok(()),
        (_, Some(component)) => {
            let error =
                Error::new(Code::LimitedConnectivity, format!("{} has failed: {}", component.name, component.message));
            Err(component.hint.as_ref().map_or(error.clone(), |hint| error.hint(hint)))
        }
        (false, None) => {
            Err(Error::new(Code::NotAvailable, format!("the agent is not ready{}", first_problem(&reply)))
                .hint("see `nexin status`"))
        }
    }
}

fn first_problem(reply: &StatusReply) -> String {
    let problem = reply.components.iter().find(|component| component.health != ComponentState::Ok);
    problem.map(|component| format!(": {} {}", component.name, component.message)).unwrap_or_default()
}

/// Removes this network's endpoints that the runtime does not count as valid any more.
async fn gc(config: &Config) -> Result<(), Error> {
    let Some(valid) = &config.valid else {
        return Err(Error::new(
            Code::InvalidConfig,
            "cni.dev/valid-attachments is missing: without it everything would be removed",
        ));
    };
    let valid: BTreeSet<_> = valid.iter().map(|one| (one.container_id.as_str(), one.ifname.as_str())).collect();
    let agent = Agent::new(config)?;
    let endpoints = agent.ask(async |client| client.endpoints().await).await.map_err(|e| told(&e))?;
    let stale = endpoints.iter().filter(|e| {
        e.network.as_deref() == Some(&config.name) && !valid.contains(&(e.container_id.as_str(), e.interface.as_str()))
    });
    let mut first_error = None;
    for endpoint in stale {
        let removed = agent
            .ask_once(async |client| client.delete_attachment(&endpoint.container_id, &endpoint.interface).await)
            .await;
        if let Err(e) = removed {
            first_error.get_or_insert(told(&e));
        }
    }
    first_error.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexin_netlink::IfName;
    use serde_json::json;

    fn config(more: Value) -> Config {
        let mut config = json!({"cniVersion": "1.1.0", "name": "net", "type": "nexin-cni"});
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        Config::parse(config.to_string().as_bytes()).unwrap()
    }

    fn asked(more: Value, args: &str) -> Result<EndpointCreate, Error> {
        let attachment = Attachment { container_id: "c1".into(), interface: IfName::new("eth0").unwrap() };
        request(&config(more), &attachment, Path::new("/run/netns/c1"), &Args::parse(args)?)
    }

    #[test]
    fn a_plain_container_has_no_labels_and_its_own_name() {
        let request = asked(json!({}), "").unwrap();
        assert_eq!((request.name.as_str(), request.namespace.as_str(), request.labels), ("c1", "default", None));
        assert_eq!((request.network.as_deref(), request.interface.as_deref()), (Some("net"), Some("eth0")));
    }

    #[test]
    fn labels_of_the_container_win_over_the_networks() {
        let request = asked(
            json!({"labels": {"app": "any", "zone": "a"}}),
            "K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop;NEXIN_LABELS=app=web",
        )
        .unwrap();
        assert_eq!((request.name.as_str(), request.namespace.as_str()), ("web", "shop"));
        let labels = request.labels.unwrap().0;
        assert_eq!((labels["app"].as_str(), labels["zone"].as_str()), ("web", "a"));
    }

    #[test]
    fn one_address_of_a_family() {
        let request = asked(json!({"runtimeConfig": {"ips": ["10.0.0.9/24", "fd00::9"]}}), "IP=10.0.0.8").unwrap();
        assert_eq!((request.ipv4, request.ipv6), ("10.0.0.9".parse().ok(), "fd00::9".parse().ok()));
        assert_eq!(asked(json!({}), "IP=10.0.0.8").unwrap().ipv4, "10.0.0.8".parse().ok());
        let refused = asked(json!({}), "IP=10.0.0.8,10.0.0.9").unwrap_err();
        assert_eq!(refused.code, Code::InvalidConfig);
    }

    #[test]
    fn operations_need_their_version() {
        let old = Config { version: SpecVersion::V0_3_1, ..config(json!({})) };
        let attachment = Attachment { container_id: "c1".into(), interface: IfName::new("eth0").unwrap() };
        let check = Invocation::Check(attachment, "/x".into());
        assert_eq!(since(&old, SpecVersion::V0_4_0, &check).unwrap_err().code, Code::IncompatibleVersion);
        assert_eq!(since(&config(json!({})), SpecVersion::V1_1_0, &Invocation::Gc), Ok(()));
    }
}
