//! The node agent: what comes in by the API, from files and from the kernel becomes endpoints, identities and policy, and
//! from there the datapath's desired state.
//!
//! One thread changes things ([`owner`]); tasks around it listen, watch and wire. Nothing here parses packets, writes maps or
//! speaks netlink itself: that is `datapath`'s and `netlink`'s.

mod agent;
mod background;
mod capabilities;
mod capture;
mod core;
mod doctor;
mod endpoints;
mod error;
mod events;
mod export;
mod flows;
mod handler;
mod hubble_metrics;
mod identities;
mod locks;
mod metrics;
mod node;
mod owner;
mod policies;
mod policy_dir;
mod settings;
mod start;
mod state;
mod status;
pub mod words;

pub use doctor::examine;
pub use error::{AgentError, StateError};
pub use settings::Settings;
pub use start::{CleanupReport, cleanup, run};
