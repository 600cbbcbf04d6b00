//! Is a text a regular expression that the HTTP proxy takes? Syntax only; nothing is matched here.
//!
//! The dialect is RE2's (no look-around, no back-references), which Cilium's agent checks with Go's `regexp`. Source of
//! the rules: <https://github.com/google/re2/wiki/Syntax>.

/// Nested groups beyond this are refused, as RE2's implementations do.
const MAX_DEPTH: usize = 1000;
/// Copies that counted repetitions may ask for, multiplied over nesting.
const MAX_COPIES: u32 = 1000;

/// What is wrong with an expression; `None` when it is fine.
pub(super) fn fault(pattern: &str) -> Option<String> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut scanner = Scanner { chars: &chars, at: 0, names: Vec::new() };
    scanner.expression().err().map(|fault| fault.to_string())
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("`{0}` has nothing before it to repeat")]
    NothingToRepeat(char),
    #[error("two repetitions follow each other; put the first in parentheses")]
    DoubleRepeat,
    #[error("repetitions can ask for at most {MAX_COPIES} copies")]
    TooManyCopies,
    #[error("`[` is never closed")]
    OpenClass,
    #[error("`(` is never closed")]
    OpenGroup,
    #[error("`)` closes nothing")]
    CloseGroup,
    #[error("groups are nested too deeply")]
    TooDeep,
    #[error("`(?` begins nothing that is known here (there is no look-ahead and no look-behind)")]
    UnknownGroup,
    #[error("a group's name has letters, digits and `_`, and is used once")]
    GroupName,
    #[error("the range or class in `[]` is not valid")]
    Range,
    #[error("`\\` is followed by nothing that is known (there are no back-references)")]
    Escape,
}

struct Scanner<'a> {
    chars: &'a [char],
    at: usize,
    names: Vec<String>,
}

/// What an open group has seen.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Copies that the largest part asks for.
    copies: u32,
    /// Of the last atom; `None` where there is nothing to repeat.
    last: Option<u32>,
}

impl Level {
    fn atom(&mut self, copies: u32) {
        self.copies = self.copies.max(copies);
        self.last = Some(copies);
    }
}

