//! The processes of a demo's cluster.
//!
//! Invariant: each is this program again, or Redis; whatever was started has ended when this is dropped, and one that ended
//! by itself is started again after a while, as systemd would. Where there is `setpriv`, the kernel ends them too when the
//! thread has ended that started them, as by `kill -9`. It does not know what they do.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    super::DemoError,
    at,
    files::{Layout, Part},
};

/// How long a process is gone before it is started again: longer than it takes the other writer to take over.
const PAUSE: Duration = Duration::from_secs(10);
/// How long processes have to end after SIGTERM.
const END: Duration = Duration::from_secs(10);

/// All of them.
#[derive(Debug)]
pub(super) struct Processes(Vec<Process>);

#[derive(Debug)]
struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
    ended: Option<Instant>,
}

/// The program of Redis, or of Valkey.
pub(super) fn find_redis() -> Result<PathBuf, DemoError> {
    find(&["redis-server", "valkey-server"]).ok_or(DemoError::NoRedis)
}

/// What a person calls to push: beside this program, or in `PATH`.
pub(super) fn find_precompute() -> Option<PathBuf> {
    const NAME: &str = "ostia-precompute";
    match find(&[NAME]) {
        Some(_) => Some(NAME.into()),
        None => env::current_exe().ok().map(|program| program.with_file_name(NAME)).filter(|beside| beside.is_file()),
    }
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).flat_map(|dir| names.iter().map(move |name| dir.join(name))).find(|found| found.is_file())
}

impl Processes {
    pub(super) fn start(layout: &Layout, redis: &Path) -> Result<Self, DemoError> {
        let program = env::current_exe().map_err(at(Path::new("ostia-responder"), "finding"))?;
        let log = |name: &str| layout.root.join("logs").join(format!("{name}.log"));
        let part = |part: &Part| Process {
            name: part.name.clone(),
            program: program.clone(),
            arguments: vec![
                if part.http.is_some() { "serve" } else { "write" }.into(),
                "--config".into(),
                part.config.clone().into(),
            ],
            log: log(&part.name),
            child: None,
            ended: None,
        };
        let mut arguments: Vec<OsString> =
            ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"].map(Into::into).into();
        arguments.extend(["--bind".into(), layout.redis.ip().to_string().into()]);
        arguments.extend(["--port".into(), layout.redis.port().to_string().into()]);
        arguments.extend(["--dir".into(), layout.root.join("redis").into()]);
        let redis = Process {
            name: "redis".into(),
            program: redis.to_owned(),
            arguments,
            log: log("redis"),
            child: None,
            ended: None,
        };
        let mut processes = Self([redis].into_iter().chain(layout.parts().map(part)).collect());
        processes.0.iter_mut().try_for_each(|process| {
            let path = process.program.clone();
            process.start().map_err(at(&path, "starting"))
        })?;
        Ok(processes)
    }

    /// Starts those again that have ended a while ago.
    pub(super) fn keep(&mut self) {
        for process in &mut self.0 {
            if process.id().is_none() && process.ended.is_none_or(|ended| ended.elapsed() > PAUSE) {
                // If it cannot be started, the view shows that it is gone.
                let _ = process.start();
            }
        }
    }

    /// The number of a process; `None` while it does not run.
    pub(super) fn id(&self, name: &str) -> Option<u32> {
        let process = self.0.iter().find(|process| process.name == name)?;
        process.child.as_ref().map(Child::id)
    }
}

impl Process {
    /// On a thread that lives as long as it shall.
    fn start(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = match find(&["setpriv"]) {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        // Ctrl-C reaches a whole group of processes: it is for the demo, which ends its parts in their order.
        command.process_group(0);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Its number while it runs.
    fn id(&mut self) -> Option<u32> {
        let child = self.child.as_mut()?;
        if let Ok(None) = child.try_wait() {
            return Some(child.id());
        }
        (self.child, self.ended) = (None, Some(Instant::now()));
        None
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // Redis is the first, and ends last: what is told when the others end goes through it.
        for process in self.0.iter().skip(1) {
            terminate(process.child.as_ref());
        }
        wait_for(self.0.iter_mut().skip(1));
        terminate(self.0.first().and_then(|redis| redis.child.as_ref()));
        wait_for(self.0.iter_mut());
    }
}

fn terminate(child: Option<&Child>) {
    let id = child.and_then(|child| rustix::process::Pid::from_raw(i32::try_from(child.id()).ok()?));
    if let Some(id) = id {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

/// Waits for their end, and ends those that take too long.
fn wait_for<'p>(processes: impl Iterator<Item = &'p mut Process>) {
    let begun = Instant::now();
    for process in processes {
        while process.id().is_some() && begun.elapsed() < END {
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(mut child) = process.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
