//! Messages looked into by the names of their fields: what is in them (for expressions), and copies of parts of them (for
//! field masks). The code per message is generated from the descriptor.
//! What it refuses: repeated fields, times and wrappers have no members to be looked into here; to change anything but by
//! copying.

use std::sync::LazyLock;

use prost_types::{Any, FieldMask, Timestamp};

/// A type of message.
#[derive(Debug)]
pub struct Kind {
    /// With the package: `flow.Flow`.
    pub name: &'static str,
    pub fields: &'static [FieldKind],
}

impl Kind {
    /// Place and type of a field.
    pub fn field(&self, name: &str) -> Option<(usize, &'static FieldKind)> {
        let at = self.fields.iter().position(|field| field.name == name)?;
        Some((at, &self.fields[at]))
    }
}

#[derive(Debug)]
pub struct FieldKind {
    pub name: &'static str,
    pub of: Of,
    pub repeated: bool,
}

/// Type of a field, or of its elements.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Time,
    WrappedBool,
    WrappedInt,
    WrappedUint,
    Any,
    Message(&'static Kind),
}

/// What a field holds. A message that is not set is an empty one, a wrapper that is not set null.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(&'a str),
    Time(Timestamp),
    List(&'a dyn Reflect),
    Message(&'a dyn Reflect),
}

/// What can be looked into: a message by the places of its fields in [`Kind::fields`], a repeated field by the places of its
/// elements.
pub trait Reflect: Send + Sync {
    fn kind(&self) -> &'static Kind;

    /// Fields of the type, or elements.
    fn len(&self) -> usize {
        self.kind().fields.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a field is set, or there is such an element.
    fn has(&self, n: usize) -> bool;

    /// What is there; null where there is no such place.
    fn get(&self, n: usize) -> Value<'_>;
}

/// Of every repeated field.
static LIST: Kind = Kind { name: "list", fields: &[] };

impl<T: Item + Send + Sync> Reflect for Vec<T> {
    fn kind(&self) -> &'static Kind {
        &LIST
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn has(&self, n: usize) -> bool {
        n < self.len()
    }

    fn get(&self, n: usize) -> Value<'_> {
        <[T]>::get(self, n).map_or(Value::Null, Item::value)
    }
}

/// Any message is closed: what is in it is told by a name beside it.
static ANY: Kind = Kind { name: "google.protobuf.Any", fields: &[] };

impl Reflect for Any {
    fn kind(&self) -> &'static Kind {
        &ANY
    }

    fn has(&self, _: usize) -> bool {
        false
    }

    fn get(&self, _: usize) -> Value<'_> {
        Value::Null
    }
}

/// What one value or element is.
pub trait Item {
    fn value(&self) -> Value<'_>;
}

impl Item for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

macro_rules! items {
    ($($from:ty => $variant:ident),*) => {
        $(impl Item for $from {
            fn value(&self) -> Value<'_> {
                Value::$variant((*self).into())
            }
        })*
    };
}

items!(bool => Bool, i32 => Int, i64 => Int, u32 => Uint, u64 => Uint, f64 => Double);

// === masks ===

/// A field by name: its place, and how to find what is in it where it is a single message.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub field: u8,
    pub inside: Option<fn(&str) -> Option<Member>>,
}

/// A message of which parts can be copied.
pub trait Masked: Default {
    fn member(name: &str) -> Option<Member>;
    /// Makes a field what it is here, set or not.
    fn copy(&self, field: u8, to: &mut Self);
    /// Copies parts of a field, which is set afterwards; a member of a oneof only where it is set here.
    fn copy_inside(&self, field: u8, inside: &Paths, to: &mut Self);
    /// Sets a message field, and what paths lead through in it.
    fn make(&mut self, field: u8, inside: &Paths);
}

/// Fields to copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    whole: Vec<u8>,
    parts: Vec<(u8, Paths)>,
}

impl Paths {
    /// Adds a path with dots; whether there is such a path. A whole field takes the place of its parts.
    pub fn add<T: Masked>(&mut self, path: &str) -> bool {
        self.add_member(T::member, path)
    }

    fn add_member(&mut self, member: fn(&str) -> Option<Member>, path: &str) -> bool {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let Some(found) = member(name) else { return false };
        match rest {
            None => {
                self.parts.retain(|(field, _)| *field != found.field);
                if !self.whole.contains(&found.field) {
                    self.whole.push(found.field);
                }
                true
            }
            Some(rest) => {
                let Some(inside) = found.inside else { return false };
                let mut paths = Paths::default();
                let at = self.parts.iter().position(|(field, _)| *field == found.field);
                let paths = at.map_or(&mut paths, |at| &mut self.parts[at].1);
                if !paths.add_member(inside, rest) {
                    return false;
                }
                if at.is_none() && !self.whole.contains(&found.field) {
                    let paths = std::mem::take(paths);
                    self.parts.push((found.field, paths));
                    self.parts.sort_by_key(|(field, _)| *field);
                }
                true
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.parts.is_empty()
    }

    /// Sets every message that a path leads through.
    pub fn make<T: Masked>(&self, to: &mut T) {
        for (field, inside) in &self.parts {
            to.make(*field, inside);
        }
    }

    pub fn copy<T: Masked>(&self, from: &T, to: &mut T) {
        for field in &self.whole {
            from.copy(*field, to);
        }
        for (field, inside) in &self.parts {
            from.copy_inside(*field, inside, to);
        }
    }
}

fn wrapped_member(name: &str) -> Option<Member> {
    (name == "value").then_some(Member { field: 0, inside: None })
}

macro_rules! masked {
    ($kind:ty, $($n:literal $name:ident),*) => {
        impl Masked for $kind {
            fn member(name: &str) -> Option<Member> {
                match name {
                    $(stringify!($name) => Some(Member { field: $n, inside: None }),)*
                    _ => None,
                }
            }

            fn copy(&self, field: u8, to: &mut Self) {
                match field {
                    $($n => to.$name.clone_from(&self.$name),)*
                    _ => {}
                }
            }

            fn copy_inside(&self, _: u8, _: &Paths, _: &mut Self) {}

            fn make(&mut self, _: u8, _: &Paths) {}
        }
    };
}

masked!(Timestamp, 0 seconds, 1 nanos);
masked!(Any, 0 type_url, 1 value);
masked!(FieldMask, 0 paths);

#[allow(clippy::all, deprecated, unreachable_pub, unused, rust_2018_idioms)]
mod generated {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/reflect.rs"));
}

pub use generated::{FLOW_FLOW, enumerator};
