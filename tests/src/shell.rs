//! Running other programs, and waiting for what they bring about.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How often [`until`] looks: often enough not to be felt, seldom enough to leave the cores to what is tested.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks again and again until there is something; panics with `what` when `limit` has passed.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(LOOK_EVERY);
    }
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it printed, standard output before standard error.
    pub text: String,
}

/// Runs a command to its end, whatever that is. It has no standard input and no HTTP proxy.
pub fn run(command: &mut Command) -> Ended {
    for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    Ended { status: output.status, text }
}

/// Runs a command that has to end by itself within `limit`.
pub fn run_for(limit: Duration, command: &mut Command) -> Ended {
    let mut limited = Command::new("timeout");
    limited.arg("--signal=KILL").arg(limit.as_secs().to_string()).arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        limited.current_dir(dir);
    }
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = run(&mut limited);
    // `timeout` ends by the signal it sends, or says 137 for it.
    assert!(
        ended.status.code().is_some_and(|code| code != 137),
        "{command:?} still ran after {limit:?}: {}",
        ended.text
    );
    ended
}

fn succeed(command: &mut Command) -> String {
    let ended = run(command);
    assert!(ended.status.success(), "{command:?}: {}\n{}", ended.status, ended.text);
    ended.text
}

/// `openssl` in `dir`; it must succeed. Gives what it printed.
pub fn openssl<S: AsRef<std::ffi::OsStr>>(dir: &Path, arguments: impl IntoIterator<Item = S>) -> String {
    succeed(Command::new("openssl").args(arguments).current_dir(dir))
}

/// A line for a shell in `dir`, as a person would copy it; it must succeed. Gives what it printed.
pub fn bash(dir: &Path, line: &str) -> String {
    succeed(Command::new("bash").args(["-o", "pipefail", "-c", line]).current_dir(dir))
}

/// A program that runs until it is dropped, which kills it.
#[derive(Debug)]
pub struct Launched(Child);

impl Launched {
    /// Whatever it prints is added to `log`.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
