//! Packets' lives: the shipped programs in the running kernel, by `BPF_PROG_TEST_RUN`. Fixtures are headers; what one
//! program leaves is what the next one gets. Needs root, not the agent.

mod bed;
mod capture;
mod cost;
mod events;
mod flows;
mod insns;
mod link;
mod loads;
mod mtu;
mod policy;
mod world;
