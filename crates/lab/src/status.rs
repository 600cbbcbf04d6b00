//! How a lab is.

use nexin_api::v1::Endpoint;
use serde::Serialize;

use crate::plan::world;
use crate::{Lab, Result};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabStatus {
    pub name: String,
    pub nodes: Vec<NodeStatus>,
    pub workloads: Vec<WorkloadStatus>,
    /// Addresses of the world's services.
    pub outside: Vec<std::net::IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    pub name: String,
    pub netns: String,
    pub socket: std::path::PathBuf,
    pub log: std::path::PathBuf,
    /// The agent answers and is ready.
    pub ready: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkloadStatus {
    pub name: String,
    pub node: String,
    pub netns: String,
    /// As its node's agent has it.
    pub endpoint: Option<Endpoint>,
}

impl Lab {
    /// Asks every agent; one that does not answer is not ready, and its workloads have no endpoint.
    pub async fn status(&self) -> Result<LabStatus> {
        let mut status = LabStatus {
            name: self.spec.name.clone(),
            nodes: Vec::new(),
            workloads: Vec::new(),
            outside: world().to_vec(),
        };
        let mut endpoints = Vec::new();
        for (number, node) in self.spec.nodes.iter().enumerate() {
            let client = self.client(number)?;
            let paths = self.node_paths(&node.name);
            status.nodes.push(NodeStatus {
                name: node.name.clone(),
                netns: self.netns_name(&node.name),
                socket: paths.socket,
                log: paths.log,
                ready: client.status().await.is_ok_and(|status| status.ready),
            });
            endpoints.extend(client.endpoints().await.unwrap_or_default());
        }
        status.workloads.extend(self.spec.workloads.iter().map(|workload| WorkloadStatus {
            name: workload.name.clone(),
            node: self.spec.nodes[self.spec.node_of(workload)].name.clone(),
            netns: self.netns_name(&workload.name),
            endpoint:
                endpoints.iter().find(|endpoint| endpoint.container_id == self.netns_name(&workload.name)).cloned(),
        }));
        Ok(status)
    }
}
