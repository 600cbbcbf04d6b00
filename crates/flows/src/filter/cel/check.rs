//! From the parsed expression to a typed one, with the errors of cel-go's checker. Names are looked for in the package `flow`
//! first.

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, SourceInfo};
use nexin_hubble::reflect::{FLOW_FLOW, Kind, enumerator};

use super::super::regexp::Regexp;
use super::CelError;
use super::functions::{self, Function};
use super::node::{Constant, Node};
use super::types::{Type, Variables, told_arguments};

/// The variable that is the flow.
const FLOW: &str = "_flow";

pub(super) struct Checker<'a> {
    source: &'a SourceInfo,
    variables: Variables,
    /// Names in scope; the place of one is where its value is at run time.
    names: Vec<(String, Type)>,
    faults: Vec<(u64, String)>,
    depth: usize,
    deepest: usize,
}

impl<'a> Checker<'a> {
    pub(super) fn new(source: &'a SourceInfo) -> Self {
        let names = vec![(FLOW.to_owned(), Type::Message(&FLOW_FLOW))];
        Self { source, variables: Variables::default(), names, faults: Vec::new(), depth: 0, deepest: 0 }
    }

    /// The expression, if it is one of type bool.
    pub(super) fn condition(mut self, expression: &IdedExpr) -> Result<Node, CelError> {
        let (node, of) = self.check(expression);
        if self.deepest > super::MAX_DEPTH {
            return Err(super::too_deep());
        }
        if !self.faults.is_empty() {
            let mut faults: Vec<_> = self.faults.iter().map(|(id, what)| (self.place(*id), what)).collect();
            faults.sort_by_key(|(place, _)| *place);
            let told = |((line, column), what): &((usize, usize), &String)| {
                super::told(&self.source.source, *line, *column, what)
            };
            return Err(CelError(faults.iter().map(told).collect::<Vec<_>>().join("\n")));
        }
        match self.variables.resolve(&of, true) {
            Type::Bool => Ok(node),
            other => Err(CelError(format!("got \"{}\", wanted \"bool\" result type", other.name()))),
        }
    }

    /// Line and column of an expression, both from 1.
    fn place(&self, id: u64) -> (usize, usize) {
        let start = self.source.offset_for(id).map_or(0, |(start, _)| start as usize);
        let before = self.source.source.get(..start).unwrap_or_default();
        (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
    }

    fn fault(&mut self, id: u64, what: String) -> Type {
        self.faults.push((id, what));
        Type::Error
    }

    fn check(&mut self, expression: &IdedExpr) -> (Node, Type) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let checked = self.check_one(expression);
        self.depth -= 1;
        checked
    }

    fn check_one(&mut self, expression: &IdedExpr) -> (Node, Type) {
        let id = expression.id;
        match &expression.expr {
            Expr::Literal(literal) => constant(literal),
            Expr::Ident(name) => self.name(name).unwrap_or_else(|| (Node::NULL, self.unknown(id, name))),
            Expr::Select(select) => {
                if !select.test
                    && let Some(found) = qualified(expression).and_then(|name| self.name(&name))
                {
                    return found;
                }
                let (node, of) = self.check(&select.operand);
                self.select(id, node, &of, &select.field, select.test)
            }
            Expr::Call(call) => self.call(id, &call.func_name, call.target.as_deref(), &call.args),
            Expr::List(list) => {
                let mut of = None;
                let mut items = Vec::new();
                for item in &list.elements {
                    let (node, one) = self.check(item);
                    items.push(node);
                    of = Some(of.map_or(one.clone(), |before| self.variables.join(&before, &one)));
                }
                let of = of.unwrap_or_else(|| self.variables.fresh());
                (Node::List(items), Type::list(of))
            }
            Expr::Map(map) => self.map(map.entries.iter().map(|entry| &entry.expr)),
            Expr::Comprehension(comprehension) => self.comprehension(id, comprehension),
            Expr::Struct(literal) => self.message(id, &literal.type_name, &literal.entries),
            Expr::Unspecified => (Node::NULL, Type::Error),
        }
    }

    fn unknown(&mut self, id: u64, name: &str) -> Type {
        self.fault(id, format!("undeclared reference to '{name}' (in container 'flow')"))
    }

