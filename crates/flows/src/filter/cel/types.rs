//! Types of expressions and when one may stand for another, as cel-go's checker has them.

use nexin_hubble::reflect::{FieldKind, Kind, Of};

#[derive(Clone, Debug)]
pub(super) enum Type {
    Dyn,
    /// Of what was already complained about; fits everywhere.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Time,
    Span,
    Any,
    List(Box<Type>),
    Map(Box<Type>, Box<Type>),
    /// May be null.
    Wrapped(Box<Type>),
    Message(&'static Kind),
    /// The type of a type.
    Kind(Box<Type>),
    Variable(usize),
}

impl Type {
    pub(super) fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    /// Of a field.
    pub(super) fn of(field: &FieldKind) -> Self {
        let one = match field.of {
            Of::Bool => Self::Bool,
            Of::Int => Self::Int,
            Of::Uint => Self::Uint,
            Of::Double => Self::Double,
            Of::Text => Self::Text,
            Of::Time => Self::Time,
            Of::Any => Self::Any,
            Of::WrappedBool => Self::Wrapped(Box::new(Self::Bool)),
            Of::WrappedInt => Self::Wrapped(Box::new(Self::Int)),
            Of::WrappedUint => Self::Wrapped(Box::new(Self::Uint)),
            Of::Message(kind) => Self::Message(kind),
        };
        if field.repeated { Self::list(one) } else { one }
    }

    fn is_dynamic(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any | Self::Error)
    }

    fn takes_null(&self) -> bool {
        matches!(self, Self::Wrapped(_) | Self::Message(_) | Self::Time | Self::Span | Self::Null | Self::Any)
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Wrapped(a), Self::Wrapped(b)) | (Self::Kind(a), Self::Kind(b)) => {
                a.is(b)
            }
            (Self::Map(a, b), Self::Map(c, d)) => a.is(c) && b.is(d),
            (Self::Message(a), Self::Message(b)) => std::ptr::eq(*a, *b),
            (Self::Variable(a), Self::Variable(b)) => a == b,
            _ => {
                std::mem::discriminant(self) == std::mem::discriminant(other)
                    && !matches!(self, Self::List(_) | Self::Wrapped(_) | Self::Kind(_))
            }
        }
    }

    /// As errors about operators and functions name it.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Time => "timestamp".to_owned(),
            Self::Span => "duration".to_owned(),
            Self::Any => "any".to_owned(),
            Self::Error => "!error!".to_owned(),
            _ => self.shown(Self::told),
        }
    }

    /// As a value of it names it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Null => "null_type".to_owned(),
            Self::Time => "google.protobuf.Timestamp".to_owned(),
            Self::Span => "google.protobuf.Duration".to_owned(),
            Self::Any => "google.protobuf.Any".to_owned(),
            Self::Error => "*error*".to_owned(),
            _ => self.shown(Self::name),
        }
    }

    fn shown(&self, inner: fn(&Self) -> String) -> String {
        match self {
            Self::Bool => "bool".to_owned(),
            Self::Int => "int".to_owned(),
            Self::Uint => "uint".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Text => "string".to_owned(),
            Self::Bytes => "bytes".to_owned(),
            Self::List(of) => format!("list({})", inner(of)),
            Self::Map(key, value) => format!("map({}, {})", inner(key), inner(value)),
            Self::Wrapped(of) => format!("wrapper({})", inner(of)),
            Self::Kind(of) => format!("type({})", inner(of)),
            Self::Message(kind) => kind.name.to_owned(),
            _ => "dyn".to_owned(),
        }
    }
}

/// Arguments as an error names them: `(int, uint)`, or `string.(int)` for a method.
pub(super) fn told_arguments(arguments: &[Type], method: bool) -> String {
    let told = |types: &[Type]| types.iter().map(Type::told).collect::<Vec<_>>().join(", ");
    match arguments.split_first() {
        Some((target, rest)) if method => format!("{}.({})", target.told(), told(rest)),
        _ => format!("({})", told(arguments)),
    }
}

/// What type variables stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables(Vec<Option<Type>>);

impl Variables {
    pub(super) fn fresh(&mut self) -> Type {
        self.0.push(None);
        Type::Variable(self.0.len() - 1)
    }

