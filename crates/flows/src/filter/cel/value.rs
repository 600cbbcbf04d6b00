//! Values at run time, borrowed from the flow and the expression wherever they can be.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use nexin_hubble::reflect::{FieldKind, Kind, Of, Reflect, Value};

use super::eval::Fault;
use super::node::Constant;

#[derive(Clone)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Nanoseconds since the epoch.
    Time(i128),
    /// Nanoseconds.
    Span(i128),
    /// A repeated field.
    Field(&'a dyn Reflect),
    List(Rc<Vec<Val<'a>>>),
    Map(Rc<Vec<(Val<'a>, Val<'a>)>>),
    Message(&'a dyn Reflect),
    /// A message made by the expression, of the fields that are set.
    Made(&'static Kind, Rc<Vec<(usize, Val<'a>)>>),
    Type(Cow<'a, str>),
    /// What a loop gathered was an error; a later item may still decide.
    Fault(Fault),
}

impl<'a> From<Value<'a>> for Val<'a> {
    fn from(value: Value<'a>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::Uint(value) => Self::Uint(value),
            Value::Double(value) => Self::Double(value),
            Value::Text(value) => Self::Text(Cow::Borrowed(value)),
            Value::Time(time) => Self::Time(i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)),
            Value::List(list) => Self::Field(list),
            Value::Message(message) => Self::Message(message),
        }
    }
}

impl<'a> From<&'a Constant> for Val<'a> {
    fn from(constant: &'a Constant) -> Self {
        match constant {
            Constant::Null => Self::Null,
            Constant::Bool(value) => Self::Bool(*value),
            Constant::Int(value) => Self::Int(*value),
            Constant::Uint(value) => Self::Uint(*value),
            Constant::Double(value) => Self::Double(*value),
            Constant::Text(value) => Self::Text(Cow::Borrowed(value)),
            Constant::Bytes(value) => Self::Bytes(Cow::Borrowed(value)),
            Constant::Type(name) => Self::Type(Cow::Borrowed(name)),
        }
    }
}

impl<'a> Val<'a> {
    pub(super) fn text(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }

    /// Elements of a list, keys of a map.
    pub(super) fn items(&self) -> Option<Vec<Val<'a>>> {
        Some(match self {
            Self::List(items) => items.to_vec(),
            Self::Field(list) => (0..list.len()).map(|n| list.get(n).into()).collect(),
            Self::Map(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            _ => return None,
        })
    }

    pub(super) fn at(&self, n: usize) -> Option<Val<'a>> {
        match self {
            Self::List(items) => items.get(n).cloned(),
            Self::Field(list) => list.has(n).then(|| list.get(n).into()),
            _ => None,
        }
    }

    pub(super) fn entry(&self, key: &Val<'_>) -> Option<Val<'a>> {
        match self {
            Self::Map(entries) => entries.iter().find(|(own, _)| own.equals(key)).map(|(_, value)| value.clone()),
            _ => None,
        }
    }

    /// The type of a message.
    pub(super) fn kind(&self) -> Option<&'static Kind> {
        match self {
            Self::Message(message) => Some(message.kind()),
            Self::Made(kind, _) => Some(kind),
            _ => None,
        }
    }

    /// A field of a message by its place; what is not set has its type's empty value.
    pub(super) fn field(&self, n: usize) -> Option<Val<'a>> {
        match self {
            Self::Message(message) => Some(message.get(n).into()),
            Self::Made(kind, set) => {
                let found = set.iter().find(|(own, _)| *own == n).map(|(_, value)| value.clone());
                found.or_else(|| kind.fields.get(n).map(empty))
            }
            _ => None,
        }
    }

    pub(super) fn has_field(&self, n: usize) -> Option<bool> {
        match self {
            Self::Message(message) => Some(message.has(n)),
            Self::Made(kind, set) => {
                let field = kind.fields.get(n)?;
                let message = !field.repeated && matches!(field.of, Of::Message(_) | Of::Time);
                Some(set.iter().any(|(own, value)| *own == n && (message || !value.equals(&empty(field)))))
            }
            _ => None,
        }
    }

    fn same_message(&self, other: &Val<'_>) -> bool {
        let (Some(a), Some(b)) = (self.kind(), other.kind()) else { return false };
        let same = |n| match (self.has_field(n), other.has_field(n)) {
            (Some(true), Some(true)) => match (self.field(n), other.field(n)) {
                (Some(a), Some(b)) => a.equals(&b),
                _ => false,
            },
            (a, b) => a == b,
        };
        std::ptr::eq(a, b) && (0..a.fields.len()).all(same)
    }

    pub(super) fn type_name(&self) -> Cow<'a, str> {
        Cow::Borrowed(match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Span(_) => "google.protobuf.Duration",
            Self::Field(_) | Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Message(message) => message.kind().name,
            Self::Made(kind, _) => kind.name,
            Self::Type(_) => "type",
            Self::Fault(_) => "error",
        })
    }

    /// Numbers of different types are equal if they are the same number; what is of different kinds is not equal.
    pub(super) fn equals(&self, other: &Val<'_>) -> bool {
        match (self, other) {
            (Self::Null, Val::Null) => true,
            (Self::Type(a), Val::Type(b)) => a == b,
            (Self::Message(_) | Self::Made(..), Val::Message(_) | Val::Made(..)) => self.same_message(other),
            (Self::Map(a), Val::Map(_)) => {
                other.items().is_some_and(|keys| keys.len() == a.len())
                    && a.iter().all(|(key, value)| other.entry(key).is_some_and(|own| value.equals(&own)))
            }
            (Self::List(_) | Self::Field(_), Val::List(_) | Val::Field(_)) => {
                let (a, b) = (self.items().unwrap_or_default(), other.items().unwrap_or_default());
                a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.equals(b))
            }
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// None where the two have no order.
    pub(super) fn order(&self, other: &Val<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Val::Text(b)) => Some((**a).cmp(&**b)),
            (Self::Bytes(a), Val::Bytes(b)) => Some((**a).cmp(&**b)),
            (Self::Time(a), Val::Time(b)) | (Self::Span(a), Val::Span(b)) => Some(a.cmp(b)),
            (Self::Double(a), Val::Double(b)) => a.partial_cmp(b),
            (Self::Double(a), b) => order_double(*a, b.whole()?),
            (a, Val::Double(b)) => order_double(*b, a.whole()?).map(Ordering::reverse),
            (a, b) => Some(a.whole()?.cmp(&b.whole()?)),
        }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some((*value).into()),
            Self::Uint(value) => Some((*value).into()),
            _ => None,
        }
    }
}

fn order_double(a: f64, b: i128) -> Option<Ordering> {
    a.partial_cmp(&(b as f64))
}

/// What a field holds that is not set.
fn empty<'a>(field: &FieldKind) -> Val<'a> {
    if field.repeated {
        return Val::List(Rc::new(Vec::new()));
    }
    match field.of {
        Of::Bool => Val::Bool(false),
        Of::Int => Val::Int(0),
        Of::Uint => Val::Uint(0),
        Of::Double => Val::Double(0.0),
        Of::Text => Val::Text(Cow::Borrowed("")),
        Of::Time => Val::Time(0),
        Of::WrappedBool | Of::WrappedInt | Of::WrappedUint | Of::Any => Val::Null,
        Of::Message(kind) => Val::Made(kind, Rc::new(Vec::new())),
    }
}
