//! Events of the kernel and of proxies become flow records: names, filters, aggregation, metrics. Values in, values out: no I/O, no clock.

pub mod view;

pub use view::View;
