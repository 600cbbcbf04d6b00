//! Which texts are names: of objects, labels, ports, hosts. Predicates only.
//!
//! Sources: Kubernetes `apimachinery/pkg/util/validation`, RFC 1123, RFC 6335, Cilium's CRDs.

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?` without a limit of length.
fn is_lower_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if inner(first) && inner(last))
        && bytes.iter().all(|&c| inner(c) || c == b'-')
}

/// A namespace's name.
pub(super) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_lower_label(text)
}

/// An object's name.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_lower_label)
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && bytes.iter().all(|&c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// What is wrong with a label's value.
pub(super) fn label_value_fault(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(format!("a label value has at most 63 characters, this has {}", text.len()));
    }
    let fault = "a label value has letters, digits, `-`, `_` and `.`, and begins and ends with a letter or digit";
    (!text.is_empty() && !is_word(text)).then(|| fault.to_owned())
}

/// What is wrong with a label's key (without a source).
pub(super) fn label_key_fault(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(|prefix| !is_dns_subdomain(prefix)) {
        return Some("what stands before `/` in a label key is a DNS name in small letters".to_owned());
    }
    if name.len() > 63 {
        return Some(format!("the name in a label key has at most 63 characters, this has {}", name.len()));
    }
    let fault = "a label key has letters, digits, `-`, `_` and `.`, begins and ends with a letter or digit, and may \
                 have a DNS name and `/` before it";
    (!is_word(name)).then(|| fault.to_owned())
}

/// What is wrong with a key in a Cilium selector: a label key that may have a source and `:` before it.
pub(super) fn selector_key_fault(key: &str) -> Option<String> {
    match key.split_once(':') {
        None => label_key_fault(key),
        Some((_, rest)) if rest.contains(':') => Some("a label key has at most one `:`, after the source".to_owned()),
        Some((source, _)) if source.is_empty() || !source.bytes().all(|c| c.is_ascii_alphanumeric()) => {
            Some("the source before `:` has letters and digits".to_owned())
        }
        Some((_, rest)) => label_key_fault(rest),
    }
}

/// An IANA service name, in any case: at most 15 letters, digits and single inner hyphens, with a letter.
pub(super) fn is_service_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.len() <= 15
        && matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if *first != b'-' && *last != b'-')
        && bytes.iter().all(|&c| c.is_ascii_alphanumeric() || c == b'-')
        && bytes.iter().any(u8::is_ascii_alphabetic)
        && !text.contains("--")
}

/// `([-a-zA-Z0-9_]+[.]?)+`, with `*` too in patterns, at most 255 characters.
pub(super) fn is_host_name(text: &str, pattern: bool) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_') || (pattern && c == b'*');
    let body = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 255 && body.split('.').all(|label| !label.is_empty() && label.bytes().all(inner))
}

/// Has no control, format, private or surrogate character and no noncharacter.
pub(super) fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| {
        let code = u32::from(c);
        let format = matches!(code,
            0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 | 0x180E | 0x200B..=0x200F
            | 0x202A..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB | 0x110BD | 0x110CD | 0x13430..=0x1343F
            | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0001 | 0xE0020..=0xE007F);
        let private = matches!(code, 0xE000..=0xF8FF | 0xF_0000..=0xF_FFFD | 0x10_0000..=0x10_FFFD);
        c.is_control() || format || private || code & 0xFFFE == 0xFFFE || matches!(code, 0xFDD0..=0xFDEF)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_names() {
        assert!(is_dns_subdomain("allow-all.v2") && is_dns_subdomain("a"));
        for bad in ["", "A", "-a", "a-", "a..b", "a_b", ".a", &"a".repeat(254)] {
            assert!(!is_dns_subdomain(bad), "{bad}");
        }
        assert!(is_dns_label("kube-system") && !is_dns_label("kube.system"));
    }

    #[test]
    fn label_keys_and_values() {
        for good in ["app", "k8s:app", "any:app.kubernetes.io/name", "x/Y_z", "reserved:host"] {
            assert_eq!(selector_key_fault(good), None, "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "my app", "a:b:c", ":a", "k8s:", "a b:c", "/a", "a/", "a/b/c", "-a", "A.b/c?", &long, "UPPER/a"]
        {
            assert!(selector_key_fault(bad).is_some(), "{bad}");
        }
        assert_eq!(label_value_fault(""), None);
        assert_eq!(label_value_fault("v1.2_3"), None);
        for bad in ["-a", "a-", "a b", "a:b", &long] {
            assert!(label_value_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn service_names() {
        for good in ["http", "HTTP", "a", "1a", "a-9", "0x50", "a-b-c-d-e-f"] {
            assert!(is_service_name(good), "{good}");
        }
        for bad in ["", "80", "-a", "a-", "a--b", "1-2", "sixteen-letters1", "a_b", "a.b"] {
            assert!(!is_service_name(bad), "{bad}");
        }
    }

    #[test]
    fn host_names() {
        for good in ["a.com", "a.com.", "_tcp.x", "-"] {
            assert!(is_host_name(good, false), "{good}");
        }
        for bad in ["", ".", ".a", "a..b", "*.a", "a b", "https://a", &"a".repeat(256)] {
            assert!(!is_host_name(bad, false), "{bad}");
        }
        assert!(is_host_name("**.a.com", true) && is_host_name("*", true) && !is_host_name("[a].com", true));
    }

    #[test]
    fn printable_text() {
        assert!(is_printable("allow web → db") && is_printable(""));
        for bad in ["a\nb", "\u{200b}", "\u{e000}", "\u{7}", "\u{ffff}"] {
            assert!(!is_printable(bad), "{bad:?}");
        }
    }
}
