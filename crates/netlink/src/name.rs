//! Interface names and MAC addresses as types, and how ours are derived.

use crate::{Error, Result};
use std::{fmt, str::FromStr};

/// A valid interface name (`IFNAMSIZ` is 16 with the closing zero; see `dev_valid_name` in `net/core/dev.c`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(String);

impl IfName {
    pub fn new(name: &str) -> Result<Self> {
        let fits = !name.is_empty() && name.len() < libc::IFNAMSIZ && name != "." && name != "..";
        let clean = !name
            .bytes()
            .any(|b| b == b'/' || b == b':' || b == b'%' || b == 0 || b.is_ascii_whitespace() || b == 0x0b);
        if fits && clean { Ok(Self(name.to_owned())) } else { Err(Error::InvalidName(name.to_owned())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A locally administered unicast address that depends on `seed` only, so that a wiring that is repeated after a
    /// crash gives the same one.
    pub fn derived(seed: &str) -> Self {
        let h = mix(seed).to_be_bytes();
        Self([(h[0] & 0xfc) | 0x02, h[1], h[2], h[3], h[4], h[5]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `nx<8 hex>`: the host side of a workload's link. Depends on `owner` and `salt` only; where [`Error::Occupied`] says
/// that another workload has it, the caller tries the next salt.
pub fn workload_ifname(owner: &str, salt: u32) -> IfName {
    IfName(format!("nx{:08x}", mix(&format!("{owner}#{salt}")) >> 32))
}

/// A name that [`workload_ifname`] could have given. Recognises links whose maker died before it wrote the alias.
pub(crate) fn looks_like_ours(name: &str) -> bool {
    name.strip_prefix("nx")
        .is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

/// FNV-1a with a final avalanche; must never change, since names of running workloads depend on it.
fn mix(seed: &str) -> u64 {
    let mut h =
        seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "0123456789abcdef", "a\0b"] {
            assert!(matches!(IfName::new(bad), Err(Error::InvalidName(_))), "{bad:?}");
        }
        assert_eq!(IfName::new("eth0.12").unwrap().as_str(), "eth0.12");
    }

    #[test]
    fn derived_values_are_stable() {
        let name = workload_ifname("endpoint-1", 0);
        assert_eq!(name, workload_ifname("endpoint-1", 0));
        assert_ne!(name, workload_ifname("endpoint-1", 1));
        assert_eq!(name.as_str(), "nx9ba6a6bb");
    }

    proptest! {
        #[test]
        fn derived_values_are_valid(owner in ".{0,80}", salt: u32) {
            let name = workload_ifname(&owner, salt);
            prop_assert!(IfName::new(name.as_str()).is_ok() && looks_like_ours(name.as_str()));
            let Mac(m) = Mac::derived(&owner);
            prop_assert_eq!(m[0] & 3, 2, "local, and of one station");
            prop_assert_eq!(&name, &workload_ifname(&owner, salt));
            prop_assert_ne!(&name, &workload_ifname(&owner, salt ^ 1), "the next salt gives another");
            prop_assert_ne!(Mac(m), Mac::derived(&format!("{owner}+")));
        }
    }
}
