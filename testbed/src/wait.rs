//! Waiting for facts. A deadline only bounds a failure: a test that passes never waits for it.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{Error, Result, fail, switches};

/// Long enough for a busy machine. (Where another is emulated, waits are given several times as long.)
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Asks until the answer is there.
pub fn until<T>(fact: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    until_ok(fact, || ask().ok_or_else(|| Error::new("not so")))
}

/// Asks until the answer is no error; a failure tells the last one.
pub fn until_ok<T>(fact: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let (start, deadline) = (Instant::now(), DEADLINE * switches::patience());
    let mut pause = Duration::from_millis(1);
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if start.elapsed() > deadline => {
                fail!("waited {deadline:?} in vain until {fact}; last answer: {error}")
            }
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
