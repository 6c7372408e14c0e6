//! Whole configuration files, with certificates and keys made by the real `openssl`.

use std::{fs, time::Duration};

use super::*;
use crate::{
    config::{Config, Document},
    ocsp::{CaRevoked, Carries, NoncePolicy, Profile, Refresh, Share, SignedRequests, Together, Unlisted},
    source::openssl::{Ca, KEYS},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What is in the file, and what it opens at this time.
pub(super) fn read_at(ca: &Ca, text: &str, now: UnixTime) -> Result<(Config, Assembly), String> {
    let document = Document::from_text(&ca.path("ostia.toml"), text);
    let reading = document.reading(|root| {
        let config = Config::read(root);
        root.finish();
        Some(config)
    });
    open(reading, &Tokens::default(), now).map_err(|error| error.to_string())
}

pub(super) fn read(ca: &Ca, text: &str) -> Result<Assembly, String> {
    read_at(ca, text, UnixTime::now()).map(|(_, assembly)| assembly)
}

#[track_caller]
pub(super) fn refuses(ca: &Ca, text: &str, problems: &[&str]) {
    let error = read(ca, text).expect_err("problems");
    for problem in problems {
        assert!(error.contains(problem), "expected `{problem}` in:\n{error}");
    }
    assert_eq!(error.lines().count(), problems.len(), "{error}");
}

const ISSUER: &str = "certificate = \"ca.pem\"\nindex = \"index.txt\"\nsigner = { key = \"ca.key\" }\n";

#[test]
fn a_bare_file_is_one_tenant_with_every_default() {
    let ca = Ca::new("Bare", KEYS[1]);
    let config = read(&ca, &format!("version = 1\n[[issuer]]\n{ISSUER}")).unwrap();
    assert_eq!(config.state_dir, ca.path("state"));
    let [tenant] = &config.tenants[..] else { panic!("{:?}", config.tenants) };
    assert_eq!((tenant.name.as_str(), tenant.path.as_str(), tenant.hosts.len()), ("default", "", 0));
    assert_eq!(tenant.policy, Policy::DEFAULT);
    assert_eq!(tenant.presign, [HashAlgorithm::Sha1]);
    assert_eq!(tenant.issuers[0].name, "CN=Bare");
    assert_eq!(tenant.issuers[0].sources.paths(), [ca.path("index.txt")]);
}

#[test]
fn every_signer_algorithm_signs_for_its_own_ca() {
    use crate::sign::Algorithm::*;
    for (key, algorithm) in KEYS.into_iter().zip([RsaPkcs1Sha256, EcdsaP256Sha256, EcdsaP384Sha384, Ed25519]) {
        let ca = Ca::new("Signer", key);
        let config = read(&ca, &format!("version = 1\n[[issuer]]\n{ISSUER}")).unwrap();
        assert_eq!(config.tenants[0].issuers[0].signer().algorithm(), algorithm);
    }
}

#[test]
fn tenants_have_policies_of_their_own() {
    let ca = Ca::new("Policies", KEYS[1]);
    let text = format!(
        "version = 1\n[[tenant]]\nname = \"a\"\npath = \"/a/\"\nvalidity = \"8h\"\nunlisted = \"revoked\"\n[[tenant.issuer]]\n{ISSUER}\
         [[tenant]]\nname = \"b\"\nhosts = [\"OCSP.example\"]\nunlisted = \"good\"\naccept_unlisted_as_good = true\n\
         retain_expired = \"30d\"\n[[tenant.issuer]]\n{ISSUER}"
    );
    let config = read(&ca, &text).unwrap();
    let [a, b] = &config.tenants[..] else { panic!("{:?}", config.tenants) };
    assert_eq!((a.path.as_str(), a.policy.validity, a.policy.unlisted), ("/a", 8 * HOUR, Unlisted::Revoked));
    assert_eq!((b.hosts.as_slice(), b.policy.unlisted), (&["ocsp.example".to_owned()][..], Unlisted::Good));
    assert_eq!(b.policy.retain_expired, 30 * DAY);
}

#[test]
fn every_policy_can_be_set() {
    let ca = Ca::new("Policies", KEYS[1]);
    let text = format!(
        "version = 1\nprofile = \"private\"\nvalidity = \"9h\"\nrefresh = 0.4\nbackdate = \"5m\"\nserve_for = \"8h\"\n\
         max_age = \"2h\"\ncrl_grace = \"3h\"\nunlisted = \"unknown\"\nstale_after = \"3d\"\nretain_expired = \"30d\"\narchive_cutoff = true\n\
         ca_revoked = \"all\"\ncert_hash = true\ncrl_references = true\ninvalidity_date = true\n\
         nonce = \"require\"\nsigned_requests = \"require\"\nrequest_anchors = \"ca.pem\"\ncert_ids_max = 3\n\
         content_type = \"strict\"\ninternal_error_status = 503\nsurrogate_keys = false\n[[issuer]]\n{ISSUER}"
    );
    let config = read(&ca, &text).unwrap();
    let policy = Policy {
        profile: Profile::Private,
        validity: 9 * HOUR,
        refresh: Refresh::Share(Share::of_thousandths(400)),
        backdate: HOUR / 12,
        serve_for: 8 * HOUR,
        max_age: 2 * HOUR,
        unlisted: Unlisted::Unknown,
        stale_after: 3 * DAY,
        crl_grace: 3 * HOUR,
        retain_expired: 30 * DAY,
        archive_cutoff: true,
        together: Together::NONE,
        ca_revoked: CaRevoked::All,
        carries: Carries { cert_hash: true, crl_reference: true, invalidity_date: true },
        nonce: NoncePolicy::Require,
        signed_requests: SignedRequests::Require,
        cert_ids_max: 3,
        strict_content_type: true,
        internal_error_503: true,
        surrogate_keys: false,
    };
    assert_eq!(config.tenants[0].policy, policy);
    assert_eq!(config.tenants[0].request_anchors.len(), 1);
}

#[test]
fn a_policy_that_cannot_be_is_told() {
    let ca = Ca::new("Policies", KEYS[1]);
    for (line, problem) in [
        ("validity = \"1m\"", "validity: "),
        ("validity = \"31d\"", "validity: "),
        ("stale_after = \"1h\"", "stale_after: "),
        ("unlisted = \"no\"", "unlisted: is `no`; expected one of `unauthorized`"),
        ("nonce = \"yes\"", "nonce: is `yes`; expected one of `ignore`, `echo`, `require`"),
        ("signed_requests = \"maybe\"", "signed_requests: is `maybe`; expected one of `ignore`, `verify`, `require`"),
        ("signed_requests = \"verify\"", "request_anchors: is missing; name the file with the CA certificates"),
        ("request_anchors = \"ca.pem\"", "request_anchors: has no effect while request signatures are ignored"),
        ("cert_ids_max = 0", "cert_ids_max: "),
        ("cert_ids_max = 11", "cert_ids_max: is 11; expected a whole number from 1 to 10"),
        ("content_type = \"json\"", "content_type: is `json`; expected one of `any`, `strict`"),
        ("internal_error_status = 404", "internal_error_status: is 404; expected 200 or 503"),
        ("internal_error_status = 99", "internal_error_status: "),
        ("surrogate_keys = 1", "surrogate_keys: "),
        ("archive_cutoff = true", "archive_cutoff: says how long the status of expired certificates is kept"),
    ] {
        refuses(&ca, &format!("version = 1\n{line}\n[[issuer]]\n{ISSUER}"), &[problem]);
    }
    let absent = "signed_requests = \"verify\"\nrequest_anchors = \"absent.pem\"";
    refuses(&ca, &format!("version = 1\n{absent}\n[[issuer]]\n{ISSUER}"), &["absent.pem: cannot be read"]);
}

#[test]
fn what_is_wrong_with_a_cache_is_told_with_the_remedy() {
    let ca = Ca::new("Caches", KEYS[1]);
    let secret = |name: &str, mode: u32, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(ca.path(name), text).unwrap();
        fs::set_permissions(ca.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    secret("token", 0o600, "vendors-token-7391\n");
    secret("open", 0o644, "vendors-token-7391\n");
    secret("two", 0o600, "vendors-token-7391\nand another\n");
    secret("edgerc", 0o600, "client_token = 7391\n");
    let config = |caches: &str| format!("version = 1\n[[issuer]]\n{ISSUER}{caches}");
    let fastly = "driver = \"fastly\"\nurl = \"https://api.fastly.com/service/a/purge\"\n";
    let varnish = "driver = \"varnish-ban\"\nurl = \"http://a/\"\n";
    let template = "driver = \"template\"\nurl = \"https://a/\"\n";
    for (lines, problems) in [
        (String::new(), &["purge.driver: is missing; it is one of `varnish-ban`", "purge.url: is missing"][..]),
        ("driver = \"varnish\"\nurl = \"http://a/\"\n".into(), &["purge.driver: is `varnish`; expected one of"]),
        ("driver = \"varnish-ban\"\nurl = \"a:6081\"\n".into(), &["purge.url: is `a:6081`, which does not begin with"]),
        (
            "driver = \"varnish-ban\"\nurl = \"http://u:7391@a/\"\n".into(),
            &["purge.url: has a password or another secret in it"],
        ),
        (fastly.into(), &["purge.credentials_file: is missing; name a file with the API token"]),
        (
            "driver = \"cloudflare\"\nurl = \"https://a/\"\ncredentials_file = \"token\"\n".into(),
            &["purge.url: is `https://a/`; expected https://api.cloudflare.com/client/v4/zones/ZONE/purge_cache"],
        ),
        (format!("{fastly}credentials_file = \"absent\"\n"), &["purge.credentials_file: "]),
        (format!("{fastly}credentials_file = \"open\"\n"), &["has mode 0644, which lets others use it"]),
        (format!("{fastly}credentials_file = \"two\"\n"), &["holds something else than one token"]),
        (
            format!("{fastly}credentials_file = \"0123456789abcdef0123456789abcdef7391\"\n"),
            &["purge.credentials_file: may be the token itself"],
        ),
        (
            "driver = \"akamai\"\nurl = \"https://a/ccu/v3/invalidate/tag/production\"\ncredentials_file = \"edgerc\"\n".into(),
            &["edgerc: has no line `client_secret = …` in its first section"],
        ),
        (format!("{varnish}credentials_file = \"token\"\n"), &["is of no use for Varnish"]),
        (format!("{varnish}soft = true\n"), &["purge.soft: is known of `varnish-xkey` and `fastly` alone"]),
        (format!("{varnish}batch = 65\n"), &["purge.batch: is 65; expected a whole number from 1 to 64"]),
        (format!("{varnish}per_minute = 0\n"), &["purge.per_minute: "]),
        (format!("{varnish}again_after = \"0s\"\n"), &["purge.again_after: "]),
        (format!("{varnish}body = \"x\"\n"), &["purge.body: belongs to the driver `template`"]),
        (format!("{varnish}tenants = [\"other\"]\n"), &["purge.tenants: has `other`, and there is no tenant of that name"]),
        (format!("{varnish}[[purge]]\n{varnish}"), &["purge: has two caches called `a`; give each a `name` of its own"]),
        (template.into(), &["purge.body: has none of `{keys}`"]),
        (
            format!("{template}method = \"a b\"\nheaders = [\"{{keys}}\"]\nbody = \"{{credentials}}\"\n"),
            &["purge.method: ", "purge.headers: has to be a list of headers", "purge.body: has `{credentials}`"],
        ),
        (
            format!("{template}headers = [\"X: {{keys}} {{credentials}}\"]\n"),
            &["purge.headers: have `{credentials}`, and there is no `credentials_file`"],
        ),
        (format!("{varnish}tls_ca = \"absent.pem\"\n"), &["absent.pem: "]),
    ] {
        let text = config(&format!("[[purge]]\n{lines}"));
        let error = read(&ca, &text).expect_err(problems[0]);
        for problem in problems {
            assert!(error.contains(problem), "expected `{problem}` in:\n{error}");
        }
        assert_eq!(error.lines().count(), problems.len(), "{error}");
        assert!(!error.contains("7391"), "{error}");
    }
    let fine = config(&format!(
        "[[purge]]\n{fastly}credentials_file = \"token\"\n[[purge]]\n{varnish}tenants = [\"default\"]\n"
    ));
    let targets = read(&ca, &fine).unwrap().purge;
    assert_eq!(targets.iter().map(|target| &*target.name).collect::<Vec<_>>(), ["api.fastly.com", "a"]);
    assert!(targets.iter().all(|target| target.keeps("default")) && !targets[1].keeps("other"));
    assert!(!format!("{targets:?}").contains("7391"));
}

#[test]
fn what_is_missing_is_told_with_the_remedy() {
    let ca = Ca::new("Missing", KEYS[1]);
    refuses(&ca, "", &["version: is missing; write `version = 1`", "issuer: is missing; add [[issuer]]"]);
    refuses(
        &ca,
        "version = 2\n[[issuer]]\n",
        &[
            "ostia.toml:1: version: is 2; expected 1",
            "issuer.certificate: is missing",
            "issuer.index: is missing",
            "issuer.signer: is missing",
        ],
    );
    refuses(&ca, "version = 1\n[[tenant]]\n", &["tenant.name: is missing", "tenant.issuer: is missing"]);
}

#[test]
fn what_contradicts_itself_is_told() {
    let ca = Ca::new("Contradictions", KEYS[1]);
    let tenant = |name: &str| format!("[[tenant]]\nname = \"{name}\"\n[[tenant.issuer]]\n{ISSUER}");
    refuses(
        &ca,
        &format!("version = 1\n{}{}", tenant("a"), tenant("a")),
        &["two tenants have the name `a`", "`a` and `a` have the same URLs"],
    );
    // A dot at the end is not part of a host's name.
    let hosted = |name: &str, host: &str| tenant(name).replacen('\n', &format!("\nhosts = [\"{host}\"]\n"), 1);
    refuses(
        &ca,
        &format!("version = 1\n{}{}", hosted("a", "OCSP.example."), hosted("b", "ocsp.example")),
        &["`a` and `b` have the same URLs"],
    );
    refuses(&ca, &format!("version = 1\n[[issuer]]\n{ISSUER}{}", tenant("a")), &["issuer: stands beside [[tenant]]"]);
    refuses(
        &ca,
        &format!("version = 1\nunlisted = \"good\"\n[[issuer]]\n{ISSUER}"),
        &["unlisted: is `good`, which vouches for certificates"],
    );
    refuses(
        &ca,
        &format!("version = 1\n[[issuer]]\n{ISSUER}[[issuer]]\n{ISSUER}"),
        &["issuer[1].certificate: is of an issuer that this tenant already has"],
    );
    refuses(
        &ca,
        &format!("version = 1\n[[issuer]]\ndelta_crl = \"delta.crl\"\n{ISSUER}"),
        &["issuer.delta_crl: needs the complete CRL"],
    );
    refuses(
        &ca,
        &format!("version = 1\npath = \"a b\"\n[[issuer]]\n{ISSUER}"),
        &["path: is `a b`; expected a URL path"],
    );
}

#[test]
fn who_signs_crls_beside_the_ca_has_to_be_certified_for_that() {
    let ca = Ca::new("Signs", KEYS[1]);
    let other = Ca::new("Other", KEYS[1]);
    let rolled = Ca::new("Signs", KEYS[2]);
    for (file, content) in [("other.pem", &other), ("rolled.pem", &rolled)] {
        fs::copy(content.path("ca.pem"), ca.path(file)).unwrap();
    }
    for (file, usage) in [("proper", "cRLSign"), ("unfit", "digitalSignature")] {
        fs::write(ca.path("usage.cnf"), format!("keyUsage = critical, {usage}\n")).unwrap();
        let (key, request, certificate) = (format!("{file}.key"), format!("{file}.csr"), format!("{file}.pem"));
        ca.openssl(&[
            "req",
            "-config",
            "ca.cnf",
            "-new",
            "-newkey",
            "ed25519",
            "-nodes",
            "-subj",
            &format!("/CN={file}"),
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        ca.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-extfile",
            "usage.cnf",
            "-days",
            "9",
            "-out",
            &certificate,
        ]);
    }
    let text = |issuers: &str| {
        format!(
            "version = 1\n[[issuer]]\ncrl = \"ca.crl\"\nunlisted = \"unknown\"\ncrl_issuer = {issuers}\ncertificate = \"ca.pem\"\nsigner = {{ key = \"ca.key\" }}\n"
        )
    };
    let assembly = read(&ca, &text("[\"proper.pem\", \"rolled.pem\"]")).unwrap();
    assert_eq!(assembly.tenants[0].issuers[0].crl_issuers.len(), 2);
    refuses(
        &ca,
        &text("\"other.pem\""),
        &[
            "issuer.crl_issuer: has the certificate of `CN=Other`, which is of a CRL issuer that this CA has not certified",
        ],
    );
    refuses(
        &ca,
        &text("\"unfit.pem\""),
        &["issuer.crl_issuer: has the certificate of `CN=unfit`, which has a keyUsage without cRLSign"],
    );
    refuses(&ca, &text("\"absent.pem\""), &["absent.pem: cannot be read"]);
}

#[test]
fn keys_and_certificates_that_do_not_fit_are_told() {
    let ca = Ca::new("Misfits", KEYS[1]);
    let with_signer = |signer: &str| {
        format!("version = 1\n[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"index.txt\"\nsigner = {{ {signer} }}\n")
    };
    refuses(&ca, &with_signer("key = \"leaf.key\""), &["issuer.signer.key: does not belong to the private key"]);
    refuses(&ca, &with_signer("key = \"absent.key\""), &["absent.key: does not exist"]);
    refuses(&ca, &with_signer("key = \"ca.pem\""), &["ca.pem: holds a certificate, not a private key; the two"]);
    fs::write(ca.path("empty.key"), "").unwrap();
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(ca.path("empty.key"), owner_only).unwrap();
    refuses(&ca, &with_signer("key = \"empty.key\""), &["empty.key: holds no private key in PEM"]);
    refuses(
        &ca,
        "version = 1\n[[issuer]]\ncertificate = \"ca.key\"\nindex = \"index.txt\"\nsigner = { key = \"ca.key\" }\n",
        &["ca.key: holds no certificate"],
    );
}

#[test]
fn what_is_signed_ahead_is_the_tenants_choice() {
    let ca = Ca::new("Ahead", KEYS[1]);
    let text = |lines: &str| format!("version = 1\n{lines}\n[[issuer]]\n{ISSUER}");
    for (lines, expected) in [
        ("presign = true", &[HashAlgorithm::Sha1][..]),
        ("presign = false", &[]),
        ("presign_hashes = [\"sha256\", \"sha1\"]", &[HashAlgorithm::Sha256, HashAlgorithm::Sha1]),
        ("nonce = \"require\"", &[]),
        ("nonce = \"echo\"", &[HashAlgorithm::Sha1]),
    ] {
        let config = read(&ca, &text(lines)).unwrap_or_else(|error| panic!("{lines}: {error}"));
        assert_eq!(config.tenants[0].presign, expected, "{lines}");
    }
    refuses(&ca, &text("presign = \"yes\""), &["presign: is `yes`; expected true or false"]);
    refuses(&ca, &text("presign_hashes = [\"md5\"]"), &["names `md5`; expected some of `sha1`"]);
    refuses(&ca, &text("presign_hashes = [\"sha1\", \"sha1\"]"), &["twice"]);
    refuses(&ca, &text("presign_hashes = [\"sha1+sha256\", \"sha256\"]"), &["names `sha256` twice"]);
    refuses(&ca, &text("presign_hashes = [\"sha1+\"]"), &["names ``; expected some of"]);
    let both = read(&ca, &text("presign_hashes = [\"sha256+sha1\", \"sha512\"]")).unwrap();
    assert_eq!(both.tenants[0].presign, [HashAlgorithm::Sha1, HashAlgorithm::Sha512]);
    let together = Together::NONE.joining(&[HashAlgorithm::Sha1, HashAlgorithm::Sha256]);
    assert_eq!(both.tenants[0].issuers[0].policy.together, together);
    refuses(&ca, &text("presign_hashes = []"), &["`presign = false`"]);
    refuses(&ca, &text("presign = false\npresign_hashes = [\"sha1\"]"), &["presign_hashes: has no effect"]);
    refuses(&ca, &text("presign = true\nnonce = \"require\""), &["presign: has no effect while every request"]);
}

#[test]
fn no_two_issuers_of_a_tenant_have_one_name() {
    // A CA that changes its key keeps its subject.
    let (ca, renewed, third) = (Ca::new("One name", KEYS[1]), Ca::new("One name", KEYS[1]), Ca::new("Other", KEYS[1]));
    for (other, stem) in [(&renewed, "new"), (&third, "third")] {
        for file in ["ca.pem", "ca.key"] {
            fs::copy(other.path(file), ca.path(&format!("{stem}-{file}"))).unwrap();
        }
    }
    let issuer = |stem: &str, name: &str| {
        let lines = ISSUER.replace("ca.", &format!("{stem}ca."));
        format!("[[tenant.issuer]]\n{name}\n{lines}")
    };
    let config =
        |issuers: &[String]| read(&ca, &format!("version = 1\n[[tenant]]\nname = \"a\"\n{}", issuers.concat()));
    let names = |issuers: &[String]| -> Vec<String> {
        config(issuers).unwrap().tenants[0].issuers.iter().map(|issuer| issuer.name.clone()).collect()
    };
    let names_of = names(&[issuer("", ""), issuer("new-", ""), issuer("third-", "")]);
    assert_eq!((names_of[0].as_str(), names_of[2].as_str()), ("CN=One name", "CN=Other"));
    let digits = names_of[1].strip_prefix("CN=One name ").expect("the key's hash behind it");
    assert!(digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{digits}");
    assert_eq!(names(&[issuer("", "name = \"x\""), issuer("new-", "")]), ["x", "CN=One name"]);

    let both = [issuer("", "name = \"x\""), issuer("new-", "name = \"x\"")];
    let error = config(&both).unwrap_err();
    assert!(error.contains("tenant.issuer[1].name: is `x`, the name of another issuer of this tenant"), "{error}");
}

#[test]
fn what_is_published_has_a_name_that_is_fit_for_a_path_and_nobody_elses() {
    let (ca, other) = (Ca::new("One CA", KEYS[1]), Ca::new("One (CA)", KEYS[1]));
    for file in ["ca.pem", "ca.key"] {
        fs::copy(other.path(file), ca.path(&format!("other-{file}"))).unwrap();
    }
    // The file has the certificate above it as well.
    let chain = [ca.path("ca.pem"), other.path("ca.pem")].map(|path| fs::read_to_string(path).unwrap()).concat();
    fs::write(ca.path("ca.pem"), chain).unwrap();
    let issuer = |stem: &str, keys: &str| format!("[[issuer]]\n{keys}{}", ISSUER.replace("ca.", &format!("{stem}ca.")));
    let text = |own: &str, others: &str| format!("version = 1\n{}{}", issuer("", own), issuer("other-", others));
    let publish = "publish = [\"ca\"]\n";
    let published = |text: &str| -> Vec<_> {
        let issuers = read(&ca, text).unwrap().tenants.remove(0).issuers;
        issuers.into_iter().map(|issuer| issuer.published).collect()
    };
    let [own, none] = &published(&text(publish, ""))[..] else { panic!("two") };
    let own = own.as_ref().unwrap();
    assert_eq!((own.name.as_str(), own.crls, none.is_none()), ("CN-One-CA", false, true));
    let certificates = own.ca.as_ref().unwrap();
    assert!(certificates.bundle.octets.len() > 2 * certificates.certificate.octets.len(), "both");
    let named = published(&text(publish, &format!("name = \"other\"\n{publish}")));
    assert_eq!(named[1].as_ref().unwrap().name, "other");
    refuses(
        &ca,
        &text(publish, publish),
        &["publish: would serve `CN=One CA` and `CN=One (CA)` both as `CN-One-CA`; give one of them another `name`"],
    );
}
