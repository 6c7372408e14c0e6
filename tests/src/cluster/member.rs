//! One process of a [`Cluster`](super::Cluster), with a directory and addresses of its own.
//!
//! It does not know the others.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::TOKEN;
use crate::{FakeClock, Host, Responder, Seat, Site, http, programs, run, until};

/// For whatever has to happen at once, on a machine that may be busy.
const SOON: Duration = Duration::from_secs(60);

/// How long an answer to a push is waited for.
const PUSHED_WITHIN: Duration = Duration::from_secs(15);

/// How a reload ends in the log: well, or not.
const RELOADED: [&str; 2] = ["the configuration was read again", "the configuration stays as it was"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Writer,
    Replica,
}

/// What somebody answered to a push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pushed {
    /// Of HTTP; 0 if there was no answer.
    pub status: u16,
    /// What came with it.
    pub text: String,
}

/// One process of a cluster.
#[derive(Debug)]
pub struct Member {
    pub(super) name: String,
    role: Role,
    /// Where a writer gives out snapshots.
    pub(super) snapshots: Option<SocketAddr>,
    running: Option<Responder>,
    ended: Option<Site>,
    is_paused: bool,
    /// What its command is run by.
    prefix: Vec<String>,
    /// Its program, where it is not the one that was built.
    program: Option<PathBuf>,
    seat: Seat,
}

impl Member {
    pub(super) fn new(name: String, site: Site, role: Role, snapshots: Option<SocketAddr>, seat: Seat) -> Self {
        [site.http, site.admin].into_iter().for_each(|address| seat.open_door(address));
        let prefix = seat.prefix();
        Self { name, role, snapshots, running: None, ended: Some(site), is_paused: false, prefix, program: None, seat }
    }

    /// The host that it is on.
    #[track_caller]
    pub fn host(&self) -> &Host {
        self.seat.host()
    }

    /// Its configuration, state and addresses.
    pub fn site(&self) -> &Site {
        let running = self.running.as_ref().map(|running| &running.site);
        running.or(self.ended.as_ref()).expect("it runs or it has ended")
    }

    /// Where a writer gives out snapshots.
    pub fn snapshots(&self) -> Option<SocketAddr> {
        self.snapshots
    }

    /// Starts it anew with its configuration changed.
    #[track_caller]
    pub fn restart_with(&mut self, edit: impl FnOnce(String) -> String) {
        self.end_by("TERM");
        self.site().edit_config(edit);
        self.start();
    }

    /// Puts another build of its program into place as an installation does: written beside the one it runs, then renamed.
    /// What is started from now on is that one.
    #[track_caller]
    pub fn install(&mut self, build: u32) {
        let built = match self.role {
            Role::Writer => &programs().precompute,
            Role::Replica => &programs().responder,
        };
        let (program, beside) = (self.site().dir().join("program"), self.site().dir().join("program.new"));
        fs::copy(built, &beside).unwrap();
        // Whatever stands behind a program makes another file of it, and is not run.
        let mut file = fs::File::options().append(true).open(&beside).unwrap();
        writeln!(file, "build {build}").unwrap();
        drop(file);
        fs::rename(beside, &program).unwrap();
        self.program = Some(program);
    }

    /// Its process, which runs.
    pub fn process(&self) -> &Responder {
        self.running.as_ref().expect("it runs")
    }

    /// Whether it runs, and is not kept from it.
    pub(super) fn is_answering(&self) -> bool {
        self.running.is_some() && !self.is_paused
    }

    /// From its next start on the modes of files count for it, also if it is root.
    pub fn heed_modes(&mut self) {
        let is_root = run(Command::new("id").arg("-u")).text.trim() == "0";
        if is_root {
            self.prefix.extend(["setpriv", "--bounding-set", "-dac_override,-dac_read_search"].map(str::to_owned));
        }
    }

    /// From its next start on its clock on the wall is so much, such as `+1h`, wrong.
    pub fn follow_clock(&mut self, offset: &str) {
        let site = self.ended.take().expect("it does not run");
        let clock = FakeClock::new(site.dir());
        clock.set(offset);
        let variables = clock.environment().into_iter();
        self.ended = Some(variables.fold(site, |site, (name, value)| site.environment(name, value)));
    }

    /// Starts it, and waits until it lives.
    #[track_caller]
    pub fn start(&mut self) {
        let site = self.ended.take().expect("it does not run");
        let command = match self.role {
            Role::Writer => site.run_alone(),
            Role::Replica => site.serve(),
        };
        let command = match &self.program {
            Some(program) => as_program(program, &command),
            None => command,
        };
        let mut running = site.launch(behind(&self.prefix, command));
        running.until_answered("/livez", SOON);
        self.running = Some(running);
    }

