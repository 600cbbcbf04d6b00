//! What chores share: running programs and failing in words.

use std::process::Command;

/// Chores only ever print their errors.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

macro_rules! fail {
    ($($text:tt)*) => { return Err(format!($($text)*).into()) };
}
pub(crate) use fail;

/// Runs a program; its standard output, or an error with what it said.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        fail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
