//! A network namespace that goes away when its handle does.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::{Error, Result, Tool, fail};

const FOLDER: &str = "/run/netns";

/// A named network namespace (`/run/netns/<name>`). Dropping it removes the name; the kernel ends the namespace when
/// the last process and socket in it are gone.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// A new one, with loopback up and forwarding off.
    pub fn new(name: &str) -> Result<Self> {
        let path = Path::new(FOLDER).join(name);
        fs::create_dir_all(FOLDER)?;
        let handle = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::create_new(&path)?;
            let own = "/proc/thread-self/ns/net";
            mount(Some(own), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok(File::open(own)?)
        })?;
        let namespace = Self { name: name.to_owned(), handle };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where others open it.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Runs a closure on a thread inside. Sockets made there stay there, whoever uses them.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            setns(&self.handle, CloneFlags::CLONE_NEWNET)?;
            inside()
        })
    }

    /// Runs `ip` inside, e.g. `ip("link add a type veth peer name b")`.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.tool(&format!("ip {arguments}"))
    }

    /// Runs a program inside (words separated by spaces); an error unless it succeeds.
    pub fn tool(&self, line: &str) -> Result<String> {
        let done = self.try_tool(line)?;
        if !done.success {
            fail!("in {}: `{line}` failed: {}{}", self.name, done.stderr, done.stdout);
        }
        Ok(done.stdout)
    }

    /// Runs a program inside and returns what came of it.
    pub fn try_tool(&self, line: &str) -> Result<Tool> {
        let mut words = line.split_whitespace();
        let Some(program) = words.next() else { fail!("no program to run") };
        let mut command = Command::new(program);
        command.args(words);
        self.run(|| Tool::run(&mut command))
    }

    /// A handle that a thread of its own can move into this namespace with.
    pub fn try_clone_handle(&self) -> Result<Handle> {
        Ok(Handle(self.handle.try_clone()?))
    }

    /// Sets a kernel parameter inside, e.g. `net/ipv4/ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result {
        self.run(|| {
            let path = Path::new("/proc/sys").join(key);
            fs::write(&path, value).map_err(|e| Error::new(format!("{}: {e}", path.display())))
        })
    }

    /// A pair of interfaces, one here and one in `other`, both up.
    pub fn join(&self, own: &str, other: &Self, theirs: &str) -> Result {
        self.ip(&format!("link add {own} type veth peer name {theirs} netns {}", other.name))?;
        self.ip(&format!("link set {own} up"))?;
        other.ip(&format!("link set {theirs} up"))?;
        Ok(())
    }
}

/// An open namespace.
#[derive(Debug)]
pub struct Handle(File);

impl Handle {
    /// Moves the calling thread inside; it must end there.
    pub fn enter_for_good(&self) -> Result {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let path = self.path();
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&path);
    }
}

/// Namespaces belong to threads, so each entry is a thread of its own. Panics pass through.
fn in_thread<T: Send>(inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    // The name stays the test's, for what it prints.
    let name = thread::current().name().unwrap_or("inside").to_owned();
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, inside)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
