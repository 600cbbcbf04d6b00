//! Patterns of DNS and node names: lower case, `*` for any run of letters, digits, hyphens and dots (not of underscores).

use nexin_hubble::gotext::quote_char;
use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    #[error("empty pattern")]
    Empty,
    #[error("multiple trailing dots in pattern")]
    TrailingDots,
    #[error("too many slashes in pattern")]
    Slashes,
    /// The character as Go quotes it.
    #[error("{0}: invalid rune in pattern")]
    Character(String),
}

#[derive(Clone, Debug)]
pub(super) struct Pattern(String);

impl Pattern {
    pub(super) fn build(text: &str) -> Result<Self, PatternError> {
        let text = text.trim();
        let text = text.strip_suffix('.').unwrap_or(text).to_lowercase();
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.ends_with('.') {
            return Err(PatternError::TrailingDots);
        }
        let strange = |c: &char| !matches!(c, '.' | '*' | '-' | '_' | '0'..='9' | 'a'..='z');
        match text.chars().find(strange) {
            Some(c) => Err(PatternError::Character(quote_char(c))),
            None => Ok(Self(text)),
        }
    }

    /// Takes the leftmost place for each piece between stars and moves the last star on where that fails. That finds a match
    /// if there is one: a character that no star may cover must be met by a piece, so such a piece has one place only.
    pub(super) fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        let mut star = None;
        while n < name.len() {
            if pattern.get(p) == Some(&b'*') {
                star = Some((p, n));
                p += 1;
            } else if pattern.get(p) == Some(&name[n]) {
                p += 1;
                n += 1;
            } else {
                match star {
                    Some((at, covered)) if matches!(name[covered], b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z') => {
                        star = Some((at, covered + 1));
                        p = at + 1;
                        n = covered + 1;
                    }
                    _ => return false,
                }
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

/// `[cluster/]node`; what is left out matches every well-formed name.
#[derive(Clone, Debug)]
pub(super) struct NodePattern {
    cluster: Option<Pattern>,
    node: Option<Pattern>,
}

impl NodePattern {
    pub(super) fn build(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let (cluster, node) = text.split_once('/').unwrap_or(("", text));
        if node.contains('/') {
            return Err(PatternError::Slashes);
        }
        let part = |text: &str| if text.is_empty() { Ok(None) } else { Pattern::build(text).map(Some) };
        Ok(Self { cluster: part(cluster)?, node: part(node)? })
    }

    pub(super) fn matches(&self, cluster: &str, node: &str) -> bool {
        let part = |pattern: &Option<Pattern>, name: &str| match pattern {
            Some(pattern) => pattern.matches(name),
            None => well_formed(name),
        };
        part(&self.cluster, cluster) && part(&self.node, node)
    }
}

fn well_formed(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z');
    name.split('.').all(|part| !part.is_empty() && part.bytes().all(allowed))
}