    /// A variable, an enumerator or a type.
    fn name(&self, name: &str) -> Option<(Node, Type)> {
        let bare = name.strip_prefix('.').unwrap_or(name);
        if let Some(at) = self.names.iter().rposition(|(own, _)| own == bare) {
            return Some((Node::Variable(at), self.names[at].1.clone()));
        }
        let within = (bare == name).then(|| format!("flow.{bare}"));
        within.iter().map(String::as_str).chain([bare]).find_map(|full| {
            let number = full.rsplit_once('.').and_then(|(of, value)| enumerator(of, value));
            match number {
                Some(number) => Some((Node::Constant(Constant::Int(number.into())), Type::Int)),
                None => {
                    let of = type_named(full)?;
                    // A value knows that it is a list, not of what.
                    let name = of.name();
                    let name = name.split('(').next().unwrap_or_default().to_owned();
                    Some((Node::Constant(Constant::Type(name)), Type::Kind(Box::new(of))))
                }
            }
        })
    }

    fn select(&mut self, id: u64, node: Node, of: &Type, field: &str, test: bool) -> (Node, Type) {
        let of = self.variables.resolve(of, false);
        let (key, gives) = match &of {
            Type::Map(_, value) => (None, (**value).clone()),
            Type::Message(kind) => match kind.field(field) {
                Some((at, field)) => (Some(at), Type::of(field)),
                None => (None, self.fault(id, format!("undefined field '{field}'"))),
            },
            Type::Dyn | Type::Any | Type::Error => (None, Type::Dyn),
            Type::Variable(_) => {
                self.variables.fits(&Type::Dyn, &of);
                (None, Type::Dyn)
            }
            other => {
                let what = format!("type '{}' does not support field selection", other.told());
                (None, self.fault(id, what))
            }
        };
        let of = if test { Type::Bool } else { gives };
        let node = Box::new(node);
        let node = match (key, test) {
            (Some(at), false) => Node::Field(node, at),
            (Some(at), true) => Node::HasField(node, at),
            (None, false) => Node::Member(node, field.to_owned()),
            (None, true) => Node::HasMember(node, field.to_owned()),
        };
        (node, of)
    }

    fn call(&mut self, id: u64, name: &str, target: Option<&IdedExpr>, args: &[IdedExpr]) -> (Node, Type) {
        let (mut nodes, mut types) = (Vec::new(), Vec::new());
        let found = functions::find(name);
        let method = target.is_some();
        for argument in target.into_iter().filter(|_| found.is_some()).chain(args) {
            let (node, of) = self.check(argument);
            nodes.push(node);
            types.push(of);
        }
        let Some((function, forms)) = found else {
            if let Some(target) = target {
                self.check(target);
            }
            return (Node::NULL, self.unknown(id, name));
        };
        if matches!(function, Function::And | Function::Or) {
            for (argument, of) in args.iter().zip(&types) {
                self.assert(argument.id, of, &Type::Bool);
            }
            return (Node::call(function, nodes), Type::Bool);
        }
        let mut gives: Option<Type> = None;
        for form in forms.iter().filter(|form| form.method == method) {
            let (takes, result) = form.instance(&mut self.variables);
            if self.variables.all_fit(&types, &takes) {
                let result = self.variables.resolve(&result, false);
                gives = Some(match gives {
                    None => result,
                    Some(before) if before.told() == result.told() => before,
                    Some(_) => Type::Dyn,
                });
            }
        }
        let gives = gives.unwrap_or_else(|| {
            let types: Vec<Type> = types.iter().map(|of| self.variables.resolve(of, true)).collect();
            let arguments = told_arguments(&types, method);
            self.fault(id, format!("found no matching overload for '{name}' applied to '{arguments}'"))
        });
        (Node::call(function, nodes), gives)
    }

    fn message(&mut self, id: u64, name: &str, entries: &[IdedEntryExpr]) -> (Node, Type) {
        let kind = match self.name(name) {
            Some((_, Type::Kind(of))) => match *of {
                Type::Message(kind) => kind,
                _ => return (Node::NULL, self.fault(id, format!("a value of type '{name}' cannot be made here"))),
            },
            _ => return (Node::NULL, self.unknown(id, name)),
        };
        let mut fields = Vec::new();
        for entry in entries {
            let EntryExpr::StructField(own) = &entry.expr else { continue };
            let (value, of) = self.check(&own.value);
            let Some((at, field)) = kind.field(&own.field) else {
                self.fault(entry.id, format!("undefined field '{}'", own.field));
                continue;
            };
            let wanted = Type::of(field);
            if !self.variables.fits(&of, &wanted) {
                let of = self.variables.resolve(&of, true).told();
                let (name, wanted) = (&own.field, wanted.told());
                self.fault(
                    entry.id,
                    format!("expected type of field '{name}' is '{wanted}' but provided type is '{of}'"),
                );
            }
            fields.push((at, value));
        }
        (Node::Make(kind, fields), Type::Message(kind))
    }

