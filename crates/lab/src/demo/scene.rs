//! The rules of the demo, and how things are run in the ships.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nexin_netlink::Netns;

use super::narrator::Narrator;
use crate::ships::write;
use crate::{Error, Lab, LabSpec, Preset, Result};

pub(super) const NAME: &str = "three-ships";

/// The well-known rule: only ships of the empire may land (and ask whether anybody is there).
const RULE: &str = r#"apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: rule1
spec:
  description: Only ships of the empire may land
  endpointSelector:
    matchLabels: {org: empire, class: deathstar}
  ingress:
  - fromEndpoints:
    - matchLabels: {org: empire}
    toPorts:
    - ports:
      - {port: "80", protocol: TCP}
  - fromEndpoints:
    - matchLabels: {org: empire}
    icmps:
    - fields:
      - {family: IPv4, type: 8}
"#;

/// A rule on trial: it is judged beside the others, and enforced by nobody.
const SHADOW: &str = r#"apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: no-more-tiefighters
  annotations:
    policy.nexin.dev/mode: shadow
spec:
  endpointSelector:
    matchLabels: {org: empire, class: deathstar}
  ingressDeny:
  - fromEndpoints:
    - matchLabels: {class: tiefighter}
"#;

pub(super) fn spec() -> LabSpec {
    Preset::ThreeShips.spec()
}

/// Places and files of the demo's lab.
pub(super) struct Scene {
    pub(super) lab: Lab,
    dir: PathBuf,
}

impl Scene {
    pub(super) fn of(lab: &Lab) -> Self {
        Self { lab: lab.clone(), dir: lab.dir.join("demo") }
    }

    /// Writes the rules, and starts the servers of the ships.
    pub(super) fn set(lab: &Lab) -> Result<Self> {
        let scene = Self::of(lab);
        write(&scene.dir.join("rule1.yaml"), RULE, 0o644)?;
        write(&scene.dir.join("shadow.yaml"), SHADOW, 0o644)?;
        Preset::ThreeShips.furnish(lab)?;
        Ok(scene)
    }

    fn command(words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// Runs a program in a ship and waits for its end.
    pub(super) fn run(&self, place: &str, words: &[&str]) -> Result<Output> {
        let output = self.lab.part(place)?.run(|| Self::command(words).output())?;
        output.map_err(|source| Error::system(format!("run {} in {place}", words[0]), source))
    }

    /// The same, before the audience.
    pub(super) fn show(&self, narrator: &Narrator, place: &str, words: &[&str]) -> Result<Output> {
        narrator.command(place, words);
        let output = self.run(place, words)?;
        narrator.output(&format!("{}{}", text(&output.stdout), text(&output.stderr)));
        Ok(output)
    }

    /// Starts a program in a ship, its output in a file of the demo.
    pub(super) fn start(&self, place: &str, words: &[&str], output: &str) -> Result<Running> {
        let path = self.dir.join(output);
        let made = File::create(&path).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = made.map_err(|source| Error::file(&path, source))?;
        let mut command = Self::command(words);
        command.stdout(out).stderr(err);
        let child = self.lab.part(place)?.run(|| command.spawn())?;
        let child = child.map_err(|source| Error::system(format!("start {} in {place}", words[0]), source))?;
        Ok(Running { child, output: path })
    }

    /// Runs the `nexin` binary against the node's agent, beside the rules.
    pub(super) fn ask(&self, program: &Path, words: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(words).arg("--socket").arg(self.lab.node_paths("node").socket).current_dir(&self.dir);
        let output = command.output().map_err(|source| Error::system("run nexin", source))?;
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        if output.status.success() {
            Ok(said)
        } else {
            Err(Error::Unexpected { expected: format!("nexin {} to succeed", words.join(" ")), seen: said })
        }
    }

    /// The same, before the audience.
    pub(super) fn nexin(&self, narrator: &Narrator, program: &Path, words: &[&str]) -> Result<String> {
        narrator.command("", &[&["nexin"], words].concat());
        let said = self.ask(program, words)?;
        narrator.output(&said);
        Ok(said)
    }

    /// What is still there of the lab after it was removed.
    pub(super) fn left_over(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for part in self.lab.spec.parts() {
            let name = self.lab.netns_name(&part);
            if Netns::path_of(&name).exists() {
                left.push(format!("network namespace {name}"));
            }
        }
        if self.lab.dir.exists() {
            left.push(self.lab.dir.display().to_string());
        }
        let table = "/proc/self/mountinfo";
        let mounts = fs::read_to_string(table).map_err(|source| Error::file(table, source))?;
        let dir = self.lab.dir.display().to_string();
        left.extend(mounts.lines().filter(|line| line.contains(&dir)).map(str::to_owned));
        Ok(left)
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A program that runs in a ship. Ends with this value.
pub(super) struct Running {
    pub(super) child: Child,
    output: PathBuf,
}

impl Running {
    pub(super) fn said(&self) -> Result<String> {
        fs::read_to_string(&self.output).map_err(|source| Error::file(&self.output, source))
    }

    pub(super) fn lines(&self) -> Result<usize> {
        Ok(self.said()?.lines().count())
    }

    /// Ends the program; what it said is complete then.
    pub(super) fn stop(mut self) -> Result<String> {
        self.end();
        self.said()
    }

    fn end(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
