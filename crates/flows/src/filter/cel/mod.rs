//! CEL expressions over a flow, the variable `_flow`. The `cel` crate reads them; types are checked here against the messages,
//! since Hubble refuses what does not fit, in the words of cel-go; and they are computed here on the message itself, without
//! turning each flow into a tree of values first.
//!
//! What it refuses: making protobuf's own messages, looking into `Any`, and names of time zones.

mod check;
mod clock;
mod compute;
mod eval;
mod functions;
mod node;
mod types;
mod value;

use cel::ParseError;
use cel::parser::Parser;
use nexin_hubble::flow::Flow;
use thiserror::Error;

use self::check::Checker;
use self::eval::{Scope, eval};
use self::node::Node;
use self::value::Val;

/// Characters of an expression: the parser's time grows faster than its text.
const MAX_LENGTH: usize = 8192;
/// Brackets within brackets, and expressions within expressions.
const MAX_NESTING: usize = 120;
const MAX_DEPTH: usize = 250;
/// Bytes, of which only those used are ever there.
const STACK: usize = 256 << 20;

/// Why a text is no expression, as cel-go tells it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct CelError(String);

#[derive(Clone, Debug)]
pub(super) struct Program(Node);

impl Program {
    pub(super) fn compile(text: &str) -> Result<Self, CelError> {
        let length = text.chars().count();
        if length > MAX_LENGTH {
            let what = format!("expression code point size exceeds limit: size: {length}, limit {MAX_LENGTH}");
            return Err(CelError(format!("ERROR: <input>:-1:0: {what}")));
        }
        if nesting(text) > MAX_NESTING {
            return Err(too_deep());
        }
        // The parser takes up to a hundred kilobytes of stack for a level of nesting, more than a worker thread may have.
        std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().name("cel".to_owned()).stack_size(STACK);
            let compiling = builder.spawn_scoped(scope, || compile(text));
            let node = compiling.ok().and_then(|thread| thread.join().ok()).ok_or_else(too_deep)??;
            Ok(Self(node))
        })
    }

    /// Whether one of the programs is true. An error ends it: what comes after is not asked.
    pub(super) fn any(programs: &[Self], flow: &Flow) -> bool {
        for program in programs {
            match eval(&program.0, &mut Scope::new(flow)) {
                Ok(Val::Bool(true)) => return true,
                Ok(Val::Bool(false)) => {}
                _ => return false,
            }
        }
        false
    }
}

fn compile(text: &str) -> Result<Node, CelError> {
    let parser = Parser::new().max_recursion_depth(MAX_NESTING as u16).enable_ident_escape_syntax(true);
    let (expression, source) = parser.parse_with_source_info(text).map_err(|errors| syntax(text, &errors.errors))?;
    Checker::new(&source).condition(&expression)
}

fn too_deep() -> CelError {
    CelError("ERROR: <input>:-1:0: max recursion depth exceeded".to_owned())
}

/// The most brackets that are open at once, those in texts included.
fn nesting(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// The parser's errors as cel-go words them: what is only a consequence is left out, and where an operator could have
/// followed, only what must come is named.
fn syntax(text: &str, errors: &[ParseError]) -> CelError {
    if text.is_empty() {
        let what = errors.first().map_or("", |error| &error.msg);
        return CelError(format!("ERROR: <input>:1:0: {what}"));
    }
    let consequence = |error: &&ParseError| !error.msg.starts_with("Incomplete ");
    let word = |error: &ParseError| {
        let what = match error.msg.split_once(" expecting {") {
            Some((before, wanted)) if wanted.contains("'=='") => {
                let must = ["<EOF>", "':'", "']'"].into_iter().find(|token| wanted.contains(token));
                let must = must.unwrap_or(if wanted.contains("','") { "<EOF>" } else { "')'" });
                format!("{before} expecting {must}")
            }
            _ => error.msg.clone(),
        };
        told(text, error.pos.0.max(1) as usize, error.pos.1.max(1) as usize, &what)
    };
    let only_consequences = errors.iter().filter(consequence).count() == 0;
    let told = errors.iter().filter(|error| only_consequences || consequence(error)).map(word);
    CelError(told.collect::<Vec<_>>().join("\n"))
}

/// An error with its place, the line and a mark below, which is wide below wide characters. Lines and columns count from 1.
fn told(source: &str, line: usize, column: usize, what: &str) -> String {
    let text = source.split('\n').nth(line - 1).unwrap_or_default();
    let mut mark = String::new();
    for c in text.chars().chain(std::iter::repeat(' ')).take(column - 1) {
        mark.push(if c.is_ascii() { '.' } else { '\u{ff0e}' });
    }
    mark.push(if text.chars().nth(column - 1).is_none_or(|c| c.is_ascii()) { '^' } else { '\u{ff3e}' });
    let text = text.replace('\t', " ");
    format!("ERROR: <input>:{line}:{column}: {what}\n | {text}\n | {mark}")
}
