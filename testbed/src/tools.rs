//! Runs the programs of the system (`ip`, `ping`, `tc` ...) and keeps what they said when they fail.

use std::{
    ffi::OsStr,
    process::{Command, Stdio},
};

use crate::{Error, Result, fail};

/// What a finished program said.
#[derive(Clone, Debug)]
pub struct Tool {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Tool {
    pub fn run(command: &mut Command) -> Result<Self> {
        let output = command.stdin(Stdio::null()).output().map_err(|e| Error::new(format!("{command:?}: {e}")))?;
        Ok(Self {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Runs `name`; an error unless it succeeds. Returns its standard output.
pub fn tool(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
    let mut command = Command::new(name);
    command.args(arguments);
    let done = Tool::run(&mut command)?;
    if !done.success {
        fail!("{command:?} failed: {}{}", done.stderr, done.stdout);
    }
    Ok(done.stdout)
}
