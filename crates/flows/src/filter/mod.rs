//! Hubble's flow filters, compiled: a list of filters passes what any of them passes, a filter what all of its fields pass, a
//! field what any of its values passes. Texts are parsed once, here; matching compares numbers and short texts.
//! Errors have the texts of Hubble's servers, since people see them.
//!
//! What it refuses: to guess what a filter meant. A value that cannot be understood fails the whole list.

mod address;
mod build;
pub mod cel;
mod check;
mod index;
mod kubernetes;
mod label;
mod pattern;
mod regexp;
#[cfg(test)]
mod tests;
mod url;

use nexin_hubble::flow::{Flow, FlowFilter};
use thiserror::Error;

pub use self::address::AddressError;
pub use self::cel::CelError;
use self::check::Check;
use self::index::Index;
pub use self::label::SelectorError;
pub use self::pattern::PatternError;
pub use self::regexp::RegexpError;
use crate::Event;
use crate::record::Record;
use crate::view::View;

/// What is asked whether it passes.
#[derive(Debug)]
pub enum Seen<'a, V> {
    Flow(&'a V),
    Lost,
    /// Number of [`nexin_hubble::flow::AgentEventType`].
    Agent(i32),
    /// Number of [`nexin_hubble::flow::DebugEventType`].
    Debug(i32),
    /// No flow where one is expected: what Hubble's command sees in a file where a line holds something else.
    Nothing,
}

impl<V> Clone for Seen<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Seen<'_, V> {}

impl<'a> From<&'a Event> for Seen<'a, Record> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Flow(record) => Self::Flow(record),
            Event::Lost(_) => Self::Lost,
            Event::Agent(notice) => Self::Agent(notice.what.r#type),
            Event::Debug(notice) => Self::Debug(notice.what.r#type),
        }
    }
}

impl<'a> From<&'a Flow> for Seen<'a, Flow> {
    fn from(flow: &'a Flow) -> Self {
        Self::Flow(flow)
    }
}

/// Why a list of filters is none. The texts are Hubble's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    #[error("invalid IP {what} {text} in filter: {why}")]
    Address { what: &'static str, text: String, why: AddressError },
    #[error("invalid filter, name must not be empty")]
    EmptyName,
    #[error("invalid {0} service filter: invalid filter, name must not be empty")]
    EmptyService(&'static str),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("invalid {which} label filter: {why}")]
    Label { which: &'static str, why: SelectorError },
    #[error("invalid protocol filter: unknown protocol: {0}")]
    Protocol(String),
    #[error("invalid {side} port filter: invalid port {text}: strconv.ParseUint: parsing {text}: {why}")]
    Port { side: &'static str, text: String, why: PortError },
    #[error("invalid http status code filter: invalid status code prefix: {0}")]
    Status(String),
    #[error("filtering by http {0} requires the event type filter to only match 'l7' events")]
    NotL7(&'static str),
    #[error("invalid {which} filter: {before}: {why}")]
    Regexp { which: &'static str, before: String, why: RegexpError },
    #[error("error compiling CEL expression: {0}")]
    Cel(#[from] CelError),
}

/// Why a text is no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PortError {
    #[error("invalid syntax")]
    Syntax,
    #[error("value out of range")]
    Range,
}

/// Filters of which one must match. An empty list matches nothing: see [`AnyOf::is_empty`].
#[derive(Clone, Debug, Default)]
pub struct AnyOf {
    filters: Vec<Filter>,
    /// Only where there are many.
    index: Option<Index>,
}

impl AnyOf {
    /// # Errors
    /// The first field that cannot be understood.
    pub fn build(filters: &[FlowFilter]) -> Result<Self, FilterError> {
        let filters: Vec<Filter> = filters.iter().map(Filter::build).collect::<Result<_, _>>()?;
        let index = Index::of(&filters);
        Ok(Self { filters, index })
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    pub fn len(&self) -> usize {
        self.filters.len()
    }

    pub fn any<V: View>(&self, seen: Seen<'_, V>) -> bool {
        match (&self.index, seen) {
            (Some(index), Seen::Flow(flow)) => index.any(flow, |n| self.filters[n].matches(seen)),
            _ => self.filters.iter().any(|filter| filter.matches(seen)),
        }
    }
}

/// What a request lets through: what the whitelist passes (all, where it is empty) and the blacklist does not.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    allow: AnyOf,
    deny: AnyOf,
}

impl Filters {
    /// # Errors
    /// The first field that cannot be understood, the whitelist's first.
    pub fn compile(whitelist: &[FlowFilter], blacklist: &[FlowFilter]) -> Result<Self, FilterError> {
        Ok(Self { allow: AnyOf::build(whitelist)?, deny: AnyOf::build(blacklist)? })
    }

    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    pub fn matches<V: View>(&self, seen: Seen<'_, V>) -> bool {
        (self.allow.is_empty() || self.allow.any(seen)) && !self.deny.any(seen)
    }
}

/// One filter: all of its checks must pass.
#[derive(Clone, Debug)]
struct Filter {
    checks: Vec<Check>,
}

impl Filter {
    fn build(filter: &FlowFilter) -> Result<Self, FilterError> {
        Ok(Self { checks: build::checks(filter)? })
    }

    fn matches<V: View>(&self, seen: Seen<'_, V>) -> bool {
        self.checks.iter().all(|check| check.passes(seen))
    }
}
