//! What the three ships run: real web servers, so that there is somebody to talk to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::plan::OUTSIDE;
use crate::{Error, Lab, Preset, Result};

const LANDING: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\nShip landed\\n'\n";
/// Holds a ship for as long as the connection lives: a line every tenth of a second.
const BEAM: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n\
    i=0; while [ $i -lt 3000 ]; do echo $i || exit; i=$((i+1)); sleep 0.1; done\n";
const WHO: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\nyou are %s\\n' \"$REMOTE_ADDR\"\n";

impl Preset {
    /// Starts the servers of a lab that was made of this preset; those without any need nothing.
    ///
    /// # Errors
    /// busybox, which is the server, is not installed.
    pub fn furnish(self, lab: &Lab) -> Result<()> {
        if self != Self::ThreeShips {
            return Ok(());
        }
        let sites = lab.dir.join("sites");
        for (path, text, mode) in [
            ("deathstar/index.html", "This is the Death Star\n", 0o644),
            ("deathstar/cgi-bin/request-landing", LANDING, 0o755),
            ("deathstar/cgi-bin/tractor-beam", BEAM, 0o755),
            ("outside/cgi-bin/who-am-i", WHO, 0o755),
        ] {
            write(&sites.join(path), text, mode)?;
        }
        for place in ["deathstar", OUTSIDE] {
            let site = sites.join(place).display().to_string();
            let words = ["busybox", "httpd", "-f", "-p", "80", "-h", &site].map(str::to_owned);
            lab.start(place, &words)?;
        }
        Ok(())
    }
}

pub(crate) fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let made = || {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    made().map_err(|source| Error::file(path, source))
}
