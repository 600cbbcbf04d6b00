//! Addresses and prefixes of filters. Hubble compares an exact address as text and a prefix as a number, so both are kept.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use nexin_hubble::gotext::quote;
use thiserror::Error;

use super::FilterError;
use crate::view::Address;

/// Why a text is no address or prefix, in the words of Go's `netip`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct AddressError(String);

/// Below this many, looking at each is cheaper than hashing.
const FEW: usize = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    texts: Vec<String>,
    /// Those of `texts` that are written as an address writes itself: only they can equal one that is kept as a number.
    numbers: Vec<IpAddr>,
    prefixes: Vec<IpNet>,
    many: Option<(HashSet<String>, HashSet<IpAddr>)>,
}

impl Addresses {
    pub(super) fn build(texts: &[String]) -> Result<Self, FilterError> {
        let mut all = Self::default();
        for text in texts {
            let wrong = |what, why| FilterError::Address { what, text: quote(text), why };
            if text.contains('/') {
                all.prefixes.push(prefix(text).map_err(|why| wrong("prefix", why))?);
            } else {
                let (ip, zoned) = address(text).map_err(|why| wrong("address", why))?;
                if !zoned && ip.to_string() == *text {
                    all.numbers.push(ip);
                }
                all.texts.push(text.clone());
            }
        }
        if all.texts.len() > FEW {
            all.many = Some((all.texts.iter().cloned().collect(), all.numbers.iter().copied().collect()));
        }
        Ok(all)
    }

    pub(super) fn contains(&self, address: Address<'_>) -> bool {
        match address {
            Address::Text("") => false,
            Address::Text(text) => {
                let exact = match &self.many {
                    Some((texts, _)) => texts.contains(text),
                    None => self.texts.iter().any(|own| own == text),
                };
                exact || !self.prefixes.is_empty() && text.parse().is_ok_and(|ip: IpAddr| self.covers(ip))
            }
            Address::Ip(ip) => {
                let exact = match &self.many {
                    Some((_, numbers)) => numbers.contains(&ip),
                    None => self.numbers.contains(&ip),
                };
                exact || self.covers(ip)
            }
        }
    }

    /// The addresses, if they are nothing else: what an index can be built on.
    pub(super) fn exact(&self) -> Option<&[IpAddr]> {
        (self.prefixes.is_empty() && self.numbers.len() == self.texts.len()).then_some(&self.numbers)
    }

    fn covers(&self, ip: IpAddr) -> bool {
        self.prefixes.iter().any(|prefix| prefix.contains(&ip))
    }
}

/// `netip.ParsePrefix`.
fn prefix(text: &str) -> Result<IpNet, AddressError> {
    let wrong = |why: String| AddressError(format!("netip.ParsePrefix({}): {why}", quote(text)));
    let (before, bits) = text.rsplit_once('/').unwrap_or((text, ""));
    let (ip, zoned) = address(before).map_err(|why| wrong(why.0))?;
    if zoned {
        return Err(wrong("IPv6 zones cannot be present in a prefix".to_owned()));
    }
    let bad = || wrong(format!("bad bits after slash: {}", quote(bits)));
    let number = bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
    if bits.is_empty() || !number || bits.len() > 18 {
        return Err(bad());
    }
    let bits: u64 = bits.parse().map_err(|_| bad())?;
    u8::try_from(bits)
        .ok()
        .and_then(|bits| IpNet::new(ip, bits).ok())
        .ok_or_else(|| wrong("prefix length out of range".to_owned()))
}

/// `netip.ParseAddr`: the address and whether a zone was given.
fn address(text: &str) -> Result<(IpAddr, bool), AddressError> {
    let wrong = |why: &str| Err(AddressError(format!("ParseAddr({}): {why}", quote(text))));
    match text.bytes().find(|byte| b".:%".contains(byte)) {
        None => wrong("unable to parse IP"),
        Some(b'%') => wrong("missing IPv6 address"),
        Some(b'.') => {
            if let Err((why, at)) = fault4(text) {
                return wrong(&place(why, at));
            }
            text.parse().map(|ip| (ip, false)).or_else(|_| wrong("unable to parse IP"))
        }
        Some(_) => {
            let (bare, zone) = text.split_once('%').map_or((text, None), |(bare, zone)| (bare, Some(zone)));
            if zone == Some("") {
                return wrong("zone must be a non-empty string");
            }
            if let Err((why, at)) = fault6(bare) {
                return wrong(&place(why, at));
            }
            bare.parse().map(|ip| (IpAddr::V6(ip), zone.is_some())).or_else(|_| wrong("unable to parse IP"))
        }
    }
}

fn place(why: &str, at: &str) -> String {
    if at.is_empty() { why.to_owned() } else { format!("{why} (at {})", quote(at)) }
}

type Fault<'a> = Result<(), (&'static str, &'a str)>;

/// What Go finds wrong with the dotted form.
fn fault4(text: &str) -> Fault<'_> {
    let bytes = text.as_bytes();
    let (mut value, mut digits, mut dots) = (0_u32, 0, 0);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                if digits == 1 && value == 0 {
                    return Err(("IPv4 field has octet with leading zero", ""));
                }
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
                if value > 255 {
                    return Err(("IPv4 field has value >255", ""));
                }
            }
            b'.' => {
                if at == 0 || at == bytes.len() - 1 || bytes[at - 1] == b'.' {
                    return Err(("IPv4 field must have at least one digit", &text[at..]));
                }
                if dots == 3 {
                    return Err(("IPv4 address too long", ""));
                }
                dots += 1;
                (value, digits) = (0, 0);
            }
            _ => return Err(("unexpected character", &text[at..])),
        }
    }
    if dots < 3 { Err(("IPv4 address too short", "")) } else { Ok(()) }
}

/// What Go finds wrong with the form with colons, zone cut off.
fn fault6(text: &str) -> Fault<'_> {
    let mut rest = text;
    let mut ellipsis = false;
    if let Some(after) = rest.strip_prefix("::") {
        ellipsis = true;
        rest = after;
        if rest.is_empty() {
            return Ok(());
        }
    }
    let mut filled = 0;
    while filled < 16 {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits > 4 {
            return Err(("each group must have 4 or less digits", rest));
        }
        if digits == 0 {
            return Err(("each colon-separated field must have at least one digit", rest));
        }
        if rest[digits..].starts_with('.') {
            if !ellipsis && filled != 12 {
                return Err(("embedded IPv4 address must replace the final 2 fields of the address", rest));
            }
            if filled + 4 > 16 {
                return Err(("too many hex fields to fit an embedded IPv4 at the end of the address", rest));
            }
            fault4(rest)?;
            rest = "";
            filled += 4;
            break;
        }
        filled += 2;
        rest = &rest[digits..];
        if rest.is_empty() {
            break;
        }
        let Some(after) = rest.strip_prefix(':') else {
            return Err(("unexpected character, want colon", rest));
        };
        if after.is_empty() {
            return Err(("colon must be followed by more characters", rest));
        }
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            if ellipsis {
                return Err(("multiple :: in address", rest));
            }
            ellipsis = true;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
    }
    if !rest.is_empty() {
        Err(("trailing garbage after address", rest))
    } else if filled < 16 && !ellipsis {
        Err(("address string too short", ""))
    } else if filled >= 16 && ellipsis {
        Err(("the :: must expand to at least one field of zeros", ""))
    } else {
        Ok(())
    }
}
