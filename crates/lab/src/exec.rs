//! Running commands inside a lab.

use std::ffi::OsString;
use std::process::{Command, ExitStatus};

use nexin_runtime::settings::nearest;

use crate::{Error, Lab, Result};

impl Lab {
    /// Runs a command in a workload, a node or the outside, with this process's input and output.
    ///
    /// # Errors
    /// No part has this name, or the command cannot be started.
    pub fn exec(&self, part: &str, words: &[OsString]) -> Result<ExitStatus> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(Error::system(
                format!("run nothing in {part}"),
                std::io::Error::from(std::io::ErrorKind::InvalidInput),
            ));
        };
        let mut command = Command::new(program);
        command.args(arguments);
        let status = self.part(part)?.run(|| command.status())?;
        status.map_err(|source| Error::system(format!("run {}", program.to_string_lossy()), source))
    }

    /// The namespace of a part that the lab file names.
    pub(crate) fn part(&self, part: &str) -> Result<nexin_netlink::Netns> {
        let parts = self.spec.parts();
        if parts.iter().any(|known| known == part) {
            return self.netns(part);
        }
        let known = match nearest(part, parts.iter().map(String::as_str)) {
            Some(near) => format!("{}; did you mean {near}?", parts.join(", ")),
            None => parts.join(", "),
        };
        Err(Error::NoPart(part.to_owned(), known))
    }
}
