//! The built responder as a process: configured, started, asked, killed.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use crate::{Ca, Ended, Signer, Tsa, http, programs, run, run_for, until};

/// Long enough for a debug build on a busy machine; a responder is ready in a fraction of it.
const START_LIMIT: Duration = Duration::from_secs(45);
/// For an end that was asked for: what is under way has ten seconds to finish, and the machine may be busy.
const END_LIMIT: Duration = Duration::from_secs(40);

const NOT_AHEAD: &str = "presign = false\n";
const UNCHECKED: &str = "\n[time_stamping]\nclock = \"unchecked\"\n";

/// A `[[tenant]]` of a configuration.
#[derive(Clone, Debug)]
pub struct Tenant {
    name: String,
    /// Lines of the tenant itself: `path`, `hosts`, policy.
    settings: String,
    issuers: String,
    tsas: String,
}

impl Tenant {
    /// A tenant with default policy and no issuer yet. Nothing is signed ahead, so that tests know what is signed when.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), settings: NOT_AHEAD.to_owned(), issuers: String::new(), tsas: String::new() }
    }

    /// One whose single issuer is read from the CA's index and signed for by a delegate.
    pub fn of(ca: &Ca, signer: &Signer) -> Self {
        Self::new("tests").issuer("ca", ca, &format!("index = {:?}", ca.index()), &delegated(signer))
    }

    /// With a line of policy, such as `path = "/a"`.
    #[must_use]
    pub fn set(mut self, line: &str) -> Self {
        self.settings += line;
        self.settings.push('\n');
        self
    }

    /// With its answers signed ahead, as they are by default.
    #[must_use]
    pub fn presigned(mut self) -> Self {
        self.settings = self.settings.replace(NOT_AHEAD, "");
        self
    }

    /// With an issuer: lines for its sources, lines of its signer.
    #[must_use]
    pub fn issuer(mut self, name: &str, ca: &Ca, sources: &str, signer: &str) -> Self {
        self.issuers += &issuer_text(name, ca, sources, signer);
        self
    }

    /// With an issuer that others answer for, at these addresses.
    #[must_use]
    pub fn forwarded(mut self, name: &str, ca: &Ca, upstreams: &[SocketAddr]) -> Self {
        let urls: Vec<_> = upstreams.iter().map(|address| format!("http://{address}")).collect();
        let certificate = ca.certificate();
        self.issuers +=
            &format!("\n[[tenant.issuer]]\nname = {name:?}\ncertificate = {certificate:?}\nupstream = {urls:?}\n");
        self
    }

    /// With a time-stamping authority.
    #[must_use]
    pub fn tsa(mut self, tsa: &Tsa) -> Self {
        self.tsas += &tsa.text();
        self
    }

    /// Its part of a configuration.
    pub fn text(&self) -> String {
        format!("\n[[tenant]]\nname = {:?}\n{}{}{}", self.name, self.settings, self.issuers, self.tsas)
    }
}

/// A `[[tenant.issuer]]`, as it may stand behind all else.
pub(crate) fn issuer_text(name: &str, ca: &Ca, sources: &str, signer: &str) -> String {
    let certificate = ca.certificate();
    format!(
        "\n[[tenant.issuer]]\nname = {name:?}\ncertificate = {certificate:?}\n{sources}\n\n[tenant.issuer.signer]\n{signer}\n"
    )
}

/// The lines of a signer that is a delegate.
pub(crate) fn delegated(signer: &Signer) -> String {
    format!("certificate = {:?}\nkey = {:?}", signer.certificate, signer.key)
}

impl Signer {
    /// Its lines in a configuration.
    pub fn lines(&self) -> String {
        delegated(self)
    }
}

/// A directory with a configuration and the state that belongs to it.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    /// Where relying parties ask.
    pub http: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    environment: Vec<(String, PathBuf)>,
}

