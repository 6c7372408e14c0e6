//! The demo's CA, made by the real `openssl` in a directory that holds nothing else.
//!
//! The result is what `openssl ca` itself keeps, so the commands of its manual work on it. Keys are readable by their
//! owner only. This module does not know the final place: it works in the directory it is given, by relative names,
//! until [`write_config`] is given the directory's place.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use super::error::{DemoError, at};

/// Certificates for `host-….demo.example` that are in force when made; a tenth of them is then revoked.
const HOSTS: usize = 300;
/// Certificates whose time is over.
const HOSTS_EXPIRED: usize = 8;
/// Every tenth host is revoked, with these in turn; none is a revocation without a reason.
const REASONS: [Option<&str>; 8] = [
    None,
    Some("keyCompromise"),
    Some("superseded"),
    Some("certificateHold"),
    Some("affiliationChanged"),
    Some("cessationOfOperation"),
    Some("unspecified"),
    Some("CACompromise"),
];
/// The CA begins before its expired certificates did.
const CA_BEGINS: &str = "20250101000000Z";
const EXPIRED_AT: &str = "20250401000000Z";
/// Processes of `openssl req` at a time: they take milliseconds each, and more than a few only queue.
const REQUESTS_AT_ONCE: usize = 4;
/// Arguments of a failed command that an error repeats; the batch of requests has hundreds.
const ARGUMENTS_SHOWN: usize = 16;

/// One line of `index.txt`, as far as the demo looks.
pub(super) struct Entry {
    /// `V`, `R` or `E`.
    pub(super) state: u8,
    /// Hexadecimal, as `openssl ca` names the file in `newcerts`.
    pub(super) serial: String,
    /// `/O=…/CN=…`
    pub(super) subject: String,
}

/// The certificates that `index.txt` lists. Lines that are none are left out: judging them is the responder's part.
pub(super) fn entries(index: &Path) -> Result<Vec<Entry>, DemoError> {
    let text = fs::read_to_string(index).map_err(at(index, "reading"))?;
    let entry = |line: &str| {
        let mut fields = line.split('\t');
        let state = *fields.next()?.as_bytes().first()?;
        let (_expires, _revoked) = (fields.next()?, fields.next()?);
        let serial = fields.next()?.to_owned();
        let (_file, subject) = (fields.next()?, fields.next()?.to_owned());
        Some(Entry { state, serial, subject })
    };
    Ok(text.lines().filter_map(entry).collect())
}

/// `openssl` run in one directory.
#[derive(Clone, Copy)]
pub(super) struct Openssl<'a> {
    /// Its name, found through `PATH`, or its path.
    pub(super) program: &'a OsStr,
    /// Where it works.
    pub(super) dir: &'a Path,
}

impl Openssl<'_> {
    /// Runs it and gives its output; anything but success is an error with what it said.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String, DemoError> {
        let output =
            match Command::new(self.program).args(arguments).current_dir(self.dir).stdin(Stdio::null()).output() {
                Ok(output) => output,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.dir.is_dir() => {
                    return Err(DemoError::NoOpenssl);
                }
                Err(error) => return Err(at(Path::new(self.program), "running")(error)),
            };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(DemoError::Command {
            command: shown(self.program, arguments),
            dir: self.dir.to_owned(),
            status: output.status.to_string(),
            stderr: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        })
    }

    /// `openssl ca` on this directory's database, asking nothing.
    fn ca(&self, arguments: &[&str]) -> Result<String, DemoError> {
        self.run(&[&["ca", "-config", "openssl.cnf", "-batch", "-notext"], arguments].concat())
    }

    /// A P-256 key in PKCS#8 PEM, readable by its owner only.
    fn key(&self, file: &str) -> Result<(), DemoError> {
        self.run(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file])?;
        let path = self.dir.join(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(at(&path, "setting the mode of"))
    }

    /// A certificate request for `subject` by the key in `key`.
    fn request(&self, key: &str, subject: &str, alternative_names: Option<&str>, file: &str) -> Result<(), DemoError> {
        let mut arguments = vec!["req", "-new", "-config", "openssl.cnf", "-key", key, "-subj", subject, "-out", file];
        if let Some(names) = alternative_names {
            arguments.extend(["-addext", names]);
        }
        self.run(&arguments).map(drop)
    }
}

