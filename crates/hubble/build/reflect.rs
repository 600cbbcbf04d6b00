//! Writes how messages are looked into by the names of their fields: for expressions over them, and to copy parts of them.

use std::fmt::Write as _;

use prost_types::EnumDescriptorProto;
use prost_types::field_descriptor_proto::Type;

use crate::names::{Field, Message, path, wrapped};

/// The text of a Rust file to be included.
pub(crate) fn generate(
    messages: &[Message<'_>],
    enums: &[(String, &EnumDescriptorProto)],
) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for message in messages {
        kind(&mut out, message)?;
        reflect(&mut out, message)?;
        masked(&mut out, message)?;
    }
    writeln!(out, "/// The number of an enumerator, of its enumeration's full name and its own.")?;
    writeln!(out, "pub fn enumerator(of: &str, name: &str) -> Option<i32> {{\n    Some(match of {{")?;
    for (full, _) in enums {
        writeln!(out, "        \"{full}\" => {}::from_str_name(name)? as i32,", path(full))?;
    }
    writeln!(out, "        _ => return None,\n    }})\n}}")?;
    Ok(out)
}

fn static_name(full: &str) -> String {
    full.trim_start_matches('.').replace('.', "_").to_uppercase()
}

fn kind(out: &mut String, message: &Message<'_>) -> std::fmt::Result {
    let name = static_name(&message.full);
    writeln!(out, "pub static {name}: Kind = Kind {{ name: \"{}\", fields: &[", message.full)?;
    for field in &message.fields {
        let of = match field.proto.r#type() {
            Type::Message => match (wrapped(field.proto.type_name()), field.proto.type_name()) {
                (Some("bool"), _) => "Of::WrappedBool".to_owned(),
                (Some("uint32"), _) => "Of::WrappedUint".to_owned(),
                (Some(_), _) => "Of::WrappedInt".to_owned(),
                (None, ".google.protobuf.Timestamp") => "Of::Time".to_owned(),
                (None, google) if google.starts_with(".google.") => "Of::Any".to_owned(),
                (None, ours) => format!("Of::Message(&{})", static_name(ours)),
            },
            Type::Bool => "Of::Bool".to_owned(),
            Type::Uint32 | Type::Uint64 => "Of::Uint".to_owned(),
            Type::Double => "Of::Double".to_owned(),
            Type::String => "Of::Text".to_owned(),
            _ => "Of::Int".to_owned(),
        };
        let (name, repeated) = (field.proto.name(), field.repeated());
        writeln!(out, "    FieldKind {{ name: \"{name}\", of: {of}, repeated: {repeated} }},")?;
    }
    writeln!(out, "] }};\n")
}

// === looking ===

fn reflect(out: &mut String, message: &Message<'_>) -> std::fmt::Result {
    writeln!(out, "impl Reflect for {} {{", path(&message.full))?;
    writeln!(out, "    fn kind(&self) -> &'static Kind {{\n        &{}\n    }}", static_name(&message.full))?;
    writeln!(out, "    fn has(&self, field: usize) -> bool {{\n        match field {{")?;
    for (n, field) in message.fields.iter().enumerate() {
        writeln!(out, "            {n} => {},", has(field))?;
    }
    writeln!(out, "            _ => false,\n        }}\n    }}")?;
    writeln!(out, "    fn get(&self, field: usize) -> Value<'_> {{\n        match field {{")?;
    for (n, field) in message.fields.iter().enumerate() {
        writeln!(out, "            {n} => {},", get(field))?;
    }
    writeln!(out, "            _ => Value::Null,\n        }}\n    }}\n}}")?;
    writeln!(out, "impl Item for {} {{", path(&message.full))?;
    writeln!(out, "    fn value(&self) -> Value<'_> {{\n        Value::Message(self)\n    }}\n}}\n")
}

fn has(field: &Field<'_>) -> String {
    let ident = &field.ident;
    match (&field.variant, field.proto.r#type()) {
        (Some((variant, _)), _) => format!("matches!(self.{ident}, Some({variant}(_)))"),
        (None, Type::String) => format!("!self.{ident}.is_empty()"),
        (None, _) if field.repeated() => format!("!self.{ident}.is_empty()"),
        (None, Type::Bool) => format!("self.{ident}"),
        (None, Type::Message) => format!("self.{ident}.is_some()"),
        (None, Type::Double) => format!("self.{ident}.to_bits() != 0"),
        (None, _) => format!("self.{ident} != 0"),
    }
}

