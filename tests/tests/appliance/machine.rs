//! A machine of its own: a bare Debian, booted with systemd as process 1, in a container of systemd-nspawn.
//!
//! Purpose: what a package does to a machine shows on a machine alone. Its root is `.venv/debian-root`, which `tests/run`
//! makes; what a test changes lies above it and vanishes with it. It has a network of its own, in which it is alone. Invariant:
//! nothing of the host changes: mounts, control groups and processes end with the machine. It takes root.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{Ended, programs, run, run_for, until};
use tempfile::TempDir;

/// For a boot, a command in the machine, and whatever systemd does there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Boots the root in a group of its own. Arguments: the root below, a scratch directory, the name of the group.
const BOOT: &str = r#"
set -e
mkdir "/sys/fs/cgroup/$3"
echo $$ > "/sys/fs/cgroup/$3/cgroup.procs"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
exec systemd-nspawn --quiet --directory="$2/root" --boot --register=no --keep-unit --private-network --console=read-only
"#;

/// Empties and removes the group, which has no processes any more. Argument: its name.
const REMOVE_GROUP: &str = r#"find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +"#;

/// Runs a program in a namespace of mounts of its own, with the one hierarchy of control groups that containers want, whatever
/// this machine has: add the program and its arguments.
pub(crate) fn in_own_mounts() -> Command {
    let mount = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c", mount, "mounts"]);
    command
}

pub(crate) struct Machine {
    nspawn: Child,
    /// Its process 1, as the host counts.
    init: u32,
    scratch: TempDir,
    group: String,
}

pub(crate) fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

impl Machine {
    /// Returns when it has booted.
    pub(crate) fn boot() -> Self {
        let root = project().join(".venv/debian-root");
        assert!(root.join("etc/debian_version").is_file(), "{}: `tests/run` makes it first", root.display());
        // Not on a tmpfs, of which the programs warn.
        let scratch = tempfile::Builder::new().prefix("machine-").tempdir_in(project().join("target")).unwrap();
        let group = format!("ostia-{}", scratch.path().file_name().unwrap().to_string_lossy());
        let console = File::create(scratch.path().join("console")).unwrap();
        let mut boot = in_own_mounts();
        boot.args(["bash", "-c", BOOT, "boot"]);
        boot.arg(&root).arg(scratch.path()).arg(&group);
        boot.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console);
        let mut machine = Self { nspawn: boot.spawn().unwrap(), init: 0, scratch, group };
        machine.init = until("its process 1", PATIENCE, || {
            assert!(machine.nspawn.try_wait().unwrap().is_none(), "{}", machine.console());
            machine.child()
        });
        until("the machine has booted", PATIENCE, || {
            let state = machine.try_sh("systemctl is-system-running --wait").text;
            (state.trim() == "running").then_some(())
        });
        machine
    }

    fn console(&self) -> String {
        fs::read_to_string(self.scratch.path().join("console")).unwrap_or_default()
    }

    /// The process that nspawn has begun, once it is systemd.
    fn child(&self) -> Option<u32> {
        let parent = self.nspawn.id().to_string();
        let ended = run(Command::new("pgrep").args(["--parent", &parent, "--exact", "systemd"]));
        ended.text.trim().parse().ok()
    }

    /// A line for a shell in the machine, as root.
    pub(crate) fn try_sh(&self, line: &str) -> Ended {
        let init = self.init.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &init, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]);
        command.args(["env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]);
        command.args(["DEBIAN_FRONTEND=noninteractive", "HOME=/root", "bash", "-c", line]);
        run_for(PATIENCE, &mut command)
    }

    /// The same; it must succeed. Gives what it printed.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> String {
        let ended = self.try_sh(line);
        assert!(ended.status.success(), "{line}: {}\n{}\n{}", ended.status, ended.text, self.journal());
        ended.text
    }

    /// All that services have said, as people read it.
    pub(crate) fn journal(&self) -> String {
        self.try_sh("journalctl --no-pager --quiet -u 'ostia-*'").text
    }

    /// A file of the machine, as the host reaches it.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root{path}", self.init).into()
    }

    /// Puts a file of the host into the machine.
    pub(crate) fn put(&self, from: &Path, to: &str) {
        fs::copy(from, self.file(to)).unwrap_or_else(|error| panic!("{} to {to}: {error}", from.display()));
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.file(path).parent().unwrap()).unwrap();
        fs::write(self.file(path), text).unwrap();
    }

    /// Looks until the line succeeds.
    #[track_caller]
    pub(crate) fn until(&self, line: &str) {
        let begin = Instant::now();
        while !self.try_sh(line).status.success() {
            assert!(begin.elapsed() < PATIENCE, "{line}: not within {PATIENCE:?}\n{}", self.journal());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// A property of a unit.
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        self.sh(&format!("systemctl show --property={name} --value {unit}")).trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.init > 0 {
            // SIGRTMIN+4: systemd powers off, and nspawn ends with it.
            let _ = run(Command::new("kill").args(["-RTMIN+4", &self.init.to_string()]));
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_secs(20) && matches!(self.nspawn.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(50));
            }
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
        let _ = run(in_own_mounts().args(["bash", "-c", REMOVE_GROUP, "remove", &self.group]));
    }
}

/// The Debian package of the programs under test, built once for each `version`, which is that of the package alone.
pub(crate) fn package(version: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(version.to_owned()).or_insert_with(|| build_package(version)).clone()
}

fn build_package(version: &str) -> PathBuf {
    let directory = programs().responder.parent().unwrap();
    let profile = match directory.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        profile => profile,
    };
    let mut build = script("package");
    build.env("CARGO_TARGET_DIR", directory.parent().unwrap());
    built_by(build.args(["--no-build", "--profile", profile, "--version", version]))
}

/// A script of `systemd`.
pub(crate) fn script(name: &str) -> Command {
    Command::new(project().join("systemd").join(name))
}

/// What a script makes: the first line that it prints, since its standard output comes before what it and others say beside.
pub(crate) fn built_by(script: &mut Command) -> PathBuf {
    let ended = run(script);
    assert!(ended.status.success(), "{}", ended.text);
    project().join(ended.text.lines().next().unwrap())
}
