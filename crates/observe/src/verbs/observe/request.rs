//! The request that flags mean.

use nexin_hubble::flow::FlowFilter;
use nexin_hubble::json::{self, Unknown};
use nexin_hubble::observer::GetFlowsRequest;
use prost_types::FieldMask;

use crate::Run;
use crate::error::Error;
use crate::print::Output;
use crate::settings::Settings;
use crate::verbs::moment;
use crate::verbs::observe::LAST;

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

pub(super) fn flows(run: &Run<'_>, settings: &Settings<'_>, mask: &[String]) -> Result<GetFlowsRequest, Error> {
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
    let since = moment(run, flags, "since")?;
    let until = if follow { None } else { moment(run, flags, "until")? };
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
    Ok(Some(FieldMask { paths: paths.to_vec() }))
}

/// Filters written as JSON, one after the other in one text.
fn raw(settings: &Settings<'_>, flag: &'static str) -> Result<Vec<FlowFilter>, Error> {
    let mut filters = Vec::new();
    for text in settings.list(flag) {
        let values = values(&text)
            .map_err(|source| Error::Usage(format!("invalid --{flag} flag: failed to decode '{text}': {source}")))?;
        for value in values {
            let filter = json::read(value.as_bytes(), Unknown::Refuse);
            filters.push(filter.map_err(|source| Error::RawFilter { flag, text: text.clone(), source })?);
        }
    }
    Ok(filters)
}

/// Cuts a text into its JSON values. Only what tells them apart is looked at.
fn values(text: &str) -> Result<Vec<&str>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = end_of_value(rest).ok_or("unexpected EOF")?;
        found.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    Ok(found)
}

fn end_of_value(text: &str) -> Option<usize> {
    if !text.starts_with(['{', '[', '"']) {
        return Some(text.find(|c: char| c.is_whitespace() || c == '{').filter(|at| *at > 0).unwrap_or(text.len()));
    }
    let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
    for (at, c) in text.char_indices() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            match c {
                '"' => quoted = true,
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth == 0 && !quoted {
            return Some(at + c.len_utf8());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_may_hold_several_values() {
        assert_eq!(values(" {\"a\":\"}\\\"\"} {\"b\":[{}]}\n"), Ok(vec!["{\"a\":\"}\\\"\"}", "{\"b\":[{}]}"]));
        assert_eq!(values(""), Ok(Vec::new()));
        assert_eq!(values("{"), Err("unexpected EOF".to_owned()));
    }
}
