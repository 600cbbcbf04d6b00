//! Address prefixes as policies write them: `10.0.0.0/8`, `fd00::/8`.
//!
//! No masks, no zones, no leading zeros: texts that two readers would read differently are refused.

use std::net::IpAddr;

use ipnet::IpNet;

use super::decode::{Context, Path, Spanned, text};
use super::node::Node;

/// Reads `ADDRESS/LENGTH`, with bits of the host kept. The error is what is wrong.
pub(super) fn parse(text: &str) -> Result<IpNet, Fault> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => Fault::NoLength { meant: IpNet::from(address) },
            Err(_) => Fault::NoAddress,
        });
    };
    let address: IpAddr = address.parse().map_err(|_| Fault::NoAddress)?;
    let digits = length.bytes().all(|c| c.is_ascii_digit()) && (length.len() == 1 || !length.starts_with('0'));
    let bits = if address.is_ipv4() { 32 } else { 128 };
    match length.parse::<u8>() {
        Ok(length) if digits => IpNet::new(address, length).map_err(|_| Fault::Length { bits }),
        _ => Err(Fault::Length { bits }),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the length of the prefix is missing")]
    NoLength { meant: IpNet },
    #[error("this is no address prefix")]
    NoAddress,
    #[error("after `/` comes the length of the prefix, 0 to {bits}")]
    Length { bits: u8 },
}

impl Fault {
    pub(super) fn help(&self) -> String {
        match self {
            Self::NoLength { meant } => format!("for this one address write `{meant}`"),
            Self::NoAddress | Self::Length { .. } => "write it like `10.0.0.0/8` or `fd00::/8`".to_owned(),
        }
    }
}

/// Reads a field that is a prefix.
pub(super) fn read(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Spanned<IpNet>> {
    let Spanned { value, at } = text(node, path, cx)?;
    match parse(&value) {
        Ok(prefix) => {
            if prefix.trunc() != prefix {
                let help = Some(format!("write `{}`, or a longer prefix if fewer are meant", prefix.trunc()));
                cx.warning(path, at, format!("{value:?} has bits set after the prefix; they are ignored"), help);
            }
            Some(Spanned { value: prefix, at })
        }
        Err(fault) => {
            cx.error(path, at, format!("{value:?}: {fault}"), Some(fault.help()));
            None
        }
    }
}

/// `inner` is of the same family and all inside `outer`.
pub(super) fn covers(outer: IpNet, inner: IpNet) -> bool {
    outer.prefix_len() <= inner.prefix_len() && outer.contains(&inner.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for good in ["10.0.0.0/8", "10.1.2.3/8", "0.0.0.0/0", "::/0", "fd00::1/128", "::ffff:10.0.0.0/104"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "010.0.0.0/8", "10.0.0.0/08", "10.0.0.0/+8"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for bad in ["10.0.0/8", "::/129", "fe80::1%eth0/64", "example.com", "10.0.0.0/8 ", "10.0.0.0/8/8"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse("10.0.0.1").map_err(|fault| fault.help()),
            Err("for this one address write `10.0.0.1/32`".to_owned())
        );
    }

    #[test]
    fn covering() {
        let net = |text: &str| parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert!(covers(net("10.0.0.0/8"), net("10.1.0.0/16")));
        assert!(covers(net("10.0.0.0/8"), net("10.0.0.0/8")));
        assert!(!covers(net("10.0.0.0/16"), net("10.0.0.0/8")));
        assert!(!covers(net("10.0.0.0/8"), net("11.0.0.0/16")));
        assert!(!covers(net("0.0.0.0/0"), net("fd00::/8")));
    }
}
