//! `status`: whether the server is healthy, and how full its ring is.

use nexin_api::hubble::OBSERVER_SERVICE;

use crate::error::Error;
use crate::print::{self, Output};
use crate::settings::Settings;
use crate::verbs::server;
use crate::{Run, remote};

pub(super) async fn run(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    let server = server(run.house, settings);
    let client = remote::client(settings, &server)?;
    let format = settings.flags.text("output").unwrap_or("compact").to_owned();
    let healthy = client.health(OBSERVER_SERVICE).await;
    let healthy = healthy.map_err(|source| Error::RemoteStep { doing: "failed getting status", source })?;
    if format == "compact" {
        let shown = server.strip_prefix("tls://").unwrap_or(&server);
        let state = if healthy { "Ok" } else { "Unavailable: NOT_SERVING" };
        writeln!(run.console.out, "Healthcheck (via {shown}): {state}")?;
    }
    if !healthy {
        return Err(Error::Unhealthy);
    }
    let status = client.server_status().await;
    let status = status.map_err(|source| Error::RemoteStep { doing: "failed to get hubble server status", source })?;
    remote::compare(&client.versions(), run.now, run.console.err);
    let output = match format.as_str() {
        "compact" => Output::Compact,
        "dict" => Output::Dict,
        "json" | "JSON" | "jsonpb" => Output::Json,
        "tab" | "table" => Output::Table,
        _ => return Err(Error::Usage(format!("invalid output format: {format}"))),
    };
    Ok(print::status(&status, output, run.console.out)?)
}
