//! Label selectors: the grammar of Kubernetes with Cilium's sources before keys (`k8s:app`, `reserved:host`; no source means
//! any). Errors are those of Kubernetes' parser on the form that Hubble hands it, with a dot for the colon.

use nexin_hubble::gotext::quote;
use thiserror::Error;

use super::kubernetes::{key_faults, value_faults};

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    #[error("found '{found}', expected: {wanted}")]
    Found { found: String, wanted: &'static str },
    #[error("unable to parse requirement: found '{found}'{expected} {wanted}")]
    Requirement { found: String, expected: &'static str, wanted: &'static str },
    #[error("unable to parse requirement: {0}")]
    Invalid(String),
}

#[derive(Clone, Debug)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug)]
struct Requirement {
    /// None is any source.
    source: Option<String>,
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug)]
enum Operator {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

impl Selector {
    pub(super) fn build(text: &str) -> Result<Self, SelectorError> {
        Parser::new(&translate(text)).selector().map(Self)
    }

    /// Keys with values of which labels must have one to match; none where they need not.
    pub(super) fn needed(&self) -> Option<Vec<(&str, &str)>> {
        let (key, values) = self.0.iter().filter_map(Requirement::wanted).min_by_key(|(_, values)| values.len())?;
        Some(values.iter().map(|value| (key, value.as_str())).collect())
    }

    pub(super) fn matches(&self, labels: &[String]) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    /// The key and the values that it must have one of.
    fn wanted(&self) -> Option<(&str, &[String])> {
        match &self.operator {
            Operator::In(values) => Some((&self.key, values)),
            _ => None,
        }
    }

    fn new(dotted: &str, operator: Operator) -> Self {
        let (source, rest) = source_of(dotted, '.');
        let (key, _) = key_of(source, rest);
        let source = if source.is_empty() || source == "any" { None } else { Some(source.to_owned()) };
        Self { source, key: key.to_owned(), operator }
    }

    fn matches(&self, labels: &[String]) -> bool {
        let value = labels.iter().find_map(|label| {
            let (source, rest) = source_of(label, ':');
            let (key, value) = key_of(source, rest);
            let named = if source.is_empty() { "unspec" } else { source };
            (key == self.key && self.source.as_deref().is_none_or(|own| own == named)).then_some(value)
        });
        let compare = |holds: &dyn Fn(i64) -> bool| value.and_then(|value| value.parse().ok()).is_some_and(holds);
        match &self.operator {
            Operator::Exists => value.is_some(),
            Operator::Absent => value.is_none(),
            Operator::In(values) => value.is_some_and(|value| values.iter().any(|own| own == value)),
            Operator::NotIn(values) => value.is_none_or(|value| values.iter().all(|own| own != value)),
            Operator::Above(bound) => compare(&|value| value > *bound),
            Operator::Below(bound) => compare(&|value| value < *bound),
        }
    }
}

/// Key and value of a label.
pub(super) fn pair_of(label: &str) -> (&str, &str) {
    let (source, rest) = source_of(label, ':');
    key_of(source, rest)
}

/// Source of a label and what follows it.
fn source_of(label: &str, delimiter: char) -> (&str, &str) {
    if let Some(rest) = label.strip_prefix('$') {
        return ("reserved", rest);
    }
    match label.split_once(delimiter) {
        Some(parts) => parts,
        None => label.strip_prefix("reserved.").map_or(("", label), |rest| ("reserved", rest)),
    }
}

fn key_of<'a>(source: &str, rest: &'a str) -> (&'a str, &'a str) {
    match rest.split_once('=') {
        Some(("", key)) if source == "reserved" => (key, ""),
        Some(parts) => parts,
        None => (rest, ""),
    }
}

