//! Files in another form than the one that is read: what can be recognised is taken as it is, and for the rest the error
//! has the command that converts it. The command is run here, and what it makes is taken.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use ostia_tests::{Ca, Delegate, Ended, KeyKind, Site, bash, programs, run};

/// A CA, a signer and a configuration in one directory, in which each row makes a file of its own.
struct Bench {
    site: Site,
}

const PASSWORD: &str = "secret1";

impl Bench {
    fn new() -> Self {
        let ca = Ca::new("CA");
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        ca.issue();
        let site = Site::new(&[]);
        let (of_ca, key) = (ca.dir().display(), signer.key.display());
        bash(
            site.dir(),
            &format!("cp -r {of_ca}/. . && cp {} ocsp.pem && cp -p {key} ocsp.key", signer.certificate.display()),
        );
        bash(site.dir(), "openssl ca -config openssl.cnf -gencrl -out ca.crl");
        Self { site }
    }

    /// Checks a configuration that names these files.
    fn check(&self, certificate: &str, source: &str, signer: &str, key: &str) -> Ended {
        let file = self.site.dir().join("converted.toml");
        let config = format!(
            "version = 1\nstate_dir = \"state\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[issuer]]\ncertificate = \"{certificate}\"\n{source}\nsigner = {{ certificate = \"{signer}\", key = \"{key}\" }}\n"
        );
        fs::write(&file, config).unwrap();
        self.check_file(&file)
    }

    fn check_file(&self, file: &Path) -> Ended {
        run(Command::new(&programs().precompute).arg("check").arg(file).env("OSTIA_LOG", "error"))
    }