    fn map<'e>(&mut self, entries: impl Iterator<Item = &'e EntryExpr>) -> (Node, Type) {
        let mut of: Option<(Type, Type)> = None;
        let mut pairs = Vec::new();
        for entry in entries {
            let EntryExpr::MapEntry(entry) = entry else { continue };
            let ((key, key_of), (value, value_of)) = (self.check(&entry.key), self.check(&entry.value));
            pairs.push((key, value));
            of = Some(match of {
                None => (key_of, value_of),
                Some((keys, values)) => (self.variables.join(&keys, &key_of), self.variables.join(&values, &value_of)),
            });
        }
        let (keys, values) = of.unwrap_or_else(|| (self.variables.fresh(), self.variables.fresh()));
        (Node::Map(pairs), Type::Map(Box::new(keys), Box::new(values)))
    }

    fn comprehension(&mut self, id: u64, own: &cel::common::ast::ComprehensionExpr) -> (Node, Type) {
        let (range, range_of) = self.check(&own.iter_range);
        let (start, start_of) = self.check(&own.accu_init);
        let item = match self.variables.resolve(&range_of, false) {
            Type::List(of) => *of,
            Type::Map(key, _) => *key,
            Type::Dyn | Type::Any | Type::Error => Type::Dyn,
            Type::Variable(_) => {
                self.variables.fits(&Type::Dyn, &range_of);
                Type::Dyn
            }
            other => {
                let told = other.told();
                let what = format!(
                    "expression of type '{told}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fault(own.iter_range.id, what)
            }
        };
        let slot = self.names.len();
        self.names.push((own.accu_var.clone(), start_of.clone()));
        self.names.push((own.iter_var.clone(), item));
        let (condition, condition_of) = self.check(&own.loop_cond);
        self.assert(own.loop_cond.id, &condition_of, &Type::Bool);
        let (step, step_of) = self.check(&own.loop_step);
        self.assert(own.loop_step.id, &step_of, &start_of);
        self.names.pop();
        let (result, result_of) = self.check(&own.result);
        self.names.pop();
        let _ = id;
        let node = Node::Loop(Box::new(super::node::Loop { range, slot, start, condition, step, result }));
        (node, self.variables.resolve(&result_of, false))
    }

    fn assert(&mut self, id: u64, of: &Type, wanted: &Type) {
        if !self.variables.fits(of, wanted) {
            let (of, wanted) = (self.variables.resolve(of, true), self.variables.resolve(wanted, true));
            self.fault(id, format!("expected type '{}' but found '{}'", wanted.told(), of.told()));
        }
    }
}

/// The name that an identifier with selections spells.
fn qualified(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!("{}.{}", qualified(&select.operand)?, select.field)),
        _ => None,
    }
}

fn type_named(full: &str) -> Option<Type> {
    Some(match full {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::Text,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::Map(Box::new(Type::Dyn), Box::new(Type::Dyn)),
        "type" => Type::Kind(Box::new(Type::Dyn)),
        "google.protobuf.Timestamp" => Type::Time,
        "google.protobuf.Duration" => Type::Span,
        _ => Type::Message(message_named(&FLOW_FLOW, full)?),
    })
}

/// A message that is part of a flow.
fn message_named(within: &'static Kind, full: &str) -> Option<&'static Kind> {
    if within.name == full {
        return Some(within);
    }
    within.fields.iter().find_map(|field| match field.of {
        nexin_hubble::reflect::Of::Message(kind) => message_named(kind, full),
        _ => None,
    })
}

fn constant(literal: &LiteralValue) -> (Node, Type) {
    let (constant, of) = match literal {
        LiteralValue::Boolean(value) => (Constant::Bool(*value.inner()), Type::Bool),
        LiteralValue::Bytes(value) => (Constant::Bytes(value.inner().to_vec()), Type::Bytes),
        LiteralValue::Double(value) => (Constant::Double(*value.inner()), Type::Double),
        LiteralValue::Int(value) => (Constant::Int(*value.inner()), Type::Int),
        LiteralValue::UInt(value) => (Constant::Uint(*value.inner()), Type::Uint),
        LiteralValue::String(value) => (Constant::Text(value.inner().to_owned()), Type::Text),
        LiteralValue::Null => (Constant::Null, Type::Null),
    };
    (Node::Constant(constant), of)
}

impl Node {
    fn call(function: Function, nodes: Vec<Node>) -> Self {
        if function == Function::Matches
            && let [_, Node::Constant(Constant::Text(pattern))] = &nodes[..]
        {
            let pattern = Regexp::build(pattern).ok().map(Box::new);
            return Self::Matches(Box::new(nodes.into_iter().next().unwrap_or(Self::NULL)), pattern);
        }
        Self::Call(function, nodes)
    }
}
