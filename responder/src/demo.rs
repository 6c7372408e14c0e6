//! A first look at the responder on a machine that has no CA: `ostia-responder demo`.
//!
//! [`prepare`] makes a small CA with the real `openssl`, its database, a delegated OCSP signer and
//! the `ostia.toml` that serves them; [`instructions`] are commands to copy. Invariant: a directory
//! that bears the demo's name is complete, because it is built beside its place and then renamed.
//! What exists is reused and what is not a demo is never touched. The demo knows nothing of
//! serving: it hands over the path of a configuration like any other.

mod ca;

use std::{
    borrow::Cow,
    error::Error,
    ffi::OsStr,
    fmt,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// The file whose presence says that a directory is a demo.
const MARKER: &str = "ostia.toml";
/// What the instructions and the configuration rely on.
const NEEDED: [&str; 11] = [
    "ca.pem",
    "ca.key",
    "openssl.cnf",
    "index.txt",
    "good.pem",
    "good.key",
    "revoked.pem",
    "ocsp.pem",
    "ocsp.key",
    "tsa.pem",
    "tsa.key",
];

/// A directory ready to be served and asked about.
#[derive(Debug)]
pub struct Demo {
    /// The directory as it was named, so that commands work where the demo was started.
    pub dir: PathBuf,
    /// Its configuration, for `serve`.
    pub config_path: PathBuf,
    /// Made just now, rather than found.
    pub fresh: bool,
    /// Certificates that the index lists as valid.
    pub good_count: usize,
    /// Certificates that the index lists as revoked, holds included.
    pub revoked_count: usize,
    /// Certificates that the index lists as expired.
    pub expired_count: usize,
    /// A certificate to ask for that is good: `good.pem`, until someone revokes it.
    pub asked: PathBuf,
    /// The responder that `good.pem` names in its AIA extension.
    pub aia_url: String,
}

/// Why there is no demo; each says what to do about it.
#[derive(Debug)]
pub enum DemoError {
    /// The directory cannot be the demo's.
    Directory {
        /// As it was named.
        dir: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No `openssl` in `PATH`.
    NoOpenssl,
    /// An `openssl` command failed.
    Command {
        /// The command line, shortened where it is long.
        command: String,
        /// Where it ran.
        dir: PathBuf,
        /// How it ended.
        status: String,
        /// What it said.
        stderr: String,
    },
    /// A file cannot be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as in "reading".
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { dir, problem } => {
                write!(f, "{}: {problem}; choose another directory with --dir", dir.display())
            }
            Self::NoOpenssl => write!(
                f,
                "the demo makes its CA with the program `openssl`, which is not in PATH; install it \
                 (Debian and Ubuntu: `apt-get install openssl`; Fedora: `dnf install openssl`) and start again"
            ),
            Self::Command { command, dir, status, stderr } => {
                write!(f, "`{command}` in {} failed ({status}):\n{stderr}", dir.display())
            }
            Self::Io { path, doing, error } => write!(f, "{doing} {}: {error}", path.display()),
        }
    }
}

impl Error for DemoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// For `map_err`: an I/O error with the file it is about.
fn at(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> DemoError {
    move |error| DemoError::Io { path: path.to_owned(), doing, error }
}

fn refused(dir: &Path, problem: impl Into<String>) -> DemoError {
    DemoError::Directory { dir: dir.to_owned(), problem: problem.into() }
}

/// Makes the demo in `dir`, or finds it there. `http` and `admin` go into what is made, not into what is found.
pub fn prepare(dir: &Path, http: SocketAddr, admin: SocketAddr, say: &mut dyn FnMut(&str)) -> Result<Demo, DemoError> {
    prepare_with(OsStr::new("openssl"), dir, http, admin, say)
}

fn prepare_with(
    program: &OsStr,
    dir: &Path,
    http: SocketAddr,
    admin: SocketAddr,
    say: &mut dyn FnMut(&str),
) -> Result<Demo, DemoError> {
    // The path goes into openssl.cnf and into commands, neither of which can spell these.
    if !dir.to_str().is_some_and(|dir| !dir.is_empty() && !dir.contains(char::is_control)) {
        return Err(refused(dir, "the name must be printable UTF-8"));
    }
    let fresh = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(refused(dir, "is not a directory")),
        Err(error) => return Err(at(dir, "reading")(error)),
        Ok(mut entries) => entries.next().is_none(),
    };
    if fresh {
        make(program, dir, http, admin, say)?;
    } else if !dir.join(MARKER).is_file() {
        return Err(refused(dir, format!("is not empty and not a demo (it has no {MARKER}), so it is left alone")));
    }
    found(program, dir, fresh, say)
}

