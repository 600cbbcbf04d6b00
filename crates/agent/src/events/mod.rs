//! Events on their way from the kernel's rings to people: given names, recorded, handed to whoever listens.

mod directory;
mod enrich;
mod hub;
mod recorder;

pub(crate) use directory::{RuleEntry, SharedDirectory, Workload};
pub(crate) use enrich::{Clock, enrich};
pub(crate) use hub::Hub;
pub(crate) use recorder::SeenFlow;
