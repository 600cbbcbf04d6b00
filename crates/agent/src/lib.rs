//! The node agent: what comes in by the API, from files and from the kernel becomes endpoints, identities and policy, and
//! from there the datapath's desired state.

mod settings;

pub use settings::Settings;
