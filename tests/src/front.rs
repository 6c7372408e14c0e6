//! What stands before a service: a pair for TLS, haproxy and nginx.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{Seat, openssl};

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

/// A running haproxy. Killed when dropped.
#[derive(Debug)]
pub struct Haproxy(Child);

impl Haproxy {
    /// Passes bytes on, by these lines of a section `listen`; files are meant from `dir`, where its configuration lies.
    pub fn start(dir: &Path, lines: &str) -> Self {
        let head =
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\nlisten front\n";
        Self::with(dir, &format!("{head}{lines}"))
    }

    /// With this configuration.
    pub fn with(dir: &Path, text: &str) -> Self {
        Self::on(&Seat::default(), dir, text)
    }

    /// The same somewhere else.
    pub fn on(seat: &Seat, dir: &Path, text: &str) -> Self {
        fs::write(dir.join("haproxy.cfg"), text).unwrap();
        let mut haproxy = seat.command("haproxy");
        haproxy.args(["-db", "-q", "-f", "haproxy.cfg"]).current_dir(dir).stdin(Stdio::null());
        Self(haproxy.spawn().unwrap_or_else(|error| panic!("{haproxy:?}: {error}")))
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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
