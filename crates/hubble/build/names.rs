//! Messages and fields of the descriptor under the names that prost gives them.

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_types::field_descriptor_proto::Label;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

const OURS: [&str; 4] = ["flow", "observer", "peer", "relay"];

/// A message with its full name, and its fields in the order of the text.
pub(crate) struct Message<'a> {
    pub(crate) proto: &'a DescriptorProto,
    pub(crate) full: String,
    pub(crate) fields: Vec<Field<'a>>,
}

/// All messages and enumerations (with their full names), inner ones first.
pub(crate) fn all(set: &FileDescriptorSet) -> (Vec<Message<'_>>, Vec<(String, &EnumDescriptorProto)>) {
    let (mut messages, mut enums) = (Vec::new(), Vec::new());
    for file in set.file.iter().filter(|file| OURS.contains(&file.package())) {
        enums.extend(file.enum_type.iter().map(|proto| (format!("{}.{}", file.package(), proto.name()), proto)));
        for proto in &file.message_type {
            collect(proto, file.package(), &mut messages, &mut enums);
        }
    }
    (messages, enums)
}

fn collect<'a>(
    proto: &'a DescriptorProto,
    scope: &str,
    messages: &mut Vec<Message<'a>>,
    enums: &mut Vec<(String, &'a EnumDescriptorProto)>,
) {
    let full = format!("{scope}.{}", proto.name());
    enums.extend(proto.enum_type.iter().map(|inner| (format!("{full}.{}", inner.name()), inner)));
    for inner in &proto.nested_type {
        collect(inner, &full, messages, enums);
    }
    let fields = proto.field.iter().map(|field| Field::new(proto, &full, field)).collect();
    messages.push(Message { proto, full, fields });
}

pub(crate) struct Field<'a> {
    pub(crate) proto: &'a FieldDescriptorProto,
    /// Identifier in Rust, of the field or of the oneof that holds it.
    pub(crate) ident: String,
    /// Path of the variant and number of the oneof.
    pub(crate) variant: Option<(String, i32)>,
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

    pub(crate) fn repeated(&self) -> bool {
        self.proto.label() == Label::Repeated
    }
}

/// What a wrapper of protobuf's wraps.
pub(crate) fn wrapped(type_name: &str) -> Option<&'static str> {
    match type_name {
        ".google.protobuf.BoolValue" => Some("bool"),
        ".google.protobuf.UInt32Value" => Some("uint32"),
        ".google.protobuf.Int32Value" => Some("int32"),
        _ => None,
    }
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
pub(crate) fn path(full: &str) -> String {
    let full = full.trim_start_matches('.');
    match full.strip_prefix("google.protobuf.") {
        Some(name) => format!("prost_types::{name}"),
        None => match full.rsplit_once('.') {
            Some((scope, name)) => format!("{}::{}", module(scope), camel(name)),
            None => camel(full),
        },
    }
}

pub(crate) fn module(full: &str) -> String {
    full.split('.').fold("crate".to_owned(), |path, part| format!("{path}::{}", snake(part)))
}

pub(crate) fn json_name(field: &FieldDescriptorProto) -> String {
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
