//! Writes the JSON code of every message from its descriptor, so that no field can be forgotten. What is common to all
//! messages (text, numbers, times) is in `src/json`; here are only names, numbers and types.

use std::fmt::Write as _;

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

const OURS: [&str; 4] = ["flow", "observer", "peer", "relay"];

/// The text of a Rust file to be included.
pub(crate) fn generate(set: &FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let mut names = Vec::new();
    for file in set.file.iter().filter(|file| OURS.contains(&file.package())) {
        for message in &file.message_type {
            self::message(&mut out, message, file.package(), &mut names)?;
        }
    }
    registry(&mut out, &names)?;
    Ok(out)
}

fn message(
    out: &mut String,
    message: &DescriptorProto,
    scope: &str,
    names: &mut Vec<String>,
) -> Result<(), std::fmt::Error> {
    let full = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        self::message(out, nested, &full, names)?;
    }
    let fields: Vec<Field<'_>> = message.field.iter().map(|field| Field::new(message, &full, field)).collect();
    writer(out, &full, &fields)?;
    reader(out, &full, message, &fields)?;
    names.push(full);
    Ok(())
}

// === fields ===

struct Field<'a> {
    proto: &'a FieldDescriptorProto,
    /// Identifier in Rust, of the field or of the oneof that holds it.
    ident: String,
    /// Path of the variant and number of the oneof.
    variant: Option<(String, i32)>,
}

impl<'a> Field<'a> {
    fn new(message: &'a DescriptorProto, full: &str, proto: &'a FieldDescriptorProto) -> Self {
        let (ident, variant) = match proto.oneof_index {
            Some(number) => {
                let name = message.oneof_decl[number as usize].name();
                let variant = format!("{}::{}::{}", module(full), camel(name), camel(proto.name()));
                (snake(name), Some((variant, number)))
            }
            None => (snake(proto.name()), None),
        };
        Self { proto, ident, variant }
    }

    fn repeated(&self) -> bool {
        self.proto.label() == Label::Repeated
    }

    /// The function of `put` that writes a value, and whether it takes a reference.
    fn put(&self) -> String {
        match self.proto.r#type() {
            Type::String => "put::string(v, out)".to_owned(),
            Type::Bool => "put::boolean(*v, out)".to_owned(),
            Type::Uint32 | Type::Int32 => "put::small(i64::from(*v), out)".to_owned(),
            Type::Uint64 => "put::unsigned(*v, out)".to_owned(),
            Type::Int64 => "put::signed(*v, out)".to_owned(),
            Type::Double => "put::double(*v, out)".to_owned(),
            Type::Enum => {
                let path = path(self.proto.type_name());
                format!("put::enumeration({path}::try_from(*v).ok().as_ref().map({path}::as_str_name), *v, out)")
            }
            Type::Message => match wrapped(self.proto.type_name()) {
                Some("bool") => "put::boolean(*v, out)".to_owned(),
                Some(_) => "put::small(i64::from(*v), out)".to_owned(),
                None => "Json::write(v, out)".to_owned(),
            },
            other => unreachable!("Hubble's messages hold no {other:?}"),
        }
    }

    /// The method of `Reader` that reads one value.
    fn take(&self) -> String {
        let name = json_name(self.proto);
        match self.proto.r#type() {
            Type::String => format!("r.string(\"{name}\")?"),
            Type::Bool => format!("r.boolean(\"{name}\")?"),
            Type::Uint32 => format!("r.uint32(\"{name}\")?"),
            Type::Int32 => format!("r.int32(\"{name}\")?"),
            Type::Uint64 => format!("r.uint64(\"{name}\")?"),
            Type::Int64 => format!("r.int64(\"{name}\")?"),
            Type::Double => format!("r.double(\"{name}\")?"),
            Type::Enum => {
                let path = path(self.proto.type_name());
                format!("r.enumeration(\"{name}\", |name| {path}::from_str_name(name).map(i32::from))?")
            }
            Type::Message => match wrapped(self.proto.type_name()) {
                Some("bool") => "r.boolean(\"value\")?".to_owned(),
                Some(kind) => format!("r.{kind}(\"value\")?"),
                None => "r.message()?".to_owned(),
            },
            other => unreachable!("Hubble's messages hold no {other:?}"),
        }
    }
}

fn wrapped(type_name: &str) -> Option<&'static str> {
    match type_name {
        ".google.protobuf.BoolValue" => Some("bool"),
        ".google.protobuf.UInt32Value" => Some("uint32"),
        ".google.protobuf.Int32Value" => Some("int32"),
        _ => None,
    }
}

// === writing ===

fn writer(out: &mut String, full: &str, fields: &[Field<'_>]) -> std::fmt::Result {
    writeln!(out, "impl Json for {} {{\n    fn write(&self, out: &mut Vec<u8>) {{", path(full))?;
    writeln!(out, "        let start = out.len();")?;
    let mut oneofs = Vec::new();
    for field in fields {
        let key = format!("out.extend_from_slice(b\",\\\"{}\\\":\");", field.proto.name());
        let (ident, put) = (&field.ident, field.put());
        match &field.variant {
            Some((_, number)) => {
                if oneofs.contains(number) {
                    continue;
                }
                oneofs.push(*number);
                writeln!(out, "        match &self.{ident} {{\n            None => {{}}")?;
                for other in fields {
                    if let Some((variant, of)) = &other.variant
                        && of == number
                    {
                        let name = other.proto.name();
                        writeln!(out, "            Some({variant}(v)) => {{")?;
                        writeln!(out, "                out.extend_from_slice(b\",\\\"{name}\\\":\");")?;
                        writeln!(out, "                {};\n            }}", other.put())?;
                    }
                }
                writeln!(out, "        }}")?;
            }
            None if field.repeated() => {
                writeln!(out, "        if !self.{ident}.is_empty() {{\n            {key}")?;
                writeln!(out, "            put::list(&self.{ident}, out, |v, out| {put});\n        }}")?;
            }
            None if field.proto.r#type() == Type::Message => {
                writeln!(
                    out,
                    "        if let Some(v) = &self.{ident} {{\n            {key}\n            {put};\n        }}"
                )?;
            }
            None => {
                let unset = match field.proto.r#type() {
                    Type::String => format!("self.{ident}.is_empty()"),
                    Type::Bool => format!("!self.{ident}"),
                    Type::Double => format!("self.{ident}.to_bits() == 0"),
                    _ => format!("self.{ident} == 0"),
                };
                writeln!(out, "        if !({unset}) {{\n            {key}\n            let v = &self.{ident};")?;
                writeln!(out, "            {put};\n        }}")?;
            }
        }
    }
    writeln!(out, "        put::close(start, out);\n    }}\n}}\n")
}

