//! `watch peers` and `reflect`: for developers.

use futures_util::StreamExt as _;
use nexin_api::hubble::Code;
use nexin_hubble::peer::ChangeNotificationType;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::error::Error;
use crate::names;
use crate::settings::Settings;
use crate::verbs::server;
use crate::{Run, remote};

pub(super) async fn peers(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    let client = remote::client(settings, &server(run.house, settings))?;
    let mut changes = client.notify();
    while let Some(change) = changes.next().await {
        let change = match change {
            Ok(change) => change,
            Err(refusal) if refusal.code == Code::Cancelled => return Ok(()),
            Err(refusal) => return Err(Error::Remote(refusal)),
        };
        let kind = names::enum_name(change.r#type, ChangeNotificationType::as_str_name);
        let tls = change.tls.map(|tls| format!(" (TLS.ServerName: {})", tls.server_name)).unwrap_or_default();
        writeln!(run.console.out, "{kind:<12} {} {}{tls}", change.address, change.name)?;
        run.console.out.flush()?;
    }
    Ok(())
}

/// The services of the API, a line each. The descriptors that this program was built with are told, no server is asked.
pub(super) fn reflect(run: &mut Run<'_>) -> Result<(), Error> {
    let set = FileDescriptorSet::decode(nexin_hubble::DESCRIPTOR);
    let set = set.map_err(|error| Error::Usage(format!("the built-in descriptors are damaged: {error}")))?;
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let stream = if method.server_streaming() { "stream " } else { "" };
                let (package, service, name) = (file.package(), service.name(), method.name());
                let (input, output) = (method.input_type(), method.output_type());
                writeln!(run.console.out, "{package}.{service}/{name}({input}) returns ({stream}{output})")?;
            }
        }
    }
    Ok(())
}
