//! The functions of CEL's standard library: names and what types they take.

use super::types::{Type, Variables};

/// What is computed; which of a function's forms is seen from the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Not,
    Negate,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    In,
    Index,
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    ToInt,
    ToUint,
    ToDouble,
    ToBool,
    ToText,
    ToBytes,
    ToTime,
    ToSpan,
    ToDyn,
    TypeOf,
    FullYear,
    Month,
    DayOfYear,
    DayOfMonth,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
    /// Of comprehensions: false only where the argument is false.
    NotStrictlyFalse,
    And,
    Or,
    Choose,
}

/// Type of a parameter or result. A and B are variables.
#[derive(Clone, Copy, Debug)]
enum P {
    A,
    B,
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Time,
    Span,
    List,
    Map,
    Type,
}

/// A form of a function.
pub(super) struct Form {
    pub(super) method: bool,
    takes: &'static [P],
    gives: P,
}

impl Form {
    /// Parameters and result with variables of their own.
    pub(super) fn instance(&self, variables: &mut Variables) -> (Vec<Type>, Type) {
        let (a, b) = (variables.fresh(), variables.fresh());
        let of = |p: &P| match p {
            P::A => a.clone(),
            P::B => b.clone(),
            P::Dyn => Type::Dyn,
            P::Bool => Type::Bool,
            P::Int => Type::Int,
            P::Uint => Type::Uint,
            P::Double => Type::Double,
            P::Text => Type::Text,
            P::Bytes => Type::Bytes,
            P::Time => Type::Time,
            P::Span => Type::Span,
            P::List => Type::list(a.clone()),
            P::Map => Type::Map(Box::new(a.clone()), Box::new(b.clone())),
            P::Type => Type::Kind(Box::new(a.clone())),
        };
        (self.takes.iter().map(of).collect(), of(&self.gives))
    }
}

macro_rules! forms {
    ($($($method:ident .)? ($($takes:ident),*) -> $gives:ident;)*) => {
        &[$(Form {
            method: forms!(@ $($method)?),
            takes: &[$(P::$takes),*],
            gives: P::$gives,
        }),*]
    };
    (@) => { false };
    (@ on) => { true };
}

const ORDER: &[Form] = forms! {
    (Bool, Bool) -> Bool;
    (Int, Int) -> Bool;
    (Uint, Uint) -> Bool;
    (Double, Double) -> Bool;
    (Text, Text) -> Bool;
    (Bytes, Bytes) -> Bool;
    (Time, Time) -> Bool;
    (Span, Span) -> Bool;
};
const NUMBERS: &[Form] = forms! { (Double, Double) -> Double; (Int, Int) -> Int; (Uint, Uint) -> Uint; };
const TEXTS: &[Form] = forms! { on.(Text, Text) -> Bool; };
const OF_TIME: &[Form] = forms! { on.(Time) -> Int; on.(Time, Text) -> Int; };
const OF_TIME_OR_SPAN: &[Form] = forms! { on.(Time) -> Int; on.(Time, Text) -> Int; on.(Span) -> Int; };