/// Gives each key its source with a dot, `any` where it has none.
fn translate(selector: &str) -> String {
    let mut out = String::new();
    let mut rest = selector;
    while !rest.is_empty() {
        let start = rest.find(|c: char| !c.is_whitespace() && c != '!').unwrap_or(rest.len());
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| c.is_whitespace() || "=!,".contains(c)).unwrap_or(rest.len());
        let key = &rest[..end];
        match key.split_once(':') {
            Some((source, key)) => out.extend([source, ".", key]),
            None => out.extend(["any.", key]),
        }
        rest = &rest[end..];
        let mut nesting = 0;
        let mut end = rest.len();
        for (at, c) in rest.char_indices() {
            match c {
                '(' => nesting += 1,
                ')' => nesting -= 1,
                ',' if nesting == 0 => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
        out.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    out
}

// === the grammar ===

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Close,
    Comma,
    Not,
    Equal,
    Above,
    In,
    Below,
    NotEqual,
    NotIn,
    Open,
    Word,
}

struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

impl Parser {
    fn new(text: &str) -> Self {
        Self { tokens: tokens(text), at: 0 }
    }

    /// The next token; keywords are words where a value may stand.
    fn peek(&self) -> (Token, &str) {
        let (token, text) = &self.tokens[self.at.min(self.tokens.len() - 1)];
        let token = if matches!(token, Token::In | Token::NotIn) { Token::Word } else { *token };
        (token, text)
    }

    fn take(&mut self) -> (Token, String) {
        let (token, text) = self.peek();
        let taken = (token, text.to_owned());
        self.at += 1;
        taken
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                (Token::End, _) => return Ok(requirements),
                (Token::Word | Token::Not, _) => requirements.push(self.requirement()?),
                (_, found) => return Err(found_instead(found, "!, identifier, or 'end of string'")),
            }
            match self.take() {
                (Token::End, _) => return Ok(requirements),
                (Token::Comma, _) => {
                    let (token, found) = self.peek();
                    if !matches!(token, Token::Word | Token::Not) {
                        return Err(found_instead(found, "identifier after ','"));
                    }
                }
                (_, found) => return Err(found_instead(&found, "',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut key) = self.take();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.take();
        }
        if token != Token::Word {
            return Err(broken(key, "identifier"));
        }
        let faults = key_faults(&key);
        if !faults.is_empty() {
            return Err(SelectorError::Invalid(invalid("<nil>", &key, &faults.join("; "))));
        }
        if negated {
            return Ok(Requirement::new(&key, Operator::Absent));
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(Requirement::new(&key, Operator::Exists));
        }
        let (operator, found) = self.tokens[self.at.min(self.tokens.len() - 1)].clone();
        self.at += 1;
        let values = match operator {
            Token::In | Token::NotIn => self.values()?,
            Token::Equal | Token::NotEqual | Token::Above | Token::Below => vec![self.value()?],
            _ => return Err(broken(found, "in, notin, =, ==, !=, gt, lt")),
        };
        check_values(&key, operator, &values)?;
        let bound = values.first().and_then(|value| value.parse().ok()).unwrap_or_default();
        Ok(Requirement::new(
            &key,
            match operator {
                Token::NotIn | Token::NotEqual => Operator::NotIn(values),
                Token::Above => Operator::Above(bound),
                Token::Below => Operator::Below(bound),
                _ => Operator::In(values),
            },
        ))
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take() {
            (Token::Word, value) => Ok(value),
            (_, found) => Err(broken(found, "identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        let (token, found) = self.take();
        if token != Token::Open {
            return Err(SelectorError::Requirement { found, expected: " expected:", wanted: "'('" });
        }
        let first = self.peek().1.to_owned();
        match self.peek().0 {
            Token::Word | Token::Comma => {
                let mut values = self.list()?;
                if self.take().0 != Token::Close {
                    return Err(broken(first, "')'"));
                }
                values.sort();
                values.dedup();
                Ok(values)
            }
            Token::Close => {
                self.take();
                Ok(vec![String::new()])
            }
            _ => Err(broken(first, "',', ')' or identifier")),
        }
    }

    fn list(&mut self) -> Result<Vec<String>, SelectorError> {
        let mut values = Vec::new();
        loop {
            match self.take() {
                (Token::Word, value) => {
                    values.push(value);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, found) => return Err(broken(found.to_owned(), "',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            values.push(String::new());
                            return Ok(values);
                        }
                        Token::Comma => values.push(String::new()),
                        _ => {}
                    }
                }
                (_, found) => return Err(broken(found, "',', or identifier")),
            }
        }
    }
}

fn found_instead(found: &str, wanted: &'static str) -> SelectorError {
    SelectorError::Found { found: found.to_owned(), wanted }
}

fn broken(found: String, wanted: &'static str) -> SelectorError {
    SelectorError::Requirement { found, expected: ", expected:", wanted }
}

fn tokens(text: &str) -> Vec<(Token, String)> {
    let special = |c: char| "=!(),><".contains(c);
    let space = |c: char| " \t\r\n".contains(c);
    let mut out = Vec::new();
    let mut rest = text.trim_start_matches(space);
    while let Some(first) = rest.chars().next() {
        if first == '\0' {
            break;
        }
        let length = if special(first) {
            // The longest run that is a symbol; a symbol is one or two characters.
            if rest.starts_with("==") || rest.starts_with("!=") { 2 } else { 1 }
        } else {
            rest.find(|c: char| special(c) || space(c) || c == '\0').unwrap_or(rest.len())
        };
        let word = &rest[..length];
        let token = match word {
            ")" => Token::Close,
            "," => Token::Comma,
            "!" => Token::Not,
            "=" | "==" => Token::Equal,
            ">" => Token::Above,
            "<" => Token::Below,
            "!=" => Token::NotEqual,
            "(" => Token::Open,
            "in" => Token::In,
            "notin" => Token::NotIn,
            _ => Token::Word,
        };
        out.push((token, word.to_owned()));
        rest = rest[length..].trim_start_matches(space);
    }
    out.push((Token::End, String::new()));
    out
}

// === what Kubernetes lets a key and a value be ===

fn check_values(key: &str, operator: Token, values: &[String]) -> Result<(), SelectorError> {
    let mut faults = Vec::new();
    if matches!(operator, Token::Above | Token::Below) {
        for (n, value) in values.iter().enumerate() {
            if value.parse::<i64>().is_err() {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                faults.push(invalid(&format!("values[{n}]"), value, why));
            }
        }
    }
    for (n, value) in values.iter().enumerate() {
        let why = value_faults(value);
        if !why.is_empty() {
            faults.push(invalid(&format!("values[{n}][{key}]"), value, &why.join("; ")));
        }
    }
    match faults.len() {
        0 => Ok(()),
        1 => Err(SelectorError::Invalid(faults.remove(0))),
        _ => Err(SelectorError::Invalid(format!("[{}]", faults.join(", ")))),
    }
}

fn invalid(path: &str, value: &str, why: &str) -> String {
    format!("{path}: Invalid value: {}: {why}", quote(value))
}
