//! Rules for requests: HTTP, DNS, Kafka.

use super::super::decode::{Context, Object, Path, Spanned, one_of, text};
use super::super::diagnostic::Pos;
use super::super::node::Node;
use super::super::regex_syntax;
use super::super::suggest;
use super::peers::{self, Fqdn};
use super::ports::{self, Secret};

/// `rules` of a port. An empty list restricts nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum L7Rules {
    Http(Vec<HttpRule>),
    Dns(Vec<DnsRule>),
    Kafka(Vec<KafkaRule>),
}

impl L7Rules {
    pub const fn is_empty(&self) -> bool {
        match self {
            Self::Http(rules) => rules.is_empty(),
            Self::Dns(rules) => rules.is_empty(),
            Self::Kafka(rules) => rules.is_empty(),
        }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "HTTP",
            Self::Dns(_) => "DNS",
            Self::Kafka(_) => "Kafka",
        }
    }
}

/// All that is given must match. Texts are regular expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRule {
    pub at: Pos,
    pub path: Option<String>,
    pub method: Option<String>,
    pub host: Option<String>,
    pub headers: Vec<String>,
    pub header_matches: Vec<HeaderMatch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    pub name: String,
    pub value: Option<String>,
    pub secret: Option<Secret>,
    /// What is done where the header does not match; `None`: the request is refused.
    pub mismatch: Option<Mismatch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    Log,
    Add,
    Delete,
    Replace,
}

/// A DNS name or pattern that may be asked for.
pub type DnsRule = Fqdn;

/// A Kafka request that is allowed, as Cilium had it before 1.20.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaRule {
    pub at: Pos,
    /// API keys; empty: all.
    pub api_keys: Vec<u16>,
    pub api_version: Option<u16>,
    pub client_id: Option<String>,
    pub topic: Option<String>,
}

