//! The watcher of a `nexin run`: when that is killed, its workload must not stay on the network.
//!
//! It waits for the end of a pipe that only the watched process holds. A last word in the pipe means that everything is
//! in order; an end without it means that the process was killed.

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use nexin_api::Client;
use nexin_netlink::Netns;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::error::{CliError, Result};

const ALL_WELL: &[u8] = b"done\n";
const GRACE: Duration = Duration::from_millis(500);
/// How long an agent that is being restarted is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(200);

/// Started by `nexin run`, not by people.
#[derive(Args)]
pub(crate) struct Reap {
    /// Name of the namespace, and container id of the endpoint
    id: String,
}

pub(super) struct Reaper {
    child: Child,
}

impl Reaper {
    pub(super) fn start(socket: &Path, id: &str) -> Result<Self> {
        let program = env::current_exe().map_err(|source| CliError::system("find this program's own file", source))?;
        let mut command = Command::new(program);
        // A group of its own: what the terminal sends to the foreground is not meant for it.
        command.arg("run-reaper").arg(id).arg("--socket").arg(socket).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|source| CliError::system("start the watcher", source))?;
        Ok(Self { child })
    }

    /// The workload is gone already.
    pub(super) async fn dismiss(mut self) -> Result<()> {
        let failed = |source| CliError::system("dismiss the watcher", source);
        if let Some(mut pipe) = self.child.stdin.take() {
            pipe.write_all(ALL_WELL).await.map_err(failed)?;
        }
        self.child.wait().await.map_err(failed)?;
        Ok(())
    }
}

pub(crate) async fn reap(socket: PathBuf, args: &Reap) -> Result<ExitCode> {
    let mut last_word = Vec::new();
    // An error of the pipe is its end, too.
    let _ = std::io::stdin().read_to_end(&mut last_word);
    if last_word == ALL_WELL {
        return Ok(ExitCode::SUCCESS);
    }
    if let Ok(netns) = Netns::named(&args.id) {
        nexin_lab::stop_all_in(&netns, GRACE)?;
    }
    Netns::delete_named(&args.id)?;
    let client = Client::new(socket)?;
    let removal = tokio::time::timeout(PATIENCE, async {
        while remove(&client, &args.id).await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
    });
    // When no agent came back: the next one sees that the namespace is gone.
    Ok(if removal.await.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn remove(client: &Client, id: &str) -> Result<()> {
    for endpoint in client.endpoints().await?.iter().filter(|endpoint| endpoint.container_id == id) {
        client.delete_endpoint(endpoint.id).await?;
    }
    Ok(())
}
