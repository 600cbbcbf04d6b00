//! Field masks: which parts of a flow are wanted. Paths are names of the `.proto` text with dots, never camel case, never
//! through a repeated field.

#[cfg(test)]
mod tests;

use nexin_hubble::flow::Flow;
use nexin_hubble::reflect::Paths;
use thiserror::Error;

/// The text is Go's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("proto: invalid path {0:?} for message \"flow.Flow\"")]
pub struct MaskError(String);

/// What Hubble's command asks for where it prints lines or tables, in the order of its versions up to 1.19 and from 1.20 on.
const OF_THE_COMMAND: [&str; 26] = [
    "time",
    "verdict",
    "ethernet",
    "IP",
    "l4",
    "source.identity",
    "source.namespace",
    "source.pod_name",
    "destination.identity",
    "destination.namespace",
    "destination.pod_name",
    "Type",
    "node_name",
    "l7",
    "event_type",
    "source_service",
    "destination_service",
    "is_reply",
    "Summary",
    "ip_trace_id",
    "traffic_direction",
    "policy_match_type",
    "ingress_allowed_by",
    "ingress_denied_by",
    "egress_allowed_by",
    "egress_denied_by",
];
/// How many of them versions up to 1.19 ask for.
const OLD: usize = 20;

/// What the command prints where it is there, but does not ask for.
const PRINTED: [&str; 5] =
    ["source_names", "destination_names", "auth_type", "sock_xlate_point", "debug_capture_point"];

/// A set of paths, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    paths: Paths,
}

impl Mask {
    /// None where no path is given: then everything is wanted.
    ///
    /// # Errors
    /// The first path that there is not.
    pub fn new<S: AsRef<str>>(paths: &[S]) -> Result<Option<Self>, MaskError> {
        let mut all = Paths::default();
        for path in paths {
            if !all.add::<Flow>(path.as_ref()) {
                return Err(MaskError(path.as_ref().to_owned()));
            }
        }
        Ok((!paths.is_empty()).then_some(Self { paths: all }))
    }

    /// The mask of a request. Where it is exactly the one that Hubble's command asks for unbidden, the few small fields are
    /// added that the command prints when they are there: without them it shows addresses in place of DNS names, and old
    /// versions show policy verdicts without direction.
    ///
    /// # Errors
    /// The first path that there is not.
    pub fn of_request<S: AsRef<str>>(paths: &[S]) -> Result<Option<Self>, MaskError> {
        let is = |wanted: &[&str]| {
            paths.len() == wanted.len() && wanted.iter().all(|path| paths.iter().any(|own| own.as_ref() == *path))
        };
        let mut mask = Self::new(paths)?;
        if let Some(mask) = &mut mask
            && (is(&OF_THE_COMMAND) || is(&OF_THE_COMMAND[..OLD]))
        {
            for path in OF_THE_COMMAND.iter().chain(&PRINTED) {
                mask.paths.add::<Flow>(path);
            }
        }
        Ok(mask)
    }

    /// The wanted parts of a flow. What a path leads through is there, if only empty.
    pub fn apply(&self, flow: &Flow) -> Flow {
        let mut masked = Flow::default();
        self.apply_onto(flow, &mut masked);
        masked
    }

    /// Copies the wanted parts onto what an earlier flow left: a part of a oneof that this flow has not stays. Hubble's exporter
    /// does that with one flow that begins as [`Mask::blank`].
    pub fn apply_onto(&self, flow: &Flow, masked: &mut Flow) {
        self.paths.copy(flow, masked);
    }

    /// A flow in which all is set that a path leads through.
    pub fn blank(&self) -> Flow {
        let mut flow = Flow::default();
        self.paths.make(&mut flow);
        flow
    }
}
