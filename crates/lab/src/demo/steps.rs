//! The story, step by step.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nexin_api::v1::{CtQuery, CtState, Endpoint};

use super::load::Load;
use super::narrator::Narrator;
use super::scene::{self, NAME, Running, Scene, text};
use crate::plan::{OUTSIDE, world};
use crate::{Error, Lab, Result, Up};

const LAND: &str = "/cgi-bin/request-landing";
/// Facts are waited for at most so long.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
/// What curl says when it gave up waiting.
const CURL_TIMEOUT: Option<i32> = Some(28);
/// Requests that must have been answered before and after the agent is killed.
const ENOUGH: usize = 100;

/// Where the deathstar is.
struct Deathstar {
    v4: String,
    v6: String,
}

pub(super) async fn all(program: &Path, narrator: &mut Narrator) -> Result<()> {
    let (scene, mut agents) = curtain_up(program, narrator).await?;
    let deathstar = who_is_who(&scene, program, narrator).await?;
    everybody_lands(&scene, &deathstar, narrator).await?;
    the_world(&scene, narrator)?;
    let beam = rule_bites(&scene, program, &deathstar, narrator).await?;
    drop(beam);
    told_why(&scene, program, narrator).await?;
    on_trial(&scene, program, &deathstar, narrator).await?;
    captured(&scene, program, &deathstar, narrator)?;
    agent_dies(&scene, program, &deathstar, &mut agents, narrator).await
}

async fn curtain_up(program: &Path, narrator: &mut Narrator) -> Result<(Scene, Vec<Child>)> {
    narrator
        .step("A lab", "A node with an agent, three ships and the world, each a network namespace of this machine.");
    if Lab::names()?.iter().any(|name| name == NAME) {
        narrator.say("A lab of an earlier demo is still there; it is removed first.");
        Lab::open(Some(NAME))?.down(&mut |_| {})?;
    }
    let started = Instant::now();
    let mut progress = |_: &str| {};
    let (lab, agents) = Lab::up(scene::spec(), Up { program: program.to_owned(), progress: &mut progress }).await?;
    narrator.say(&format!("up in {} ms", started.elapsed().as_millis()));
    Ok((Scene::set(&lab)?, agents))
}

async fn who_is_who(scene: &Scene, program: &Path, narrator: &mut Narrator) -> Result<Deathstar> {
    scene.nexin(narrator, program, &["endpoint", "list"])?;
    narrator.say("Who a workload is follows from its labels: that is its identity, and rules speak of nothing else.");
    let all = endpoints(scene).await?;
    let deathstar = all.iter().find(|endpoint| endpoint.name == "deathstar");
    let addresses = deathstar.and_then(|endpoint| Some((endpoint.ipv4?, endpoint.ipv6?)));
    narrator.check(
        "three workloads are ready, with addresses of both families",
        all.len() == 3 && addresses.is_some(),
        &format!("{all:?}"),
    )?;
    let (v4, v6) = addresses.ok_or_else(|| missing("deathstar"))?;
    Ok(Deathstar { v4: v4.to_string(), v6: format!("[{v6}]") })
}

async fn endpoints(scene: &Scene) -> Result<Vec<Endpoint>> {
    scene.lab.client(0)?.endpoints().await.map_err(agent_error)
}

fn agent_error(source: nexin_api::ClientError) -> Error {
    Error::Agent { node: "node".to_owned(), source }
}

fn missing(what: &str) -> Error {
    Error::Unexpected { expected: format!("{what} to be there"), seen: "it is not".to_owned() }
}

/// Asks for a landing, which must be as `allowed`. A refusal is silence, so curl gives up soon; an answer gets the time
/// that a busy machine needs.
fn land(scene: &Scene, narrator: &mut Narrator, ship: &str, address: &str, allowed: bool, claim: &str) -> Result<()> {
    let url = format!("http://{address}{LAND}");
    let patience = if allowed { "10" } else { "2" };
    let output = scene.show(narrator, ship, &["curl", "-sS", "-m", patience, "-X", "POST", &url])?;
    let landed = text(&output.stdout) == "Ship landed\n";
    let as_said = if allowed { landed } else { !landed && output.status.code() == CURL_TIMEOUT };
    narrator.check(claim, as_said, &format!("curl ended with {}", output.status))
}

