//! The verbs. One module each: its flags, what it asks of whom, and how the answer looks.

pub(crate) mod agent;
pub(crate) mod bugtool;
pub(crate) mod capture;
pub(crate) mod completion;
pub(crate) mod ct;
pub(crate) mod endpoint;
pub(crate) mod flows;
pub(crate) mod identity;
pub(crate) mod ipam;
pub(crate) mod lab;
pub(crate) mod map;
pub(crate) mod monitor;
pub(crate) mod observe;
pub(crate) mod policy;
pub(crate) mod relay;
pub(crate) mod run;
mod settings;
pub(crate) mod status;

use std::path::PathBuf;

use nexin_api::Client;

use crate::error::Result;
use crate::output::Out;

/// What every verb is given.
pub(crate) struct Context {
    pub(crate) out: Out,
    pub(crate) socket: PathBuf,
}

impl Context {
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.socket)?)
    }
}