impl Site {
    /// A configuration with these tenants, on addresses of its own.
    pub fn new(tenants: &[Tenant]) -> Self {
        let ip = own_address();
        let dir = tempfile::tempdir().unwrap();
        let site = Self { dir, http: free_port(ip), admin: free_port(ip), environment: Vec::new() };
        let head = format!(
            "version = 1\nstate_dir = \"state\"\n\n[http]\nlisten = [\"{}\"]\n\n[admin]\nlisten = \"{}\"\n",
            site.http, site.admin
        );
        // The clocks of machines that run tests may be anybody's.
        let clock = if tenants.iter().any(|tenant| !tenant.tsas.is_empty()) { UNCHECKED } else { "" };
        let tenants: String = tenants.iter().map(Tenant::text).collect();
        fs::write(site.config(), head + clock + &tenants).unwrap();
        site
    }

    /// Sets a variable in the environment of the programs that are run for it.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<PathBuf>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    fn command(&self, program: &Path, command: &str) -> Command {
        let mut with_config = Command::new(program);
        with_config.args([command, "--config"]).arg(self.config());
        with_config.envs(self.environment.iter().map(|(name, value)| (name, value)));
        with_config
    }

    /// Where configuration, state and log lie.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.dir().join("ostia.toml")
    }

    /// Adds lines to the section `[http]`.
    pub fn set_http(&self, lines: &str) {
        self.edit_config(|config| config.replacen("[http]\n", &format!("[http]\n{lines}\n"), 1));
    }

    /// Changes the text of the configuration.
    pub fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        fs::write(self.config(), edit(fs::read_to_string(self.config()).unwrap())).unwrap();
    }

    /// `ostia-responder serve` for this configuration.
    pub fn serve(&self) -> Command {
        self.command(&programs().responder, "serve")
    }

    /// `ostia-precompute run` for this configuration: a service without an address for relying parties.
    pub fn run_alone(&self) -> Command {
        self.command(&programs().precompute, "run")
    }

    /// Runs `ostia-responder check`.
    pub fn check(&self) -> Ended {
        self.check_with(&[])
    }

    /// The same with further arguments.
    pub fn check_with(&self, arguments: &[&str]) -> Ended {
        run(self.command(&programs().responder, "check").args(arguments))
    }

    /// Runs `ostia-precompute` with a command and its arguments.
    pub fn precompute(&self, command: &str, arguments: &[&str]) -> Ended {
        run(self.command(&programs().precompute, command).args(arguments))
    }

    /// Starts `serve`, which must end by itself, not well, and soon. Gives what it said.
    #[track_caller]
    pub fn refuses_to_start(&self) -> String {
        let ended = run_for(END_LIMIT, &mut self.serve());
        assert!(ended.status.code().is_some_and(|code| code != 0 && code != 101), "{}\n{}", ended.status, ended.text);
        ended.text
    }

    /// Both `check` and `serve` refuse this configuration, and both say all of `wanted`.
    #[track_caller]
    pub fn is_refused(&self, wanted: &[&str]) {
        let checked = self.check();
        assert!(checked.status.code().is_some_and(|code| code != 0 && code != 101), "check: {checked:?}");
        for said in [checked.text, self.refuses_to_start()] {
            for wanted in wanted {
                assert!(said.contains(wanted), "no `{wanted}` in: {said}");
            }
        }
    }

    /// Starts the responder and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Responder {
        let command = self.serve();
        self.start_by(command)
    }

    /// Starts the responder by another command, such as a shell that limits it.
    #[track_caller]
    pub fn start_by(self, command: Command) -> Responder {
        self.start_with(command, Stdio::null())
    }

    /// The same, with something as its standard input.
    #[track_caller]
    pub fn start_with(self, command: Command, input: Stdio) -> Responder {
        self.start_within(START_LIMIT, command, input)
    }

    /// The same, where a start is meant to take long.
    #[track_caller]
    pub fn start_within(self, limit: Duration, command: Command, input: Stdio) -> Responder {
        let mut responder = self.spawn(command, input);
        responder.until_answered("/readyz/ocsp", limit);
        responder
    }

    /// Starts a program by this command, and waits for nothing.
    #[track_caller]
    pub fn launch(self, command: Command) -> Responder {
        self.spawn(command, Stdio::null())
    }

    fn spawn(self, mut command: Command, input: Stdio) -> Responder {
        let log = self.dir().join("log");
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let err = out.try_clone().unwrap();
        let child = command.stdin(input).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Responder { site: self, child: Some(child) }
    }
}

