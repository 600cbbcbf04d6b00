//! The functions that want values only.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use super::super::regexp::Regexp;
use super::clock;
use super::eval::Fault;
use super::functions::Function;
use super::value::Val;

const NONE: Fault = Fault("no such overload");
const OVERFLOW: Fault = Fault("integer overflow");
const RANGE: Fault = Fault("range error converting");

pub(super) fn call<'a>(function: Function, mut values: Vec<Val<'a>>) -> Result<Val<'a>, Fault> {
    use Function as F;
    let second = if values.len() == 2 { values.pop() } else { None };
    let first = values.pop().ok_or(NONE)?;
    match (function, second) {
        (F::Equal, Some(b)) => Ok(Val::Bool(first.equals(&b))),
        (F::NotEqual, Some(b)) => Ok(Val::Bool(!first.equals(&b))),
        (F::Less, Some(b)) => compare(&first, &b, Ordering::is_lt),
        (F::LessEqual, Some(b)) => compare(&first, &b, Ordering::is_le),
        (F::Greater, Some(b)) => compare(&first, &b, Ordering::is_gt),
        (F::GreaterEqual, Some(b)) => compare(&first, &b, Ordering::is_ge),
        (F::Add | F::Subtract | F::Multiply | F::Divide | F::Modulo, Some(b)) => arithmetic(function, first, b),
        (F::In, Some(b)) => {
            let items = b.items().ok_or(NONE)?;
            Ok(Val::Bool(items.iter().any(|item| item.equals(&first))))
        }
        (F::Index, Some(b)) => index(&first, &b),
        (F::Contains | F::StartsWith | F::EndsWith | F::Matches, Some(b)) => match (&first, &b) {
            (Val::Text(text), Val::Text(part)) => of_text(function, text, part).map(Val::Bool),
            _ => Err(NONE),
        },
        (F::Not, None) => match first {
            Val::Bool(value) => Ok(Val::Bool(!value)),
            _ => Err(NONE),
        },
        (F::Negate, None) => match first {
            Val::Int(value) => value.checked_neg().map(Val::Int).ok_or(OVERFLOW),
            Val::Double(value) => Ok(Val::Double(-value)),
            _ => Err(NONE),
        },
        (F::Size, None) => size(&first),
        (F::ToDyn, None) => Ok(first),
        (F::TypeOf, None) => Ok(Val::Type(first.type_name())),
        (F::ToInt | F::ToUint | F::ToDouble | F::ToBool | F::ToText | F::ToBytes | F::ToTime | F::ToSpan, None) => {
            convert(function, first)
        }
        (getter, zone) => clock::get(getter, &first, zone.as_ref()).map(Val::Int),
    }
}

fn compare<'a>(a: &Val<'_>, b: &Val<'_>, is: fn(Ordering) -> bool) -> Result<Val<'a>, Fault> {
    match (a, b) {
        // Nothing is less or greater than no number, and that is no error.
        (Val::Double(a), _) if a.is_nan() => Ok(Val::Bool(false)),
        (_, Val::Double(b)) if b.is_nan() => Ok(Val::Bool(false)),
        _ => a.order(b).map(|order| Val::Bool(is(order))).ok_or(NONE),
    }
}

fn of_text(function: Function, text: &str, part: &str) -> Result<bool, Fault> {
    Ok(match function {
        Function::Contains => text.contains(part),
        Function::StartsWith => text.starts_with(part),
        Function::EndsWith => text.ends_with(part),
        _ => Regexp::build(part).map_err(|_| Fault("error parsing regexp"))?.is_match(text),
    })
}

fn size<'a>(of: &Val<'_>) -> Result<Val<'a>, Fault> {
    let size = match of {
        Val::Text(text) => text.chars().count(),
        Val::Bytes(bytes) => bytes.len(),
        Val::Field(list) => list.len(),
        Val::List(items) => items.len(),
        Val::Map(entries) => entries.len(),
        _ => return Err(NONE),
    };
    Ok(Val::Int(size as i64))
}

fn index<'a>(of: &Val<'a>, at: &Val<'_>) -> Result<Val<'a>, Fault> {
    if matches!(of, Val::Map(_)) {
        return of.entry(at).ok_or(Fault("no such key"));
    }
    let at = match at {
        Val::Int(at) => usize::try_from(*at).ok(),
        Val::Uint(at) => usize::try_from(*at).ok(),
        Val::Double(at) if at.fract() == 0.0 && *at >= 0.0 => Some(*at as usize),
        _ => return Err(NONE),
    };
    at.and_then(|at| of.at(at)).ok_or(Fault("index out of bounds"))
}

