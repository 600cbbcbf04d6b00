//! ICMP types, by number and by name.

use nexin_model::IcmpFamily;

use super::super::decode::{Context, Object, Path, list, one_of};
use super::super::diagnostic::Pos;
use super::super::node::{Node, Value};
use super::super::suggest;

/// An ICMP message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpField {
    pub at: Pos,
    pub family: IcmpFamily,
    /// `None` for a number outside 0..=255, which no message has.
    pub kind: Option<u8>,
}

const MAX_FIELDS: usize = 40;

/// Names and numbers. Source: IANA ICMP parameters, with the spelling and the gaps of Cilium's CRD.
const V4: [(&str, u8); 13] = [
    ("EchoReply", 0),
    ("DestinationUnreachable", 3),
    ("Redirect", 5),
    ("Echo", 8),
    ("EchoRequest", 8),
    ("RouterAdvertisement", 9),
    ("RouterSelection", 10),
    ("TimeExceeded", 11),
    ("ParameterProblem", 12),
    ("Timestamp", 13),
    ("TimestampReply", 14),
    ("Photuris", 40),
    ("ExtendedEchoRequest", 42),
];
const V6: [(&str, u8); 26] = [
    ("DestinationUnreachable", 1),
    ("PacketTooBig", 2),
    ("TimeExceeded", 3),
    ("ParameterProblem", 4),
    ("EchoRequest", 128),
    ("EchoReply", 129),
    ("MulticastListenerQuery", 130),
    ("MulticastListenerReport", 131),
    ("MulticastListenerDone", 132),
    ("RouterSolicitation", 133),
    ("RouterAdvertisement", 134),
    ("NeighborSolicitation", 135),
    ("NeighborAdvertisement", 136),
    ("RedirectMessage", 137),
    ("RouterRenumbering", 138),
    ("ICMPNodeInformationQuery", 139),
    ("ICMPNodeInformationResponse", 140),
    ("InverseNeighborDiscoverySolicitation", 141),
    ("InverseNeighborDiscoveryAdvertisement", 142),
    ("HomeAgentAddressDiscoveryRequest", 144),
    ("HomeAgentAddressDiscoveryReply", 145),
    ("MobilePrefixSolicitation", 146),
    ("MobilePrefixAdvertisement", 147),
    ("DuplicateAddressRequestCodeSuffix", 157),
    ("DuplicateAddressConfirmationCodeSuffix", 158),
    ("ExtendedEchoRequest", 160),
];

const FAMILIES: [(&str, IcmpFamily); 2] = [("IPv4", IcmpFamily::V4), ("IPv6", IcmpFamily::V6)];

/// Reads one item of `icmps`: its fields.
pub(super) fn read(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Vec<IcmpField>> {
    let object = Object::open(node, path, cx, &["fields"])?;
    let Some(entry) = object.get("fields") else { return Some(Vec::new()) };
    let path = path.key("fields");
    if let Value::List(items) = &entry.node.value
        && items.len() > MAX_FIELDS
    {
        let message = format!("{} ICMP types in one list, the limit is {MAX_FIELDS}", items.len());
        cx.error(&path, entry.node.at, message, Some("add another item to `icmps`".to_owned()));
    }
    list(&entry.node, &path, cx, field)
}

fn field(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<IcmpField> {
    let object = Object::open(node, path, cx, &["family", "type"])?;
    let family = match object.get("family") {
        Some(entry) => one_of(&entry.node, &path.key("family"), cx, &FAMILIES)?.value,
        None => IcmpFamily::V4,
    };
    let kind = object.require("type", path, cx)?;
    let kind = number(&kind.node, family, &path.key("type"), cx)?;
    Some(IcmpField { at: object.at(), family, kind })
}

fn number(node: &Node, family: IcmpFamily, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Option<u8>> {
    let word = match &node.value {
        Value::Int(number) => {
            let kind = u8::try_from(*number).ok();
            if i32::try_from(*number).is_err() {
                cx.error(path, node.at, format!("{number} is no ICMP type: they are 0 to 255"), None);
                return None;
            }
            if kind.is_none() {
                cx.lapse(
                    path,
                    node.at,
                    format!("{number} is no ICMP type: they are 0 to 255; nothing matches it"),
                    None,
                );
            }
            return Some(kind);
        }
        Value::String(word) => word,
        _ => {
            let message = format!("an ICMP type is a number or a name, this is {}", node.kind());
            cx.error(path, node.at, message, Some("for example `8` or `EchoRequest`".to_owned()));
            return None;
        }
    };
    let decimal = word.bytes().all(|c| c.is_ascii_digit()) && (word.len() == 1 || !word.starts_with('0'));
    if let (true, Ok(kind)) = (decimal, word.parse::<u8>()) {
        return Some(Some(kind));
    }
    let (names, others, name): (&[_], &[(&str, u8)], _) = match family {
        IcmpFamily::V4 => (&V4, &V6, "IPv4"),
        IcmpFamily::V6 => (&V6, &V4, "IPv6"),
    };
    if let Some((_, kind)) = names.iter().find(|(name, _)| name == word) {
        return Some(Some(*kind));
    }
    let help = if others.iter().any(|(name, _)| name == word) {
        let other = if family == IcmpFamily::V4 { "IPv6" } else { "IPv4" };
        Some(format!("{other} has it: write `family: {other}` beside it"))
    } else {
        suggest::nearest(word, names.iter().map(|(name, _)| *name)).map(|near| format!("did you mean `{near}`?"))
    };
    cx.error(path, node.at, format!("{word:?} is no ICMP type of {name}"), help);
    None
}
