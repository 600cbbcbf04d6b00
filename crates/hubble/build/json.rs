//! Writes the JSON code of every message from its descriptor, so that no field can be forgotten. What is common to all
//! messages (text, numbers, times) is in `src/json`; here are only names, numbers and types.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prost_types::DescriptorProto;
use prost_types::field_descriptor_proto::Type;

use crate::names::{Field, Message, json_name, path, wrapped};

/// The text of a Rust file to be included.
pub(crate) fn generate(messages: &[Message<'_>]) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for message in messages {
        writer(&mut out, &message.full, &message.fields)?;
        reader(&mut out, &message.full, message.proto, &message.fields)?;
    }
    let names: Vec<&str> = messages.iter().map(|message| message.full.as_str()).collect();
    registry(&mut out, &names)?;
    Ok(out)
}

// === writing ===

fn writer(out: &mut String, full: &str, fields: &[Field<'_>]) -> std::fmt::Result {
    writeln!(out, "impl Json for {} {{\n    fn write(&self, out: &mut Vec<u8>) {{", path(full))?;
    writeln!(out, "        let start = out.len();")?;
    let mut oneofs = Vec::new();
    for field in fields {
        let key = format!("out.extend_from_slice(b\",\\\"{}\\\":\");", field.proto.name());
        let (ident, write) = (&field.ident, put(field)?);
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
                        writeln!(out, "                {};\n            }}", put(other)?)?;
                    }
                }
                writeln!(out, "        }}")?;
            }
            None if field.repeated() => {
                writeln!(out, "        if !self.{ident}.is_empty() {{\n            {key}")?;
                writeln!(out, "            put::list(&self.{ident}, out, |v, out| {write});\n        }}")?;
            }
            None if field.proto.r#type() == Type::Message => {
                writeln!(
                    out,
                    "        if let Some(v) = &self.{ident} {{\n            {key}\n            {write};\n        }}"
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
                writeln!(out, "            {write};\n        }}")?;
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
    slots(out, fields)?;
    let reader = if fields.is_empty() { "_r" } else { "r" };
    writeln!(out, "    fn read_field(&mut self, field: u8, {reader}: &mut Reader<'_>) -> Result<(), ReadError> {{")?;
    writeln!(out, "        match field {{")?;
    for (index, field) in fields.iter().enumerate() {
        let (ident, take) = (&field.ident, take(field)?);
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

/// Names are told apart by their length first: comparing with dozens of names one by one is what reading would spend its time on.
fn slots(out: &mut String, fields: &[Field<'_>]) -> std::fmt::Result {
    let mut by_length: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (index, field) in fields.iter().enumerate() {
        let oneof = field.variant.as_ref().map_or("None".to_owned(), |(_, number)| format!("Some({number})"));
        let mut names = vec![field.proto.name().to_owned(), json_name(field.proto)];
        names.dedup();
        for name in names {
            let arm = format!("\"{name}\" => Slot {{ field: {index}, oneof: {oneof} }},");
            by_length.entry(name.len()).or_default().push(arm);
        }
    }
    if by_length.is_empty() {
        return Ok(());
    }
    writeln!(out, "    fn slot(name: &str) -> Option<Slot> {{\n        Some(match name.len() {{")?;
    for (length, arms) in by_length {
        writeln!(out, "            {length} => match name {{\n{}", arms.join("\n"))?;
        writeln!(out, "                _ => return None,\n            }},")?;
    }
    writeln!(out, "            _ => return None,\n        }})\n    }}")
}

fn registry(out: &mut String, names: &[&str]) -> std::fmt::Result {
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

// === values ===

/// The function of `put` that writes a value.
fn put(field: &Field<'_>) -> Result<String, std::fmt::Error> {
    Ok(match field.proto.r#type() {
        Type::String => "put::string(v, out)".to_owned(),
        Type::Bool => "put::boolean(*v, out)".to_owned(),
        Type::Uint32 | Type::Int32 => "put::small(i64::from(*v), out)".to_owned(),
        Type::Uint64 => "put::unsigned(*v, out)".to_owned(),
        Type::Int64 => "put::signed(*v, out)".to_owned(),
        Type::Double => "put::double(*v, out)".to_owned(),
        Type::Enum => {
            let path = path(field.proto.type_name());
            format!("put::enumeration({path}::try_from(*v).ok().as_ref().map({path}::as_str_name), *v, out)")
        }
        Type::Message => match wrapped(field.proto.type_name()) {
            Some("bool") => "put::boolean(*v, out)".to_owned(),
            Some(_) => "put::small(i64::from(*v), out)".to_owned(),
            None => "Json::write(v, out)".to_owned(),
        },
        // Hubble's messages hold nothing else.
        _ => return Err(std::fmt::Error),
    })
}

/// The method of `Reader` that reads one value.
fn take(field: &Field<'_>) -> Result<String, std::fmt::Error> {
    let name = json_name(field.proto);
    Ok(match field.proto.r#type() {
        Type::String => format!("r.string(\"{name}\")?"),
        Type::Bool => format!("r.boolean(\"{name}\")?"),
        Type::Uint32 => format!("r.uint32(\"{name}\")?"),
        Type::Int32 => format!("r.int32(\"{name}\")?"),
        Type::Uint64 => format!("r.uint64(\"{name}\")?"),
        Type::Int64 => format!("r.int64(\"{name}\")?"),
        Type::Double => format!("r.double(\"{name}\")?"),
        Type::Enum => {
            let path = path(field.proto.type_name());
            format!("r.enumeration(\"{name}\", |name| {path}::from_str_name(name).map(i32::from))?")
        }
        Type::Message => match wrapped(field.proto.type_name()) {
            Some("bool") => "r.boolean(\"value\")?".to_owned(),
            Some(kind) => format!("r.{kind}(\"value\")?"),
            None => "r.message()?".to_owned(),
        },
        _ => return Err(std::fmt::Error),
    })
}
