//! Any bytes as a line of Hubble's JSON: a response that is written and read again as the same, or an error with its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexin_hubble::json::{self, ReadError, Unknown};
use nexin_hubble::observer::GetFlowsResponse;

fuzz_target!(|bytes: &[u8]| {
    let strict = json::read::<GetFlowsResponse>(bytes, Unknown::Refuse);
    let lenient = json::read::<GetFlowsResponse>(bytes, Unknown::Discard);
    match &strict {
        Ok(response) => assert_eq!(lenient.as_ref(), Ok(response)),
        Err(error) => assert!(error.to_string().starts_with("proto: "), "{error}"),
    }
    assert!(!matches!(lenient, Err(ReadError::Field { .. })), "asked to pass over it");
    let Ok(response) = lenient else { return };
    let text = json::text(&response);
    assert!(!text.contains('\n'));
    let again: GetFlowsResponse = json::read(text.as_bytes(), Unknown::Refuse).expect("what was written is read");
    assert_eq!(again, response, "{text}");
});
