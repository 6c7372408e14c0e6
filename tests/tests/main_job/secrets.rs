//! No byte of a secret leaves a program: not of a key, a PIN, nor of a file that may hold one, whole or damaged, wherever
//! it was named by mistake; neither on standard output and error nor in the log, on health pages, in metrics and answers.
//!
//! The bug of which this keeps: a key whose line ends were lost was printed whole, as the numbers of its bytes, by the
//! error of a library that carries its input.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ostia_tests::{
    Ca, Delegate, Ended, KeyKind, Site, SoftHsm, Tenant, Tsa, http, openssl, programs, run, until, write_tls_pair,
};

/// Bytes that make a secret out wherever they stand: fewer could stand there by chance.
const TELLING: usize = 6;

/// What must not leave, by every piece of it that is telling.
struct Secret {
    pieces: Vec<Vec<u8>>,
}

impl Secret {
    fn of(parts: &[&[u8]]) -> Self {
        let pieces = |part: &&[u8]| part.windows(TELLING).step_by(3).map(<[u8]>::to_vec).collect::<Vec<_>>();
        Self { pieces: parts.iter().flat_map(pieces).collect() }
    }

    /// The form in which a text holds a piece of it.
    fn form_in(&self, text: &str) -> Option<String> {
        let lower = text.to_ascii_lowercase();
        // Numbers alone, whatever stands between them.
        let numbers = |text: &str| {
            let mut numbers = String::from(" ");
            for number in text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()) {
                let _ = write!(numbers, "{} ", number.trim_start_matches('0'));
            }
            numbers
        };
        let hex = |text: &str| {
            let text = text.replace("0x", "").replace("\\x", "").replace("\\u{", "").replace("\\u00", "");
            text.chars().filter(char::is_ascii_hexdigit).collect::<String>()
        };
        let (decimal, hexadecimal) = (numbers(text), hex(&lower));
        self.pieces.iter().find_map(|piece| {
            let as_text = String::from_utf8_lossy(piece).into_owned();
            let list: String = piece.iter().map(|byte| format!("{byte} ")).collect();
            let digits: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            let reversed: String = as_text.chars().rev().collect();
            let encoded: Vec<_> = (0..3)
                .map(|shift| {
                    let shifted = [vec![0; shift], piece.clone()].concat();
                    let text = STANDARD.encode(shifted);
                    // Without what depends on the bytes before and behind.
                    text.trim_end_matches('=').chars().skip([0, 2, 3][shift]).collect::<String>()
                })
                .map(|text| text[..text.len() - 1].to_owned())
                .collect();
            let is_plain = piece.iter().all(u8::is_ascii_graphic);
            let held = [
                ("text", is_plain && text.contains(&as_text)),
                ("reversed", is_plain && text.contains(&reversed)),
                ("a list of numbers", decimal.contains(&format!(" {list}"))),
                ("hexadecimal", hexadecimal.contains(&digits)),
                ("base64", encoded.iter().any(|encoded| encoded.len() >= 6 && text.contains(encoded))),
            ];
            held.into_iter().find(|(_, is_held)| *is_held).map(|(form, _)| format!("{form} of {as_text:?}"))
        })
    }
}

#[test]
fn the_search_finds_a_secret_in_every_form() {
    let secret = Secret::of(&[b"Zq7vX9pLkT3m"]);
    for text in [
        "x Zq7vX9p y",
        "[90, 113, 55, 118, 88, 57]",
        "90 113 55 118 88 57",
        "5a713776583970",
        "5A:71:37:76:58:39",
        "0x5a, 0x71, 0x37, 0x76, 0x58, 0x39",
        r"\x5a\x71\x37\x76\x58\x39",
        "kLp9Xv7qZ",
        "WnE3dlg5cExr",
    ] {
        assert!(secret.form_in(text).is_some(), "{text}");
    }
    assert_eq!(secret.form_in("Zq7v X9pL [90, 113, 55, 118] 5a713776"), None);
}

