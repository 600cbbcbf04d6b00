//! Events of the kernel and of proxies become flow records: names, filters, aggregation, metrics. Values in, values out: no I/O, no clock.

mod document;
pub mod event;
pub mod export;
pub mod filter;
pub mod metrics;
pub mod record;
pub mod summary;
pub mod view;

pub use event::Event;
pub use record::Record;
pub use view::View;
