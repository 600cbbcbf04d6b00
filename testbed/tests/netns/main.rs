//! Nexin as it ships, on real networks: the agent's binary, veth pairs, sockets. Each test runs in namespaces of its
//! own (`isolated`) and in parallel with the others.

mod cli;
mod clsact;
mod cni;
mod containerd;
mod drift;
mod events;
mod ground;
mod hubble;
mod lab;
mod limits;
mod losses;
mod np_cases;
mod observe;
mod policies;
mod policy;
mod relay;
mod residue;
mod restart;
mod run;
mod runtimes;
mod settings;
mod sinks;
mod smoke;
mod two_agents;
mod workloads;
mod world;
