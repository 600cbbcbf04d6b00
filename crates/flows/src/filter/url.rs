//! The path of a URL as Go's `url.ParseRequestURI` finds it, or none where it refuses the URL.

/// The decoded path.
pub(super) fn path(url: &str) -> Option<String> {
    if url.is_empty() || url.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return None;
    }
    if url == "*" {
        return Some("*".to_owned());
    }
    let (scheme, rest) = scheme(url)?;
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    if !rest.starts_with('/') {
        // `mailto:x` has no path; what has no scheme must begin with one.
        return scheme.then(String::new);
    }
    let path = match rest.strip_prefix("//") {
        Some(after) if scheme => {
            let end = after.find('/').unwrap_or(after.len());
            if !authority(&after[..end]) {
                return None;
            }
            &after[end..]
        }
        _ => rest,
    };
    unescape(path)
}

/// Whether there is a scheme, and what follows it.
fn scheme(url: &str) -> Option<(bool, &str)> {
    for (at, byte) in url.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return None,
            b':' => return Some((true, &url[at + 1..])),
            _ => break,
        }
    }
    Some((false, url))
}

fn authority(text: &str) -> bool {
    let host = match text.rsplit_once('@') {
        None => text,
        Some((user, host)) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
            if !user.chars().all(plain) || unescape(user).is_none() {
                return false;
            }
            host
        }
    };
    if let Some(inside) = host.strip_prefix('[') {
        return inside.rsplit_once(']').is_some_and(|(inside, port)| optional_port(port) && host_bytes(inside));
    }
    let port = host.rfind(':').map_or("", |at| &host[at..]);
    optional_port(port) && host_bytes(host)
}

fn optional_port(port: &str) -> bool {
    port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// In a host only bytes beyond ASCII may be escaped.
fn host_bytes(host: &str) -> bool {
    let bytes = host.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => match host.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) if byte >= 0x80 || byte == b'%' => at += 3,
                _ => return false,
            },
            byte if byte < 0x80 && !byte.is_ascii_alphanumeric() && !b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte) => {
                return false;
            }
            _ => at += 1,
        }
    }
    true
}

fn unescape(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}
