//! Namespaces by name: made, removed, and told from those that a killed run has left.
//!
//! A name has the process that made it and when that started, so that another process of the same number is no reason to
//! let a namespace be. It does not know what a namespace is for.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::run;

/// How all of them begin.
const OURS: &str = "ostia-test";
/// Where iproute2 keeps the names,
const NAMES: &str = "/run/netns";
/// and what programs that it runs in one of them find in `/etc`.
const FILES: &str = "/etc/netns";

/// Locked by whoever removes namespaces, or makes what looks like one that was left.
const LOCK: &str = "/run/ostia-test.lock";

/// A network namespace with a name. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Namespace(String);

impl Namespace {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let process = std::process::id();
        let began = began(process).expect("this process runs");
        let name = format!("{OURS}-{process}-{began}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let made = run(Command::new("ip").args(["netns", "add", &name]));
        assert!(
            made.status.success(),
            "a network namespace cannot be made, which these tests need: run them as root, in a container with \
             CAP_NET_ADMIN and CAP_SYS_ADMIN and with /dev/net/tun. `ip netns add` (package iproute2) says: {}",
            made.text
        );
        Self(name)
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// The file by which it is entered.
    pub(super) fn path(&self) -> PathBuf {
        Path::new(NAMES).join(&self.0)
    }

    /// What programs in it find as `/etc/hosts`.
    pub(super) fn hosts_file(&self) -> PathBuf {
        self.file("hosts")
    }

    /// What programs find in `/etc` under this name that are started in it once it is there.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        Path::new(FILES).join(&self.0).join(name)
    }

    /// What a command is run by to run in it.
    pub(super) fn prefix(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.0].map(str::to_owned).to_vec()
    }

    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program.as_ref());
        command
    }

    /// `ip` in it; it must succeed.
    pub(super) fn ip(&self, arguments: &[&str]) {
        let ended = run(Command::new("ip").args(["-n", &self.0]).args(arguments));
        assert!(ended.status.success(), "ip {arguments:?}: {}", ended.text);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(name: &str) {
    let _ = run(Command::new("ip").args(["netns", "delete", name]));
    let _ = fs::remove_dir_all(Path::new(FILES).join(name));
}

/// As long as this is there, nobody else removes what killed runs have left.
pub(super) fn lock() -> File {
    let file = File::options().create(true).append(true).open(LOCK);
    let file = file.unwrap_or_else(|error| panic!("{LOCK}: {error}; these tests take root"));
    file.lock().unwrap();
    file
}

/// Removes the namespaces of runs that were killed, with what still runs in them.
pub(super) fn remove_what_was_left() {
    let _lock = lock();
    let names = [NAMES, FILES].into_iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
    for name in names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|name| is_left(name)) {
        let processes = run(Command::new("ip").args(["netns", "pids", &name]));
        if processes.status.success() {
            let _ = run(Command::new("kill").arg("-KILL").args(processes.text.split_whitespace()));
        }
        remove(&name);
    }
}

/// Whether whoever made the namespace of this name is gone.
fn is_left(name: &str) -> bool {
    let parts = name.strip_prefix(OURS).and_then(|rest| rest.strip_prefix('-')).map(|rest| rest.split('-'));
    let mut numbers = parts.into_iter().flatten().map_while(|part| part.parse::<u64>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(process), Some(began)) => match u32::try_from(process).map(self::began) {
            Ok(Ok(now)) => now != began,
            // What cannot be looked at for want of descriptors or memory is still there.
            Ok(Err(error)) => matches!(error.kind(), io::ErrorKind::NotFound),
            Err(_) => true,
        },
        _ => false,
    }
}

/// When a process began, in ticks since the start of the machine: field 22 of its `stat`, proc(5).
fn began(process: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program, in parentheses, may have anything in it.
    let field = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(19));
    field.and_then(|field| field.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
