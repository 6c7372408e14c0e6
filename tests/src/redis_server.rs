//! A Redis server of a test's own: real, on a port of its own, with a directory that vanishes with it; on loopback, or on a
//! [host](crate::Seat) of its own.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{Ended, Host, Seat, free_port, openssl, run, until};

/// How long a server may take to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The list of users that is shipped, and whose passwords are to be filled in there.
const USERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/redis/users.acl");
const PEOPLE: [&str; 7] = ["ADMIN", "WRITER", "REPLICA", "METRICS", "REPLICATION", "SENTINEL", "SENTINELS"];

/// A running `redis-server`. Killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    dir: TempDir,
    seat: Seat,
    port: u16,
    tls_port: Option<u16>,
    /// User and password of whoever looks after it.
    operator: Option<(String, String)>,
    /// Whether it is a Sentinel.
    watches: bool,
    /// Whether it is reached by TLS alone.
    is_tls: bool,
    child: Option<Child>,
}

impl RedisServer {
    /// One without a password that keeps what it has only in memory.
    pub fn start() -> Self {
        Self::with("")
    }

    /// With these lines in its configuration as well.
    pub fn with(lines: &str) -> Self {
        Self::at(Seat::default(), lines)
    }

    /// The same somewhere else.
    pub fn at(seat: Seat, lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self {
            dir,
            seat,
            port: free_port(LOCALHOST).port(),
            tls_port: None,
            operator: None,
            watches: false,
            is_tls: false,
            child: None,
        };
        server.configure(lines);
        server.begin();
        server
    }

    /// A Sentinel that watches what these lines say.
    pub fn sentinel(seat: Seat, lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port(LOCALHOST).port();
        let own = dir.path().display();
        let text = format!("port {port}\n{}dir {own}\ndaemonize no\n{lines}", listens(&seat));
        fs::write(dir.path().join("redis.conf"), text).unwrap();
        let mut server =
            Self { dir, seat, port, tls_port: None, operator: None, watches: true, is_tls: false, child: None };
        server.begin();
        server
    }

    /// One that lets in whom the shipped list of users names, each with [`acl_password`](Self::acl_password).
    pub fn with_users(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let users = PEOPLE.iter().fold(fs::read_to_string(USERS).unwrap(), |text, who| {
            text.replace(&format!("{who}-PASSWORD"), &Self::acl_password(who))
        });
        fs::write(dir.path().join("users.acl"), users).unwrap();
        let port = free_port(LOCALHOST).port();
        let operator = Some(("admin".to_owned(), Self::acl_password("ADMIN")));
        let seat = Seat::default();
        let mut server = Self { dir, seat, port, tls_port: None, operator, watches: false, is_tls: false, child: None };
        let follows = Self::acl_password("REPLICATION");
        let acl = server.dir.path().join("users.acl");
        server.configure(&format!(
            "aclfile {}\nmasteruser redis-replication\nmasterauth {follows}\n{lines}",
            acl.display()
        ));
        server.restart();
        server
    }

    /// The password of whoever has one in the shipped list of users: `WRITER`, `REPLICA`, `METRICS` and others.
    pub fn acl_password(who: &str) -> String {
        format!("{}-secret-7391", who.to_lowercase())
    }

    /// One that lets nobody in without this password.
    pub fn with_password(password: &str) -> Self {
        let mut server = Self::with(&format!("requirepass {password}\n"));
        server.operator = Some(("default".to_owned(), password.to_owned()));
        server
    }

    /// One with the shipped configuration, and these lines more: users, TLS alone, as `localhost` by the CA of `tls`
    /// ([`write_tls`](Self::write_tls)).
    pub fn shipped(tls: &Path, lines: &str) -> Self {
        Self::of_file(tls, "redis.conf", lines, false)
    }

    /// A Sentinel with the shipped configuration, which watches the server at this port.
    pub fn shipped_sentinel(tls: &Path, master: u16) -> Self {
        Self::of_file(tls, "sentinel.conf", &format!("{master}"), true)
    }

    fn of_file(tls: &Path, name: &str, more: &str, watches: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (from, to) in [("ca.pem", "ca.pem"), ("server.pem", "redis.pem"), ("server.key", "redis.key")] {
            fs::copy(tls.join(from), path(to)).unwrap();
        }
        let shipped = |name: &str| {
            let text = fs::read_to_string(Path::new(USERS).with_file_name(name)).unwrap();
            PEOPLE.iter().fold(text, |text, who| text.replace(&format!("{who}-PASSWORD"), &Self::acl_password(who)))
        };
        fs::write(path("users.acl"), shipped("users.acl")).unwrap();
        let port = free_port(LOCALHOST).port();
        let own = dir.path().display().to_string();
        let text = shipped(name).replace("/etc/redis", &own);
        let (port_of_file, text) = match watches {
            true => ("tls-port 26379", text.replace("MASTER-HOST 6379", &format!("localhost {more}"))),
            false => ("tls-port 6379", format!("{text}\n{more}")),
        };
        let text = text.replace(port_of_file, &format!("tls-port {port}")).replace("HOST", "localhost");
        fs::write(path("redis.conf"), format!("{text}\nbind 127.0.0.1\ndir {own}\ndaemonize no\n")).unwrap();
        let (user, password) = if watches { ("default", "SENTINELS") } else { ("admin", "ADMIN") };
        let operator = Some((user.to_owned(), Self::acl_password(password)));
        let seat = Seat::default();
        let mut server = Self { dir, seat, port, tls_port: None, operator, watches, is_tls: true, child: None };
        server.restart();
        server
    }

