//! `nexin lab demo`: three ships. Real programs talk through the datapath, are refused, and are told why.
//!
//! Every line that the demo prints as a command is what it runs. Every claim is checked: where the datapath does something
//! else than is announced, the demo fails.

mod load;
mod narrator;
mod scene;
mod steps;

use std::path::Path;
use std::process::Command;

use crate::{Error, Lab, Result};
use narrator::Narrator;
use scene::Scene;

/// Programs that the ships run.
const NEEDED: &[&str] = &["curl", "busybox", "ping"];

/// Plays the demo with the agent of `program`; with `keep` the lab stays up.
///
/// # Errors
/// Something was not as announced. The lab is removed all the same, unless it is to be kept.
pub async fn run(program: &Path, keep: bool) -> Result<()> {
    for tool in NEEDED {
        if Command::new(tool).arg("--help").output().is_err() {
            return Err(Error::Unexpected {
                expected: format!("the program {tool} to be installed"),
                seen: "it is not; on Debian: apt-get install curl busybox-static iputils-ping".to_owned(),
            });
        }
    }
    let mut narrator = Narrator::new();
    let interrupted = tokio::signal::ctrl_c();
    let played = tokio::select! {
        played = steps::all(program, &mut narrator) => played,
        _ = interrupted => Err(Error::Interrupted),
    };
    if keep {
        return played.inspect(|()| narrator.what_to_try(program, scene::NAME));
    }
    let removed = take_down(&mut narrator);
    played.and(removed)?;
    narrator.end();
    Ok(())
}

fn take_down(narrator: &mut Narrator) -> Result<()> {
    let Ok(lab) = Lab::open(Some(scene::NAME)) else { return Ok(()) };
    narrator.step("Everything goes", "Namespaces, links, addresses, pinned maps and programs are removed by record.");
    let scene = Scene::of(&lab);
    lab.down(&mut |_| {})?;
    let left = scene.left_over()?;
    narrator.check("no namespace, mount, process or file of the lab is left", left.is_empty(), &left.join(", "))
}
