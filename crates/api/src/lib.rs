//! The agent's REST API: its types, a client, and the HTTP side of the server.
//!
//! This crate knows HTTP and nothing else: requests are parsed, checked for form and handed to the agent's [`server::Handler`];
//! what they mean is decided there. The only crate that uses axum, reqwest and utoipa.

mod client;
pub mod hubble;
pub mod otlp;
pub mod server;
pub mod v1;

pub use client::{Client, ClientError, Records, RecordsOf};

/// Where the agent listens when no setting says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/nexin/nexin.sock";