/// Makes the whole CA in the empty directory of `openssl`; certificates name `url` as their responder.
pub(super) fn make(openssl: Openssl<'_>, url: &str, say: &mut dyn FnMut(&str)) -> Result<(), DemoError> {
    let path = |name: &str| openssl.dir.join(name);
    for dir in ["newcerts", "requests"] {
        fs::create_dir(path(dir)).map_err(at(&path(dir), "making"))?;
    }
    for (file, content) in
        [("index.txt", ""), ("index.txt.attr", "unique_subject = no\n"), ("serial", "01\n"), ("crlnumber", "01\n")]
    {
        fs::write(path(file), content).map_err(at(&path(file), "writing"))?;
    }
    // Every path below is relative, so `.` is right wherever this directory is made.
    write_config(&path("openssl.cnf"), ".", url)?;

    say("making the CA's key and certificate (P-256)");
    openssl.key("ca.key")?;
    openssl.request("ca.key", "/O=Ostia demo/CN=Ostia demo CA", None, "requests/ca.csr")?;
    let (begins, files) = (["-startdate", CA_BEGINS], ["-in", "requests/ca.csr", "-out", "ca.pem"]);
    openssl.ca(&[&["-selfsign", "-extensions", "ca_cert", "-days", "3650"], &begins[..], &files[..]].concat())?;

    say("making the delegated OCSP signer, the time-stamping authority and the two certificates to ask for");
    openssl.key("ocsp.key")?;
    openssl.request("ocsp.key", "/O=Ostia demo/CN=Ostia demo OCSP signer", None, "requests/ocsp.csr")?;
    openssl.ca(&["-extensions", "ocsp_signer", "-in", "requests/ocsp.csr", "-out", "ocsp.pem"])?;
    openssl.key("tsa.key")?;
    openssl.request("tsa.key", "/O=Ostia demo/CN=Ostia demo TSA", None, "requests/tsa.csr")?;
    openssl.ca(&["-extensions", "tsa_signer", "-in", "requests/tsa.csr", "-out", "tsa.pem"])?;
    openssl.key("good.key")?;
    let localhost = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1";
    openssl.request("good.key", "/O=Ostia demo/CN=localhost", Some(localhost), "requests/good.csr")?;
    openssl.ca(&["-in", "requests/good.csr", "-out", "good.pem"])?;
    // No server uses this one or the hosts below, so one key that is then deleted will do.
    openssl.key("requests/nobody.key")?;
    let name = "revoked.demo.example";
    request_host(openssl, name, "requests/revoked.csr")?;
    openssl.ca(&["-in", "requests/revoked.csr", "-out", "revoked.pem"])?;
    openssl.ca(&["-revoke", "revoked.pem", "-crl_reason", "keyCompromise"])?;

    say(&format!("issuing {} more certificates with `openssl ca`", HOSTS + HOSTS_EXPIRED));
    issue_hosts(openssl)?;
    revoke_hosts(openssl)?;
    openssl.ca(&["-updatedb"])?; // V turns to E where notAfter is past

    fs::remove_dir_all(path("requests")).map_err(at(&path("requests"), "removing"))?;
    for old in ["index.txt.old", "index.txt.attr.old"] {
        let _ = fs::remove_file(path(old)); // only tidiness: openssl makes them again
    }
    Ok(())
}

fn host(number: usize) -> String {
    format!("host-{number:04}.demo.example")
}

fn request_host(openssl: Openssl<'_>, name: &str, file: &str) -> Result<(), DemoError> {
    let (subject, names) = (format!("/O=Ostia demo/CN={name}"), format!("subjectAltName=DNS:{name}"));
    openssl.request("requests/nobody.key", &subject, Some(&names), file)
}

