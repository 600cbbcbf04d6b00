//! The request that flags mean.

use nexin_flows::mask::Mask;
use nexin_hubble::flow::FlowFilter;
use nexin_hubble::json::{self, Unknown};
use nexin_hubble::observer::GetFlowsRequest;
use prost_types::{FieldMask, Timestamp};

use crate::error::Error;
use crate::print::Output;
use crate::settings::Settings;
use crate::verbs::moment;
use crate::verbs::observe::{LAST, rawjson};

/// What the text outputs show. The server need not send more.
const SHOWN: [&str; 26] = [
    "time",
    "verdict",
    "ethernet",
    "IP",
    "l4",
    "source.identity",
    "source.namespace",
    "source.pod_name",
    "destination.identity",
    "destination.namespace",
    "destination.pod_name",
    "Type",
    "node_name",
    "l7",
    "event_type",
    "source_service",
    "destination_service",
    "is_reply",
    "Summary",
    "ip_trace_id",
    "traffic_direction",
    "policy_match_type",
    "ingress_allowed_by",
    "ingress_denied_by",
    "egress_allowed_by",
    "egress_denied_by",
];

/// What `--why` shows besides.
const WHY: [&str; 3] = ["drop_reason_desc", "file", "policy_log"];

/// Paths of the field mask; none means every field.
pub(super) fn mask(settings: &Settings<'_>, output: Output) -> Result<Vec<String>, Error> {
    let flags = settings.flags;
    let given = flags.list("field-mask").unwrap_or_default();
    if output == Output::Json {
        return Ok(given.to_vec());
    }
    if !given.is_empty() {
        let name = flags.text("output").unwrap_or("compact");
        return Err(Error::Usage(format!("{name} output format is not compatible with custom field mask")));
    }
    if flags.bool("use-default-field-masks") == Some(false) {
        return Ok(Vec::new());
    }
    let why: &[&str] = if flags.bool("why") == Some(true) { &WHY } else { &[] };
    Ok(SHOWN.iter().chain(why).map(|path| (*path).to_owned()).collect())
}

pub(crate) fn flows(now: Timestamp, settings: &Settings<'_>, mask: &[String]) -> Result<GetFlowsRequest, Error> {
    let flags = settings.flags;
    let yes = |name: &str| flags.bool(name).unwrap_or(false);
    let (first, last) = (flags.number("first").unwrap_or(0), flags.number("last").unwrap_or(0));
    let (all, follow) = (yes("all"), yes("follow"));
    for (clash, names) in [
        (first > 0 && last > 0, "--first and --last"),
        (first > 0 && all, "--first and --all"),
        (first > 0 && follow, "--first and --follow"),
        (last > 0 && all, "--last and --all"),
    ] {
        if clash {
            return Err(Error::Usage(format!("cannot set both {names}")));
        }
    }
    let since = moment(now, flags, "since")?;
    let until = if follow { None } else { moment(now, flags, "until")? };
    let offline = flags.text("input-file").is_some_and(|path| !path.is_empty());
    let bounded = since.is_some() || until.is_some() || first > 0;
    let number = match () {
        () if first > 0 => first,
        () if !bounded && all => u64::MAX,
        () if !bounded && last == 0 && !follow && !offline => LAST,
        () => last,
    };
    let (mut whitelist, mut blacklist) = flags.filters.build();
    whitelist.extend(raw(settings, "allowlist")?);
    blacklist.extend(raw(settings, "denylist")?);
    Ok(GetFlowsRequest {
        number,
        first: first > 0,
        follow,
        since,
        until,
        whitelist,
        blacklist,
        field_mask: field_mask(mask)?,
        ..GetFlowsRequest::default()
    })
}

fn field_mask(paths: &[String]) -> Result<Option<FieldMask>, Error> {
    if paths.is_empty() {
        return Ok(None);
    }
    // For its error only: the server masks, a file is printed whole.
    let _valid = Mask::new(paths).map_err(|error| Error::Usage(format!("failed to construct field mask: {error}")))?;
    Ok(Some(FieldMask { paths: paths.to_vec() }))
}

/// Filters written as JSON, one after the other in one text.
fn raw(settings: &Settings<'_>, flag: &'static str) -> Result<Vec<FlowFilter>, Error> {
    let mut filters = Vec::new();
    for text in settings.list(flag) {
        let values = rawjson::values(&text)
            .map_err(|why| Error::Usage(format!("invalid --{flag} flag: failed to decode '{text}': {why}")))?;
        for value in values {
            let filter = json::read(value.as_bytes(), Unknown::Refuse);
            filters.push(filter.map_err(|source| Error::RawFilter { flag, text: text.clone(), source })?);
        }
    }
    Ok(filters)
}