fn arithmetic<'a>(function: Function, a: Val<'a>, b: Val<'a>) -> Result<Val<'a>, Fault> {
    use Function as F;
    Ok(match (function, a, b) {
        (F::Add, Val::Text(a), Val::Text(b)) => Val::text(format!("{a}{b}")),
        (F::Add, Val::Bytes(a), Val::Bytes(b)) => Val::Bytes(Cow::Owned([a, b].concat())),
        (F::Add, a @ (Val::List(_) | Val::Field(_)), b @ (Val::List(_) | Val::Field(_))) => {
            let mut items = a.items().unwrap_or_default();
            items.extend(b.items().unwrap_or_default());
            Val::List(Rc::new(items))
        }
        (F::Add, Val::Time(a), Val::Span(b)) | (F::Add, Val::Span(b), Val::Time(a)) => clock::time(a + b)?,
        (F::Add, Val::Span(a), Val::Span(b)) => clock::span(a + b)?,
        (F::Subtract, Val::Time(a), Val::Span(b)) => clock::time(a - b)?,
        (F::Subtract, Val::Time(a), Val::Time(b)) | (F::Subtract, Val::Span(a), Val::Span(b)) => clock::span(a - b)?,
        (_, Val::Double(a), Val::Double(b)) => Val::Double(match function {
            F::Add => a + b,
            F::Subtract => a - b,
            F::Multiply => a * b,
            F::Divide => a / b,
            _ => return Err(NONE),
        }),
        (F::Divide | F::Modulo, Val::Int(_), Val::Int(0)) | (F::Divide | F::Modulo, Val::Uint(_), Val::Uint(0)) => {
            return Err(Fault("division by zero"));
        }
        (_, Val::Int(a), Val::Int(b)) => Val::Int(
            match function {
                F::Add => a.checked_add(b),
                F::Subtract => a.checked_sub(b),
                F::Multiply => a.checked_mul(b),
                F::Divide => a.checked_div(b),
                _ => a.checked_rem(b),
            }
            .ok_or(OVERFLOW)?,
        ),
        (_, Val::Uint(a), Val::Uint(b)) => Val::Uint(
            match function {
                F::Add => a.checked_add(b),
                F::Subtract => a.checked_sub(b),
                F::Multiply => a.checked_mul(b),
                F::Divide => a.checked_div(b),
                _ => a.checked_rem(b),
            }
            .ok_or(OVERFLOW)?,
        ),
        _ => return Err(NONE),
    })
}

fn convert(function: Function, of: Val<'_>) -> Result<Val<'_>, Fault> {
    use Function as F;
    const SECOND: i128 = 1_000_000_000;
    Ok(match (function, of) {
        (F::ToInt, Val::Int(value)) => Val::Int(value),
        (F::ToInt, Val::Uint(value)) => Val::Int(i64::try_from(value).map_err(|_| RANGE)?),
        (F::ToInt, Val::Double(value)) if value > i64::MIN as f64 && value < i64::MAX as f64 => Val::Int(value as i64),
        (F::ToInt, Val::Text(text)) => Val::Int(text.parse().map_err(|_| RANGE)?),
        (F::ToInt, Val::Time(time)) => Val::Int(time.div_euclid(SECOND) as i64),
        (F::ToInt, Val::Span(span)) => Val::Int(span as i64),
        (F::ToUint, Val::Uint(value)) => Val::Uint(value),
        (F::ToUint, Val::Int(value)) => Val::Uint(u64::try_from(value).map_err(|_| RANGE)?),
        (F::ToUint, Val::Double(value)) if value >= 0.0 && value < u64::MAX as f64 => Val::Uint(value as u64),
        (F::ToUint, Val::Text(text)) if !text.starts_with('+') => Val::Uint(text.parse().map_err(|_| RANGE)?),
        (F::ToDouble, Val::Double(value)) => Val::Double(value),
        (F::ToDouble, Val::Int(value)) => Val::Double(value as f64),
        (F::ToDouble, Val::Uint(value)) => Val::Double(value as f64),
        (F::ToDouble, Val::Text(text)) => Val::Double(text.parse().map_err(|_| RANGE)?),
        (F::ToBool, Val::Bool(value)) => Val::Bool(value),
        (F::ToBool, Val::Text(text)) => match &*text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Val::Bool(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Val::Bool(false),
            _ => return Err(RANGE),
        },
        (F::ToBytes, Val::Bytes(bytes)) => Val::Bytes(bytes),
        (F::ToBytes, Val::Text(text)) => Val::Bytes(Cow::Owned(text.into_owned().into_bytes())),
        (F::ToTime, Val::Time(time)) => Val::Time(time),
        (F::ToTime, Val::Int(seconds)) => clock::time(i128::from(seconds) * SECOND)?,
        (F::ToTime, Val::Text(text)) => clock::time_of(&text)?,
        (F::ToSpan, Val::Span(span)) => Val::Span(span),
        (F::ToSpan, Val::Int(nanos)) => Val::Span(nanos.into()),
        (F::ToSpan, Val::Text(text)) => clock::span_of(&text)?,
        (F::ToText, of) => Val::Text(text(of)?),
        _ => return Err(NONE),
    })
}

fn text(of: Val<'_>) -> Result<Cow<'_, str>, Fault> {
    Ok(Cow::Owned(match of {
        Val::Text(text) => return Ok(text),
        Val::Bool(value) => value.to_string(),
        Val::Int(value) => value.to_string(),
        Val::Uint(value) => value.to_string(),
        Val::Double(value) => double(value),
        Val::Bytes(bytes) => String::from_utf8(bytes.into_owned()).map_err(|_| Fault("invalid UTF-8 in bytes"))?,
        Val::Time(time) => clock::time_text(time),
        Val::Span(span) => clock::span_text(span),
        _ => return Err(NONE),
    }))
}

/// As Go's `%g` with the fewest digits: an exponent below 1e-4 and from 1e6 on.
fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}