/// Builds the demo beside `dir` and renames it into place as the last act.
fn make(
    program: &OsStr,
    dir: &Path,
    http: SocketAddr,
    admin: SocketAddr,
    say: &mut dyn FnMut(&str),
) -> Result<(), DemoError> {
    let place = absolute(dir)?;
    let (Some(parent), Some(name)) = (place.parent(), place.file_name().and_then(OsStr::to_str)) else {
        return Err(refused(dir, "cannot be made: it names no directory inside another"));
    };
    // Renaming over it would leave this process, and the shell it came from, in a directory that is gone.
    if std::env::current_dir().is_ok_and(|current| current == place) {
        return Err(refused(dir, "is the working directory"));
    }
    fs::create_dir_all(parent).map_err(at(parent, "making"))?;

    let partial = Partial::begin(dir, parent.join(format!(".{name}.partial")))?;
    say(&format!("setting up {}", dir.display()));
    ca::make(ca::Openssl { program, dir: &partial.path }, &ca::url(http), say)?;
    let file = partial.path.join("openssl.cnf");
    ca::write_config(&file, &place.to_string_lossy(), &ca::url(http))?;
    let file = partial.path.join(MARKER);
    fs::write(&file, configuration(http, admin)).map_err(at(&file, "writing"))?;
    fs::rename(&partial.path, &place).map_err(at(&place, "renaming the finished directory to"))
}

/// The directory's full name; one that exists is followed through links, since a rename would replace a link.
fn absolute(dir: &Path) -> Result<PathBuf, DemoError> {
    if dir.exists() { dir.canonicalize() } else { std::path::absolute(dir) }.map_err(at(dir, "resolving"))
}

/// A directory being built. Removed when dropped unless it was renamed; what a killed set-up
/// left is removed by the next.
struct Partial {
    path: PathBuf,
    /// Held, so that two set-ups of one directory do not mix.
    _lock: File,
}

