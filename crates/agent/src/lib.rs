//! The node agent: what comes in by the API, from files and from the kernel becomes endpoints, identities and policy, and
//! from there the datapath's desired state.
//!
//! One thread changes things ([`owner`]); tasks around it listen, watch and wire. Nothing here parses packets, writes maps or
//! speaks netlink itself: that is `datapath`'s and `netlink`'s.

mod capabilities;
mod core;
mod error;
mod events;
mod identities;
mod locks;
mod node;
mod owner;
mod settings;
mod state;

pub use error::AgentError;
pub use settings::Settings;
