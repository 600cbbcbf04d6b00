//! JSON values as YAML. Strings that could be read as anything else are quoted the JSON way, which is YAML too.

use serde_json::Value;

pub(super) fn emit(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut text, value, 0),
        Value::Array(items) if !items.is_empty() => block(&mut text, value, 0),
        _ => {
            text.push_str(&scalar(value));
            text.push('\n');
        }
    }
    text
}

fn block(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) => {
            for (i, (key, value)) in map.iter().enumerate() {
                if i > 0 {
                    indent(text, depth);
                }
                text.push_str(&plain_or_quoted(key));
                text.push(':');
                child(text, value, if value.is_array() { depth } else { depth + 1 }, true);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    indent(text, depth);
                }
                text.push('-');
                child(text, item, depth + 1, false);
            }
        }
        _ => {}
    }
}

/// What follows `key:` or `-`: a scalar on the same line, or a block (on its own lines after a key).
fn child(text: &mut String, value: &Value, depth: usize, after_key: bool) {
    let nested =
        matches!(value, Value::Object(map) if !map.is_empty()) || matches!(value, Value::Array(a) if !a.is_empty());
    if !nested {
        text.push(' ');
        text.push_str(&scalar(value));
        text.push('\n');
        return;
    }
    if after_key {
        text.push('\n');
        indent(text, depth);
    } else {
        text.push(' ');
    }
    block(text, value, depth);
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => plain_or_quoted(text),
        other => other.to_string(),
    }
}

fn plain_or_quoted(text: &str) -> String {
    let safe_start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let safe = text.chars().all(|c| c.is_ascii_alphanumeric() || " ./_-=+()".contains(c));
    let word = text.to_ascii_lowercase();
    let reserved = matches!(word.as_str(), "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n");
    if safe_start && safe && !reserved && !text.ends_with(' ') {
        text.to_owned()
    } else {
        Value::String(text.to_owned()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_values_are_blocks() {
        let value = json!({"a": [1, {"b": "x", "c": []}], "d": {"e": null}, "f": {}});
        assert_eq!(emit(&value), "a:\n- 1\n- b: x\n  c: []\nd:\n  e: null\nf: {}\n");
    }

    #[test]
    fn lists_in_lists_keep_their_depth() {
        assert_eq!(emit(&json!([[1, 2], [{"a": [3]}]])), "- - 1\n  - 2\n- - a:\n    - 3\n");
    }

    #[test]
    fn strings_stay_strings() {
        for text in ["true", "No", "1e3", "", "a: b", "#x", "-", "k8s:app=web", "x ", "multi\nline", "0x1f", "~"] {
            assert_eq!(emit(&json!(text)), format!("{}\n", json!(text)), "{text:?}");
        }
        assert_eq!(emit(&json!("app=web")), "app=web\n");
        assert_eq!(emit(&json!("/run/netns/web")), "/run/netns/web\n");
    }
}