fn get(field: &Field<'_>) -> String {
    let ident = &field.ident;
    let kind = field.proto.r#type();
    if let Some((variant, _)) = &field.variant {
        let empty = path(field.proto.type_name());
        return format!(
            "match &self.{ident} {{ Some({variant}(v)) => v.value(), _ => {{ static EMPTY: LazyLock<{empty}> = \
             LazyLock::new(Default::default); EMPTY.value() }} }}"
        );
    }
    if field.repeated() {
        return format!("Value::List(&self.{ident})");
    }
    if kind != Type::Message {
        return format!("self.{ident}.value()");
    }
    match (wrapped(field.proto.type_name()), field.proto.type_name()) {
        (Some(_), _) => format!("self.{ident}.as_ref().map_or(Value::Null, Item::value)"),
        (None, ".google.protobuf.Timestamp") => format!("Value::Time(self.{ident}.unwrap_or_default())"),
        (None, ".google.protobuf.Any") => {
            format!("self.{ident}.as_ref().map_or(Value::Null, |v| Value::Message(v))")
        }
        (None, google) if google.starts_with(".google.") => "Value::Null".to_owned(),
        (None, ours) => {
            let empty = path(ours);
            format!(
                "match &self.{ident} {{ Some(v) => v.value(), None => {{ static EMPTY: LazyLock<{empty}> = \
                 LazyLock::new(Default::default); EMPTY.value() }} }}"
            )
        }
    }
}

// === copying ===

fn masked(out: &mut String, message: &Message<'_>) -> std::fmt::Result {
    writeln!(out, "impl Masked for {} {{", path(&message.full))?;
    writeln!(out, "    fn member(name: &str) -> Option<Member> {{\n        Some(match name {{")?;
    for (n, field) in message.fields.iter().enumerate() {
        let inside = match field.proto.r#type() {
            Type::Message if !field.repeated() => match wrapped(field.proto.type_name()) {
                Some(_) => "Some(wrapped_member)".to_owned(),
                None => format!("Some(<{} as Masked>::member)", path(field.proto.type_name())),
            },
            _ => "None".to_owned(),
        };
        writeln!(out, "            \"{}\" => Member {{ field: {n}, inside: {inside} }},", field.proto.name())?;
    }
    writeln!(out, "            _ => return None,\n        }})\n    }}")?;
    writeln!(out, "    fn copy(&self, field: u8, to: &mut Self) {{\n        match field {{")?;
    for (n, field) in message.fields.iter().enumerate() {
        let ident = &field.ident;
        match &field.variant {
            // A member of a oneof that is not set clears itself only, not what else may be set.
            Some((variant, _)) => writeln!(
                out,
                "            {n} => match &self.{ident} {{ Some({variant}(_)) => to.{ident}.clone_from(&self.{ident}), \
                 _ if matches!(to.{ident}, Some({variant}(_))) => to.{ident} = None, _ => {{}} }},"
            )?,
            None => writeln!(out, "            {n} => to.{ident}.clone_from(&self.{ident}),")?,
        }
    }
    writeln!(out, "            _ => {{}}\n        }}\n    }}")?;
    writeln!(out, "    fn copy_inside(&self, field: u8, inside: &Paths, to: &mut Self) {{\n        match field {{")?;
    for (n, field) in message.fields.iter().enumerate() {
        let ident = &field.ident;
        if field.proto.r#type() != Type::Message || field.repeated() {
            continue;
        }
        let kind = path(field.proto.type_name());
        match &field.variant {
            // What another member holds is left alone, and shows in the next message copied onto it.
            Some((variant, _)) => {
                writeln!(
                    out,
                    "            {n} => if let Some({variant}(v)) = &self.{ident} {{ inside.copy(v, {{ if !matches!(to.{ident}, Some({variant}(_))) {{ to.{ident} = \
                     Some({variant}({kind}::default())); }} match &mut to.{ident} {{ Some({variant}(to)) => to, _ => return }} }}); }},"
                )?;
            }
            None if wrapped(field.proto.type_name()).is_some() => {
                writeln!(out, "            {n} => to.{ident} = Some(self.{ident}.unwrap_or_default()),")?;
            }
            None => writeln!(
                out,
                "            {n} => {{ let to = to.{ident}.get_or_insert_default(); match &self.{ident} {{ \
                 Some(v) => inside.copy(v, to), None => inside.copy(&{kind}::default(), to) }} }}"
            )?,
        }
    }
    writeln!(out, "            _ => {{}}\n        }}\n    }}")?;
    writeln!(out, "    fn make(&mut self, field: u8, inside: &Paths) {{\n        match field {{")?;
    for (n, field) in message.fields.iter().enumerate() {
        let ident = &field.ident;
        if field.proto.r#type() != Type::Message || field.repeated() {
            continue;
        }
        match &field.variant {
            Some((variant, _)) => writeln!(
                out,
                "            {n} => {{ let mut v = {}::default(); inside.make(&mut v); self.{ident} = Some({variant}(v)); }}",
                path(field.proto.type_name())
            )?,
            None if wrapped(field.proto.type_name()).is_some() => {
                writeln!(out, "            {n} => self.{ident} = Some(Default::default()),")?;
            }
            None => writeln!(out, "            {n} => inside.make(self.{ident}.get_or_insert_default()),")?,
        }
    }
    writeln!(out, "            _ => {{}}\n        }}\n    }}\n}}\n")
}
