//! Nexin as it ships, on real networks: the agent's binary, veth pairs, sockets. Each test runs in namespaces of its
//! own (`isolated`) and in parallel with the others.

mod ground;