    /// The type with what is known of its variables; those that nothing is known of become `dyn` if `closed`.
    pub(super) fn resolve(&self, of: &Type, closed: bool) -> Type {
        let inner = |of: &Type| Box::new(self.resolve(of, closed));
        match of {
            Type::Variable(n) => match &self.0[*n] {
                Some(known) => self.resolve(known, closed),
                None if closed => Type::Dyn,
                None => of.clone(),
            },
            Type::List(of) => Type::List(inner(of)),
            Type::Map(key, value) => Type::Map(inner(key), inner(value)),
            Type::Wrapped(of) => Type::Wrapped(inner(of)),
            Type::Kind(of) => Type::Kind(inner(of)),
            other => other.clone(),
        }
    }

    /// Whether a value of `from` may stand where `to` is wanted; learns variables only where it may.
    pub(super) fn fits(&mut self, from: &Type, to: &Type) -> bool {
        let before = self.clone();
        let fits = self.try_fit(from, to);
        if !fits {
            *self = before;
        }
        fits
    }

    pub(super) fn all_fit(&mut self, from: &[Type], to: &[Type]) -> bool {
        let before = self.clone();
        let fit = from.len() == to.len() && from.iter().zip(to).all(|(from, to)| self.try_fit(from, to));
        if !fit {
            *self = before;
        }
        fit
    }

    fn try_fit(&mut self, from: &Type, to: &Type) -> bool {
        if let Type::Variable(n) = to {
            match self.learn(from, *n) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if let Type::Variable(n) = from {
            return self.learn(to, *n).0;
        }
        if from.is_dynamic() || to.is_dynamic() {
            return true;
        }
        match (from, to) {
            (Type::Null, other) | (other, Type::Null) => other.takes_null(),
            (Type::List(a), Type::List(b)) => self.try_fit(a, b),
            (Type::Map(a, b), Type::Map(c, d)) => self.try_fit(a, c) && self.try_fit(b, d),
            (Type::Kind(_), Type::Kind(_)) => true,
            (Type::Wrapped(a), Type::Wrapped(b)) => a.is(b),
            (Type::Wrapped(a), b) | (b, Type::Wrapped(a)) => (**a).is(b),
            (a, b) => a.is(b),
        }
    }

    /// Whether a variable can stand for a type, and whether something was known of it.
    fn learn(&mut self, of: &Type, variable: usize) -> (bool, bool) {
        if of.is(&Type::Variable(variable)) {
            return (true, true);
        }
        if let Some(known) = self.0[variable].clone() {
            if of.is(&known) {
                return (true, true);
            }
            if !self.try_fit(of, &known) {
                return (false, true);
            }
            let general = if self.more_general(of, &known) { of.clone() } else { known };
            if !self.mentions(&general, variable) {
                self.0[variable] = Some(general);
            }
            return (true, true);
        }
        if self.mentions(of, variable) {
            return (false, false);
        }
        self.0[variable] = Some(of.clone());
        (true, false)
    }

    fn mentions(&self, of: &Type, variable: usize) -> bool {
        match of {
            Type::Variable(n) => {
                *n == variable || self.0[*n].as_ref().is_some_and(|known| self.mentions(known, variable))
            }
            Type::List(of) | Type::Wrapped(of) | Type::Kind(of) => self.mentions(of, variable),
            Type::Map(key, value) => self.mentions(key, variable) || self.mentions(value, variable),
            _ => false,
        }
    }

    /// The type that both are of: the more general one if one fits the other, `dyn` otherwise.
    pub(super) fn join(&mut self, a: &Type, b: &Type) -> Type {
        if !self.fits(a, b) {
            return Type::Dyn;
        }
        if self.more_general(a, b) { a.clone() } else { b.clone() }
    }

    fn more_general(&self, a: &Type, b: &Type) -> bool {
        let (a, b) = (self.resolve(a, false), self.resolve(b, false));
        match (&a, &b) {
            (_, Type::Variable(_)) => true,
            (Type::Variable(_), _) => false,
            (a, _) if a.is_dynamic() => true,
            (_, b) if b.is_dynamic() => false,
            (Type::Null, _) => false,
            (_, Type::Null) => true,
            (Type::Wrapped(_), _) => true,
            (_, Type::Wrapped(_)) => false,
            (Type::List(a), Type::List(b)) => self.more_general(a, b),
            (Type::Map(a, c), Type::Map(b, d)) => self.more_general(a, b) && self.more_general(c, d),
            _ => true,
        }
    }
}