// === reading ===

fn reader(out: &mut String, full: &str, message: &DescriptorProto, fields: &[Field<'_>]) -> std::fmt::Result {
    writeln!(out, "impl Read for {} {{", path(full))?;
    let oneofs: Vec<String> = message.oneof_decl.iter().map(|oneof| format!("\"{full}.{}\"", oneof.name())).collect();
    writeln!(out, "    const ONEOFS: &'static [&'static str] = &[{}];", oneofs.join(", "))?;
    writeln!(out, "    fn slot(name: &str) -> Option<Slot> {{\n        Some(match name {{")?;
    for (index, field) in fields.iter().enumerate() {
        let (name, json) = (field.proto.name(), json_name(field.proto));
        let pattern = if name == json { format!("\"{name}\"") } else { format!("\"{name}\" | \"{json}\"") };
        let oneof = field.variant.as_ref().map_or("None".to_owned(), |(_, number)| format!("Some({number})"));
        writeln!(out, "            {pattern} => Slot {{ field: {index}, oneof: {oneof} }},")?;
    }
    writeln!(out, "            _ => return None,\n        }})\n    }}")?;
    let reader = if fields.is_empty() { "_r" } else { "r" };
    writeln!(out, "    fn read_field(&mut self, field: u8, {reader}: &mut Reader<'_>) -> Result<(), ReadError> {{")?;
    writeln!(out, "        match field {{")?;
    for (index, field) in fields.iter().enumerate() {
        let (ident, take) = (&field.ident, field.take());
        let set = match &field.variant {
            Some((variant, _)) => format!("self.{ident} = Some({variant}({take}))"),
            None if field.proto.r#type() == Type::Enum && field.repeated() => {
                format!("r.list(|r| {{ if let Some(v) = {take} {{ self.{ident}.push(v); }} Ok(()) }})?")
            }
            None if field.repeated() => format!("r.list(|r| {{ self.{ident}.push({take}); Ok(()) }})?"),
            None if field.proto.r#type() == Type::Enum => format!("if let Some(v) = {take} {{ self.{ident} = v; }}"),
            None if field.proto.r#type() == Type::Message => format!("self.{ident} = Some({take})"),
            None => format!("self.{ident} = {take}"),
        };
        writeln!(out, "            {index} => {{ {set}; }}")?;
    }
    writeln!(out, "            _ => {{}}\n        }}\n        Ok(())\n    }}\n}}\n")
}

fn registry(out: &mut String, names: &[String]) -> std::fmt::Result {
    writeln!(out, "/// Writes what `value` encodes in the JSON of the message of that name.")?;
    writeln!(
        out,
        "pub(super) fn write_named(name: &str, value: &[u8], out: &mut Vec<u8>) -> Option<Result<(), prost::DecodeError>> {{"
    )?;
    writeln!(out, "    Some(match name {{")?;
    for name in names {
        writeln!(out, "        \"{name}\" => decoded::<{}>(value, out),", path(name))?;
    }
    writeln!(out, "        _ => return None,\n    }})\n}}\n")?;
    writeln!(out, "/// Reads the fields of the message of that name and encodes them.")?;
    writeln!(out, "pub(super) fn read_named(name: &str, r: &mut Reader<'_>) -> Option<Result<Vec<u8>, ReadError>> {{")?;
    writeln!(out, "    Some(match name {{")?;
    for name in names {
        writeln!(out, "        \"{name}\" => encoded::<{}>(r),", path(name))?;
    }
    writeln!(out, "        _ => return None,\n    }})\n}}")
}

// === names, as prost makes them ===

fn snake(name: &str) -> String {
    match name.to_snake_case().as_str() {
        "type" => "r#type".to_owned(),
        other => other.to_owned(),
    }
}

fn camel(name: &str) -> String {
    name.to_upper_camel_case()
}

/// Path of the type of a full name, with or without the leading dot.
fn path(full: &str) -> String {
    let full = full.trim_start_matches('.');
    match full.strip_prefix("google.protobuf.") {
        Some(name) => format!("prost_types::{name}"),
        None => match full.rsplit_once('.') {
            Some((scope, name)) => format!("{}::{}", module(scope), camel(name)),
            None => camel(full),
        },
    }
}

fn module(full: &str) -> String {
    full.split('.').fold("crate".to_owned(), |path, part| format!("{path}::{}", snake(part)))
}

fn json_name(field: &FieldDescriptorProto) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in field.name().chars() {
        if c == '_' {
            upper = true;
        } else {
            out.extend(if upper { c.to_uppercase().next() } else { Some(c) });
            upper = false;
        }
    }
    out
}
