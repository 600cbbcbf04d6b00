//! The checked expression, as it is computed.

use nexin_hubble::reflect::Kind;

use super::super::regexp::Regexp;
use super::functions::Function;

#[derive(Clone, Debug)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// Name of a type.
    Type(String),
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Constant(Constant),
    /// By its place in scope; 0 is the flow.
    Variable(usize),
    /// A field of a message by its place in the descriptor.
    Field(Box<Node>, usize),
    HasField(Box<Node>, usize),
    /// An entry of a map by its key, or a field of what is only known at run time.
    Member(Box<Node>, String),
    HasMember(Box<Node>, String),
    Call(Function, Vec<Node>),
    /// A text against a known pattern; none where the pattern is none.
    Matches(Box<Node>, Option<Box<Regexp>>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Loop(Box<Loop>),
    /// A message made of fields by their places.
    Make(&'static Kind, Vec<(usize, Node)>),
}

impl Node {
    pub(super) const NULL: Self = Self::Constant(Constant::Null);
}

/// Goes through a list or the keys of a map.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    pub(super) range: Node,
    /// Place of what is gathered; the item is behind it.
    pub(super) slot: usize,
    pub(super) start: Node,
    pub(super) condition: Node,
    pub(super) step: Node,
    pub(super) result: Node,
}