impl Partial {
    fn begin(dir: &Path, path: PathBuf) -> Result<Self, DemoError> {
        // Private from the first: keys are made in it.
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(at(&path, "making"))?;
        let lock = File::open(&path).map_err(at(&path, "opening"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(refused(dir, "is being set up by another process")),
            Err(TryLockError::Error(error)) => return Err(at(&path, "locking")(error)),
        }
        for entry in fs::read_dir(&path).map_err(at(&path, "reading"))? {
            let entry = entry.map_err(at(&path, "reading"))?;
            let (left, is_dir) = (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
            if is_dir { fs::remove_dir_all(&left) } else { fs::remove_file(&left) }.map_err(at(&left, "removing"))?;
        }
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // an error here would hide the one that led here
    }
}

/// Looks at what lies in `dir`, so that the instructions fit it.
fn found(program: &OsStr, dir: &Path, fresh: bool, say: &mut dyn FnMut(&str)) -> Result<Demo, DemoError> {
    if let Some(missing) = NEEDED.iter().find(|name| !dir.join(name).is_file()) {
        return Err(refused(dir, format!("is a demo that lacks {missing}; remove it to have it made again")));
    }
    if !fresh && ca::redirect_config(&dir.join("openssl.cnf"), &absolute(dir)?.to_string_lossy())? {
        say("the directory was moved: corrected its path in openssl.cnf");
    }
    let openssl = ca::Openssl { program, dir };
    let certificate = openssl.run(&["x509", "-in", "good.pem", "-noout", "-serial", "-ocsp_uri"])?;
    let (mut serial, mut aia_url) = ("", "");
    for line in certificate.lines() {
        match line.strip_prefix("serial=") {
            Some(hexadecimal) => serial = hexadecimal,
            None => aia_url = line,
        }
    }

    let entries = ca::entries(&dir.join("index.txt"))?;
    let count = |state: u8| entries.iter().filter(|entry| entry.state == state).count();
    let is_good = |entry: &&ca::Entry| entry.state == b'V';
    let asked = if entries.iter().filter(is_good).any(|entry| entry.serial == serial) {
        dir.join("good.pem")
    } else {
        let mut hosts = entries.iter().filter(is_good).filter(|entry| entry.subject.contains("/CN=host-"));
        let another = hosts.next().ok_or_else(|| {
            refused(dir, "is a demo with every certificate revoked or expired; remove it to have it made again")
        })?;
        dir.join("newcerts").join(format!("{}.pem", another.serial))
    };
    Ok(Demo {
        config_path: dir.join(MARKER),
        fresh,
        good_count: count(b'V'),
        revoked_count: count(b'R'),
        expired_count: count(b'E'),
        asked,
        aia_url: aia_url.to_owned(),
        dir: dir.to_owned(),
    })
}

/// `ostia.toml`, as short as a single-tenant file is.
fn configuration(http: SocketAddr, admin: SocketAddr) -> String {
    format!(
        r#"# Ostia's configuration. Paths are relative to this file.
version = 1
state_dir = "state" # the book: what the CA said, kept durably

# Relying parties ask here.
[http]
listen = ["{http}"]

# Health and metrics; never on the same port.
[admin]
listen = "{admin}"

[[tenant]]
name = "demo"

# A CA to answer for, and where its certificates' status comes from.
[[tenant.issuer]]
name = "demo-ca"
certificate = "ca.pem"
index = "index.txt" # kept by `openssl ca`, watched for changes

# Who signs the answers: a delegate, so that the CA's own key can stay away.
[tenant.issuer.signer]
certificate = "ocsp.pem"
key = "ocsp.key"

# A time-stamping authority (RFC 3161), asked at /tsa.
[[tenant.tsa]]
name = "demo-tsa"
policy = "1.3.6.1.4.1.99999.1" # your own: the first is meant by clients that do not say

[tenant.tsa.signer]
certificate = "tsa.pem"
key = "tsa.key"

# A demo's machine may have no NTP. Elsewhere leave this out: time is then told only while the kernel knows the clock to be right.
[time_stamping]
clock = "unchecked"
"#
    )
}

/// Commands to copy, for a responder at `http` with its admin listener at `admin`. Lines indented by four are commands.
#[must_use]
pub fn instructions(demo: &Demo, http: SocketAddr, admin: SocketAddr) -> String {
    let path = |name: &str| quoted(&demo.dir.join(name).to_string_lossy()).into_owned();
    let (ca, config, revoked) = (path("ca.pem"), path("openssl.cnf"), path("revoked.pem"));
    let (query, reply) = (path("query.tsq"), path("reply.tsr"));
    let asked = quoted(&demo.asked.to_string_lossy()).into_owned();
    let (url, admin) = (ca::url(http), ca::url(admin));
    let named = |certificate: &str| format!("openssl ocsp -issuer {ca} -cert {certificate} -no_nonce");
    let ask = |certificate: &str| format!("{} -url {url} -CAfile {ca}", named(certificate));
    let (ask_asked, ask_revoked, named_asked) = (ask(&asked), ask(&revoked), named(&asked));

    let mut notes = String::new();
    if !demo.asked.ends_with("good.pem") {
        notes += &format!("{} is no longer good, so the commands ask for another certificate.\n", path("good.pem"));
    }
    if demo.aia_url != url {
        notes += &format!("{} still names {} as its responder (AIA).\n", path("good.pem"), demo.aia_url);
    }
    if !notes.is_empty() {
        notes.push('\n');
    }
    format!(
        r#"
The demo CA in {dir} has {good} good, {revoked_count} revoked and {expired} expired certificates. The responder
answers for them at {url} and ends with Ctrl-C. The commands below are for another terminal in the same directory.

{notes}Ask about a certificate that is good, then about one that is revoked:

    {ask_asked}
    {ask_revoked}

The answers are signed by a delegate (ocsp.pem), which the CA made for this: trusting ca.pem is enough.

Ask by GET, as caches and CDNs do:

    curl -sS "{url}$({named_asked} -reqout - | base64 -w0 | sed 's:+:%2B:g; s:/:%2F:g; s:=:%3D:g')" | {named_asked} -respin - -CAfile {ca}

Revoke it as the CA would, and ask again: the answer turns within a second.

    openssl ca -config {config} -revoke {asked} -crl_reason superseded
    {ask_asked}

Have a time vouched for (RFC 3161), and verify that:

    openssl ts -query -data {ca} -sha256 -cert -out {query}
    curl -sS -H 'Content-Type: application/timestamp-query' --data-binary @{query} {url}tsa -o {reply}
    openssl ts -verify -queryfile {query} -in {reply} -CAfile {ca}

Health and metrics:

    curl -sS {admin}readyz/ocsp
    curl -sS {admin}readyz/tsa
    curl -sS {admin}metrics
"#,
        dir = demo.dir.display(),
        good = demo.good_count,
        revoked_count = demo.revoked_count,
        expired = demo.expired_count,
    )
}

/// A word for a shell: as it is where that is safe, else in single quotes.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:=,@%".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn prepare_in(dir: &Path) -> Result<Demo, DemoError> {
        prepare(dir, address("127.0.0.1:8080"), address("127.0.0.1:9090"), &mut |_| {})
    }

