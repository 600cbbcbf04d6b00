//! Any query string as the filter of `GET /v1/monitor`: refused, or a filter that survives being written and read again.
#![no_main]

use axum::extract::Query;
use axum::http::Uri;
use libfuzzer_sys::fuzz_target;
use nexin_api::v1::MonitorFilter;

fn read(query: &str) -> Option<MonitorFilter> {
    let uri = Uri::builder().path_and_query(format!("/v1/monitor?{query}")).build().ok()?;
    Query::try_from_uri(&uri).ok().map(|Query(filter)| filter)
}

fuzz_target!(|query: &str| {
    let Some(filter) = read(query) else { return };
    let written = serde_urlencoded::to_string(&filter).expect("what was read can be written");
    assert_eq!(read(&written), Some(filter), "{written}");
});
