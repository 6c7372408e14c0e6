//! A database server of a test's own: a real PostgreSQL or MariaDB, on a port of its own, with a directory that vanishes with
//! it. It runs as a user without rights, as PostgreSQL wants it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::chown,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{Ca, Leaf, free_port, openssl, run, until};

const PATIENCE: Duration = Duration::from_secs(120);

/// `nobody` and its group on Debian.
const NOBODY: u32 = 65534;

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DatabaseKind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// A running server with one database, `ejbca`, and a user `ostia` who has a password and no rights. Killed when dropped.
#[derive(Debug)]
pub struct DatabaseServer {
    kind: DatabaseKind,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl DatabaseServer {
    /// Starts one.
    pub fn start(kind: DatabaseKind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let port = free_port(IpAddr::V4(Ipv4Addr::LOCALHOST)).port();
        let mut server = Self { kind, dir, port, child: None };
        let data = server.data();
        let mut install = match kind {
            DatabaseKind::Postgres => server.command(&postgres("initdb")),
            DatabaseKind::MariaDb => server.command("mariadb-install-db"),
        };
        match kind {
            DatabaseKind::Postgres => install
                .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D"])
                .arg(&data),
            DatabaseKind::MariaDb => install
                .args([
                    "--no-defaults",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                ])
                .arg(format!("--datadir={data}")),
        };
        let installed = run(&mut install);
        assert!(installed.status.success(), "{install:?}: {}", installed.text);
        if kind == DatabaseKind::Postgres {
            let access = "host all ostia 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";
            fs::write(Path::new(&data).join("pg_hba.conf"), access).unwrap();
        }
        server.restart();
        match kind {
            DatabaseKind::Postgres => {
                server.sql_in("postgres", "CREATE DATABASE ejbca");
                server.sql("CREATE USER ostia PASSWORD 'secret-7391'");
            }
            DatabaseKind::MariaDb => {
                server.sql_in("mysql", "CREATE DATABASE ejbca");
                server.sql("CREATE USER ostia@'%' IDENTIFIED BY 'secret-7391'");
            }
        }
        server
    }

    /// Starts it again after [`kill`](Self::kill).
    pub fn restart(&mut self) {
        let (data, dir) = (self.data(), self.dir.path().display().to_string());
        let mut command = match self.kind {
            DatabaseKind::Postgres => self.command(&postgres("postgres")),
            DatabaseKind::MariaDb => self.command("mariadbd"),
        };
        match self.kind {
            DatabaseKind::Postgres => command
                .args([
                    "-h",
                    "127.0.0.1",
                    "-c",
                    "fsync=off",
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-k",
                    &dir,
                    "-D",
                    &data,
                ])
                .args(["-p", &self.port.to_string()]),
            DatabaseKind::MariaDb => command.args([
                "--no-defaults".to_owned(),
                format!("--datadir={data}"),
                format!("--port={}", self.port),
                format!("--socket={dir}/socket"),
                format!("--pid-file={dir}/pid"),
                "--bind-address=127.0.0.1".to_owned(),
                "--innodb-flush-log-at-trx-commit=0".to_owned(),
            ]),
        };
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        until("the database answers", PATIENCE, || {
            self.client(self.first(), "SELECT 1").status.success().then_some(())
        });
    }

    /// Kills it as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The processes of PostgreSQL end by themselves when the first one has gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Has this executed by whoever may do anything. What it prints.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in("ejbca", sql)
    }

