//! Flows in the words of our own API: `GET /v1/monitor`, and the distinct flows that `policy simulate` runs again.

mod hub;
mod monitored;
mod recorder;

pub(crate) use hub::Hub;
pub(crate) use monitored::monitored;
pub(crate) use recorder::SeenFlow;