/// A key in every shape in which it is found, with the parts of it that nobody else has.
fn shapes(ca: &Ca) -> (Vec<(&'static str, Vec<u8>)>, Secret) {
    KeyKind::P256.generate(ca.dir(), "secret.key");
    openssl(ca.dir(), ["pkey", "-in", "secret.key", "-outform", "DER", "-out", "secret.der"]);
    openssl(ca.dir(), ["ec", "-in", "secret.key", "-out", "secret.sec1"]);
    openssl(ca.dir(), ["genrsa", "-traditional", "-out", "secret.rsa", "2048"]);
    openssl(ca.dir(), ["rsa", "-in", "secret.rsa", "-outform", "DER", "-out", "secret.rsa.der"]);
    let read = |name: &str| fs::read(ca.file(name)).unwrap();
    let text = |name: &str| fs::read_to_string(ca.file(name)).unwrap();
    let (pem, der, sec1, rsa, rsa_der) =
        (text("secret.key"), read("secret.der"), text("secret.sec1"), text("secret.rsa"), read("secret.rsa.der"));
    let body = |pem: &str| pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    // The scalar of a P-256 key stands at 36 … 68 of its PKCS#8, an RSA key's exponent behind the modulus.
    let secret = Secret::of(&[
        &der[36..68],
        &body(&pem).as_bytes()[48..88],
        &body(&sec1).as_bytes()[12..48],
        &rsa_der[300..500],
        &body(&rsa).as_bytes()[400..660],
    ]);
    let wide = |mark: &str| format!("{mark}{pem}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let shapes: Vec<(&str, Vec<u8>)> = vec![
        ("PKCS#8", pem.clone().into()),
        ("SEC1", sec1.into()),
        ("PKCS#1", rsa.clone().into()),
        ("DER", der.clone()),
        ("DER with a line end", [&der[..], b"\n"].concat()),
        ("PEM cut off", pem.as_bytes()[..pem.len() / 2].into()),
        ("DER cut off", der[..der.len() - 30].into()),
        ("PEM twice", pem.repeat(2).into()),
        ("one line", pem.replace('\n', "").into()),
        ("one line of PKCS#1", rsa.replace('\n', "").into()),
        ("one line and no end", pem.replace('\n', "").replace("-----END PRIVATE KEY-----", "").into()),
        ("line ends written out", pem.replace('\n', "\\n").into()),
        ("blanks for line ends", pem.replace('\n', " ").into()),
        ("CRLF", pem.replace('\n', "\r\n").into()),
        ("a byte order mark", [&b"\xef\xbb\xbf"[..], pem.as_bytes()].concat()),
        ("UTF-16", wide("\u{feff}")),
        ("UTF-16 without a mark", wide("")),
        ("a zero before it", format!("0 {pem}").into()),
        ("base64 alone", body(&pem).into()),
        ("another label", pem.replace("PRIVATE KEY", &body(&pem)[48..88]).into()),
        ("a letter too many", pem.replacen("\nM", "\n%M", 1).into()),
        ("dashes lost", pem.replace("-----END", "----END").into()),
        ("the wrong end", pem.replace("END PRIVATE", "END PUBLIC").into()),
        ("a header", pem.replacen("-----\n", "-----\nComment: mine\n\n", 1).into()),
        ("certificate by its label", pem.replace("PRIVATE KEY", "CERTIFICATE").into()),
        ("CRL by its label", pem.replace("PRIVATE KEY", "X509 CRL").into()),
    ];
    (shapes, secret)
}

/// Where a file is named in a configuration.
const PLACES: [(&str, &str); 19] = [
    ("the token of the API", "token"),
    ("the key of the admin listener", "admin-key"),
    ("the certificate of the admin listener", "admin-certificate"),
    ("the CA of its clients", "admin-client-ca"),
    ("the signer's key", "signer-key"),
    ("the signer's certificate", "signer-certificate"),
    ("the issuer's certificate", "issuer-certificate"),
    ("the index", "index"),
    ("the CRL", "crl"),
    ("the anchors of requests", "anchors"),
    ("the TLS key", "tls-key"),
    ("the TLS certificate", "tls-certificate"),
    ("the TSA's certificate", "tsa-certificate"),
    ("the PIN", "pin"),
    ("the password of the feed", "password_file"),
    ("the CA of the feed", "tls_ca"),
    ("the CA of writers", "https_ca"),
    ("a key that the feed trusts", "trusted"),
    ("the key of a writer", "key"),
];

struct World {
    ca: Ca,
    hsm: SoftHsm,
    site: Site,
    /// The configuration that is in order, by parts that are files to be replaced.
    proper: String,
    files: Vec<(&'static str, PathBuf)>,
}

impl World {
    fn new() -> Self {
        let ca = Ca::new("Secrets CA");
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let site = Site::new(&[Tenant::of(&ca, &signer)]);
        let hsm = SoftHsm::new(&["ocsp"]);
        write_tls_pair(site.dir(), site.http.ip(), &["-newkey", "rsa:2048"]);
        openssl(site.dir(), ["genpkey", "-algorithm", "ed25519", "-out", "w.key"]);
        openssl(site.dir(), ["pkey", "-in", "w.key", "-pubout", "-out", "w.pub"]);
        let proper = fs::read_to_string(site.config()).unwrap();
        let files = vec![("signer-key", signer.key), ("signer-certificate", signer.certificate)];
        let site = site
            .environment("SOFTHSM2_CONF", hsm.config())
            .environment("OSTIA_LOG", "trace")
            .environment("RUST_BACKTRACE", "1");
        Self { ca, hsm, site, proper, files }
    }

    /// The configuration with `file` at a place.
    fn with(&self, place: &str, file: &Path) -> String {
        let named = |name: &str| {
            let (_, path) = self.files.iter().find(|(known, _)| *known == name).unwrap();
            format!("{path:?}")
        };
        let (config, file) = (&self.proper, format!("{file:?}"));
        let tls = |certificate: &str, key: &str| {
            let listen = ostia_tests::free_port(self.site.http.ip());
            config.replacen(
                "[admin]",
                &format!("[tls]\nlisten = [\"{listen}\"]\ncertificate = {certificate}\nkey = {key}\n\n[admin]"),
                1,
            )
        };
        match place {
            "signer-key" | "signer-certificate" => config.replace(&named(place), &file),
            "issuer-certificate" => config.replacen(&format!("{:?}", self.ca.certificate()), &file, 1),
            "index" => config.replace(&format!("{:?}", self.ca.index()), &file),
            "crl" => config.replace(&format!("index = {:?}", self.ca.index()), &format!("crl = {file}")),
            "anchors" => config.replacen(
                "[[tenant]]\n",
                &format!("[[tenant]]\nsigned_requests = \"required\"\nrequest_anchors = {file}\n"),
                1,
            ),
            "tls-key" => tls("\"cert.pem\"", &file),
            "tls-certificate" => tls(&file, "\"key.pem\""),
            "tsa-certificate" => {
                let signer = format!("certificate = {file}\nkey = {}", named("signer-key"));
                config.clone() + &Tsa::by("tsa", &signer).text()
            }
            "pin" => {
                let uri = self.hsm.uri("ocsp", "signer");
                let uri = uri.replace(self.hsm.pin_file().to_str().unwrap(), file.trim_matches('"'));
                config.replace(&format!("key = {}", named("signer-key")), &format!("key = {uri:?}"))
            }
            "password_file" | "tls_ca" | "https_ca" | "trusted" | "key" => {
                let trusted = if place == "trusted" { "" } else { "trusted = \"w.pub\"\n" };
                let feed = format!("[feed]\ncluster = \"a\"\nredis = \"127.0.0.1:1\"\n{trusted}{place} = {file}\n");
                config.replacen("[admin]", &format!("{feed}\n[admin]"), 1)
            }
            "admin-key" | "admin-certificate" | "admin-client-ca" => {
                let or = |own: &str, proper: &str| if place == own { file.clone() } else { proper.to_owned() };
                let (certificate, key) = (or("admin-certificate", "\"cert.pem\""), or("admin-key", "\"key.pem\""));
                let ca = or("admin-client-ca", "\"cert.pem\"");
                let keys = format!("[admin]\ncertificate = {certificate}\nkey = {key}\nclient_ca = {ca}\n");
                config.replacen("[admin]\n", &keys, 1)
            }
            "token" => config.replacen("[admin]\n", &format!("[admin]\ntoken_file = {file}\n"), 1),
            place => panic!("{place}"),
        }
    }

    fn secret_file(&self, content: &[u8]) -> PathBuf {
        let file = self.ca.file("given");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    fn by(&self, program: &Path, arguments: &[&str], config: &Path) -> Ended {
        let mut command = Command::new(program);
        command.args(arguments).arg("--config").arg(config).current_dir(self.site.dir());
        command.env("SOFTHSM2_CONF", self.hsm.config()).env("OSTIA_LOG", "trace").env("RUST_BACKTRACE", "1");
        run(&mut command)
    }

    /// All that the programs say of a configuration that one of them refuses.
    fn told_of(&self, config: &Path) -> Vec<(String, Ended)> {
        let Programs { responder, precompute } = Programs::built();
        let commands: [(&Path, &[&str]); 5] = [
            (responder, &["check"]),
            (responder, &["serve"]),
            (precompute, &["sync"]),
            (precompute, &["presign"]),
            (precompute, &["keys", "check"]),
        ];
        commands.into_iter().map(|(program, words)| (words.join(" "), self.by(program, words, config))).collect()
    }
}

struct Programs {
    responder: &'static Path,
    precompute: &'static Path,
}

impl Programs {
    fn built() -> Self {
        Self { responder: &programs().responder, precompute: &programs().precompute }
    }
}

#[test]
fn no_byte_of_a_key_that_was_given_in_the_place_of_anything_leaves_a_program() {
    let world = World::new();
    let (shapes, secret) = shapes(&world.ca);
    let responder_program = Programs::built().responder;
    let mut leaks = Vec::new();
    let mut look = |where_: String, text: &str| {
        if let Some(form) = secret.form_in(text) {
            leaks.push(format!("{where_}: {form} in\n{text}"));
        }
        assert!(!text.contains("panicked at"), "{where_}: {text}");
    };
    for (shape, content) in &shapes {
        let file = world.secret_file(content);
        for (what, place) in PLACES {
            world.site.edit_config(|_| world.with(place, &file));
            let ended = world.by(responder_program, &["check"], &world.site.config());
            look(format!("{shape} as {what}"), &ended.text);
        }
        // As the configuration itself, and as the key of a request.
        let ended = world.by(responder_program, &["check"], &file);
        assert!(!ended.status.success());
        look(format!("{shape} as the configuration"), &ended.text);
        let csr = world.ca.file("request.csr");
        let _ = fs::remove_file(&csr);
        let mut generate = Command::new(Programs::built().precompute);
        generate.args(["keys", "generate", "--csr-only", "--purpose", "ocsp", "--subject", "CN=x", "--key"]).arg(&file);
        look(
            format!("{shape} for keys generate"),
            &run(generate.arg("--csr").arg(&csr).env("OSTIA_LOG", "trace")).text,
        );
    }
    // What every command says of one that all refuse.
    let damaged = world.secret_file(&shapes.iter().find(|(shape, _)| *shape == "one line and no end").unwrap().1);
    for place in ["signer-key", "signer-certificate", "index", "pin"] {
        world.site.edit_config(|_| world.with(place, &damaged));
        if place != "index" {
            for (command, ended) in world.told_of(&world.site.config()) {
                look(format!("{command} with a damaged key as {place}"), &ended.text);
                assert!(!ended.status.success(), "{command}: {}", ended.text);
            }
        }
    }
    for (command, ended) in world.told_of(&damaged) {
        look(format!("{command} with a damaged key as the configuration"), &ended.text);
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n\n"));
}

#[test]
fn no_byte_of_a_key_leaves_a_service_that_refuses_a_reload() {
    let mut world = World::new();
    let (shapes, secret) = shapes(&world.ca);
    world.site.edit_config(|_| world.proper.clone());
    let site = std::mem::replace(&mut world.site, Site::new(&[]));
    let responder = site.start();
    let certificate_page = |responder: &ostia_tests::Responder| {
        ["/", "/unknown"]
            .map(|path| String::from_utf8_lossy(&http::get(responder.http(), path).body).into_owned())
            .concat()
    };
    for (shape, content) in
        shapes.iter().filter(|(shape, _)| shape.contains("line") || shape.contains("DER") || shape.contains("cut"))
    {
        let file = world.secret_file(content);
        for place in ["signer-key", "signer-certificate", "issuer-certificate", "pin"] {
            let refused = |log: &str| log.matches("stays as it was").count() + log.matches("was read again").count();
            let before = refused(&responder.log());
            responder.reload(|_| world.with(place, &file));
            until("the reload is refused or taken", Duration::from_secs(20), || {
                (refused(&responder.log()) > before).then_some(())
            });
            let health = ["ocsp", "tsa"].map(|service| responder.readiness_of(service).1).concat();
            let told = [health, responder.metrics(), certificate_page(&responder)].concat();
            assert_eq!(secret.form_in(&told), None, "{shape} as {place}: {told}");
        }
    }
    let log = responder.log();
    assert_eq!(secret.form_in(&log), None, "{log}");
    assert!(!log.contains("panicked at"), "{log}");
}

/// What stands in the configuration itself.
#[test]
fn no_pin_password_or_key_that_stands_in_the_configuration_is_told() {
    const PIN: &str = "hunter2-Zq7vX9pLkT3m";
    let world = World::new();
    let (shapes, key_secret) = shapes(&world.ca);
    let secret = Secret::of(&[b"hunter2-Zq7vX9pLkT3m"]);
    let module = ostia_tests::softhsm::softhsm_module().display();
    let key_line = format!("key = {:?}", world.files[0].1);
    let pem = String::from_utf8(shapes[0].1.clone()).unwrap();
    let one_line = pem.replace('\n', "");
    let uri = format!("pkcs11:token=ocsp;object=signer?module-path={module}&pin-value={PIN}");
    let lines = [
        format!("key = {uri:?}"),
        format!("key = \"{uri}"),
        format!("key = {uri}"),
        format!("key = [{uri:?}, 1]"),
        format!("key = {{ uri = {uri:?} }}"),
        format!("key = {:?}", format!(" {uri}")),
        format!("key = {:?}", uri.replace("pkcs11:", "pkcs11;")),
        format!("key = {:?}", uri.replace("pin-value=", "pin-value:")),
        format!("key = {:?}", uri.replace("pin-value=", "PIN-Value=")),
        format!("key = {:?}", uri.replace("&pin-value", ";pin-value")),
        format!("key = {:?}", uri.replace("?module", ";pin-value=x?module")),
        format!("key = {:?}", uri.replace("&pin-value=", "&pin-source=|echo%20")),
        format!("key = {:?}", uri.replace("&pin-value=", "&pin-source=file:")),
        format!("key = {:?}", uri.replace("&pin-value=hunter2-", "&pin-value=#")),
        format!("key = {:?}\nsigner_pin = {PIN:?}", world.files[0].1),
        format!("key = {:?}\npin = {PIN}", world.files[0].1),
        format!("key = {:?}\npassword = \"\"\"{PIN}", world.files[0].1),
        format!("key = {:?}\nalgorithm = {uri:?}", world.files[0].1),
        format!("key = {:?}\nthreads = {uri:?}", world.files[0].1),
        format!("key = {:?}\nverify = {uri:?}", world.files[0].1),
        format!("key = \"\"\"{pem}\"\"\""),
        format!("key = \"{one_line}\""),
        format!("key = \"{}\"", pem.replace('\n', "\\n")),
        format!("key = {pem}"),
        format!("key = [\"\"\"{pem}\"\"\"]"),
        format!("{key_line}\nalgorithm = \"{one_line}\""),
        format!("{key_line}\nprimary_first = \"{one_line}\""),
        format!("{key_line}\nthreads = \"{one_line}\""),
        format!("{key_line}\n{pem}"),
        format!("{key_line}\n\"{one_line}\" = 1"),
        format!("{key_line}\nsecret = \"{one_line}\""),
    ];
    for line in lines {
        world.site.edit_config(|_| world.proper.replace(&key_line, &line));
        for (command, ended) in world.told_of(&world.site.config()) {
            assert!(!ended.status.success(), "{command}: {line}");
            for secret in [&secret, &key_secret] {
                assert_eq!(secret.form_in(&ended.text), None, "{command}: {}", ended.text);
            }
            assert!(ended.text.contains("ostia.toml:"), "{command}: {line}: {}", ended.text);
        }
    }
    // Elsewhere in the file.
    for (from, to) in [
        ("version = 1", format!("version = {uri:?}")),
        ("version = 1", format!("version = \"{one_line}\"")),
        ("state_dir = \"state\"", format!("state_dir = \"{one_line}\"")),
        ("name = \"tests\"", format!("name = \"{one_line}\"")),
        ("name = \"tests\"", format!("name = \"tests\"\npath = \"{one_line}\"")),
        ("name = \"tests\"", format!("name = \"tests\"\nhosts = [\"{one_line}\"]")),
        ("name = \"tests\"", format!("name = \"tests\"\nvalidity = {uri:?}")),
        ("[admin]\n", format!("[admin]\nlisten = \"{one_line}\"\n#")),
    ] {
        world.site.edit_config(|_| world.proper.replacen(from, &to, 1));
        let ended = world.by(Programs::built().responder, &["check"], &world.site.config());
        assert!(!ended.status.success(), "{to}");
        for secret in [&secret, &key_secret] {
            assert_eq!(secret.form_in(&ended.text), None, "{}", ended.text);
        }
    }
}

#[test]
fn no_pin_of_a_file_is_told_whatever_is_wrong_with_it_nor_on_a_terminal() {
    const PIN: &str = "hunter2-Zq7vX9pLkT3m";
    let world = World::new();
    let secret = Secret::of(&[PIN.as_bytes(), ostia_tests::softhsm::PIN.as_bytes()]);
    world.hsm.import("ocsp", &world.files[0].1, "signer", "01");
    let look = |ended: &Ended| assert_eq!(secret.form_in(&ended.text), None, "{}", ended.text);
    for (pin, mode) in [
        (format!("{PIN}\n"), 0o600),
        (format!("{PIN}\r\n{PIN}\n\n"), 0o600),
        (PIN.repeat(20), 0o600),
        (format!("{PIN}\n"), 0o644),
        (format!("\u{feff}{PIN}"), 0o600),
        (format!("{}\n", ostia_tests::softhsm::PIN), 0o600),
    ] {
        let file = world.ca.file("pin");
        fs::write(&file, &pin).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        world.site.edit_config(|_| world.with("pin", &file));
        look(&world.by(Programs::built().responder, &["check"], &world.site.config()));
        look(&world.by(Programs::built().precompute, &["keys", "check"], &world.site.config()));
        // The log for people.
        let line =
            format!("{} check --config {}", Programs::built().responder.display(), world.site.config().display());
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &line, "/dev/null"]).env("OSTIA_LOG", "trace").env("SOFTHSM2_CONF", world.hsm.config());
        let ended = run(&mut terminal);
        assert!(ended.text.contains("ostia.toml"), "{}", ended.text);
        look(&ended);
    }
}

#[test]
fn no_byte_of_the_apis_token_is_told_whatever_is_wrong_with_it_nor_when_it_is_used() {
    const TOKEN: &str = "Zq7vX9pLkT3m-Wb4nR8sYc2Hd6Jf0KgQ5tAe";
    let mut world = World::new();
    let secret = Secret::of(&[TOKEN.as_bytes()]);
    let look = |ended: &Ended| assert_eq!(secret.form_in(&ended.text), None, "{}", ended.text);
    let commands: [(&Path, &[&str]); 4] = [
        (Programs::built().responder, &["check"]),
        (Programs::built().responder, &["serve"]),
        (Programs::built().precompute, &["run"]),
        (Programs::built().precompute, &["revoke", "0A"]),
    ];
    for (token, mode) in [
        (TOKEN[..24].to_owned(), 0o600),
        (format!("{TOKEN}\n{TOKEN}\n"), 0o600),
        (format!("token = \"{TOKEN}\"\n"), 0o600),
        (format!("\u{feff}{TOKEN}\n"), 0o600),
        (TOKEN.repeat(200), 0o600),
        (format!("{TOKEN}\n"), 0o640),
        (format!("{TOKEN}\n"), 0o644),
    ] {
        let file = world.secret_file(token.as_bytes());
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        world.site.edit_config(|_| world.with("token", &file));
        for (program, words) in commands.iter().filter(|_| mode != 0o640) {
            let ended = world.by(program, words, &world.site.config());
            assert!(ended.text.contains("admin.token_file"), "{words:?}: {}", ended.text);
            look(&ended);
        }
        look(&world.by(Programs::built().responder, &["check"], &world.site.config()));
    }
    let file = world.secret_file(format!("{TOKEN}\r\n").as_bytes());
    world.site.edit_config(|_| world.with("token", &file));
    let site = std::mem::replace(&mut world.site, Site::new(&[]));
    let responder = site.start();
    let pushed = responder.site.precompute("add", &["0B"]);
    assert!(pushed.status.success(), "{}", pushed.text);
    look(&pushed);
    let almost = format!("{TOKEN}x");
    for (path, token) in [("/v1/issuers", TOKEN), ("/v1/issuers", &almost), ("/v1/nothing", TOKEN)] {
        let admin = responder.site.admin;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let told = http::exchange(admin, request.as_bytes()).unwrap().text();
        assert_eq!(secret.form_in(&told), None, "{told}");
    }
    let told = [responder.readiness_of("ocsp").1, responder.metrics(), responder.log()].concat();
    assert_eq!(secret.form_in(&told), None, "{told}");
}

/// The token of a principal is nowhere but with its client, which does not keep people from pasting it into the configuration.
#[test]
fn no_byte_of_a_principals_token_is_told_wherever_it_is_pasted_nor_when_it_is_used() {
    let (token, hash) =
        (run(Command::new("openssl").args(["rand", "-hex", "32"])).text.trim().to_owned(), "0".repeat(64));
    let mut world = World::new();
    let secret = Secret::of(&[token.as_bytes()]);
    let look = |what: &str, text: &str| assert_eq!(secret.form_in(text), None, "{what}: {text}");
    let principal = |name: &str, proof: &str, allow: &str| {
        format!("\n[[admin.principal]]\nname = \"{name}\"\n{proof}\nallow = [\"{allow}\"]\n")
    };
    let by_hash = format!("token_sha256 = \"{hash}\"");
    for (key, lines) in [
        ("name", principal(&token, &by_hash, "viewer:*")),
        ("name", principal(&format!("{token}!"), &by_hash, "viewer:*")),
        ("allow", principal("ann", &by_hash, &token)),
        ("allow", principal("ann", &by_hash, &format!("{token}:acme"))),
        ("deny", principal("ann", &by_hash, "viewer:*") + &format!("deny = [\"{token}\"]\n")),
        ("certificate", principal("ann", &format!("certificate = \"{token}\""), "viewer:*")),
        ("token_sha256", principal("ann", &format!("token_sha256 = \"{token} \""), "viewer:*")),
        ("token", principal("ann", &format!("token = \"{token}\""), "viewer:*")),
        ("token_file", format!("token_file = \"{token}\"\n")),
    ] {
        world.site.edit_config(|_| match key {
            "token_file" => world.proper.replacen("[admin]\n", &format!("[admin]\n{lines}"), 1),
            _ => world.proper.clone() + &lines,
        });
        for (program, words) in [
            (Programs::built().responder, &["check"][..]),
            (Programs::built().responder, &["serve"]),
            (Programs::built().precompute, &["token", "list"]),
        ] {
            let ended = world.by(program, words, &world.site.config());
            assert!(!ended.status.success() && ended.text.contains(&format!(".{key}: ")), "{key}: {}", ended.text);
            look(key, &ended.text);
        }
    }
    // Used by whom it belongs to, cut off, and in the console.
    let line = format!("printf %s {token} | sha256sum");
    let hash = run(Command::new("bash").args(["-c", &line])).text.split(' ').next().unwrap().to_owned();
    world.site.edit_config(|_| {
        world.proper.clone() + &principal("ann", &format!("token_sha256 = \"{hash}\""), "viewer:*") + "[journal]\n"
    });
    let site = std::mem::replace(&mut world.site, Site::new(&[]));
    let responder = site.start();
    let admin = responder.site.admin;
    let mut told = String::new();
    for token in [&token[..], &token[..40], &format!("{token}0")] {
        let request = format!(
            "GET /v1/issuers HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        told += &http::exchange(admin, request.as_bytes()).unwrap().text();
        let form = format!("token={token}");
        let request = format!(
            "POST /console/sign-in HTTP/1.1\r\nHost: {admin}\r\nOrigin: http://{admin}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{form}",
            form.len()
        );
        told += &http::exchange(admin, request.as_bytes()).unwrap().text();
    }
    told += &[responder.readiness_of("ocsp").1, responder.log()].concat();
    told += &fs::read_to_string(responder.site.dir().join("state/journal.jsonl")).unwrap();
    assert!(told.contains("signed in to the console") && told.contains("Nobody has this token"), "{told}");
    look("in use", &told);
    assert!(!told.contains(&hash), "nor its hash: {told}");
}