/// Hundreds of requests, a few at a time; then one `openssl ca` for all of them, since each would rewrite the index.
fn issue_hosts(openssl: Openssl<'_>) -> Result<(), DemoError> {
    let file = |number: usize| format!("requests/host-{number:04}.csr");
    let numbers: Vec<usize> = (1..=HOSTS + HOSTS_EXPIRED).collect();
    thread::scope(|scope| {
        let request_all =
            |share: &[usize]| share.iter().try_for_each(|&number| request_host(openssl, &host(number), &file(number)));
        let shares: Vec<_> = numbers
            .chunks(numbers.len().div_ceil(REQUESTS_AT_ONCE))
            .map(|share| scope.spawn(move || request_all(share)))
            .collect();
        shares.into_iter().try_for_each(|share| match share.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;

    let files: Vec<String> = numbers.into_iter().map(file).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let (in_force, expired) = files.split_at(HOSTS);
    openssl.ca(&[&["-infiles"], in_force].concat())?;
    openssl.ca(&[&["-startdate", CA_BEGINS, "-enddate", EXPIRED_AT, "-infiles"], expired].concat())?;
    Ok(())
}

fn revoke_hosts(openssl: Openssl<'_>) -> Result<(), DemoError> {
    let entries = entries(&openssl.dir.join("index.txt"))?;
    for (turn, number) in (1..=HOSTS).step_by(10).enumerate() {
        let subject = format!("/CN={}", host(number));
        let Some(entry) = entries.iter().find(|entry| entry.subject.ends_with(&subject)) else { continue };
        let certificate = format!("newcerts/{}.pem", entry.serial);
        let mut arguments = vec!["-revoke", &certificate];
        if let Some(reason) = REASONS[turn % REASONS.len()] {
            arguments.extend(["-crl_reason", reason]);
        }
        openssl.ca(&arguments)?;
    }
    Ok(())
}

/// Writes `openssl.cnf` for a CA that lies in `dir`. OpenSSL takes relative paths from the working directory.
pub(super) fn write_config(file: &Path, dir: &str, url: &str) -> Result<(), DemoError> {
    fs::write(file, CONFIG.replace("@URL@", url).replace("@DIR@", &escaped(dir))).map_err(at(file, "writing"))
}

/// Points an existing `openssl.cnf` to `dir`, for a directory that was moved. All else stays as its owner left it.
pub(super) fn redirect_config(file: &Path, dir: &str) -> Result<bool, DemoError> {
    let text = fs::read_to_string(file).map_err(at(file, "reading"))?;
    let wanted = format!("{DIR_KEY}{}", escaped(dir));
    let Some(line) = text.lines().find(|line| line.starts_with(DIR_KEY)) else { return Ok(false) };
    if line == wanted {
        return Ok(false);
    }
    fs::write(file, text.replacen(line, &wanted, 1)).map_err(at(file, "writing"))?;
    Ok(true)
}

/// A value for OpenSSL's configuration syntax, where these characters mean something.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '\\' | '$' | '#' | '"' | '\'' | '`') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// A command line as an error shows it.
fn shown(program: &OsStr, arguments: &[&str]) -> String {
    let mut line = program.to_string_lossy().into_owned();
    for argument in arguments.iter().take(ARGUMENTS_SHOWN) {
        let _ = write!(line, " {}", super::text::quoted(argument));
    }
    if let Some(more) = arguments.len().checked_sub(ARGUMENTS_SHOWN).filter(|&more| more > 0) {
        let _ = write!(line, " … ({more} more)");
    }
    line
}

/// The responder URL of an address to listen on: what listens on every address is asked on loopback.
pub(super) fn url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}/")
}

const DIR_KEY: &str = "dir              = ";

/// `openssl.cnf`. `rand_serial` draws 159 bits for the first certificate of a run of `openssl ca` and counts on from them.
const CONFIG: &str = "\
# The demo CA's configuration, for `openssl ca -config`. Made by `ostia-responder demo`.

[ ca ]
default_ca = demo

[ demo ]
# Absolute, so that commands work from any directory. `ostia-responder demo --dir` corrects it after a move.
dir              = @DIR@
database         = $dir/index.txt
new_certs_dir    = $dir/newcerts
certificate      = $dir/ca.pem
private_key      = $dir/ca.key
serial           = $dir/serial
rand_serial      = yes
crlnumber        = $dir/crlnumber
default_md       = sha256
default_days     = 365
default_crl_days = 7
unique_subject   = no
policy           = any_name
x509_extensions  = server_cert
copy_extensions  = copy

[ any_name ]
organizationName = optional
commonName       = supplied

[ req ]
distinguished_name = asked_for
string_mask        = utf8only

[ asked_for ]

[ ca_cert ]
basicConstraints     = critical, CA:TRUE
keyUsage             = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash

[ server_cert ]
basicConstraints       = critical, CA:FALSE
keyUsage               = critical, digitalSignature
extendedKeyUsage       = serverAuth
subjectKeyIdentifier   = hash
authorityKeyIdentifier = keyid
authorityInfoAccess    = OCSP;URI:@URL@

[ ocsp_signer ]
basicConstraints       = critical, CA:FALSE
keyUsage               = critical, digitalSignature
extendedKeyUsage       = critical, OCSPSigning
noCheck                = ignored
subjectKeyIdentifier   = hash
authorityKeyIdentifier = keyid

[ tsa_signer ]
basicConstraints       = critical, CA:FALSE
keyUsage               = critical, digitalSignature
extendedKeyUsage       = critical, timeStamping
subjectKeyIdentifier   = hash
authorityKeyIdentifier = keyid
";
