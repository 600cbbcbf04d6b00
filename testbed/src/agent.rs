//! The agent as a process: the shipped program with settings of its own, killed and restarted at will.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Api, Namespace, Result, fail, program, until_ok};

/// A running `nexin agent`. Dropping it kills the process and shows the log's end if the test is failing.
pub struct Agent {
    child: Child,
    api: Api,
    folder: PathBuf,
    program: PathBuf,
    netns: PathBuf,
}

impl Agent {
    /// Starts one inside `node` and waits until it is ready. `settings` are more lines for its settings file.
    pub(crate) fn start(node: &Namespace, name: &str, settings: &[&str]) -> Result<Self> {
        let folder = Path::new("/run/test").join(name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("nexin.toml"), settings_file(&folder, name, settings))?;
        let program = program("nexin")?;
        let netns = node.path();
        let child = spawn(&program, &netns, &folder)?;
        let mut agent = Self { child, api: Api::new(&folder.join("nexin.sock")), folder, program, netns };
        agent.wait_until_ready()?;
        Ok(agent)
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its socket, state and log are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Root of its pins.
    pub fn bpffs(&self) -> PathBuf {
        bpffs(&self.folder)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Ends it without warning, as `kill -9` does.
    pub fn crash(&mut self) -> Result {
        self.child.kill()?;
        let status = self.child.wait()?;
        match status.signal() {
            Some(9) => Ok(()),
            _ => fail!("the agent had ended by itself: {status}\n{}", self.log()),
        }
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub fn stop(&mut self) -> Result {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        let status = until_ok("the agent has ended", || match self.child.try_wait()? {
            Some(status) => Ok(status),
            None => fail!("still running"),
        })?;
        if !status.success() {
            fail!("the agent ended with {status}\n{}", self.log());
        }
        Ok(())
    }

    /// Starts it again with the same settings, and with another program if one is given.
    pub fn start_again(&mut self, program: Option<&Path>) -> Result {
        let program = program.unwrap_or(&self.program);
        self.child = spawn(program, &self.netns, &self.folder)?;
        self.wait_until_ready()
    }

    /// Starts it and kills it after a while, wherever it has got to by then.
    pub fn start_and_crash(&mut self, after: std::time::Duration) -> Result {
        self.child = spawn(&self.program, &self.netns, &self.folder)?;
        std::thread::sleep(after);
        self.crash()
    }

    /// Adds or replaces lines of the settings file; they count from the next start.
    pub fn configure(&mut self, settings: &[&str]) -> Result {
        let name = self.folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(fs::write(self.folder.join("nexin.toml"), settings_file(&self.folder, &name, settings))?)
    }

    fn wait_until_ready(&mut self) -> Result {
        let ready = until_ok("the agent is ready", || {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Err(format!("the agent ended with {status}")));
            }
            let status = self.api.get("/v1/status")?;
            if status["ready"] != true {
                fail!("{status}");
            }
            Ok(Ok(()))
        });
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => fail!("{error}\n{}", self.log()),
            Err(error) => fail!("{error}\n{}", self.log()),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the agent's log ---\n{}", self.log());
        }
    }
}

fn bpffs(folder: &Path) -> PathBuf {
    Path::new("/sys/fs/bpf").join(folder.file_name().unwrap_or_default())
}

/// Later lines replace earlier ones with the same key.
fn settings_file(folder: &Path, name: &str, more: &[&str]) -> String {
    let path = |part: &str| format!("{:?}", folder.join(part));
    let base = [
        format!("agent.node_name = {name:?}"),
        format!("agent.run_dir = {}", path("run")),
        format!("agent.state_dir = {}", path("state")),
        format!("api.socket = {}", path("nexin.sock")),
        format!("datapath.bpffs = {:?}", bpffs(folder)),
        "metrics.listen = \"off\"".to_owned(),
    ];
    let key = |line: &str| line.split('=').next().unwrap_or("").trim().to_owned();
    let kept = base.into_iter().filter(|line| !more.iter().any(|m| key(m) == key(line)));
    kept.chain(more.iter().map(|m| (*m).to_owned())).map(|line| line + "\n").collect()
}

fn spawn(program: &Path, netns: &Path, folder: &Path) -> Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let mut net = std::ffi::OsString::from("--net=");
    net.push(netns);
    let child = Command::new("nsenter")
        .arg(net)
        .arg(program)
        .args(["agent", "--config"])
        .arg(folder.join("nexin.toml"))
        // Settings come from the file alone.
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(child)
}