    /// The URL of the database `ejbca`.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same where something stands between.
    pub fn url_at(&self, port: u16) -> String {
        let scheme = match self.kind {
            DatabaseKind::Postgres => "postgres",
            DatabaseKind::MariaDb => "mariadb",
        };
        format!("{scheme}://ostia@127.0.0.1:{port}/ejbca")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Writes the password of `ostia` into a file.
    pub fn write_password(&self, path: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(path, "secret-7391\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Makes EJBCA's table of certificates, which `ostia` may read.
    pub fn create_certificate_data(&self) {
        let (text, short, long, end) = match self.kind {
            DatabaseKind::Postgres => ("TEXT", "INT4", "INT8", ""),
            DatabaseKind::MariaDb => ("VARCHAR(250) BINARY", "INT(11)", "BIGINT(20)", ""),
        };
        self.sql(&format!(
            "CREATE TABLE CertificateData (fingerprint {text} NOT NULL, base64Cert {text}, cAFingerprint {text}, \
             certificateProfileId {short} NOT NULL, endEntityProfileId {short}, expireDate {long} NOT NULL, \
             issuerDN {text} NOT NULL, notBefore {long}, revocationDate {long} NOT NULL, \
             revocationReason {short} NOT NULL, rowProtection {text}, rowVersion {short} NOT NULL, \
             serialNumber {text} NOT NULL, status {short} NOT NULL, subjectAltName {text}, subjectDN {text} NOT NULL, \
             subjectKeyId {text}, tag {text}, type {short} NOT NULL, updateTime {long} NOT NULL, username {text}, \
             PRIMARY KEY (fingerprint)){end}; \
             CREATE INDEX ostia ON CertificateData (cAFingerprint, updateTime)"
        ));
        self.sql(match self.kind {
            DatabaseKind::Postgres => "GRANT SELECT ON CertificateData TO ostia",
            DatabaseKind::MariaDb => "GRANT SELECT ON ejbca.CertificateData TO ostia@'%'",
        });
    }

    /// Makes xipki's tables of CAs and certificates, as far as they matter, with this CA in them as number 1; `ostia` may read
    /// them.
    pub fn create_xipki(&self, ca: &Ca) {
        let text = if self.kind == DatabaseKind::Postgres { "TEXT" } else { "VARCHAR(6000)" };
        let path = ca.certificate().display().to_string();
        let pem = openssl(ca.dir(), ["x509", "-in", &path]);
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        self.sql(&format!(
            "CREATE TABLE CA (ID SMALLINT NOT NULL PRIMARY KEY, NAME VARCHAR(45) NOT NULL, SUBJECT VARCHAR(350) NOT NULL, \
             REV_INFO VARCHAR(200), CERT {text} NOT NULL); \
             CREATE TABLE CERT (ID BIGINT NOT NULL PRIMARY KEY, CA_ID SMALLINT NOT NULL, SN VARCHAR(40) NOT NULL, PID SMALLINT \
             NOT NULL, RID SMALLINT NOT NULL, FP_S BIGINT NOT NULL, LUPDATE BIGINT NOT NULL, NBEFORE BIGINT NOT NULL, NAFTER \
             BIGINT NOT NULL, REV SMALLINT NOT NULL, RR SMALLINT, RT BIGINT, RIT BIGINT, EE SMALLINT NOT NULL, SUBJECT \
             VARCHAR(350) NOT NULL, CRL_SCOPE SMALLINT NOT NULL, SHA1 CHAR(28) NOT NULL, CERT {text} NOT NULL, \
             UNIQUE (CA_ID, SN)); CREATE INDEX ostia_x ON CERT (CA_ID, LUPDATE); \
             INSERT INTO CA VALUES (1, 'tests', 'CN=tests', NULL, '{base64}')"
        ));
        for table in ["CA", "CERT"] {
            self.sql(&match self.kind {
                DatabaseKind::Postgres => format!("GRANT SELECT ON {table} TO ostia"),
                DatabaseKind::MariaDb => format!("GRANT SELECT ON ejbca.{table} TO ostia@'%'"),
            });
        }
    }

    /// Adds a certificate to those tables. Its serial number is written as Java writes it.
    pub fn add_xipki(&self, leaf: &Leaf) {
        let (serial, now) = (xipki_serial(leaf), self.seconds());
        let id = u64::from_str_radix(&leaf.serial[leaf.serial.len().saturating_sub(14)..], 16).unwrap();
        self.sql(&format!(
            "INSERT INTO CERT (ID, CA_ID, SN, PID, RID, FP_S, LUPDATE, NBEFORE, NAFTER, REV, EE, SUBJECT, CRL_SCOPE, SHA1, CERT) \
             VALUES ({id}, 1, '{serial}', 1, 1, 1, {now}, {now}, 4102444800, 0, 1, 'CN={serial}', 0, '', '')"
        ));
    }

    /// Revokes it for a reason, or releases it from hold.
    pub fn set_xipki(&self, leaf: &Leaf, reason: Option<u8>) {
        let (serial, now) = (xipki_serial(leaf), self.seconds());
        let set = match reason {
            Some(reason) => format!("REV = 1, RR = {reason}, RT = {now}"),
            None => "REV = 0, RR = NULL, RT = NULL".to_owned(),
        };
        self.sql(&format!("UPDATE CERT SET LUPDATE = {now}, {set} WHERE SN = '{serial}'"));
    }

    /// An expression for now, in seconds.
    fn seconds(&self) -> &'static str {
        match self.kind {
            DatabaseKind::Postgres => "extract(epoch FROM clock_timestamp())::int8",
            DatabaseKind::MariaDb => "UNIX_TIMESTAMP()",
        }
    }

    /// Has PostgreSQL take `ostia` over TLS alone, with a certificate for 127.0.0.1 of the CA whose certificate is left in
    /// `root.pem` here.
    pub fn demand_tls(&self, dir: &Path) {
        let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "9"];
        let root = ["req", "-x509", "-subj", "/CN=root of databases", "-keyout", "root.key", "-out", "root.pem"];
        openssl(dir, [&root[..], &kind].concat());
        let own = ["req", "-x509", "-subj", "/CN=database", "-CA", "root.pem", "-CAkey", "root.key"];
        let more = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
        openssl(dir, [&own[..], &more, &kind, &["-keyout", "server.key", "-out", "server.crt"]].concat());
        let data = self.data();
        for file in ["server.key", "server.crt"] {
            use std::os::unix::fs::PermissionsExt as _;
            let path = Path::new(&data).join(file);
            fs::copy(dir.join(file), &path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let access = "hostssl all ostia 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n";
        fs::write(Path::new(&data).join("pg_hba.conf"), access).unwrap();
        self.sql("ALTER SYSTEM SET ssl = on");
        self.sql("SELECT pg_reload_conf()");
        until("it has TLS", PATIENCE, || (self.sql("SHOW ssl").trim() == "on").then_some(()));
    }

    /// Has this executed in a session that stays for so long.
    pub fn sql_for(&self, seconds: u32, sql: &str) -> Session {
        let mut command = Command::new(postgres("psql"));
        let sql = format!("BEGIN; {sql}; SELECT pg_sleep({seconds})");
        command.args([
            "-X",
            "-q",
            "-U",
            "postgres",
            "-h",
            "127.0.0.1",
            "-d",
            "ejbca",
            "-p",
            &self.port.to_string(),
            "-c",
            &sql,
        ]);
        Session(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Starts a pgbouncer in front of it, which gives all clients one connection, each for a transaction.
    pub fn pooler(&self) -> Pooler {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port(IpAddr::V4(Ipv4Addr::LOCALHOST)).port());
        let at = dir.path().display();
        fs::write(dir.path().join("users"), "\"ostia\" \"secret-7391\"\n").unwrap();
        let text = format!(
            "[databases]\nejbca = host=127.0.0.1 port={} dbname=ejbca\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {at}/users\npool_mode = transaction\n\
             default_pool_size = 1\nlogfile = {at}/log\n",
            self.port
        );
        fs::write(dir.path().join("ini"), text).unwrap();
        if is_root() {
            for path in [dir.path().to_owned(), dir.path().join("users"), dir.path().join("ini")] {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let mut command = self.command("pgbouncer");
        command.current_dir(dir.path()).arg("ini").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        until("pgbouncer listens", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Pooler { child, port, _dir: dir }
    }

    /// Adds a certificate to that table.
    pub fn add(&self, ca: &Ca, leaf: &Leaf) {
        let (ca, serial) = (ca_fingerprint(ca), decimal(leaf));
        let now = self.now();
        self.sql(&format!(
            "INSERT INTO CertificateData (fingerprint, cAFingerprint, certificateProfileId, expireDate, issuerDN, \
             revocationDate, revocationReason, rowVersion, serialNumber, status, subjectDN, type, updateTime) VALUES \
             ('{serial}', '{ca}', 1, 4102444800000, 'CN=ca', -1, -1, 0, '{serial}', 20, 'CN={serial}', 1, {now})"
        ));
    }

    /// Adds so many certificates of an hour ago to that table of PostgreSQL, with serial numbers from `first` on.
    pub fn add_many(&self, ca: &Ca, first: u64, count: u64) {
        let (ca, last, now) = (ca_fingerprint(ca), first + count - 1, self.now());
        self.sql(&format!(
            "INSERT INTO CertificateData (fingerprint, cAFingerprint, certificateProfileId, expireDate, issuerDN, \
             revocationDate, revocationReason, rowVersion, serialNumber, status, subjectDN, type, updateTime) \
             SELECT n::text, '{ca}', 1, 4102444800000, 'CN=ca', -1, -1, 0, n::text, 20, 'CN=' || n, 1, {now} - 3600000 \
             FROM generate_series({first}::int8, {last}::int8) n; ANALYZE CertificateData"
        ));
    }

    /// Gives a certificate in that table a status and a reason.
    pub fn set(&self, leaf: &Leaf, status: u32, reason: i32) {
        let (serial, now) = (decimal(leaf), self.now());
        self.sql(&format!(
            "UPDATE CertificateData SET status = {status}, revocationReason = {reason}, revocationDate = {now}, \
             updateTime = {now} WHERE serialNumber = '{serial}'"
        ));
    }

    /// An expression for now, in milliseconds.
    fn now(&self) -> &'static str {
        match self.kind {
            DatabaseKind::Postgres => "(extract(epoch FROM clock_timestamp()) * 1000)::int8",
            DatabaseKind::MariaDb => "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
        }
    }

    /// The same in another database.
    #[track_caller]
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        let ended = self.client(database, sql);
        assert!(ended.status.success(), "{sql}: {}", ended.text);
        ended.text
    }

    fn client(&self, database: &str, sql: &str) -> crate::Ended {
        let port = self.port.to_string();
        run(&mut match self.kind {
            DatabaseKind::Postgres => {
                let mut command = Command::new(postgres("psql"));
                command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", "127.0.0.1"]);
                command.args(["-p", &port, "-d", database, "-c", sql]);
                command
            }
            DatabaseKind::MariaDb => {
                let mut command = Command::new("mariadb");
                command.args(["--no-defaults", "-N", "-B", "-u", "root", "-h", "127.0.0.1", "-P", &port, "-e", sql]);
                command.arg(database);
                command
            }
        })
    }

    fn first(&self) -> &'static str {
        match self.kind {
            DatabaseKind::Postgres => "postgres",
            DatabaseKind::MariaDb => "mysql",
        }
    }

    fn data(&self) -> String {
        self.dir.path().join("data").display().to_string()
    }

    /// Run as somebody without rights.
    fn command(&self, program: &str) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig=KILL", program]);
            command
        } else {
            Command::new(program)
        };
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .current_dir(self.dir.path())
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .env("HOME", self.dir.path());
        command
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A session with a database. It ends when dropped.
#[derive(Debug)]
pub struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running pgbouncer. Killed when dropped.
#[derive(Debug)]
pub struct Pooler {
    child: Child,
    /// Where it listens.
    pub port: u16,
    _dir: TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As Java writes it in hexadecimal.
fn xipki_serial(leaf: &Leaf) -> String {
    leaf.serial.trim_start_matches('0').to_lowercase()
}

/// As EJBCA tells CAs apart.
fn ca_fingerprint(ca: &Ca) -> String {
    let certificate = ca.certificate().display().to_string();
    let text = openssl(ca.dir(), ["x509", "-in", &certificate, "-noout", "-fingerprint", "-sha1"]);
    text.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase()
}

fn decimal(leaf: &Leaf) -> String {
    u128::from_str_radix(&leaf.serial, 16).unwrap().to_string()
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).text.trim() == "0"
}

/// Debian keeps PostgreSQL's programs out of the path.
fn postgres(program: &str) -> String {
    let dirs = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = dirs.map(|dir| dir.path().join("bin").join(program)).find(|path| path.exists());
    found.map_or_else(|| program.to_owned(), |path| path.display().to_string())
}
