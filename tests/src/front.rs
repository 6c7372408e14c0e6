//! What stands before a service: a pair for TLS, haproxy and nginx.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::IpAddr,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{openssl, run, until};

/// How long a balancer may take to start or end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

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

    /// With this configuration, as packages run it: a master and a worker. It can be asked for the state of its servers, and
    /// be reloaded.
    pub fn with(dir: &Path, text: &str) -> Self {
        fs::write(dir.join("haproxy.cfg"), text).unwrap();
        let log = File::options().create(true).append(true).open(dir.join("haproxy.log")).unwrap();
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-W").arg("-S").arg(dir.join("haproxy.sock")).args(["-f", "haproxy.cfg"]).current_dir(dir).stdin(Stdio::null());
        haproxy.stdout(log.try_clone().unwrap()).stderr(log);
        let child = haproxy.spawn().unwrap_or_else(|error| panic!("{haproxy:?}: {error}"));
        Self { child, dir: dir.to_owned() }
    }

    /// What its socket for operators says to a command for the master; empty if it does not answer.
    fn told(&self, command: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.dir.join("haproxy.sock"))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(format!("{command}\n").as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        ask().unwrap_or_default()
    }

    /// A field of the statistics of a server of a section `backend`, as HAProxy names it: `status`, `stot`. `None` while it
    /// does not say.
    pub fn server(&self, backend: &str, server: &str, field: &str) -> Option<String> {
        let told = self.told("@1 show stat");
        let mut lines = told.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.find(|line| line[0] == "# pxname")?;
        let number = names.iter().position(|name| *name == field)?;
        let line = lines.find(|line| line.len() > number && line[0] == backend && line[1] == server)?;
        Some(line[number].to_owned())
    }

    /// Whether requests go to a server of a section `backend`. `None` while it does not say.
    pub fn is_up(&self, backend: &str, server: &str) -> Option<bool> {
        Some(self.server(backend, server, "status")?.starts_with("UP"))
    }

    /// The worker of now.
    pub fn worker(&self) -> Option<u32> {
        let told = self.told("show proc");
        let mut lines = told.lines().skip_while(|line| !line.starts_with("# workers")).skip(1);
        lines.next()?.split_whitespace().next()?.parse().ok()
    }

    /// Has it read its configuration again (SIGUSR2): another worker takes over. Returns when that one answers.
    #[track_caller]
    pub fn reload(&self) {
        let before = self.worker();
        let sent = run(Command::new("kill").args(["-s", "USR2", &self.child.id().to_string()]));
        assert!(sent.status.success(), "{sent:?}");
        until("another worker of haproxy is there", PATIENCE, || self.worker().filter(|now| Some(*now) != before));
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