/// The function of a name and its forms.
pub(super) fn find(name: &str) -> Option<(Function, &'static [Form])> {
    use Function as F;
    let same: &[Form] = forms! { (A, A) -> Bool; };
    let both: &[Form] = forms! { (Bool, Bool) -> Bool; };
    Some(match name {
        "_?_:_" => (F::Choose, forms! { (Bool, A, A) -> A; }),
        "_&&_" => (F::And, both),
        "_||_" => (F::Or, both),
        "!_" => (F::Not, forms! { (Bool) -> Bool; }),
        "@not_strictly_false" => (F::NotStrictlyFalse, forms! { (Bool) -> Bool; }),
        "_==_" => (F::Equal, same),
        "_!=_" => (F::NotEqual, same),
        "_<_" => (F::Less, ORDER),
        "_<=_" => (F::LessEqual, ORDER),
        "_>_" => (F::Greater, ORDER),
        "_>=_" => (F::GreaterEqual, ORDER),
        "_+_" => (
            F::Add,
            forms! {
                (Bytes, Bytes) -> Bytes;
                (Double, Double) -> Double;
                (Span, Span) -> Span;
                (Span, Time) -> Time;
                (Time, Span) -> Time;
                (Int, Int) -> Int;
                (List, List) -> List;
                (Text, Text) -> Text;
                (Uint, Uint) -> Uint;
            },
        ),
        "_-_" => (
            F::Subtract,
            forms! {
                (Double, Double) -> Double;
                (Span, Span) -> Span;
                (Int, Int) -> Int;
                (Time, Span) -> Time;
                (Time, Time) -> Span;
                (Uint, Uint) -> Uint;
            },
        ),
        "_*_" => (F::Multiply, NUMBERS),
        "_/_" => (F::Divide, NUMBERS),
        "_%_" => (F::Modulo, forms! { (Int, Int) -> Int; (Uint, Uint) -> Uint; }),
        "-_" => (F::Negate, forms! { (Double) -> Double; (Int) -> Int; }),
        "@in" => (F::In, forms! { (A, List) -> Bool; (A, Map) -> Bool; }),
        "_[_]" => (F::Index, forms! { (List, Int) -> A; (Map, A) -> B; }),
        "size" => (
            F::Size,
            forms! {
                (Bytes) -> Int;
                on.(Bytes) -> Int;
                (List) -> Int;
                on.(List) -> Int;
                (Map) -> Int;
                on.(Map) -> Int;
                (Text) -> Int;
                on.(Text) -> Int;
            },
        ),
        "contains" => (F::Contains, TEXTS),
        "startsWith" => (F::StartsWith, TEXTS),
        "endsWith" => (F::EndsWith, TEXTS),
        "matches" => (F::Matches, forms! { (Text, Text) -> Bool; on.(Text, Text) -> Bool; }),
        "dyn" => (F::ToDyn, forms! { (A) -> Dyn; }),
        "type" => (F::TypeOf, forms! { (A) -> Type; }),
        other => return conversion(other).or_else(|| getter(other)),
    })
}

fn conversion(name: &str) -> Option<(Function, &'static [Form])> {
    use Function as F;
    Some(match name {
        "int" => (
            F::ToInt,
            forms! { (Int) -> Int; (Double) -> Int; (Span) -> Int; (Text) -> Int; (Time) -> Int; (Uint) -> Int; },
        ),
        "uint" => (F::ToUint, forms! { (Uint) -> Uint; (Double) -> Uint; (Int) -> Uint; (Text) -> Uint; }),
        "double" => (F::ToDouble, forms! { (Double) -> Double; (Int) -> Double; (Text) -> Double; (Uint) -> Double; }),
        "bool" => (F::ToBool, forms! { (Bool) -> Bool; (Text) -> Bool; }),
        "string" => (
            F::ToText,
            forms! {
                (Text) -> Text;
                (Bool) -> Text;
                (Bytes) -> Text;
                (Double) -> Text;
                (Span) -> Text;
                (Int) -> Text;
                (Time) -> Text;
                (Uint) -> Text;
            },
        ),
        "bytes" => (F::ToBytes, forms! { (Bytes) -> Bytes; (Text) -> Bytes; }),
        "timestamp" => (F::ToTime, forms! { (Time) -> Time; (Int) -> Time; (Text) -> Time; }),
        "duration" => (F::ToSpan, forms! { (Span) -> Span; (Int) -> Span; (Text) -> Span; }),
        _ => return None,
    })
}

fn getter(name: &str) -> Option<(Function, &'static [Form])> {
    use Function as F;
    Some(match name {
        "getFullYear" => (F::FullYear, OF_TIME),
        "getMonth" => (F::Month, OF_TIME),
        "getDayOfYear" => (F::DayOfYear, OF_TIME),
        "getDayOfMonth" => (F::DayOfMonth, OF_TIME),
        "getDate" => (F::Date, OF_TIME),
        "getDayOfWeek" => (F::DayOfWeek, OF_TIME),
        "getHours" => (F::Hours, OF_TIME_OR_SPAN),
        "getMinutes" => (F::Minutes, OF_TIME_OR_SPAN),
        "getSeconds" => (F::Seconds, OF_TIME_OR_SPAN),
        "getMilliseconds" => (F::Milliseconds, OF_TIME_OR_SPAN),
        _ => return None,
    })
}