    fn bash(command: &str) -> String {
        let output = Command::new("bash").args(["-o", "pipefail", "-c", command]).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command}: {text}");
        text
    }

    fn commands(instructions: &str) -> Vec<&str> {
        instructions.lines().filter_map(|line| line.strip_prefix("    ")).collect()
    }

    #[test]
    fn makes_a_complete_ca_then_reuses_it_and_follows_it_when_moved() {
        let scratch = tempfile::tempdir().unwrap();
        // Everything that shells and OpenSSL's configuration treat as special.
        let dir = scratch.path().join(r##"it's $HOME #1 "quo\ted"; `x`"##);
        let demo = prepare_in(&dir).unwrap();
        assert!(demo.fresh);
        assert_eq!((demo.good_count, demo.revoked_count, demo.expired_count), (274, 31, 8));
        assert_eq!(demo.aia_url, "http://127.0.0.1:8080/");
        assert_eq!(demo.asked, dir.join("good.pem"));
        let here = quoted(dir.to_str().unwrap()).into_owned();
        for key in ["ca.key", "good.key", "ocsp.key", "tsa.key"] {
            assert_eq!(fs::metadata(dir.join(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
        }
        let check = |certificate: &str, purpose: &str| {
            bash(&format!("cd {here} && openssl verify -CAfile ca.pem -purpose {purpose} {certificate}"))
        };
        check("good.pem", "sslserver");
        check("revoked.pem", "sslserver");
        check("ocsp.pem", "ocsphelper");
        check("tsa.pem", "timestampsign");
        let text = bash(&format!("cd {here} && openssl x509 -noout -text -in ocsp.pem"));
        for wanted in ["OCSP Signing", "OCSP No Check", "prime256v1", "CA:FALSE"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let text = bash(&format!("cd {here} && openssl x509 -noout -text -in good.pem"));
        for wanted in ["DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1", "CA:FALSE"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing is left beside it");

        let again = prepare_in(&dir).unwrap();
        assert!(!again.fresh);
        assert_eq!((again.good_count, again.revoked_count), (demo.good_count, demo.revoked_count));

        let moved = scratch.path().join("moved");
        fs::rename(&dir, &moved).unwrap();
        let mut said = Vec::new();
        let other = address("127.0.0.1:8081");
        let demo = prepare(&moved, other, address("127.0.0.1:9090"), &mut |line| said.push(line.to_owned())).unwrap();
        assert!(said.iter().any(|line| line.contains("openssl.cnf")), "{said:?}");
        let text = instructions(&demo, other, address("[::]:9090"));
        assert!(text.contains("still names http://127.0.0.1:8080/"), "{text}");
        assert!(text.contains("curl -sS http://[::1]:9090/metrics"), "{text}");
        let commands = commands(&text);
        let revoke = commands.iter().find(|command| command.starts_with("openssl ca ")).unwrap();
        let said = bash(revoke);
        assert!(said.contains("Revoking Certificate"), "{said}");
        let demo = prepare_in(&moved).unwrap();
        assert_eq!(demo.revoked_count, 32);
        assert!(demo.asked.starts_with(moved.join("newcerts")), "another certificate is asked for");
        let text = instructions(&demo, other, address("127.0.0.1:9090"));
        assert!(text.contains("good.pem is no longer good"), "{text}");
    }

    #[test]
    fn the_request_in_the_get_command_is_one_that_openssl_reads() {
        let scratch = tempfile::tempdir().unwrap();
        let demo = prepare_in(&scratch.path().join("a demo")).unwrap();
        let text = instructions(&demo, address("127.0.0.1:8080"), address("127.0.0.1:9090"));
        let commands = commands(&text);
        assert_eq!(commands.len(), 11, "{text}");
        let get = commands.iter().find(|command| command.contains("-reqout")).unwrap();
        // What curl would fetch: the text between the quotes, expanded by the shell.
        let url = get.split('"').nth(1).unwrap();
        let url = bash(&format!("echo \"{url}\""));
        let encoded = url.trim().strip_prefix("http://127.0.0.1:8080/").unwrap();
        assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'%'), "{encoded}");
        let base64 = encoded.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        let read = bash(&format!("echo {base64} | base64 -d | openssl ocsp -reqin - -req_text"));
        assert!(read.contains("Serial Number"), "{read}");
        assert!(!read.contains("Nonce"), "{read}");
    }

    #[test]
    fn leaves_a_directory_alone_that_is_not_a_demo() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("thesis.tex"), "").unwrap();
        let error = prepare_in(scratch.path()).unwrap_err().to_string();
        assert!(error.contains("not empty") && error.contains("--dir"), "{error}");
        let error = prepare_in(&scratch.path().join("thesis.tex")).unwrap_err().to_string();
        assert!(error.contains("not a directory") && error.contains("--dir"), "{error}");
        fs::write(scratch.path().join(MARKER), "").unwrap();
        let error = prepare_in(scratch.path()).unwrap_err().to_string();
        assert!(error.contains("lacks ca.pem"), "{error}");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    }

    #[test]
    fn says_what_to_install_when_openssl_is_missing_and_leaves_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let (http, dir) = (address("127.0.0.1:8080"), scratch.path().join("demo"));
        let error = prepare_with(OsStr::new("/nowhere/openssl"), &dir, http, http, &mut |_| {}).unwrap_err();
        assert!(matches!(error, DemoError::NoOpenssl));
        assert!(error.to_string().contains("install"), "{error}");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failed_command_is_named_with_what_it_said_and_leaves_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let (http, dir) = (address("127.0.0.1:8080"), scratch.path().join("demo"));
        let program = scratch.path().join("openssl");
        fs::write(&program, "#!/bin/sh\necho 'no room in the universe' >&2\nexit 3\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let error = prepare_with(program.as_os_str(), &dir, http, http, &mut |_| {}).unwrap_err().to_string();
        for wanted in ["openssl genpkey", "ca.key", "exit status: 3", "no room in the universe", ".demo.partial"] {
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
        assert!(!dir.exists() && !scratch.path().join(".demo.partial").exists());
    }

    #[test]
    fn what_a_killed_set_up_left_is_replaced_and_an_empty_directory_taken() {
        let scratch = tempfile::tempdir().unwrap();
        let left = scratch.path().join(".demo.partial");
        fs::create_dir_all(left.join("newcerts")).unwrap();
        fs::write(left.join("ca.key"), "half a key").unwrap();
        fs::create_dir(scratch.path().join("demo")).unwrap();
        assert!(prepare_in(&scratch.path().join("demo")).unwrap().fresh);
        assert!(!left.exists());
    }

    #[test]
    fn two_set_ups_of_one_directory_do_not_mix() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("demo");
        let _first = Partial::begin(&dir, scratch.path().join(".demo.partial")).unwrap();
        let error = prepare_in(&dir).unwrap_err().to_string();
        assert!(error.contains("being set up"), "{error}");
    }
}
