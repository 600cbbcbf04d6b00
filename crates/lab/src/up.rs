//! Making a lab.

use std::path::PathBuf;
use std::process::{Child, Command};

use nexin_api::v1::{Endpoint, EndpointCreate, NamedPort, PolicyUpload};
use nexin_netlink::Netns;

use crate::plan::OUTSIDE;
use crate::{Error, Lab, LabSpec, Result, WorkloadSpec};

/// What is needed beside the lab file.
pub struct Up<'a> {
    /// The `nexin` binary, whose `agent` verb nodes run.
    pub program: PathBuf,
    /// Told what is being done.
    pub progress: &'a mut dyn FnMut(&str),
}

impl Lab {
    /// Makes everything that `spec` says. What was made is removed again when a step fails, or on an interrupt.
    pub async fn up(spec: LabSpec, mut options: Up<'_>) -> Result<(Self, Vec<Child>)> {
        spec.check("lab")?;
        let lab = Self::claim(spec)?;
        let made = tokio::select! {
            made = lab.make(&mut options) => made,
            _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        };
        match made {
            Ok(agents) => Ok((lab, agents)),
            Err(error) => {
                if let Err(left) = lab.clone().down(&mut |_| {}) {
                    tracing::warn!("removing what was made of lab {}: {left}", lab.name());
                }
                Err(error)
            }
        }
    }

    async fn make(&self, options: &mut Up<'_>) -> Result<Vec<Child>> {
        (options.progress)("making namespaces and wires");
        self.make_network()?;
        let mut agents = Vec::new();
        for node in 0..self.spec.nodes.len() {
            (options.progress)(&format!("starting the agent of {}", self.spec.nodes[node].name));
            self.write_settings(node)?;
            let mut agent = self.start_agent(&options.program, node)?;
            self.agent_ready(node, &mut agent).await?;
            self.apply_policies(node).await?;
            agents.push(agent);
        }
        if !self.spec.outside.command.is_empty() {
            self.start(OUTSIDE, &self.spec.outside.command)?;
        }
        for workload in &self.spec.workloads {
            (options.progress)(&format!("making workload {}", workload.name));
            self.make_workload(workload).await?;
        }
        Ok(agents)
    }

    async fn apply_policies(&self, node: usize) -> Result<()> {
        let client = self.client(node)?;
        for path in &self.spec.policies {
            let text = std::fs::read_to_string(path).map_err(|source| Error::file(path, source))?;
            let upload = PolicyUpload { file: Some(path.display().to_string()), namespace: None };
            client.apply_policies(text, &upload).await.map_err(|source| self.refused(node, source))?;
        }
        Ok(())
    }

    fn refused(&self, node: usize, source: nexin_api::ClientError) -> Error {
        Error::Agent { node: self.spec.nodes[node].name.clone(), source }
    }

    /// A namespace, wired up by the agent of its node, with its program.
    pub(crate) async fn make_workload(&self, workload: &WorkloadSpec) -> Result<Endpoint> {
        let name = self.netns_name(&workload.name);
        let netns = Netns::create_named(&name)?;
        netns.netlink()?.set_up(&nexin_netlink::IfName::new("lo")?, true)?;
        let node = self.spec.node_of(workload);
        let request = EndpointCreate {
            container_id: Some(name.clone()),
            name: workload.name.clone(),
            namespace: workload.namespace.clone(),
            netns: Netns::path_of(&name),
            interface: None,
            labels: workload.labels.clone().map(nexin_api::v1::Labels),
            named_ports: workload
                .ports
                .iter()
                .map(|(name, port)| NamedPort { name: name.clone(), port: port.port, protocol: port.protocol })
                .collect(),
            service_account: workload.service_account.clone(),
            ipv4: workload.ipv4,
            ipv6: workload.ipv6,
            no_source_check: false,
            network: None,
            mac: None,
        };
        let made = self.client(node)?.create_endpoint(&request).await;
        let endpoint = made.map_err(|source| self.refused(node, source))?;
        if !workload.command.is_empty() {
            self.start(&workload.name, &workload.command)?;
        }
        Ok(endpoint)
    }

    /// Starts a program that runs for as long as the lab is up.
    pub(crate) fn start(&self, part: &str, words: &[String]) -> Result<Child> {
        let Some((program, arguments)) = words.split_first() else {
            let problem = format!("the command of {part} is empty");
            return Err(Error::Spec { file: self.spec.name.clone(), problem });
        };
        let mut command = Command::new(program);
        command.args(arguments);
        self.spawn(part, command, &self.log_of(part))
    }
}