async fn everybody_lands(scene: &Scene, deathstar: &Deathstar, narrator: &mut Narrator) -> Result<()> {
    narrator.step("No rule yet", "Without a policy everybody may talk to everybody.");
    until("the deathstar's server to answer", || {
        Ok(scene.run("tiefighter", &["curl", "-s", "-m", "1", &format!("http://{}/", deathstar.v4)])?.status.success())
    })
    .await?;
    for (ship, address) in [("tiefighter", &deathstar.v4), ("xwing", &deathstar.v6)] {
        land(scene, narrator, ship, address, true, &format!("the {ship} lands"))?;
    }
    Ok(())
}

fn the_world(scene: &Scene, narrator: &mut Narrator) -> Result<()> {
    narrator
        .step("The world", "Ships reach the world under the node's address: masquerading, done in the kernel program.");
    let [v4, v6] = world();
    for (address, seen) in [(v4.to_string(), "192.0.2.2"), (format!("[{v6}]"), "2001:db8::2")] {
        let url = format!("http://{address}/cgi-bin/who-am-i");
        let output = scene.show(narrator, "xwing", &["curl", "-sS", "-m", "5", &url])?;
        let said = text(&output.stdout);
        narrator.check(&format!("{OUTSIDE} sees {seen}"), said.contains(seen), said.trim())?;
    }
    Ok(())
}

/// The xwing is held by a running connection, and the rule cuts it.
async fn rule_bites(scene: &Scene, program: &Path, deathstar: &Deathstar, narrator: &mut Narrator) -> Result<Running> {
    narrator.step(
        "A rule for running connections",
        "The xwing and the tiefighter each hold a connection open. Then the rule comes.",
    );
    let url = format!("http://{}/cgi-bin/tractor-beam", deathstar.v4);
    let beam = ["curl", "-sN", "--speed-limit", "1", "--speed-time", "3", &url];
    narrator.command("xwing", &beam);
    let mut xwing = scene.start("xwing", &beam, "xwing-beam")?;
    let tiefighter = scene.start("tiefighter", &["curl", "-sN", &url], "tiefighter-beam")?;
    until("both connections to carry data", || Ok(xwing.lines()? > 2 && tiefighter.lines()? > 2)).await?;
    narrator.say("What would the rule do? Nothing is applied yet:");
    let simulate = ["policy", "simulate", "-f", "rule1.yaml"];
    let named = |said: &str| said.lines().any(|line| line.starts_with("default/xwing") && line.contains("running"));
    let said = told(scene, narrator, program, &simulate, named).await?;
    narrator.check("the simulation names the xwing's running connection", named(&said), &said)?;
    scene.nexin(narrator, program, &["policy", "apply", "-f", "rule1.yaml"])?;
    until("the xwing's running connection to starve", || {
        let ended = xwing.child.try_wait().map_err(|source| Error::system("wait for curl", source))?;
        Ok(ended.is_some_and(|status| status.code() == CURL_TIMEOUT))
    })
    .await?;
    narrator.check("the xwing's running connection is cut: curl gives up", true, "")?;
    let refused = scene.lab.client(0)?.conntrack(&CtQuery::default()).await.map_err(agent_error)?;
    let denied = refused.iter().filter(|flow| flow.state == CtState::Denied).count();
    narrator.check("the connection table has it as denied", denied > 0, &format!("{denied} denied flows"))?;
    let before = tiefighter.lines()?;
    until("the tiefighter's connection to go on", || Ok(tiefighter.lines()? > before + 2)).await?;
    narrator.check("the tiefighter's goes on", true, "")?;
    for (ship, expected) in [("tiefighter", true), ("xwing", false)] {
        for address in [&deathstar.v4, &deathstar.v6] {
            let claim = if expected { "lands" } else { "is refused" };
            land(scene, narrator, ship, address, expected, &format!("the {ship} {claim}"))?;
        }
    }
    Ok(tiefighter)
}

async fn told_why(scene: &Scene, program: &Path, narrator: &mut Narrator) -> Result<()> {
    narrator.step("Why?", "Every drop says who, why, and by which rule; and any question can be asked.");
    let watch = ["monitor", "--type", "drop", "--last", "3", "--no-follow"];
    let both = |said: &str| said.contains("default/xwing") && said.contains("default/deathstar");
    let said = told(scene, narrator, program, &watch, both).await?;
    narrator.check("the drop names both ships", both(&said), &said)?;
    narrator.check("and the policy", said.contains("rule1"), &said)?;
    let said = scene.nexin(narrator, program, &["policy", "explain", "xwing", "deathstar", "80/TCP"])?;
    narrator.check("the explanation says refused", said.contains("refused"), &said)?;
    narrator.check(
        "and that the kernel's tables say the same",
        said.contains("the kernel's tables say the same"),
        &said,
    )?;
    Ok(())
}

