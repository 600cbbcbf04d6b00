//! Computes an expression over a flow. An error ends it, except in one side of `&&` and `||` where the other side decides.

use std::rc::Rc;

use nexin_hubble::flow::Flow;

use super::compute;
use super::functions::Function;
use super::node::{Loop, Node};
use super::value::Val;

/// Steps that one evaluation may take.
const MAX_STEPS: u32 = 100_000;

/// Why there is no value. Hubble logs the text for developers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) &'static str);

/// What is in scope, by place, and how many steps were taken.
pub(super) struct Scope<'a> {
    values: Vec<Val<'a>>,
    steps: u32,
}

impl<'a> Scope<'a> {
    pub(super) fn new(flow: &'a Flow) -> Self {
        Self { values: vec![Val::Message(flow)], steps: 0 }
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(Fault("operation cancelled: actual cost limit exceeded")) } else { Ok(()) }
    }
}

pub(super) fn eval<'a>(node: &'a Node, scope: &mut Scope<'a>) -> Result<Val<'a>, Fault> {
    scope.step()?;
    Ok(match node {
        Node::Constant(constant) => constant.into(),
        Node::Variable(at) => match scope.values.get(*at) {
            Some(Val::Fault(fault)) => return Err(*fault),
            Some(value) => value.clone(),
            None => return Err(Fault("no such attribute")),
        },
        Node::Field(of, at) => eval(of, scope)?.field(*at).ok_or(Fault("no such key"))?,
        Node::HasField(of, at) => Val::Bool(eval(of, scope)?.has_field(*at).ok_or(Fault("no such key"))?),
        Node::Member(of, name) => member(&eval(of, scope)?, name)?.ok_or(Fault("no such key"))?,
        Node::HasMember(of, name) => {
            let of = eval(of, scope)?;
            match of.kind() {
                Some(kind) => {
                    let (at, _) = kind.field(name).ok_or(Fault("no such field"))?;
                    Val::Bool(of.has_field(at).unwrap_or(false))
                }
                None => Val::Bool(member(&of, name)?.is_some()),
            }
        }
        Node::Make(kind, fields) => {
            let mut set = Vec::new();
            for (at, value) in fields {
                let value = eval(value, scope)?;
                // Null leaves a message or wrapper unset.
                if !matches!(value, Val::Null) {
                    set.push((*at, value));
                }
            }
            Val::Made(kind, Rc::new(set))
        }
        Node::Matches(text, pattern) => match (eval(text, scope)?, pattern) {
            (Val::Text(text), Some(pattern)) => Val::Bool(pattern.is_match(&text)),
            (Val::Text(_), None) => return Err(Fault("error parsing regexp")),
            _ => return Err(Fault("no such overload")),
        },
        Node::List(items) => Val::List(Rc::new(items.iter().map(|item| eval(item, scope)).collect::<Result<_, _>>()?)),
        Node::Map(entries) => {
            let mut all: Vec<(Val<'a>, Val<'a>)> = Vec::new();
            for (key, value) in entries {
                let (key, value) = (eval(key, scope)?, eval(value, scope)?);
                if all.iter().any(|(own, _)| own.equals(&key)) {
                    return Err(Fault("Failed with repeated key"));
                }
                all.push((key, value));
            }
            Val::Map(Rc::new(all))
        }
        Node::Loop(own) => run(own, scope)?,
        Node::Call(function, arguments) => return call(*function, arguments, scope),
    })
}

fn member<'a>(of: &Val<'a>, name: &str) -> Result<Option<Val<'a>>, Fault> {
    match of {
        Val::Map(_) => Ok(of.entry(&Val::text(name.to_owned()))),
        _ => {
            let kind = of.kind().ok_or(Fault("unsupported selection"))?;
            let (at, _) = kind.field(name).ok_or(Fault("no such field"))?;
            Ok(of.field(at))
        }
    }
}

fn run<'a>(own: &'a Loop, scope: &mut Scope<'a>) -> Result<Val<'a>, Fault> {
    let items = eval(&own.range, scope)?.items().ok_or(Fault("no such overload"))?;
    let start = eval(&own.start, scope)?;
    scope.values.truncate(own.slot);
    scope.values.push(start);
    for item in items {
        scope.values.truncate(own.slot + 1);
        scope.values.push(item);
        if matches!(eval(&own.condition, scope)?, Val::Bool(false)) {
            break;
        }
        let gathered = eval(&own.step, scope).unwrap_or_else(Val::Fault);
        scope.values.truncate(own.slot);
        scope.values.push(gathered);
    }
    scope.values.truncate(own.slot + 1);
    let result = eval(&own.result, scope);
    scope.values.truncate(own.slot);
    result
}

fn call<'a>(function: Function, arguments: &'a [Node], scope: &mut Scope<'a>) -> Result<Val<'a>, Fault> {
    match (function, arguments) {
        (Function::And, [a, b]) => decide(a, b, false, scope),
        (Function::Or, [a, b]) => decide(a, b, true, scope),
        (Function::Choose, [condition, yes, no]) => match eval(condition, scope)? {
            Val::Bool(true) => eval(yes, scope),
            Val::Bool(false) => eval(no, scope),
            _ => Err(Fault("no such overload")),
        },
        (Function::NotStrictlyFalse, [of]) => {
            // An error in the last round must not end the loop: a later item may decide.
            let depth = scope.values.len();
            let value = eval(of, scope);
            scope.values.truncate(depth);
            Ok(Val::Bool(!matches!(value, Ok(Val::Bool(false)))))
        }
        _ => {
            let values = arguments.iter().map(|argument| eval(argument, scope)).collect::<Result<Vec<_>, _>>()?;
            compute::call(function, values)
        }
    }
}

/// `||` where `decisive` is true, `&&` where it is false: one decisive side decides, whatever the other is.
fn decide<'a>(a: &'a Node, b: &'a Node, decisive: bool, scope: &mut Scope<'a>) -> Result<Val<'a>, Fault> {
    let depth = scope.values.len();
    let mut side = |node| match eval(node, scope) {
        Ok(Val::Bool(value)) => Ok(value),
        Ok(_) => Err(Fault("no such overload")),
        Err(fault) => {
            scope.values.truncate(depth);
            Err(fault)
        }
    };
    let first = side(a);
    if first == Ok(decisive) {
        return Ok(Val::Bool(decisive));
    }
    let second = side(b);
    if second == Ok(decisive) {
        return Ok(Val::Bool(decisive));
    }
    first.and(second).map(Val::Bool)
}
