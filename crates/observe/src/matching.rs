//! Filters applied to flows from a file.

use nexin_flows::filter::{self, Seen};
use nexin_hubble::flow::{Flow, FlowFilter};

use crate::error::Error;

pub(crate) struct Filters(filter::Filters);

impl Filters {
    pub(crate) fn new(allow: &[FlowFilter], deny: &[FlowFilter]) -> Result<Self, Error> {
        filter::Filters::compile(allow, deny).map(Self).map_err(|error| Error::Usage(error.to_string()))
    }

    /// Lines without a flow are asked too: only negations let them pass.
    pub(crate) fn pass(&self, flow: Option<&Flow>) -> bool {
        self.0.matches(flow.map_or(Seen::Nothing, Seen::Flow))
    }
}
