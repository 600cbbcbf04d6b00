//! Lab files: YAML (or JSON) to [`LabSpec`].

use std::fs;
use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::Value;

use crate::{Error, LabSpec, Result};

/// Reads and checks a lab file. Paths of policies come back relative to the working directory.
///
/// # Errors
/// The file cannot be read, is no YAML, has fields that do not exist, or fails [`LabSpec::check`].
pub fn read_spec(path: &Path) -> Result<LabSpec> {
    let text = fs::read_to_string(path).map_err(|source| Error::file(path, source))?;
    let mut spec = parse(&text, &path.display().to_string())?;
    let beside = path.parent().unwrap_or(Path::new("."));
    for policy in &mut spec.policies {
        *policy = beside.join(&*policy);
    }
    Ok(spec)
}

fn parse(text: &str, file: &str) -> Result<LabSpec> {
    let bad = |problem: String| Error::Spec { file: file.to_owned(), problem };
    if text.contains('\0') {
        return Err(bad("a zero byte: what stands behind it would not be read".to_owned()));
    }
    let documents = Yaml::load_from_str(text).map_err(|error| bad(error.to_string()))?;
    let [document] = &documents[..] else {
        return Err(bad(format!("{} documents: a lab file has one", documents.len())));
    };
    let value =
        value(document).ok_or_else(|| bad("tags, aliases and keys that are no words have no place here".to_owned()))?;
    let spec: LabSpec = serde_json::from_value(value).map_err(|error| bad(error.to_string()))?;
    spec.check(file)?;
    Ok(spec)
}

fn value(yaml: &Yaml<'_>) -> Option<Value> {
    Some(match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(flag)) => Value::Bool(*flag),
        Yaml::Value(Scalar::Integer(number)) => Value::from(*number),
        Yaml::Value(Scalar::FloatingPoint(number)) => Value::from(number.into_inner()),
        Yaml::Value(Scalar::String(text)) => Value::from(text.as_ref()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(value).collect::<Option<_>>()?),
        Yaml::Mapping(map) => {
            let entries = map.iter().map(|(key, item)| Some((key.as_str()?.to_owned(), value(item)?)));
            Value::Object(entries.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file() {
        let text = r#"
name: shop
nodes: [{name: east, ipv4: 10.1.0.0/24, settings: {policy.audit: "true"}}]
outside: {command: [busybox, httpd, -f]}
workloads:
- name: web
  labels: {app: web}
  ports: {http: 80/TCP}
  command: [sleep, "60"]
- name: unknown
policies: [p.yaml]
"#;
        let spec = parse(text, "lab.yaml").unwrap();
        assert_eq!(spec.nodes[0].settings["policy.audit"], "true");
        assert_eq!(spec.workloads[0].ports["http"].port, 80);
        assert_eq!(spec.workloads[1].labels, None);
        assert_eq!(spec.pools(0).v4.to_string(), "10.1.0.0/24");
    }

    #[test]
    fn mistakes_name_the_file() {
        let problem = |text: &str| parse(text, "lab.yaml").unwrap_err().to_string();
        assert!(
            problem("workload: []").starts_with("lab.yaml: unknown field `workload`"),
            "{}",
            problem("workload: []")
        );
        assert!(problem("a: b\n---\nc: d").contains("2 documents"));
        assert!(problem("workloads: [").starts_with("lab.yaml: "));
        assert!(problem("name: a\0\nworkloads: []").contains("zero byte"));
    }
}
