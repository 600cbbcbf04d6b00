//! What manifests must keep to: dependencies point down, outside systems have one door, lints are inherited, no cargo
//! features, the right licence.

use std::{collections::BTreeMap, fs, io, path::Path, process::Command};

use serde::Deserialize;

use super::Finding;

#[derive(Deserialize)]
struct House {
    layers: Vec<Vec<String>>,
    #[serde(default)]
    only_through: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    license: Option<String>,
    dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<DependencyKind>,
}

/// Ordinary dependencies have no kind.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum DependencyKind {
    Dev,
    Build,
}

pub(super) fn check(root: &Path) -> io::Result<Vec<Finding>> {
    let house: House = toml::from_str(&fs::read_to_string(root.join("layers.toml"))?).map_err(io::Error::other)?;
    let output =
        Command::new("cargo").args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let mut findings = edges(&house, &metadata.packages);
    for package in &metadata.packages {
        findings.extend(manifest(package)?);
    }
    Ok(findings)
}

fn edges(house: &House, packages: &[Package]) -> Vec<Finding> {
    let rank: BTreeMap<&str, usize> =
        house.layers.iter().enumerate().flat_map(|(i, layer)| layer.iter().map(move |c| (c.as_str(), i))).collect();
    let ours = |name: &str| packages.iter().any(|p| p.name == name);
    let mut findings = Vec::new();
    let mut found = |place: &str, what: String| findings.push(Finding::new("layers", place, what));
    for package in packages {
        let Some(own) = rank.get(package.name.as_str()) else {
            found(&package.name, "is in no layer of layers.toml".into());
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if house.only_through.get(name).is_some_and(|doors| !doors.contains(&package.name)) {
                found(&package.name, format!("uses {name}, which goes only through {:?}", house.only_through[name]));
            }
            if ours(name) && dependency.kind.is_none() && rank.get(name).is_none_or(|r| r >= own) {
                found(&package.name, format!("depends on {name}, which is not in a lower layer"));
            }
        }
    }
    for name in rank.keys().filter(|name| !ours(name)) {
        found("layers.toml", format!("names {name}, which does not exist"));
    }
    findings
}

fn manifest(package: &Package) -> io::Result<Vec<Finding>> {
    #[derive(Deserialize)]
    struct Manifest {
        lints: Option<Lints>,
    }
    #[derive(Deserialize)]
    struct Lints {
        workspace: Option<bool>,
    }
    let parsed: Manifest = toml::from_str(&fs::read_to_string(&package.manifest_path)?).map_err(io::Error::other)?;
    let mut findings = Vec::new();
    if parsed.lints.and_then(|l| l.workspace) != Some(true) {
        findings.push(Finding::new("lints", &package.name, "does not inherit the workspace lints"));
    }
    if package.name != "nexin-testbed" && !package.features.is_empty() {
        let names: Vec<_> = package.features.keys().collect();
        findings.push(Finding::new("features", &package.name, format!("has cargo features {names:?}")));
    }
    let wanted = if package.name.starts_with("nexin-ebpf") { "GPL-2.0 OR Apache-2.0" } else { "Apache-2.0" };
    if package.license.as_deref() != Some(wanted) {
        findings.push(Finding::new("licence", &package.name, format!("declares {:?}, not {wanted}", package.license)));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[&str]) -> Package {
        let dependencies = uses.iter().map(|d| Dependency { name: (*d).into(), kind: None }).collect();
        Package {
            name: name.into(),
            manifest_path: String::new(),
            license: None,
            dependencies,
            features: BTreeMap::new(),
        }
    }

    #[test]
    fn edges_point_down_and_through_doors() {
        let house = House {
            layers: vec![vec!["low".into()], vec!["high".into(), "beside".into()]],
            only_through: BTreeMap::from([("aya".to_owned(), vec!["low".to_owned()])]),
        };
        let good = [package("low", &["aya"]), package("high", &["low"]), package("beside", &[])];
        assert_eq!(edges(&house, &good).len(), 0);
        let bad = [package("low", &["high"]), package("high", &["beside", "aya"]), package("beside", &[])];
        assert_eq!(edges(&house, &bad).len(), 3);
        assert_eq!(edges(&house, &[package("stray", &[])]).len(), 4);
    }
}