/// Each site on a loopback address of its own, so that two that pick a port at a time never pick the same.
fn own_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 0x40, low, (NEXT.fetch_add(1, Ordering::Relaxed) % 250) as u8 + 1).into()
}

/// An address that nobody listens on now, and that was given to nobody in this process: the kernel may name a port that is
/// free twice in a row.
pub fn free_port(ip: IpAddr) -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let address = TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr()).unwrap();
        if GIVEN.lock().unwrap().insert(address) {
            return address;
        }
    }
}

/// A running responder. Killed when dropped.
#[derive(Debug)]
pub struct Responder {
    /// Its configuration and state.
    pub site: Site,
    child: Option<Child>,
}

impl Responder {
    /// Waits until a path of the admin listener is answered with 200.
    #[track_caller]
    pub fn until_answered(&mut self, path: &str, limit: Duration) {
        let (admin, log) = (self.site.admin, self.site.dir().join("log"));
        let child = self.child.as_mut().unwrap();
        until(&format!("{path} answers 200"), limit, || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("ended before it was ready: {status}\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            let ready = http::exchange(admin, &http::request("GET", path, "")).ok()?;
            (ready.status == 200).then_some(())
        });
    }

    /// Where relying parties ask.
    pub fn http(&self) -> SocketAddr {
        self.site.http
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.site.dir().join("log")).unwrap()
    }

    /// `/metrics`.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let reply = http::get(self.site.admin, "/metrics");
        assert_eq!(reply.status, 200);
        reply.text()
    }

    /// The values of all series of a metric, in their order.
    #[track_caller]
    pub fn metric_series(&self, name: &str) -> Vec<f64> {
        let metrics = self.metrics();
        let series = metrics.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
        series.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    }

    /// The sum over all series of a metric whose labels contain `labels`.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let metrics = self.metrics();
        let series = metrics.lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or("#");
            (rest.starts_with('{') || rest.starts_with(' ')) && rest.contains(labels)
        });
        let values: Vec<f64> = series.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        assert!(!values.is_empty(), "no {name} with {labels} in:\n{metrics}");
        values.iter().sum()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends a signal, named as for `kill`.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        let sent = run(Command::new("kill").args(["-s", signal, &self.pid().to_string()]));
        assert!(sent.status.success(), "{sent:?}");
    }

    /// Changes the text of its configuration and has it read again.
    #[track_caller]
    pub fn reload(&self, edit: impl FnOnce(String) -> String) {
        self.site.edit_config(edit);
        self.signal("HUP");
    }

    /// What `/readyz/ocsp` says, with its status.
    #[track_caller]
    pub fn readiness(&self) -> (u16, String) {
        self.readiness_of("ocsp")
    }

    /// The same of a service: `ocsp` or `tsa`.
    #[track_caller]
    pub fn readiness_of(&self, service: &str) -> (u16, String) {
        let reply = http::exchange(self.site.admin, &http::request("GET", &format!("/readyz/{service}"), "")).unwrap();
        (reply.status, reply.text())
    }

    /// Sends a signal, named as for `kill`, and waits for the end.
    #[track_caller]
    pub fn end_by(&mut self, signal: &str) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let sent = run(Command::new("kill").args(["-s", signal, &child.id().to_string()]));
        assert!(sent.status.success(), "{sent:?}");
        let limit = END_LIMIT.as_millis() / 20;
        for _ in 0..limit {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("still running {END_LIMIT:?} after SIG{signal}:\n{}", self.log());
    }

    /// Kills it as a power cut would, and starts it again on what is left.
    #[track_caller]
    pub fn kill_and_start_again(mut self) -> Self {
        self.end_by("KILL");
        self.into_site().start()
    }

    /// The site of a responder that has ended or is to end now.
    pub fn into_site(mut self) -> Site {
        self.stop();
        let Site { http, admin, .. } = self.site;
        let site = Site { dir: tempfile::tempdir().unwrap(), http, admin, environment: Vec::new() };
        std::mem::replace(&mut self.site, site)
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop();
    }
}