    /// One that speaks TLS as well, on [`tls_port`](Self::tls_port), with a certificate for `localhost` by a CA of its own,
    /// [`ca`](Self::ca).
    pub fn with_tls() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::write_tls(dir.path());
        let tls_port = free_port(LOCALHOST).port();
        let mut server = Self {
            dir,
            seat: Seat::default(),
            port: free_port(LOCALHOST).port(),
            tls_port: Some(tls_port),
            operator: None,
            watches: false,
            is_tls: false,
            child: None,
        };
        let file = |name: &str| server.dir.path().join(name).display().to_string();
        let lines = format!(
            "tls-port {tls_port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n",
            file("server.pem"),
            file("server.key"),
            file("ca.pem")
        );
        server.configure(&lines);
        server.restart();
        server
    }

    /// Makes a CA and a certificate for `localhost` by it in this directory: `ca.pem`, `server.pem` and `server.key`.
    pub fn write_tls(path: &Path) {
        openssl(path, ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ca.key"]);
        openssl(path, ["req", "-x509", "-key", "ca.key", "-subj", "/CN=Feed CA", "-days", "30", "-out", "ca.pem"]);
        openssl(path, ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "server.key"]);
        openssl(
            path,
            [
                "req",
                "-x509",
                "-key",
                "server.key",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-days",
                "30",
                "-out",
                "server.pem",
            ],
        );
    }

    fn configure(&mut self, lines: &str) {
        let text = format!(
            "port {}\n{}dir {}\nsave \"\"\nappendonly no\ndaemonize no\n{lines}",
            self.port,
            listens(&self.seat),
            self.dir.path().display()
        );
        fs::write(self.dir.path().join("redis.conf"), text).unwrap();
    }

    /// Where others reach it without TLS.
    pub fn address(&self) -> SocketAddr {
        (self.seat.address(), self.port).into()
    }

    /// The host that it is on.
    #[track_caller]
    pub fn host(&self) -> &Host {
        self.seat.host()
    }

    /// Where it listens without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens with TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port.expect("a server with TLS")
    }

    /// The CA of a server with TLS.
    pub fn ca(&self) -> std::path::PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Its directory, with its configuration and, if it writes one, its dump.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn begin(&mut self) {
        self.seat.open_door((LOCALHOST, self.port).into());
        self.restart();
    }

    /// Starts it again, after [`kill`](Self::kill).
    pub fn restart(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = self.seat.redis_server();
        command
            .arg(self.dir.path().join("redis.conf"))
            .args(self.watches.then_some("--sentinel"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        until("redis-server listens", PATIENCE, || {
            [Some(self.port), self.tls_port]
                .into_iter()
                .flatten()
                .all(|port| self.seat.connect((LOCALHOST, port).into()).is_ok())
                .then_some(())
        });
    }

    /// Whether it was started, and not killed since.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// As by kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in order, and waits for that. While it writes its first file it does not end, and forgets that it was told to: so
    /// it is told again.
    #[track_caller]
    pub fn end(&mut self) {
        until("redis-server ends by SIGTERM", PATIENCE, || {
            self.signal("-TERM");
            std::thread::sleep(Duration::from_millis(500));
            self.child.as_mut()?.try_wait().unwrap()
        });
        self.child = None;
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    /// Keeps it from running (SIGSTOP), its connections open.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it run again.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.pid().to_string();
        assert!(run(Command::new("kill").args([signal, &id])).status.success());
    }

    /// What `redis-cli` says to a command; without the newline at the end.
    pub fn cli<const N: usize>(&self, arguments: [&str; N]) -> String {
        let ended = self.cli_ends(arguments);
        assert!(ended.status.success(), "{arguments:?}: {}", ended.text);
        ended.text.trim_end().to_owned()
    }

    /// Takes the memory that it has away, unless it has none left anyway. What it uses goes up and down with its clients, so
    /// this is for a loop that waits for what becomes of it.
    pub fn leave_no_memory(&self) {
        let memory = self.cli(["INFO", "memory"]);
        let of = |name: &str| {
            let value = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap().trim().parse::<u64>().unwrap()
        };
        let (used, most) = (of("used_memory"), of("maxmemory"));
        if most == 0 || used < most {
            self.cli(["CONFIG", "SET", "maxmemory", &(used - 20_000).to_string()]);
        }
    }

    /// Like [`RedisServer::cli`], of a server that may not be there yet.
    pub fn try_cli<const N: usize>(&self, arguments: [&str; N]) -> Option<String> {
        let ended = self.cli_ends(arguments);
        ended.status.success().then(|| ended.text.trim_end().to_owned())
    }

    fn cli_ends<const N: usize>(&self, arguments: [&str; N]) -> Ended {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]);
        if self.is_tls {
            command.args(["-h", "localhost", "--tls", "--cacert"]).arg(self.ca());
        }
        if let Some((user, password)) = &self.operator {
            command.args(["--no-auth-warning", "--user", user, "-a", password]);
        }
        run(command.args(arguments))
    }
}

/// The lines by which it is reached from where it has to be. Redis takes nobody from other machines without a password
/// unless it is told to.
fn listens(seat: &Seat) -> String {
    let addresses: Vec<String> = seat.addresses().iter().map(IpAddr::to_string).collect();
    format!("bind {}\nprotected-mode no\n", addresses.join(" "))
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