enum Group {
    Opens,
    /// `(?i)`: only sets flags.
    Flags,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn rest_starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(index, c)| self.chars.get(self.at + index) == Some(&c))
    }

    fn expression(&mut self) -> Result<(), Fault> {
        let mut outer: Vec<Level> = Vec::new();
        let mut level = Level::default();
        let mut repeated = false;
        while let Some(c) = self.next() {
            let was_repeated = std::mem::take(&mut repeated);
            match c {
                '(' => match self.group()? {
                    Group::Flags => {}
                    Group::Opens => {
                        if outer.len() >= MAX_DEPTH {
                            return Err(Fault::TooDeep);
                        }
                        outer.push(std::mem::take(&mut level));
                    }
                },
                ')' => {
                    let inner = level.copies.max(1);
                    level = outer.pop().ok_or(Fault::CloseGroup)?;
                    level.atom(inner);
                }
                '|' => level.last = None,
                '[' => {
                    self.class()?;
                    level.atom(1);
                }
                '*' | '+' | '?' => {
                    self.eat('?');
                    if was_repeated {
                        return Err(Fault::DoubleRepeat);
                    }
                    level.last.ok_or(Fault::NothingToRepeat(c))?;
                    repeated = true;
                }
                '{' => match self.counts() {
                    None => level.atom(1),
                    Some((low, high)) => {
                        self.eat('?');
                        let copies = high.unwrap_or(low);
                        if low > MAX_COPIES || high.is_some_and(|high| high > MAX_COPIES || low > high) {
                            return Err(Fault::TooManyCopies);
                        }
                        if was_repeated {
                            return Err(Fault::DoubleRepeat);
                        }
                        let before = level.last.ok_or(Fault::NothingToRepeat(c))?;
                        let copies = before.saturating_mul(copies.max(1));
                        if copies > MAX_COPIES {
                            return Err(Fault::TooManyCopies);
                        }
                        level.atom(copies);
                        repeated = true;
                    }
                },
                '\\' => {
                    self.escape_outside_class()?;
                    level.atom(1);
                }
                _ => level.atom(1),
            }
        }
        if outer.is_empty() { Ok(()) } else { Err(Fault::OpenGroup) }
    }

    /// After `(`.
    fn group(&mut self) -> Result<Group, Fault> {
        if !self.eat('?') {
            return Ok(Group::Opens);
        }
        let named = if self.rest_starts_with("P<") { 2 } else { usize::from(self.peek() == Some('<')) };
        if named > 0 {
            self.at += named;
            let end = self.chars[self.at..].iter().position(|c| *c == '>').ok_or(Fault::UnknownGroup)?;
            let name: String = self.chars[self.at..self.at + end].iter().collect();
            let fine = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
            if !fine || self.names.contains(&name) {
                return Err(if name.starts_with(['=', '!']) { Fault::UnknownGroup } else { Fault::GroupName });
            }
            self.names.push(name);
            self.at += end + 1;
            return Ok(Group::Opens);
        }
        let (mut minus, mut flags_since_minus) = (false, false);
        loop {
            match self.next().ok_or(Fault::UnknownGroup)? {
                'i' | 'm' | 's' | 'U' => flags_since_minus = true,
                '-' if !minus => (minus, flags_since_minus) = (true, false),
                end @ (':' | ')') if !minus || flags_since_minus => {
                    return Ok(if end == ':' { Group::Opens } else { Group::Flags });
                }
                _ => return Err(Fault::UnknownGroup),
            }
        }
    }

    /// After `{`: `2}`, `2,}` or `2,5}`. Anything else is a brace that stands for itself.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let start = self.at;
        let found = self.counts_inner();
        if found.is_none() {
            self.at = start;
        }
        found
    }

    fn counts_inner(&mut self) -> Option<(u32, Option<u32>)> {
        let low = self.count()?;
        if self.eat('}') {
            return Some((low, Some(low)));
        }
        if !self.eat(',') {
            return None;
        }
        if self.eat('}') {
            return Some((low, None));
        }
        let high = self.count()?;
        self.eat('}').then_some((low, Some(high)))
    }

    fn count(&mut self) -> Option<u32> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits: String = self.chars[start..self.at].iter().collect();
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        (!digits.is_empty() && !leading_zero).then(|| digits.parse().unwrap_or(u32::MAX))
    }

    fn escape_outside_class(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some('A' | 'b' | 'B' | 'z') => {
                self.at += 1;
                Ok(())
            }
            Some('Q') => {
                self.at += 1;
                while self.at < self.chars.len() && !self.rest_starts_with("\\E") {
                    self.at += 1;
                }
                self.at = (self.at + 2).min(self.chars.len());
                Ok(())
            }
            _ if self.class_escape()? => Ok(()),
            _ => self.escaped_char().map(|_| ()),
        }
    }

    /// `\d`, `\pL`, `\p{Greek}`.
    fn class_escape(&mut self) -> Result<bool, Fault> {
        match self.peek() {
            Some('d' | 'D' | 's' | 'S' | 'w' | 'W') => {
                self.at += 1;
                Ok(true)
            }
            Some('p' | 'P') => {
                self.at += 1;
                if !self.eat('{') {
                    return self.next().filter(|c| "CLMNPSZ".contains(*c)).map(|_| true).ok_or(Fault::Range);
                }
                self.eat('^');
                let end = self.chars[self.at..].iter().position(|c| *c == '}').ok_or(Fault::Range)?;
                let name = &self.chars[self.at..self.at + end];
                let fine = name.first().is_some_and(char::is_ascii_uppercase)
                    && name.iter().all(|c| c.is_ascii_alphabetic() || *c == '_');
                self.at += end + 1;
                if fine { Ok(true) } else { Err(Fault::Range) }
            }
            _ => Ok(false),
        }
    }

    /// After `\`: the character that is meant.
    fn escaped_char(&mut self) -> Result<char, Fault> {
        let c = self.next().ok_or(Fault::Escape)?;
        match c {
            '1'..='7' if !self.peek().is_some_and(|next| ('0'..='7').contains(&next)) => Err(Fault::Escape),
            '0'..='7' => {
                let mut code = u32::from(c) - u32::from('0');
                for _ in 0..2 {
                    match self.peek().and_then(|next| next.to_digit(8)) {
                        Some(digit) => {
                            code = code * 8 + digit;
                            self.at += 1;
                        }
                        None => break,
                    }
                }
                char::from_u32(code).ok_or(Fault::Escape)
            }
            'x' => self.hexadecimal(),
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(Fault::Escape),
        }
    }

    fn hexadecimal(&mut self) -> Result<char, Fault> {
        let braced = self.eat('{');
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_hexdigit()) && (braced || self.at < start + 2) {
            self.at += 1;
        }
        let digits: String = self.chars[start..self.at].iter().collect();
        if if braced { !self.eat('}') } else { digits.len() != 2 } {
            return Err(Fault::Escape);
        }
        // Surrogates are code points to RE2 and never match.
        let code = u32::from_str_radix(&digits, 16).map_err(|_| Fault::Escape)?;
        if code > 0x10_FFFF { Err(Fault::Escape) } else { Ok(char::from_u32(code).unwrap_or('\u{fffd}')) }
    }

    /// After `[`.
    fn class(&mut self) -> Result<(), Fault> {
        self.eat('^');
        let mut first = true;
        loop {
            match self.peek() {
                None => return Err(Fault::OpenClass),
                Some(']') if !first => {
                    self.at += 1;
                    return Ok(());
                }
                _ => {}
            }
            first = false;
            if self.rest_starts_with("[:")
                && let Some(end) = self.chars[self.at + 2..].windows(2).position(|pair| pair == [':', ']'])
            {
                let name: String = self.chars[self.at + 2..self.at + 2 + end].iter().collect();
                if !POSIX.contains(&name.trim_start_matches('^')) || name.starts_with("^^") {
                    return Err(Fault::Range);
                }
                self.at += end + 4;
                continue;
            }
            if self.peek() == Some('\\') {
                self.at += 1;
                if self.class_escape()? {
                    continue;
                }
                self.at -= 1;
            }
            let low = self.class_char()?;
            if self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|c| *c != ']') {
                self.at += 1;
                if self.class_char()? < low {
                    return Err(Fault::Range);
                }
            }
        }
    }

    fn class_char(&mut self) -> Result<char, Fault> {
        match self.next().ok_or(Fault::OpenClass)? {
            '\\' => self.escaped_char(),
            c => Ok(c),
        }
    }
}

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_expressions() {
        for good in [
            "",
            "GET",
            "/public/.*",
            "^/api/v[0-9]+/(users|items)$",
            "GET|POST",
            "a{2,5}",
            "a{",
            "a{,5}",
            "x{2}y{3,}?",
            "[]a]",
            "[^]a]",
            "[a-z-]",
            "[[:alpha:]_]",
            r"\d+\.\w*",
            r"\pL\p{Greek}\P{^Lu}",
            r"\Qa.b*\E",
            r"\x41\x{1F600}",
            r"\012",
            r"a\_b",
            "(?i)get",
            "(?P<id>[0-9]+)",
            "(?<id>x)",
            "(?i-s:x)",
            "(?)",
            "a(?i)*",
            "^*",
            "(a{10}){100}",
            "[--a]",
            r"[\d\-]",
            "[[a]",
            "a|",
            "|a",
            "()",
            "(|a)+",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
    }

    #[test]
    fn broken_expressions() {
        for bad in [
            "[",
            "[a",
            "(",
            "(a",
            "a)",
            ")",
            "*",
            "+a",
            "?",
            "a**",
            "a+*",
            "a*??",
            "a{2}{3}",
            "a{1001}",
            "a{5,2}",
            "(a{100}){100}",
            "a|*",
            "(*a)",
            "[b-a]",
            "[[:nope:]]",
            r"[a-\d]",
            r"\",
            r"\1",
            r"\8",
            r"\C",
            r"\y",
            r"\x4",
            r"\x{110000}",
            r"\pX",
            r"\p{",
            r"\p{greek}",
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?P=a)",
            "(?P<>a)",
            "(?P<a>x)(?P<a>y)",
            "(?x)",
            "(?i",
            "(?-)",
            "(?",
            "x{2}*",
            "{2}",
        ] {
            assert_ne!(fault(bad), None, "{bad}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(fault(&deep(900)), None);
        assert_ne!(fault(&deep(100_000)), None);
    }
}