    /// Runs a command that an error named, with the password for whoever asks; no terminal is there to be asked.
    #[track_caller]
    fn convert(&self, command: &str) {
        let answers = self.site.dir().join("answers");
        fs::write(&answers, format!("{PASSWORD}\n").repeat(4)).unwrap();
        let mut shell = Command::new("setsid");
        shell.args(["--wait", "bash", "-c", command]).current_dir(self.site.dir());
        let ended = shell.stdin(Stdio::from(fs::File::open(answers).unwrap())).output().unwrap();
        assert!(ended.status.success(), "{command}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// Where a file stands in a configuration.
#[derive(Clone, Copy, Debug)]
enum As {
    Certificate,
    Key,
    Crl,
    Index,
}

impl Bench {
    fn with(&self, part: As, file: &str) -> Ended {
        const INDEX: &str = "index = \"index.txt\"";
        match part {
            As::Certificate => self.check(file, INDEX, "ocsp.pem", "ocsp.key"),
            As::Key => self.check("ca.pem", INDEX, "ocsp.pem", file),
            As::Crl => {
                let source = format!("crl = \"{file}\"\nunlisted = \"unknown\"");
                self.check("ca.pem", &source, "ocsp.pem", "ocsp.key")
            }
            As::Index => self.check("ca.pem", &format!("index = \"{file}\""), "ocsp.pem", "ocsp.key"),
        }
    }
}

#[test]
fn what_can_be_recognised_is_taken_as_it_is() {
    let bench = Bench::new();
    for (part, made) in [
        (As::Certificate, "openssl x509 -in ca.pem -outform DER -out FILE"),
        (As::Certificate, "{ printf '\\xef\\xbb\\xbf'; cat ca.pem; } > FILE"),
        (As::Certificate, "sed 's/$/\\r/' ca.pem > FILE"),
        (As::Certificate, "iconv -t UTF-16 ca.pem > FILE"),
        (As::Certificate, "openssl x509 -in ca.pem -text > FILE"),
        (As::Key, "{ printf '\\xef\\xbb\\xbf'; cat ocsp.key; } > FILE"),
        (As::Key, "sed 's/$/\\r/' ocsp.key > FILE"),
        (As::Key, "iconv -t UTF-16 ocsp.key > FILE"),
        (As::Crl, "openssl crl -in ca.crl -outform DER -out FILE"),
        (As::Crl, "{ printf '\\xef\\xbb\\xbf'; cat ca.crl; } > FILE"),
        (As::Crl, "sed 's/$/\\r/' ca.crl > FILE"),
        (As::Crl, "iconv -t UTF-16 ca.crl > FILE"),
        (As::Index, "{ printf '\\xef\\xbb\\xbf'; cat index.txt; } > FILE"),
        (As::Index, "sed 's/$/\\r/' index.txt > FILE"),
    ] {
        bash(bench.site.dir(), &format!("(umask 077; {})", made.replace("FILE", "given")));
        let checked = bench.with(part, "given");
        assert!(checked.status.success(), "{part:?} by {made}: {checked:?}");
    }
    for form in ["{ printf '\\xef\\xbb\\xbf'; cat converted.toml; } > FILE", "sed 's/$/\\r/' converted.toml > FILE"] {
        bash(bench.site.dir(), &form.replace("FILE", "other.toml"));
        let checked = bench.check_file(&bench.site.dir().join("other.toml"));
        assert!(checked.status.success(), "{form}: {checked:?}");
    }
}

#[test]
fn for_everything_else_the_error_has_a_command_that_converts_it() {
    let bench = Bench::new();
    let store = format!("openssl pkcs12 -export -inkey ocsp.key -in ocsp.pem -passout pass:{PASSWORD} -out FILE");
    let before = format!("{store} -legacy -certpbe PBE-SHA1-RC2-40 -keypbe PBE-SHA1-RC2-40");
    let of_ca = format!("openssl pkcs12 -export -nokeys -in ca.pem -passout pass:{PASSWORD} -out FILE");
    let java = format!(
        "keytool -importcert -noprompt -alias ca -file ca.pem -keystore FILE -storetype JKS -storepass {PASSWORD}"
    );
    for (part, made) in [
        (As::Certificate, "openssl crl2pkcs7 -nocrl -certfile ca.pem -out FILE"),
        (As::Certificate, "openssl crl2pkcs7 -nocrl -certfile ca.pem -outform DER -out FILE"),
        (As::Certificate, &of_ca),
        (As::Certificate, &java),
        (As::Crl, "openssl crl2pkcs7 -in ca.crl -out FILE"),
        (As::Crl, "openssl crl2pkcs7 -in ca.crl -outform DER -out FILE"),
        (As::Key, "openssl pkey -in ocsp.key -outform DER -out FILE"),
        (As::Key, "openssl ec -in ocsp.key -outform DER -out FILE"),
        (As::Key, &format!("openssl pkcs8 -topk8 -in ocsp.key -passout pass:{PASSWORD} -out FILE")),
        (As::Key, &format!("openssl ec -in ocsp.key -aes256 -passout pass:{PASSWORD} -out FILE")),
        (As::Key, &store),
        (As::Key, &before),
    ] {
        // A name that a shell would take apart.
        let given = "the file";
        bash(bench.site.dir(), &format!("rm -f 'the file'*; (umask 077; {})", made.replace("FILE", "'the file'")));
        let checked = bench.with(part, given);
        assert!(!checked.status.success(), "{part:?} by {made}: {checked:?}");
        let line = checked.text.lines().find(|line| line.contains("the file")).unwrap_or_else(|| panic!("{checked:?}"));
        let command = line.split_once("convert it: ").or_else(|| line.split_once("may read: "));
        let command = command.unwrap_or_else(|| panic!("{part:?} by {made}: no command in {line}")).1;
        bench.convert(&format!("umask 077; {command}"));
        let made_of_it = bash(bench.site.dir(), "ls -t 'the file'* | grep -v '^the file$' | head -1");
        let again = bench.with(part, made_of_it.trim());
        assert!(again.status.success(), "{command}: {again:?}");
    }
    // The configuration itself.
    assert!(bench.with(As::Certificate, "ca.pem").status.success());
    bash(bench.site.dir(), "iconv -t UTF-16 converted.toml > wide.toml");
    let checked = bench.check_file(&bench.site.dir().join("wide.toml"));
    let command = checked.text.trim().split_once("convert it: ").unwrap_or_else(|| panic!("{checked:?}")).1;
    bench.convert(command);
    let checked = bench.check_file(&bench.site.dir().join("wide.toml.utf8"));
    assert!(checked.status.success(), "{command}: {checked:?}");
}

#[test]
fn files_in_each_others_place_are_told_as_such() {
    let bench = Bench::new();
    for (part, file) in
        [(As::Certificate, "ocsp.key"), (As::Certificate, "ca.crl"), (As::Key, "ocsp.pem"), (As::Crl, "ca.pem")]
    {
        let checked = bench.with(part, file);
        let told = checked.text.contains("in each other's place");
        assert!(!checked.status.success() && told, "{part:?}: {checked:?}");
    }
}