async fn on_trial(scene: &Scene, program: &Path, deathstar: &Deathstar, narrator: &mut Narrator) -> Result<()> {
    narrator.step(
        "A rule on trial",
        "A shadow policy is judged beside the others; its verdicts are shown, nothing is enforced.",
    );
    scene.nexin(narrator, program, &["policy", "apply", "-f", "shadow.yaml"])?;
    land(scene, narrator, "tiefighter", &deathstar.v4, true, "the tiefighter still lands")?;
    let watch = ["monitor", "--type", "verdict", "--from", "tiefighter", "--last", "2", "--no-follow"];
    let shadowed = |said: &str| said.contains("[shadow: deny");
    let said = told(scene, narrator, program, &watch, shadowed).await?;
    narrator.check("but would have been refused", shadowed(&said), &said)?;
    scene.nexin(narrator, program, &["policy", "delete", "no-more-tiefighters"])?;
    Ok(())
}

fn captured(scene: &Scene, program: &Path, deathstar: &Deathstar, narrator: &mut Narrator) -> Result<()> {
    narrator.step("Labels change", "The empire captures the xwing: with another label it is somebody else, at once.");
    scene.nexin(narrator, program, &["endpoint", "labels", "xwing", "org=empire", "class=xwing"])?;
    land(scene, narrator, "xwing", &deathstar.v4, true, "the captured xwing lands")?;
    scene.nexin(narrator, program, &["endpoint", "labels", "xwing", "org=alliance", "class=xwing"])?;
    land(scene, narrator, "xwing", &deathstar.v4, false, "freed, it is refused again")
}

async fn agent_dies(
    scene: &Scene,
    program: &Path,
    deathstar: &Deathstar,
    agents: &mut [Child],
    narrator: &mut Narrator,
) -> Result<()> {
    narrator.step(
        "The agent is killed under load",
        "Programs and tables stay in the kernel: a dead agent loses no packet, and opens no door.",
    );
    let load = Load::start(scene, "tiefighter", &deathstar.v4)?;
    until("the load to run", || Ok(load.answered()? > ENOUGH)).await?;
    let agent = agents.first_mut().ok_or_else(|| missing("the agent's process"))?;
    narrator.command("", &["kill", "-9", &agent.id().to_string()]);
    agent.kill().and_then(|()| agent.wait()).map_err(|source| Error::system("kill the agent", source))?;
    let at_death = load.answered()?;
    land(scene, narrator, "xwing", &deathstar.v4, false, "without an agent the xwing is still refused")?;
    until("requests to be answered without an agent", || Ok(load.answered()? > at_death + ENOUGH)).await?;
    let started = Instant::now();
    *agent = scene.lab.start_agent(program, 0)?;
    scene.lab.agent_ready(0, agent).await?;
    narrator
        .say(&format!("the next agent was ready in {} ms and adopted what it found", started.elapsed().as_millis()));
    let adopted = load.answered()?;
    until("requests to be answered by the adopted datapath", || Ok(load.answered()? > adopted + ENOUGH)).await?;
    let count = load.stop()?;
    narrator.check(
        &format!("{} requests were answered, none failed", count.answered),
        count.failed == 0,
        &format!("{count:?}"),
    )?;
    let echoes = format!("of {} echo requests none was lost", count.echoes_sent);
    narrator.check(&echoes, count.echoes_lost == 0 && count.echoes_sent > 0, &format!("{count:?}"))?;
    let said = scene.nexin(narrator, program, &["endpoint", "list"])?;
    narrator.check(
        "all three ships are there",
        ["deathstar", "tiefighter", "xwing"].iter().all(|ship| said.contains(ship)),
        &said,
    )?;
    land(scene, narrator, "xwing", &deathstar.v4, false, "and the rule still holds")
}

/// Asks `nexin` until it says what is awaited (events take a moment to be read), and then before the audience.
async fn told(
    scene: &Scene,
    narrator: &Narrator,
    program: &Path,
    words: &[&str],
    awaited: impl Fn(&str) -> bool,
) -> Result<String> {
    until(&format!("nexin {} to tell of it", words.join(" ")), || Ok(awaited(&scene.ask(program, words)?))).await?;
    scene.nexin(narrator, program, words)
}

/// Waits until `fact` is so.
///
/// # Errors
/// It is not, after [`PATIENCE`].
async fn until(what: &str, mut fact: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !fact()? {
        if Instant::now() > deadline {
            return Err(Error::Unexpected {
                expected: what.to_owned(),
                seen: format!("it did not within {PATIENCE:?}"),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