pub(super) fn read(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<L7Rules> {
    const FIELDS: [&str; 3] = ["http", "dns", "kafka"];
    let object = Object::open_with(node, path, cx, &FIELDS, |key| {
        matches!(key, "l7proto" | "l7").then(|| "parsers of one's own are gone since Cilium 1.20".to_owned())
    })?;
    object.exactly_one(&FIELDS, path, cx);
    let http = object.list("http", path, cx, http).map(L7Rules::Http);
    let dns = object.list("dns", path, cx, peers::fqdn).map(L7Rules::Dns);
    let kafka = object.list("kafka", path, cx, kafka).map(L7Rules::Kafka);
    http.or(dns).or(kafka)
}

fn http(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<HttpRule> {
    let object = Object::open(node, path, cx, &["path", "method", "host", "headers", "headerMatches"])?;
    let [request_path, method] = ["path", "method"].map(|field| {
        let expression = object.text(field, path, cx)?;
        if let Some(fault) = regex_syntax::fault(&expression.value) {
            let message = format!("{:?} is no regular expression: {fault}", expression.value);
            cx.error(&path.key(field), expression.at, message, None);
        }
        Some(expression.value)
    });
    let host = object.text("host", path, cx);
    if let Some(host) = &host
        && let Some(fault) = regex_syntax::fault(&host.value)
    {
        let message = format!("{:?} is no regular expression, so no request matches: {fault}", host.value);
        cx.warning(&path.key("host"), host.at, message, None);
    }
    let headers = object.list("headers", path, cx, text).unwrap_or_default();
    Some(HttpRule {
        at: object.at(),
        path: request_path,
        method,
        host: host.map(|host| host.value),
        headers: headers.into_iter().map(|header| header.value).collect(),
        header_matches: object.list("headerMatches", path, cx, header_match).unwrap_or_default(),
    })
}

fn header_match(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<HeaderMatch> {
    const MISMATCHES: [(&str, Mismatch); 4] =
        [("LOG", Mismatch::Log), ("ADD", Mismatch::Add), ("DELETE", Mismatch::Delete), ("REPLACE", Mismatch::Replace)];
    let object = Object::open(node, path, cx, &["mismatch", "name", "secret", "value"])?;
    let name = object.require("name", path, cx).and_then(|entry| text(&entry.node, &path.key("name"), cx));
    if let Some(name) = name.as_ref().filter(|name| name.value.is_empty()) {
        cx.error(&path.key("name"), name.at, "the header's name is empty", None);
    }
    let secret = object.read("secret", path, cx, ports::secret);
    if let Some(secret) = secret.as_ref().filter(|secret| secret.name.is_empty()) {
        cx.error(&path.key("secret"), secret.at, "the secret's name is empty", None);
    }
    let mismatch = object.read("mismatch", path, cx, |node, path, cx| one_of(node, path, cx, &MISMATCHES));
    Some(HeaderMatch {
        name: name?.value,
        value: object.text("value", path, cx).map(|value| value.value),
        secret,
        mismatch: mismatch.map(|mismatch| mismatch.value),
    })
}

/// Names by API key. Source: Kafka protocol guide.
const API_KEYS: [&str; 34] = [
    "produce",
    "fetch",
    "offsets",
    "metadata",
    "leaderandisr",
    "stopreplica",
    "updatemetadata",
    "controlledshutdown",
    "offsetcommit",
    "offsetfetch",
    "findcoordinator",
    "joingroup",
    "heartbeat",
    "leavegroup",
    "syncgroup",
    "describegroups",
    "listgroups",
    "saslhandshake",
    "apiversions",
    "createtopics",
    "deletetopics",
    "deleterecords",
    "initproducerid",
    "offsetforleaderepoch",
    "addpartitionstotxn",
    "addoffsetstotxn",
    "endtxn",
    "writetxnmarkers",
    "txnoffsetcommit",
    "describeacls",
    "createacls",
    "deleteacls",
    "describeconfigs",
    "alterconfigs",
];

/// What a producer and a consumer ask for: produce or fetch and what goes with it.
const PRODUCE: [u16; 3] = [0, 3, 18];
const CONSUME: [u16; 11] = [1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 18];

fn kafka(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<KafkaRule> {
    let object = Object::open(node, path, cx, &["role", "apiKey", "apiVersion", "clientID", "topic"])?;
    let role = object.read("role", path, cx, |node, path, cx| {
        one_of(node, path, cx, &[("produce", PRODUCE.as_slice()), ("consume", CONSUME.as_slice())])
    });
    let key = object.text("apiKey", path, cx).filter(|key| !key.value.is_empty());
    if let (Some(_), Some(key)) = (&role, &key) {
        cx.error(&path.key("apiKey"), key.at, "only one of `role` and `apiKey` can be given", None);
    }
    let mut api_keys = role.map_or_else(Vec::new, |role| role.value.to_vec());
    if let Some(key) = key {
        api_keys.extend(api_key(&key, &path.key("apiKey"), cx));
    }
    let version = object.text("apiVersion", path, cx).filter(|version| !version.value.is_empty());
    let api_version = version.and_then(|version| {
        let number = version.value.parse::<u16>().ok().filter(|number| *number <= i16::MAX as u16);
        if number.is_none() {
            let message = format!("{:?} is no version of a Kafka request", version.value);
            cx.error(
                &path.key("apiVersion"),
                version.at,
                message,
                Some("a number in quotes: \"0\" to \"32767\"".to_owned()),
            );
        }
        number
    });
    let topic = object.text("topic", path, cx).filter(|topic| !topic.value.is_empty());
    if let Some(topic) = &topic
        && (topic.value.len() > 255
            || !topic.value.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-')))
    {
        let message = format!("{:?} is no Kafka topic", topic.value);
        let help = "letters, digits, `.`, `_` and `-`, up to 255";
        cx.error(&path.key("topic"), topic.at, message, Some(help.to_owned()));
    }
    Some(KafkaRule {
        at: object.at(),
        api_keys,
        api_version,
        client_id: object.text("clientID", path, cx).map(|client| client.value),
        topic: topic.map(|topic| topic.value),
    })
}

fn api_key(key: &Spanned<String>, path: &Path<'_>, cx: &mut Context<'_>) -> Option<u16> {
    let lower = key.value.to_ascii_lowercase();
    let found = (0_u16..).zip(API_KEYS).find(|(_, name)| *name == lower);
    if found.is_none() {
        let help = suggest::nearest(&lower, API_KEYS).map(|name| format!("did you mean `{name}`?"));
        cx.error(path, key.at, format!("{:?} is no Kafka request", key.value), help);
    }
    found.map(|(number, _)| number)
}