    /// Changes its configuration and has it read again; gives what its log says became of it.
    #[track_caller]
    pub fn reload(&self, edit: impl FnOnce(String) -> String) -> String {
        let is_outcome = |line: &&str| RELOADED.iter().any(|outcome| line.contains(outcome));
        let outcomes = |log: String| log.lines().filter(is_outcome).map(str::to_owned).collect::<Vec<_>>();
        let before = outcomes(self.log()).len();
        self.process().reload(edit);
        until("the configuration is read again", SOON, || outcomes(self.log()).get(before).cloned())
    }

    /// Ends it by a signal, named as for `kill`.
    #[track_caller]
    pub fn end_by(&mut self, signal: &str) {
        let mut running = self.running.take().expect("it runs");
        running.end_by(signal);
        self.ended = Some(running.into_site());
        self.is_paused = false;
    }

    /// As by a power cut.
    #[track_caller]
    pub fn kill(&mut self) {
        self.end_by("KILL");
    }

    /// Keeps it from running (SIGSTOP), its connections open.
    #[track_caller]
    pub fn pause(&mut self) {
        self.process().signal("STOP");
        self.is_paused = true;
    }

    /// Lets it run again.
    #[track_caller]
    pub fn go_on(&mut self) {
        self.process().signal("CONT");
        self.is_paused = false;
    }

    /// Lets it write no file past so many bytes, as on a full disk; `u64::MAX` for all it likes.
    #[track_caller]
    pub fn limit_files(&self, octets: u64) {
        let soft = if octets == u64::MAX { "unlimited".to_owned() } else { octets.to_string() };
        let (pid, limit) = (self.process().pid().to_string(), format!("--fsize={soft}:unlimited"));
        let ended = run(Command::new("prlimit").args(["--pid", &pid, &limit]));
        assert!(ended.status.success(), "{ended:?}");
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.site().dir().join("log")).unwrap_or_default()
    }

    /// A metric of its feed. `None` if it does not answer, or has no such series.
    pub fn feed_metric(&self, name: &str, labels: &str) -> Option<f64> {
        if !self.is_answering() {
            return None;
        }
        let reply = http::exchange(self.site().admin, &http::request("GET", "/metrics", "")).ok()?;
        let is_it = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or("#");
            (rest.starts_with('{') || rest.starts_with(' ')) && rest.contains(labels)
        };
        reply.text().lines().find(is_it)?.rsplit(' ').next()?.parse().ok()
    }

    /// The digest of the records of its one issuer, as its API says. `None` if that does not answer.
    pub fn digest(&self) -> Option<String> {
        let admin = self.site().admin;
        let request = format!(
            "GET /v1/issuers HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        );
        let text = http::exchange(admin, request.as_bytes()).ok().filter(|reply| reply.status == 200)?.text();
        Some(text.split_once("\"digest\":\"")?.1.split_once('"')?.0.to_owned())
    }

    /// Which leadership it is at.
    pub fn epoch(&self) -> f64 {
        self.feed_metric("ostia_feed_epoch", "").unwrap_or(0.0)
    }

    /// What `/readyz/ocsp` and `query` says: only its status. `None` if it does not answer.
    pub fn readiness(&self, query: &str) -> Option<u16> {
        Some(self.readiness_text(query)?.0)
    }

    /// The same with what it says.
    pub fn readiness_text(&self, query: &str) -> Option<(u16, String)> {
        if !self.is_answering() {
            return None;
        }
        let request = http::request("GET", &format!("/readyz/ocsp{query}"), "");
        let reply = http::exchange(self.site().admin, &request).ok()?;
        Some((reply.status, reply.text()))
    }

    /// Its API, for clients on threads of their own.
    pub fn api(&self, issuer: &str) -> Api {
        Api { admin: self.site().admin, issuer: issuer.to_owned() }
    }

    pub(super) fn push(&self, issuer: &str, verb: &str, body: &str) -> Pushed {
        if !self.is_answering() {
            return Pushed { status: 0, text: "it does not run".to_owned() };
        }
        self.api(issuer).push(verb, body, PUSHED_WITHIN)
    }
}

/// Where pushes are taken.
#[derive(Clone, Debug)]
pub struct Api {
    admin: SocketAddr,
    issuer: String,
}

impl Api {
    /// Pushes: `verb` is `add`, `revoke` or `release`, `body` in JSON.
    pub fn push(&self, verb: &str, body: &str, patience: Duration) -> Pushed {
        let Self { admin, issuer } = self;
        let request = format!(
            "POST /v1/issuers/{issuer}/{verb} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        match http::exchange_within(*admin, request.as_bytes(), patience) {
            Ok(reply) => Pushed { status: reply.status, text: reply.text() },
            Err(error) => Pushed { status: 0, text: error.to_string() },
        }
    }
}

/// This command of another program.
fn as_program(program: &Path, command: &Command) -> Command {
    let mut other = Command::new(program);
    other.args(command.get_args());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other
}

/// This command, run by another one.
fn behind(prefix: &[String], command: Command) -> Command {
    let [program, arguments @ ..] = prefix else { return command };
    let mut whole = Command::new(program);
    whole.args(arguments).arg(command.get_program()).args(command.get_args());
    whole.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    whole
}
