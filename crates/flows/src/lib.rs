//! Events of the kernel and of proxies become flow records: names, filters, aggregation, metrics. Values in, values out: no I/O, no clock.

pub mod decode;
mod document;
pub mod event;
pub mod export;
pub mod filter;
pub mod mask;
pub mod metrics;
pub mod query;
pub mod record;
pub mod recording;
pub mod ring;
pub mod suggest;
pub mod summary;
pub mod tally;
pub mod view;

pub use event::Event;
pub use record::Record;
pub use view::View;
