//! What stands before a service: a pair for TLS, haproxy and nginx.

use std::{
    fs::{self, File},
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Seat, openssl, run, until};

/// How long a balancer may take to start or end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What haproxy logs once a worker has taken its configuration.
const LOADED: &str = "Loading success.";

/// A self-signed certificate for `ip` and its key, as `cert.pem` and `key.pem` in `dir`; `kind` are the arguments of
/// `openssl req` for the key.
pub fn write_tls_pair(dir: &Path, ip: IpAddr, kind: &[&str]) {
    let alternative = format!("subjectAltName=IP:{ip}");
    let begin = ["req", "-x509", "-noenc", "-days", "2", "-subj", "/CN=ostia", "-addext", &alternative];
    openssl(dir, [&begin, kind, &["-keyout", "new.key", "-out", "new.pem"]].concat());
    fs::set_permissions(dir.join("new.key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(dir.join("new.key"), dir.join("key.pem")).unwrap();
    fs::rename(dir.join("new.pem"), dir.join("cert.pem")).unwrap();
}

/// A running haproxy. Ended when dropped.
#[derive(Debug)]
pub struct Haproxy {
    child: Child,
    dir: PathBuf,
}

impl Haproxy {
    /// Passes bytes on, by these lines of a section `listen`; files are meant from `dir`, where its configuration lies.
    pub fn start(dir: &Path, lines: &str) -> Self {
        let head =
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\nlisten front\n";
        Self::with(dir, &format!("{head}{lines}"))
    }

    /// With this configuration, as packages run it: a master and a worker. So it can be reloaded.
    pub fn with(dir: &Path, text: &str) -> Self {
        Self::on(&Seat::default(), dir, text)
    }

    /// The same somewhere else.
    pub fn on(seat: &Seat, dir: &Path, text: &str) -> Self {
        fs::write(dir.join("haproxy.cfg"), text).unwrap();
        let log = File::options().create(true).append(true).open(dir.join("haproxy.log")).unwrap();
        let mut haproxy = seat.command("haproxy");
        haproxy.args(["-W", "-f", "haproxy.cfg"]).current_dir(dir).stdin(Stdio::null());
        haproxy.stdout(log.try_clone().unwrap()).stderr(log);
        let child = haproxy.spawn().unwrap_or_else(|error| panic!("{haproxy:?}: {error}"));
        Self { child, dir: dir.to_owned() }
    }

    /// Whether requests go to a server of a section `backend`: what HAProxy has logged of it last. It takes a server for up
    /// until it finds otherwise.
    pub fn is_up(&self, backend: &str, server: &str) -> bool {
        let log = self.log();
        let (_, since) = log.rsplit_once(LOADED).unwrap_or_default();
        let line = format!("Server {backend}/{server} is ");
        since.rsplit_once(&line).is_none_or(|(_, state)| state.starts_with("UP"))
    }

    /// Has it read its configuration again (SIGUSR2): another worker takes over. Returns when it does.
    #[track_caller]
    pub fn reload(&self) {
        let loaded = || self.log().matches(LOADED).count();
        let before = loaded();
        let sent = run(Command::new("kill").args(["-s", "USR2", &self.pid().to_string()]));
        assert!(sent.status.success(), "{sent:?}");
        until("haproxy has read its configuration again", PATIENCE, || (loaded() > before).then_some(()));
    }

    /// Its process that stays.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("haproxy.log")).unwrap_or_default()
    }
}

impl Drop for Haproxy {
    /// A master that is killed leaves its worker behind, so it is told to end first.
    fn drop(&mut self) {
        let _ = run(Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]));
        for _ in 0..PATIENCE.as_millis() / 20 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running nginx. Ended when dropped.
#[derive(Debug)]
pub struct Nginx(Child);

impl Nginx {
    /// With these lines in its `http` block. Whatever it writes goes to `dir`.
    pub fn with(dir: &Path, lines: &str) -> Self {
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", dir.join(kind).display()))
            .concat();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/error.log;\nevents {{ }}\nhttp {{\naccess_log off;\n{temporary}{lines}\n}}\n",
            dir.display()
        );
        fs::write(dir.join("nginx.conf"), text).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.arg("-e").arg(dir.join("error.log")).arg("-c").arg(dir.join("nginx.conf")).stdin(Stdio::null());
        Self(nginx.spawn().unwrap_or_else(|error| panic!("{nginx:?}: {error}")))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
