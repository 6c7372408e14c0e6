//! Every configuration that is written as a file reads back as the same: each key sets its value, and every value has a
//! key.

use std::{fmt::Write as _, ops::RangeInclusive, path::Path, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    feed::{
        Cluster,
        redis::{Address, Master},
    },
    limits,
    ocsp::{
        CaRevoked, Carries, CertificateInclusion, HashAlgorithm, NoncePolicy, Policy, Profile, Refresh, ResponseForm,
        Share, SignedRequests, Together, Unlisted,
    },
    pki::Algorithm,
    principals::{Mark, Proof, Rates, TokenHash},
    purge::Pace,
    sign::{
        Verify,
        pkcs11::{ModuleWanted, Uri},
    },
    tsp::{Accuracy, ImprintHash, Oid, Precision, TsaCertificates, TsaName, TsaPolicy},
};
use crate::{
    pki::{UnixTime, written::Radix},
    source::Form,
};

/// Numbers that make the choices; when they run out always 0, which is the simplest choice.
struct Dice(std::vec::IntoIter<u32>);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.0.next().unwrap_or(0)) % bound
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    fn of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize].clone()
    }

    /// Some of them, in random order.
    fn some_of<T: Clone>(&mut self, values: &[T], at_least: usize) -> Vec<T> {
        let mut left = values.to_vec();
        let count = at_least + self.below((values.len() - at_least + 1) as u64) as usize;
        (0..count).map(|_| left.remove(self.below(left.len() as u64) as usize)).collect()
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.coin().then(|| value(self))
    }

    fn word(&mut self) -> String {
        self.of(&["a", "b-c", "ca.pem", "Zertifikat ä", "x y", "say \"no\"", "back\\slash", "tab\there"]).to_owned()
    }

    fn path(&mut self) -> PathBuf {
        Path::new("/etc").join(self.word())
    }

    /// Between these, to the millisecond.
    fn length(&mut self, from: Duration, to: Duration) -> Duration {
        let unit = self.of(&[1, 1000, 60_000, 3_600_000]);
        let millis = self.below(to.as_millis() as u64 + 1) / unit * unit;
        Duration::from_millis(millis).clamp(from, to)
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const HASHES: [(&str, HashAlgorithm); 4] = [
    ("sha1", HashAlgorithm::Sha1),
    ("sha256", HashAlgorithm::Sha256),
    ("sha384", HashAlgorithm::Sha384),
    ("sha512", HashAlgorithm::Sha512),
];
const UNLISTED: [(&str, Unlisted); 4] = [
    ("unauthorized", Unlisted::Unauthorized),
    ("unknown", Unlisted::Unknown),
    ("revoked", Unlisted::Revoked),
    ("good", Unlisted::Good),
];

/// What is said about time, at a tenant or an issuer.
fn any_times(dice: &mut Dice, above: Policy) -> Policy {
    let archive_cutoff = dice.coin();
    let retained = if archive_cutoff { HOUR } else { Duration::ZERO };
    let ((_, profile), below) =
        (dice.of(&Profile::WORDS), |range: RangeInclusive<Duration>| (*range.start(), *range.end()));
    let (least, most) = below(limits::VALIDITY_RANGE);
    let validity = dice.length(least, most);
    let (serve_least, serve_most) = below(limits::SERVE_FOR_RANGE);
    let shares = Share::MAX.thousandths() - Share::MIN.thousandths();
    let share = Share::MIN.thousandths() + dice.below(u64::from(shares) + 1) as u16;
    Policy {
        profile,
        validity,
        refresh: Refresh::Share(Share::of_thousandths(share)),
        backdate: dice.length(Duration::ZERO, limits::BACKDATE_MAX.min(validity / 2)),
        serve_for: dice.length(serve_least, serve_most),
        max_age: dice.length(Duration::ZERO, most),
        stale_after: dice.length(2 * HOUR, 3650 * DAY),
        crl_grace: dice.length(Duration::ZERO, limits::CRL_GRACE_MAX),
        retain_expired: dice.length(retained, 36_500 * DAY),
        archive_cutoff,
        ca_revoked: dice.of(&[CaRevoked::ItAlone, CaRevoked::All]),
        carries: Carries { cert_hash: dice.coin(), crl_reference: dice.coin(), invalidity_date: dice.coin() },
        ..above
    }
}

fn any_policy(dice: &mut Dice) -> Policy {
    Policy {
        nonce: dice.of(&[NoncePolicy::Ignore, NoncePolicy::Echo, NoncePolicy::Require]),
        signed_requests: dice.of(&[SignedRequests::Ignore, SignedRequests::Verify, SignedRequests::Require]),
        cert_ids_max: 1 + dice.below(u64::from(limits::CERT_IDS_MAX)) as u8,
        strict_content_type: dice.coin(),
        internal_error_503: dice.coin(),
        surrogate_keys: dice.coin(),
        ..any_times(dice, Policy::DEFAULT)
    }
}

fn any_key(dice: &mut Dice) -> KeyConfig {
    if dice.coin() {
        return KeyConfig::File(SecretFile::from(&*dice.path()));
    }
    let count = 1 + dice.below(3);
    let uri = |number: u64| {
        let mut uri = Uri { pin_source: dice.maybe(|dice| dice.word()), ..Uri::default() };
        uri.token.label = Some(format!("{} {number}", dice.word()));
        uri.key.id = dice.maybe(|dice| vec![dice.below(256) as u8; 3]);
        uri.module = dice.maybe(|dice| ModuleWanted::Path(format!("/usr/lib/{}", dice.word())));
        uri
    };
    KeyConfig::Tokens((0..count).map(uri).collect())
}

fn any_feed(dice: &mut Dice) -> Feed {
    let (redis, tls) = match dice.below(4) {
        0 => (Address::Unix(dice.path()), None),
        3 => {
            let sentinel = |host: &&str| Address::Tcp { host: (*host).to_owned(), port: 26379 };
            let sentinels = dice.some_of(&["sentinel.example", "10.0.0.2", "::1"].each_ref().map(sentinel), 1);
            let tls = dice.maybe(|dice| dice.maybe(Dice::path).map_or(TlsTrust::System, TlsTrust::File));
            (Address::Master(Master { name: dice.of(&["feed", "a\"b"]).to_owned(), sentinels }), tls)
        }
        form => {
            let host = dice.of(&["redis.example", "10.0.0.1", "::1"]).to_owned();
            let port = 1 + dice.below(65_535) as u16;
            let tls = dice.maybe(|dice| dice.maybe(Dice::path).map_or(TlsTrust::System, TlsTrust::File));
            (Address::Tcp { host, port }, tls.filter(|_| form == 1))
        }
    };
    let secret = |dice: &mut Dice| SecretFile::from(&*dice.path());
    let password_file = dice.maybe(secret);
    let sentinel_password_file = dice.maybe(secret).filter(|_| matches!(redis, Address::Master(_)));
    let interval = limits::feed::SNAPSHOT_INTERVAL_RANGE;
    let (takeover, acknowledge) = (limits::feed::TAKEOVER_AFTER_RANGE, limits::feed::ACKNOWLEDGE_WITHIN_RANGE);
    let sources = ["http://a.example:8081".parse().unwrap(), "https://[::1]:8081/ostia".parse().unwrap()];
    Feed {
        place: Place::default(),
        cluster: Cluster::new(dice.of(&["a", "pki-1.prod_x"])).unwrap(),
        redis,
        tls,
        user: dice.maybe(|dice| dice.of(&["ostia", "a:b\"c"]).to_owned()).filter(|_| password_file.is_some()),
        password_file,
        sentinel_user: dice
            .maybe(|dice| dice.of(&["ostia", "a:b\"c"]).to_owned())
            .filter(|_| sentinel_password_file.is_some()),
        sentinel_password_file,
        trusted: (0..1 + dice.below(3)).map(|_| dice.path()).collect(),
        key: dice.maybe(secret),
        https: dice.maybe(|dice| dice.maybe(Dice::path).map_or(TlsTrust::System, TlsTrust::File)),
        api_url: dice.maybe(|dice| dice.of(&["https://a.example:9443", "http://127.0.0.1:9090/x"]).to_owned()),
        snapshot_listen: dice.maybe(|dice| ([10, 0, 0, 1], dice.below(1 << 16) as u16).into()),
        snapshot_from: dice.some_of(&sources, 0),
        snapshot_interval: dice.length(*interval.start(), *interval.end()),
        takeover_after: dice.length(*takeover.start(), *takeover.end()),
        priority: dice.below(limits::feed::PRIORITY_MAX as u64 + 1) as u32,
        acknowledge_within: dice.length(*acknowledge.start(), *acknowledge.end()),
        acknowledge_redis_replicas: dice.below(limits::feed::REDIS_REPLICAS_MAX as u64 + 1) as u32,
        takes_over: dice.below(2) == 0,
        acknowledge_standbys: dice.below(limits::feed::STANDBYS_MAX as u64 + 1) as u32,
        shared_answers: dice.coin(),
        name: dice.maybe(|dice| dice.of(&["dmz-1", "Zone \"b\""]).to_owned()),
        is_published: dice.coin(),
        signer_keys: dice.coin(),
        replicas_wanted: dice.below(limits::servers::REPLICAS_WANTED_MAX as u64 + 1) as u32,
    }
}

/// On a replica some things are elsewhere.
fn leave_out(dice: &mut Dice, issuer: &mut IssuerConfig) {
    if dice.coin() {
        issuer.sources = Sources::default();
    }
    for signer in &mut issuer.signers {
        if dice.coin() {
            signer.key = KeyConfig::Elsewhere;
            // Nothing that has to be signed.
            signer.renew.iter_mut().for_each(|renew| renew.by = RenewBy::Nobody);
        }
    }
}

fn any_signer(dice: &mut Dice, for_time_stamps: bool) -> SignerConfig {
    let certificate = if for_time_stamps { Some(dice.path()) } else { dice.maybe(|dice| dice.path()) };
    let renew = dice.maybe(any_renewal).filter(|_| certificate.is_some());
    SignerConfig {
        place: Place::default(),
        renew,
        key: any_key(dice),
        designated: certificate.is_some() && !for_time_stamps && dice.coin(),
        certificate,
        algorithm: dice.maybe(|dice| dice.of(&[Algorithm::RsaPkcs1Sha256, Algorithm::RsaPssSha256])),
        threads: dice.maybe(|dice| 1 + dice.below(limits::SIGN_THREADS_MAX as u64) as usize),
        primary_first: dice.coin(),
        verify: dice.of(&[Verify::All, Verify::Sample]),
    }
}

fn any_renewal(dice: &mut Dice) -> RenewConfig {
    let deadline = dice.length(Duration::from_secs(1), Duration::from_secs(600));
    let by = match dice.below(3) {
        0 => RenewBy::Command(dice.path(), (0..dice.below(3)).map(|_| dice.path().into()).collect(), deadline),
        1 => RenewBy::Request(dice.path()),
        _ => RenewBy::Nobody,
    };
    RenewConfig {
        place: Place::default(),
        by,
        before: dice.length(Duration::from_secs(1), Duration::from_secs(9 << 20)),
    }
}

/// Databases, and lists that are all in one radix; each file once.
fn any_listings(dice: &mut Dice) -> Vec<ListingFile> {
    let issued = Form::Issued(dice.of(&[Radix::Hexadecimal, Radix::Decimal]));
    let (databases, lists) = (dice.below(3), dice.below(3));
    let forms = (0..databases).map(|_| Form::Database).chain((0..lists).map(|_| issued));
    let mut listings: Vec<ListingFile> = Vec::new();
    for form in forms {
        let path = dice.path();
        if listings.iter().all(|other| other.path != path) {
            listings.push(ListingFile { path, form });
        }
    }
    listings
}

fn any_issuer(dice: &mut Dice, number: u64, above: Policy) -> IssuerConfig {
    let (listings, crl) = (any_listings(dice), dice.maybe(|dice| dice.path()));
    let pushes = dice.coin();
    let crl = crl.or_else(|| (listings.is_empty() && !pushes).then(|| dice.path()));
    let crls: Vec<_> = crl.into_iter().chain((0..dice.below(3)).map(|_| dice.path())).collect();
    let crls = if crls.is_empty() { crls } else { distinct(crls) };
    let crls_are_complete = !crls.is_empty() && dice.coin();
    let crl_issuers = if crls.is_empty() { Vec::new() } else { distinct((0..dice.below(3)).map(|_| dice.path())) };
    let signers = 1 + dice.below(limits::CONFIGURED_SIGNERS_MAX as u64);
    let has_crls = !crls.is_empty();
    IssuerConfig {
        place: Place::default(),
        name: dice.maybe(|_| format!("issuer-{number}")),
        certificate: dice.path(),
        sources: Sources { listings, crls, crls_are_complete, pushes, ..Sources::default() },
        policy: if dice.coin() { any_times(dice, above) } else { above },
        crl_issuers,
        unlisted: dice.maybe(|dice| dice.of(&UNLISTED).1),
        publish: Publish { crls: has_crls && dice.coin(), ca: dice.coin() },
        signers: (0..signers).map(|_| any_signer(dice, false)).collect(),
    }
}

fn any_tsa(dice: &mut Dice, number: u64) -> TsaConfig {
    let precision = dice.of(&[Precision::Seconds, Precision::Milliseconds, Precision::Microseconds]);
    let least = Duration::from_millis(if precision == Precision::Seconds { 1000 } else { 2 });
    let policies = 1 + dice.below(limits::TSA_POLICIES_MAX as u64);
    let policy = |which: u64| Oid::parse(&format!("1.3.6.1.4.1.99999.{number}.{which}")).unwrap();
    TsaConfig {
        place: Place::default(),
        name: format!("tsa-{number}"),
        path: dice.of(&["", "/tsa", "/time/stamps"]).to_owned(),
        policy: TsaPolicy {
            policies: (0..policies).map(policy).collect(),
            hashes: dice.some_of(&ImprintHash::ALL, 1),
            accuracy: Accuracy::new(dice.length(least, Duration::from_secs(60))).unwrap(),
            precision,
            ordering: precision == Precision::Microseconds && dice.coin(),
            certificates: dice.of(&[TsaCertificates::Signer, TsaCertificates::Chain]),
            tsa_name: dice.of(&[TsaName::Subject, TsaName::SubjectAltName, TsaName::None]),
            signing_time: dice.coin(),
            algorithm_protection: dice.coin(),
            ess_cert_id_v1: dice.coin(),
            qc_statements: dice.coin(),
            verify_one_in: 1 + dice.below(u64::from(u32::MAX)) as u32,
        },
        key_usage_end: dice.maybe(|dice| UnixTime(dice.below(UnixTime::MAX.0))),
        signer: any_signer(dice, true),
        validity_left: dice.length(Duration::ZERO, 3650 * DAY),
        shared_key: dice.coin(),
        clients: any_clients(dice),
    }
}

fn any_clients(dice: &mut Dice) -> ClientsConfig {
    let count = dice.below(3);
    let clients = (0..count).map(|number| {
        let has_key = dice.coin();
        let networks = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"].map(|text| text.parse().unwrap());
        ClientConfig {
            place: Place::default(),
            name: format!("client-{number}"),
            networks: dice.some_of(&networks, usize::from(!has_key)),
            keys: if has_key { vec![TokenHash::of(&[number as u8])] } else { Vec::new() },
            certificates: dice.some_of(
                &["dns:a.example", "key-sha256:0000000000000000000000000000000000000000000000000000000000000007"]
                    .map(|text| text.parse::<Mark>().unwrap()),
                0,
            ),
            quota: Quota {
                per_second: dice.maybe(|dice| 1 + dice.below(1000) as u32),
                per_day: dice.maybe(|dice| 1 + dice.below(1000)),
                per_month: dice.maybe(|dice| 1 + dice.below(1000)),
            },
        }
    });
    let clients: Vec<_> = clients.collect();
    let has_certificates = clients.iter().any(|client: &ClientConfig| !client.certificates.is_empty());
    ClientsConfig {
        is_open: clients.is_empty() || dice.coin(),
        client_ca: has_certificates.then(|| dice.path()),
        clients,
    }
}

fn any_tenant(dice: &mut Dice, name: String, path: String) -> TenantConfig {
    let policy = any_policy(dice);
    let (issuers, tsas) = (dice.below(3), dice.below(3));
    let issuers = if issuers + tsas == 0 { 1 } else { issuers };
    let hashes: Vec<_> = HASHES.iter().map(|(_, hash)| *hash).collect();
    let mut presign = if policy.nonce == NoncePolicy::Require { Vec::new() } else { dice.some_of(&hashes, 0) };
    let pair = [HashAlgorithm::Sha1, HashAlgorithm::Sha256];
    let policy = if presign.contains(&pair[0]) && dice.coin() {
        presign.retain(|hash| *hash != pair[1]);
        Policy { together: Together::NONE.joining(&pair), ..policy }
    } else {
        policy
    };
    TenantConfig {
        forwarded: Vec::new(),
        place: Place::default(),
        formerly: dice.coin().then(|| format!("{name}-before")),
        name,
        hosts: dice.some_of(&["ocsp.example".to_owned(), "[::1]".into()], 0),
        path,
        policy,
        signatures_per_second: dice.maybe(|dice| std::num::NonZeroU32::new(1 + dice.below(1000) as u32).unwrap()),
        time_stamps_per_second: dice.maybe(|dice| std::num::NonZeroU32::new(1 + dice.below(1000) as u32).unwrap()),
        unlisted: dice.maybe(|dice| dice.of(&UNLISTED).1),
        request_anchors: (policy.signed_requests != SignedRequests::Ignore).then(|| dice.path()),
        form: ResponseForm {
            responder_id_by_name: dice.coin(),
            certificates: dice.of(&[
                CertificateInclusion::Signer,
                CertificateInclusion::Chain,
                CertificateInclusion::None,
            ]),
        },
        presign,
        pushes_per_second: dice.maybe(|dice| 1 + dice.below(1_000_000) as u32),
        issuers: (0..issuers).map(|number| any_issuer(dice, number, policy)).collect(),
        tsas: (0..tsas).map(|number| any_tsa(dice, number)).collect(),
    }
}

fn any_cache(dice: &mut Dice, number: u64) -> PurgeConfig {
    let (is_soft, secret) = (dice.coin(), SecretFile::from(&*dice.path()));
    let (driver, url, most, burst, credentials_file) = match dice.below(6) {
        0 => (DriverConfig::VarnishBan, "http://[::1]:6081/", 64, 100, None),
        1 => (DriverConfig::VarnishXkey { is_soft }, "http://a/", 64, 100, None),
        2 => (DriverConfig::Fastly { is_soft }, "https://api.fastly.com/service/a/purge", 256, 30, Some(secret)),
        3 => (DriverConfig::Cloudflare, "https://a/client/v4/zones/b/purge_cache", 100, 25, Some(secret)),
        4 => (DriverConfig::Akamai, "https://a/ccu/v3/delete/tag/staging", 100, 50, Some(secret)),
        _ => {
            let headers = dice.some_of(&["X-A: {keys}".to_owned(), "Y: \\ \"".into()], 0);
            let (method, body) = (dice.of(&["POST", "PURGE"]).to_owned(), dice.word() + "{keys_as_json}");
            (DriverConfig::Template { method, headers, body }, "https://a/?b", 1000, 10, dice.maybe(|_| secret))
        }
    };
    let per_minute = 1 + dice.below(60_000) as u32;
    let pace = Pace {
        batch: 1 + dice.below(most) as usize,
        per_minute,
        burst: (per_minute / 6).max(burst),
        again_after: dice.length(Duration::from_millis(100), Duration::from_secs(600)),
    };
    PurgeConfig {
        place: Place::default(),
        name: format!("cache {number}"),
        driver,
        url: url.parse().unwrap(),
        credentials_file,
        tls: dice.maybe(|dice| if dice.coin() { TlsTrust::System } else { TlsTrust::File(dice.path()) }),
        tenants: dice.maybe(|dice| dice.some_of(&["default".to_owned(), "tenant.0".into()], 0)),
        pace,
    }
}

fn write_cache(text: &mut String, cache: &PurgeConfig) {
    let PurgeConfig { place: _, name, driver, url, credentials_file, tls, tenants, pace } = cache;
    *text += "[[purge]]\n";
    key(text, "name", quoted(name));
    key(text, "driver", quoted(driver.written()));
    key(text, "url", quoted(&url.without_secrets().unwrap()));
    maybe(text, "credentials_file", credentials_file.as_ref().map(|file| quoted(&file.written)));
    let trust = |trust: &TlsTrust| match trust {
        TlsTrust::System => quoted("system"),
        TlsTrust::File(file) => path(file),
    };
    maybe(text, "tls_ca", tls.as_ref().map(trust));
    maybe(text, "tenants", tenants.clone().map(list));
    key(text, "batch", pace.batch);
    key(text, "per_minute", pace.per_minute);
    key(text, "again_after", quoted(&in_words(pace.again_after)));
    match driver {
        DriverConfig::VarnishXkey { is_soft } | DriverConfig::Fastly { is_soft } => key(text, "soft", is_soft),
        DriverConfig::Template { method, headers, body } => {
            key(text, "method", quoted(method));
            key(text, "headers", list(headers.clone()));
            key(text, "body", quoted(body));
        }
        DriverConfig::VarnishBan | DriverConfig::Cloudflare | DriverConfig::Akamai => {}
    }
}

fn any_config(dice: &mut Dice) -> Config {
    let octets = limits::CACHE_OCTETS_MAX as u64 - limits::CACHE_OCTETS_MIN as u64;
    let mut octets = || limits::CACHE_OCTETS_MIN as u64 + dice.below(octets + 1);
    let cache = Cache { answers_octets: octets(), octets: octets() };
    let state_dir = dice.path();
    let listen = (std::net::Ipv4Addr::LOCALHOST, dice.below(1 << 16) as u16).into();
    let token_file = dice.maybe(|dice| SecretFile::from(&*dice.path()));
    let tls = dice.maybe(|dice| AdminTls {
        certificate: dice.path(),
        key: SecretFile::from(&*dice.path()),
        client_ca: dice.maybe(Dice::path),
    });
    let hosts = dice.maybe(|_| vec!["writer.example".to_owned(), "192.0.2.7".to_owned()]);
    let open_metrics = dice.maybe(Dice::coin);
    let has_ca = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let principals = (0..dice.below(3)).map(|number| any_principal(dice, number, has_ca)).collect();
    let ready_without_signers = dice.below(2) == 0;
    let place = Place::default();
    let admin = Admin { place, listen, ready_without_signers, token_file, tls, hosts, open_metrics, principals };
    let feed = dice.maybe(any_feed);
    let mut tenants = match dice.below(4) {
        0 => vec![any_tenant(dice, "default".into(), String::new())],
        count => (0..count).map(|n| any_tenant(dice, format!("tenant.{n}"), format!("/at_{n}"))).collect(),
    };
    if feed.as_ref().is_some_and(Feed::is_of_replica) {
        tenants.iter_mut().flat_map(|tenant| &mut tenant.issuers).for_each(|issuer| leave_out(dice, issuer));
    }
    if feed.is_some() {
        // A feed carries no CRLs.
        tenants.iter_mut().flat_map(|tenant| &mut tenant.issuers).for_each(|issuer| issuer.publish.crls = false);
    }
    let is_of_replica = feed.as_ref().is_some_and(Feed::is_of_replica);
    let caches = if is_of_replica { 0 } else { dice.below(4) };
    let purge = (0..caches).map(|number| any_cache(dice, number)).collect();
    let place = Place::default();
    Config {
        place,
        state_dir,
        cache,
        admin,
        feed,
        journal: None,
        transactions: None,
        transparency: None,
        purge,
        tenants,
    }
}

fn any_principal(dice: &mut Dice, number: u64, has_ca: bool) -> PrincipalConfig {
    let proof = match has_ca && dice.coin() {
        true => Proof::Certificate(Mark::Dns(format!("{number}.example"))),
        false => Proof::Token(TokenHash::of(format!("token {number}").as_bytes())),
    };
    let allow = dice.of(&["viewer:*", "operator:tenant.1"]).parse().unwrap();
    let deny = dice.maybe(|dice| dice.of(&["revoke:tenant.1", "*:tenant.2"]).parse().unwrap());
    let (place, name) = (Place::default(), format!("somebody-{number}"));
    let rates = Rates { requests: dice.maybe(|dice| 1 + dice.below(1_000_000) as u32), pushes: None };
    PrincipalConfig { place, name, proof, allow: vec![allow], deny: deny.into_iter().collect(), rates }
}

fn written_principal(principal: &PrincipalConfig) -> String {
    let PrincipalConfig { place: _, name, proof, allow, deny, rates } = principal;
    let rates = rates.requests.map(|rate| format!(", requests_per_second = {rate}")).unwrap_or_default();
    let proof = match proof {
        Proof::Token(hash) => format!("token_sha256 = \"{}\"", hash.to_hex()),
        Proof::Certificate(mark) => format!("certificate = \"{mark}\""),
    };
    let deny = deny.iter().map(|denial| format!("\"{denial}\"")).collect::<Vec<_>>().join(", ");
    format!("{{ name = \"{name}\", {proof}, allow = [\"{}\"], deny = [{deny}]{rates} }}", allow[0])
}

/// A configuration as a file.
fn written(config: &Config) -> String {
    let mut text = String::from("version = 1\n");
    key(&mut text, "state_dir", path(&config.state_dir));
    let Cache { answers_octets, octets } = config.cache;
    key(&mut text, "cache", format_args!("{{ answers_octets = {answers_octets}, octets = {octets} }}"));
    let of_admin = keys::KEYS.iter().filter_map(|key| Some((key.name.strip_prefix("admin.")?, (key.written)(config)?)));
    let mut of_admin: Vec<_> = of_admin.map(|(name, value)| format!("{name} = {value}")).collect();
    let principals: Vec<_> = config.admin.principals.iter().map(written_principal).collect();
    of_admin.extend((!principals.is_empty()).then(|| format!("principal = [{}]", principals.join(", "))));
    key(&mut text, "admin", format_args!("{{ {} }}", of_admin.join(", ")));
    if config.feed.is_some() {
        let of_feed =
            keys::KEYS.iter().filter_map(|key| Some((key.name.strip_prefix("feed.")?, (key.written)(config)?)));
        let of_feed: Vec<_> = of_feed.map(|(name, value)| format!("{name} = {value}")).collect();
        key(&mut text, "feed", format_args!("{{ {} }}", of_feed.join(", ")));
    }
    for tenant in &config.tenants {
        let bare = tenant.name == "default";
        if !bare {
            text += "[[tenant]]\n";
            key(&mut text, "name", quoted(&tenant.name));
        }
        write_tenant(&mut text, tenant, if bare { "" } else { "tenant." });
    }
    config.purge.iter().for_each(|cache| write_cache(&mut text, cache));
    text
}

fn key(text: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(text, "{name} = {value}").unwrap();
}

fn maybe(text: &mut String, name: &str, value: Option<impl std::fmt::Display>) {
    value.into_iter().for_each(|value| key(text, name, value));
}

fn path(path: &Path) -> String {
    quoted(path.to_str().unwrap())
}

/// Each once.
fn distinct(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    paths.into_iter().for_each(|path| {
        if !all.contains(&path) {
            all.push(path)
        }
    });
    all
}

fn list(values: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", values.into_iter().map(|value| quoted(&value)).collect::<Vec<_>>().join(", "))
}

/// The word for one of a few values.
fn word<T: PartialEq>(words: &[(&str, T)], value: T) -> String {
    quoted(words.iter().find(|(_, other)| *other == value).unwrap().0)
}

fn write_unlisted(text: &mut String, unlisted: Option<Unlisted>) {
    maybe(text, "unlisted", unlisted.map(|unlisted| word(&UNLISTED, unlisted)));
    maybe(text, "accept_unlisted_as_good", (unlisted == Some(Unlisted::Good)).then_some(true));
}

fn write_times(text: &mut String, policy: &Policy) {
    key(text, "profile", word(&Profile::WORDS, policy.profile));
    for (name, length) in [
        ("validity", policy.validity),
        ("backdate", policy.backdate),
        ("serve_for", policy.serve_for),
        ("max_age", policy.max_age),
        ("stale_after", policy.stale_after),
        ("crl_grace", policy.crl_grace),
        ("retain_expired", policy.retain_expired),
    ] {
        key(text, name, quoted(&in_words(length)));
    }
    let Refresh::Share(share) = policy.refresh else { panic!("{policy:?}") };
    key(text, "refresh", share);
    key(text, "archive_cutoff", policy.archive_cutoff);
    key(text, "ca_revoked", quoted(if policy.ca_revoked == CaRevoked::All { "all" } else { "it_alone" }));
    key(text, "cert_hash", policy.carries.cert_hash);
    key(text, "crl_references", policy.carries.crl_reference);
    key(text, "invalidity_date", policy.carries.invalidity_date);
}

fn write_tenant(text: &mut String, tenant: &TenantConfig, above: &str) {
    let TenantConfig { hosts, policy, form, .. } = tenant;
    maybe(text, "signatures_per_second", tenant.signatures_per_second);
    maybe(text, "time_stamps_per_second", tenant.time_stamps_per_second);
    maybe(text, "formerly", tenant.formerly.as_deref().map(quoted));
    key(text, "hosts", list(hosts.clone()));
    key(text, "path", quoted(if tenant.path.is_empty() { "/" } else { &tenant.path }));
    write_unlisted(text, tenant.unlisted);
    write_times(text, policy);
    let nonces = [("ignore", NoncePolicy::Ignore), ("echo", NoncePolicy::Echo), ("require", NoncePolicy::Require)];
    key(text, "nonce", word(&nonces, policy.nonce));
    let signed =
        [("ignore", SignedRequests::Ignore), ("verify", SignedRequests::Verify), ("require", SignedRequests::Require)];
    key(text, "signed_requests", word(&signed, policy.signed_requests));
    maybe(text, "request_anchors", tenant.request_anchors.as_deref().map(path));
    key(text, "cert_ids_max", policy.cert_ids_max);
    key(text, "content_type", quoted(if policy.strict_content_type { "strict" } else { "any" }));
    key(text, "internal_error_status", if policy.internal_error_503 { 503 } else { 200 });
    key(text, "surrogate_keys", policy.surrogate_keys);
    key(text, "responder_id", quoted(if form.responder_id_by_name { "by-name" } else { "by-key" }));
    let inclusions = [
        ("signer", CertificateInclusion::Signer),
        ("chain", CertificateInclusion::Chain),
        ("none", CertificateInclusion::None),
    ];
    key(text, "certificates", word(&inclusions, form.certificates));
    maybe(text, "pushes_per_second", tenant.pushes_per_second);
    key(text, "presign", !tenant.presign.is_empty());
    if !tenant.presign.is_empty() {
        let name = |hash| HASHES.iter().find(|(_, other)| *other == hash).unwrap().0;
        let names = |hash: &HashAlgorithm| policy.together.of(*hash).map(name).collect::<Vec<_>>().join("+");
        let hashes = tenant.presign.iter().map(names);
        key(text, "presign_hashes", list(hashes));
    }
    for issuer in &tenant.issuers {
        writeln!(text, "[[{above}issuer]]").unwrap();
        maybe(text, "name", issuer.name.as_deref().map(quoted));
        key(text, "certificate", path(&issuer.certificate));
        for (name, of_key) in [("index", true), ("issued", false)] {
            let listings = issuer.sources.listings.iter().filter(|file| (file.form == Form::Database) == of_key);
            let paths: Vec<_> = listings.map(|file| path(&file.path)).collect();
            match &paths[..] {
                [] => {}
                [one] => key(text, name, one),
                several => key(text, name, format!("[{}]", several.join(", "))),
            }
        }
        if issuer.sources.listings.iter().any(|file| file.form == Form::Issued(Radix::Decimal)) {
            key(text, "issued_serials", quoted("decimal"));
        }
        let paths =
            |paths: &[PathBuf]| (!paths.is_empty()).then(|| list(paths.iter().map(|path| path.display().to_string())));
        maybe(text, "crl", paths(&issuer.sources.crls));
        maybe(text, "crl_issuer", paths(&issuer.crl_issuers));
        if issuer.sources.crls_are_complete {
            key(text, "crls_are_complete", true);
        }
        let Publish { crls, ca } = issuer.publish;
        let published: Vec<_> =
            [("crl", crls), ("ca", ca)].into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect();
        maybe(text, "publish", (!published.is_empty()).then(|| list(published)));
        key(text, "pushes", issuer.sources.pushes);
        write_unlisted(text, issuer.unlisted);
        if issuer.policy != *policy {
            write_times(text, &issuer.policy);
        }
        for signer in &issuer.signers {
            writeln!(text, "[[{above}issuer.signer]]").unwrap();
            key(text, "designated", signer.designated);
            write_signer(text, signer);
        }
    }
    for tsa in &tenant.tsas {
        writeln!(text, "[[{above}tsa]]").unwrap();
        write_tsa(text, tsa);
        writeln!(text, "[{above}tsa.signer]").unwrap();
        key(text, "validity_left", quoted(&in_words(tsa.validity_left)));
        maybe(text, "key_usage_end", tsa.key_usage_end.map(|end| quoted(&end.to_string())));
        write_signer(text, &tsa.signer);
        for client in &tsa.clients.clients {
            writeln!(text, "[[{above}tsa.client]]").unwrap();
            key(text, "name", quoted(&client.name));
            let networks = client.networks.iter().map(ToString::to_string);
            maybe(text, "networks", (!client.networks.is_empty()).then(|| list(networks)));
            let keys = client.keys.iter().map(TokenHash::to_hex);
            maybe(text, "token_sha256", (!client.keys.is_empty()).then(|| list(keys)));
            let marks = client.certificates.iter().map(ToString::to_string);
            maybe(text, "certificate", (!client.certificates.is_empty()).then(|| list(marks)));
            maybe(text, "per_second", client.quota.per_second);
            maybe(text, "per_day", client.quota.per_day);
            maybe(text, "per_month", client.quota.per_month);
        }
    }
}

fn write_signer(text: &mut String, signer: &SignerConfig) {
    match &signer.key {
        KeyConfig::File(file) => key(text, "key", path(&file.path)),
        KeyConfig::Tokens(uris) => key(text, "key", list(uris.iter().map(Uri::to_string))),
        KeyConfig::Elsewhere => {}
    }
    maybe(text, "certificate", signer.certificate.as_deref().map(path));
    let algorithms = [("rsa-pkcs1", Algorithm::RsaPkcs1Sha256), ("rsa-pss", Algorithm::RsaPssSha256)];
    maybe(text, "algorithm", signer.algorithm.map(|algorithm| word(&algorithms, algorithm)));
    maybe(text, "threads", signer.threads);
    key(text, "primary_first", signer.primary_first);
    key(text, "verify", word(&[("all", Verify::All), ("sample", Verify::Sample)], signer.verify));
    let Some(renew) = &signer.renew else { return };
    let by = match &renew.by {
        RenewBy::Command(program, arguments, deadline) => {
            let words = std::iter::once(program.as_os_str()).chain(arguments.iter().map(|word| &**word));
            let words = list(words.map(|word| word.to_str().unwrap().to_owned()));
            format!("command = {words}, deadline = {}, ", quoted(&in_words(*deadline)))
        }
        RenewBy::Request(file) => format!("request = {}, ", path(file)),
        RenewBy::Nobody => String::new(),
    };
    key(text, "renew", format_args!("{{ {by}before = {} }}", quoted(&in_words(renew.before))));
}

fn write_tsa(text: &mut String, tsa: &TsaConfig) {
    let policy = &tsa.policy;
    key(text, "name", quoted(&tsa.name));
    key(text, "path", quoted(tsa.shown_path()));
    maybe(text, "client_ca", tsa.clients.client_ca.as_deref().map(path));
    maybe(text, "open", (!tsa.clients.clients.is_empty()).then_some(tsa.clients.is_open));
    key(text, "policy", list(policy.policies.iter().map(Oid::to_string)));
    key(text, "hashes", list(policy.hashes.iter().map(|hash| hash.name().to_owned())));
    key(text, "accuracy", quoted(&in_words(policy.accuracy.duration())));
    let precisions = [
        ("seconds", Precision::Seconds),
        ("milliseconds", Precision::Milliseconds),
        ("microseconds", Precision::Microseconds),
    ];
    key(text, "precision", word(&precisions, policy.precision));
    key(text, "ordering", policy.ordering);
    key(text, "sole_instance", policy.ordering);
    let inclusions = [("signer", TsaCertificates::Signer), ("chain", TsaCertificates::Chain)];
    key(text, "certificates", word(&inclusions, policy.certificates));
    let names = [("subject", TsaName::Subject), ("subject-alt-name", TsaName::SubjectAltName), ("none", TsaName::None)];
    key(text, "tsa_name", word(&names, policy.tsa_name));
    key(text, "signing_time", policy.signing_time);
    key(text, "algorithm_protection", policy.algorithm_protection);
    key(text, "ess_cert_id", quoted(if policy.ess_cert_id_v1 { "v1" } else { "v2" }));
    key(text, "qc_statements", policy.qc_statements);
    key(text, "verify_one_in", policy.verify_one_in);
    key(text, "shared_key", tsa.shared_key);
}

fn read(text: &str) -> Result<Config, String> {
    let document = Document::from_text(Path::new("/etc/ostia/ostia.toml"), text);
    let config = document.read(|root| {
        let config = Config::read(root);
        root.finish();
        Some(config)
    });
    config.map_err(|error| error.to_string())
}

proptest! {
    #[test]
    fn every_configuration_that_is_written_reads_back_as_the_same(numbers in vec(any::<u32>(), 0..600)) {
        let config = any_config(&mut Dice(numbers.into_iter()));
        let text = written(&config);
        let back = read(&text);
        prop_assert_eq!(back.as_ref(), Ok(&config), "{}", text);
        // Its place in the file does not matter.
        prop_assert_eq!(self::read(&format!("# Moved.\n\n{text}")), back);
    }
}

#[test]
fn nothing_of_a_token_that_may_be_secret_is_shown() {
    let text = "version = 1\n[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"index.txt\"\nsigner = { key = \"pkcs11:token=a?module-path=/m.so&pin-source=7391\" }\n";
    let config = read(text).unwrap();
    let KeyConfig::Tokens(uris) = &config.tenants[0].issuers[0].signers[0].key else { panic!("{config:?}") };
    assert_eq!(uris[0].pin_source.as_deref(), Some("7391"));
    let shown = format!("{config:?} {config:#?}");
    assert!(shown.contains("/m.so") && !shown.contains("7391"), "{shown}");
}

#[test]
fn crls_are_one_list_under_two_names() {
    let text =
        |keys: &str| format!("version = 1\n[[issuer]]\ncertificate = \"ca.pem\"\n{keys}signer = {{ key = \"k\" }}\n");
    for (keys, crls, issuers) in [
        ("crl = \"a\"\n", &["a"][..], 0),
        ("crl = [\"a\", \"b\"]\n", &["a", "b"], 0),
        ("crl = \"a\"\ndelta_crl = \"b\"\n", &["a", "b"], 0),
        ("crl = [\"a\", \"./a\", \"a\"]\ndelta_crl = [\"b\", \"a\"]\ncrl_issuer = \"k.pem\"\n", &["a", "b"], 1),
        ("crl = \"a\"\ncrl_issuer = [\"k.pem\", \"l.pem\"]\n", &["a"], 2),
    ] {
        let issuer = read(&text(keys)).unwrap().tenants[0].issuers[0].clone();
        let names: Vec<_> = issuer.sources.crls.iter().map(|path| path.strip_prefix("/etc/ostia").unwrap()).collect();
        assert_eq!(names, crls.iter().map(Path::new).collect::<Vec<_>>(), "{keys}");
        assert_eq!(issuer.crl_issuers.len(), issuers, "{keys}");
        assert_eq!(issuer.sources.paths(), issuer.sources.crls);
    }
    let many = (0..limits::CRL_FILES_MAX).map(|at| format!("\"{at}\"")).collect::<Vec<_>>().join(", ");
    for (keys, problem) in [
        ("crl = []\n".to_owned(), "issuer.crl: has to be a path, or a list of paths such as"),
        ("crl = [\"a\", \"\"]\n".to_owned(), "issuer.crl: has to be a path, or a list of paths"),
        ("crl = \"-----BEGIN X509 CRL-----\"\n".to_owned(), "issuer.crl: seems to be a key, a certificate"),
        ("crl = 1\n".to_owned(), "issuer.crl: "),
        ("delta_crl = \"a\"\n".to_owned(), "issuer.delta_crl: needs the complete CRL that it changes; add `crl`"),
        (
            "pushes = true\ncrl_issuer = \"k\"\n".to_owned(),
            "issuer.crl_issuer: names who signs CRLs, and there is no CRL",
        ),
        (format!("crl = [{many}, \"a\"]\n"), "issuer.crl: names 257 files; at most 256 are read"),
        (format!("crl = [{many}]\ndelta_crl = \"a\"\n"), "issuer.crl: and `delta_crl` name 257 files"),
    ] {
        let error = read(&text(&keys)).expect_err(problem).to_string();
        assert!(error.contains(problem), "expected `{problem}`, found `{error}`");
    }
}

#[test]
fn crls_are_published_where_they_are_read_and_the_ca_everywhere() {
    let feed = "[feed]\ncluster = \"c\"\nredis = \"a:1\"\ntrusted = [\"k.pub\"]\n";
    let text = |feed: &str, keys: &str| {
        format!(
            "version = 1\n{feed}[[issuer]]\ncertificate = \"ca.pem\"\n{keys}signer = {{ key = \"k\", certificate = \"o\" }}\n"
        )
    };
    for (feed, keys, crls, ca) in [
        ("", "crl = \"a\"\npublish = [\"crl\"]\n", true, false),
        ("", "crl = \"a\"\npublish = [\"ca\", \"crl\"]\n", true, true),
        ("", "index = \"i\"\npublish = [\"ca\"]\n", false, true),
        ("", "crl = \"a\"\n", false, false),
        (feed, "publish = [\"ca\"]\n", false, true),
    ] {
        let publish = read(&text(feed, keys)).unwrap().tenants[0].issuers[0].publish;
        assert_eq!(publish, Publish { crls, ca }, "{keys}");
    }
    for (feed, keys, problem) in [
        ("", "index = \"i\"\npublish = [\"crl\"]\n", "issuer.publish: names `crl`, and there is no CRL to publish"),
        ("", "crl = \"a\"\npublish = []\n", "issuer.publish: is empty"),
        ("", "crl = \"a\"\npublish = [\"crls\"]\n", "issuer.publish: names `crls`; expected some of `crl`, `ca`"),
        ("", "crl = \"a\"\npublish = [\"ca\", \"ca\"]\n", "issuer.publish: names `ca` twice"),
        (
            feed,
            "publish = [\"ca\", \"crl\"]\n",
            "issuer.publish: names `crl`, and a feed carries what CRLs say but no CRLs",
        ),
    ] {
        let error = read(&text(feed, keys)).expect_err(problem).to_string();
        assert!(error.contains(problem), "expected `{problem}`, found `{error}`");
    }
}

#[test]
fn pushes_alone_are_a_source_and_without_any_all_three_are_named() {
    let text =
        |keys: &str| format!("version = 1\n[[issuer]]\ncertificate = \"ca.pem\"\n{keys}signer = {{ key = \"k\" }}\n");
    for (keys, crl_alone, pushes_alone) in [
        ("pushes = true\n", false, true),
        ("pushes = true\nindex = \"i\"\n", false, false),
        ("pushes = true\ncrl = \"c\"\n", true, false),
        ("crl = \"c\"\n", true, false),
        ("index = \"i\"\npushes = false\n", false, false),
    ] {
        let sources = read(&text(keys)).unwrap().tenants[0].issuers[0].sources.clone();
        assert_eq!((sources.is_crl_alone(), sources.is_pushes_alone()), (crl_alone, pushes_alone), "{keys}");
    }
    for keys in ["", "pushes = false\n"] {
        let error = read(&text(keys)).unwrap_err();
        for remedy in ["`index = \"index.txt\"`", "`crl = \"ca.crl\"`", "`pushes = true`"] {
            assert!(error.contains(remedy), "{error}");
        }
    }
}

#[test]
fn a_token_is_named_by_its_file_and_only_where_nobody_can_listen_to_it() {
    let issuer = "[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"i\"\nsigner = { key = \"k\" }\n";
    let text = |admin: &str| format!("version = 1\n[admin]\n{admin}\n{issuer}");
    let admin = read(&text("token_file = \"api.token\"")).unwrap().admin;
    let file = SecretFile { written: "api.token".into(), path: "/etc/ostia/api.token".into() };
    assert_eq!(admin.token_file, Some(file));
    let token = "0123456789abcdef0123456789abcdef";
    for (admin, words) in [
        ("listen = \"[::1]:9090\"\ntoken_file = \"t\"", None),
        ("listen = \"[::ffff:127.0.0.1]:9090\"\ntoken_file = \"t\"", None),
        ("listen = \"0.0.0.0:9090\"\ntoken_file = \"t\"", Some("needs `listen` on a loopback address")),
        ("listen = \"10.1.2.3:9090\"\ntoken_file = \"t\"", Some("the listener has no TLS")),
        ("token_file = \"\"", Some("is empty; name a file with a token")),
        ("token_file = 7", Some("is 7; expected a string")),
        (&format!("token_file = \"{token}\""), Some("may be the token itself, and is not shown")),
        ("tokenfile = \"t\"", Some("did you mean `token_file`?")),
    ] {
        let error = read(&text(admin)).err();
        assert_eq!(error.is_some(), words.is_some(), "{admin}: {error:?}");
        let error = error.unwrap_or_default();
        assert!(error.contains(words.unwrap_or_default()) && !error.contains(token), "{admin}: {error}");
    }
}

#[test]
fn a_principal_has_a_name_a_proof_and_something_to_do_or_is_told_what_is_missing() {
    let issuer = "[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"i\"\nsigner = { key = \"k\" }\n";
    let text = |keys: &str| format!("version = 1\n[admin]\n{keys}\n{issuer}");
    let hash = TokenHash::of(b"a token").to_hex();
    let of = |token: &str| TokenHash::of(token.as_bytes()).to_hex();
    let good = format!("name = \"a\"\ntoken_sha256 = \"{hash}\"\nallow = [\"operator:acme\"]\n");
    let one = |keys: &str| format!("[[admin.principal]]\n{keys}");
    let over_tls = "listen = \"0.0.0.0:9090\"\ncertificate = \"a.pem\"\nkey = \"a.key\"\n";
    let admin = read(&text(&format!("{over_tls}client_ca = \"c.pem\"\n{}", one(&good)))).unwrap().admin;
    assert_eq!(admin.principals[0].allow[0].to_string(), "operator:acme");
    let by_certificate = one("name = \"b\"\ncertificate = \"dns:b.example\"\nallow = \"viewer:*\"\n");
    for (keys, words) in [
        (one(&good), None),
        (format!("{over_tls}{}", one(&good)), None),
        (format!("listen = \"0.0.0.0:9090\"\n{}", one(&good)), Some("needs `listen` on a loopback address")),
        (format!("{over_tls}{by_certificate}"), Some("client_ca: is missing, and a principal is recognised")),
        ("client_ca = \"c.pem\"".into(), Some("needs `certificate` and `key`")),
        ("certificate = \"c.pem\"".into(), Some("admin.key: is missing beside `certificate`")),
        ("key = \"c.key\"".into(), Some("admin.certificate: is missing beside `key`")),
        ("hosts = [\"a:1\"]".into(), Some("expected names or addresses without a port")),
        (one(&good) + &one(&good.replace("\"a\"", "\"b\"")), Some("is that of `a` too")),
        (one(&good) + &one(&good.replace(&hash, &of("b"))), Some("is `a`, as another principal's")),
        (one(&good.replace("\"a\"", "\"token_file\"")), Some("choose another")),
        (one(&good.replace("\"a\"", "\"a b\"")), Some("is `a b`; expected 1 to 64 letters")),
        (one(&good.replace("name = \"a\"\n", "")), Some("name: is missing")),
        (one(&good.replace(&hash, &hash[1..])), Some("is no SHA-256 hash of a token, and is not shown")),
        (one(&(good.clone() + "certificate = \"dns:a\"\n")), Some("stands beside `token_sha256`")),
        (one("name = \"a\"\nallow = [\"viewer:*\"]\n"), Some("is missing, and so is `certificate`")),
        (one(&good.replace("operator:acme", "boss:acme")), Some("names the role `boss`")),
        (one(&good.replace("[\"operator:acme\"]", "[]")), Some("names nothing that the principal may do")),
        (one(&(good.clone() + "deny = [\"erase:acme\"]\n")), Some("names `erase`; expected `*`")),
        (one(&(good.clone() + "requests_per_second = 0\n")), Some("expected a whole number from 1 to 1000000")),
        (one(&(good.clone() + "alow = []\n")), Some("did you mean `allow`?")),
    ] {
        let error = read(&text(&keys)).err();
        assert_eq!(error.is_some(), words.is_some(), "{keys}: {error:?}");
        let error = error.unwrap_or_default();
        assert!(error.contains(words.unwrap_or_default()) && !error.contains(&hash[1..]), "{keys}: {error}");
    }
}

#[test]
fn a_configuration_is_read_without_a_look_at_what_it_names() {
    let text = "version = 1\nstate_dir = \"/proc/nowhere\"\n[[issuer]]\ncertificate = \"/nowhere/ca.pem\"\nindex = \"/nowhere/index.txt\"\nsigner = { key = \"/nowhere/ca.key\" }\n";
    let config = read(text).unwrap();
    assert_eq!(config.tenants[0].issuers[0].certificate, Path::new("/nowhere/ca.pem"));
}

/// A replica's file with these lines in `[feed]`.
fn feed(lines: &str) -> String {
    let issuer = "[[issuer]]\ncertificate = \"ca.pem\"\nsigner = { certificate = \"ocsp.pem\" }\n";
    format!("version = 1\n[feed]\n{lines}\n{issuer}")
}

const FEED: &str = "cluster = \"a\"\nredis = \"a:6379\"\ntrusted = \"w.pub\"\n";

#[test]
fn the_feed_has_defaults_and_a_replica_needs_no_more_than_three_keys() {
    let read = read(&feed(FEED)).unwrap();
    let expected = Feed {
        place: Place::default(),
        cluster: Cluster::new("a").unwrap(),
        redis: Address::Tcp { host: "a".into(), port: 6379 },
        tls: None,
        user: None,
        password_file: None,
        sentinel_user: None,
        sentinel_password_file: None,
        trusted: vec!["/etc/ostia/w.pub".into()],
        key: None,
        https: None,
        api_url: None,
        snapshot_listen: None,
        snapshot_from: Vec::new(),
        snapshot_interval: 6 * HOUR,
        takeover_after: Duration::from_secs(6),
        priority: 0,
        acknowledge_within: Duration::from_secs(2),
        acknowledge_redis_replicas: 0,
        takes_over: true,
        acknowledge_standbys: 0,
        shared_answers: true,
        name: None,
        replicas_wanted: 2,
        is_published: false,
        signer_keys: false,
    };
    assert_eq!(read.feed, Some(expected));
    let issuer = &read.tenants[0].issuers[0];
    assert!(issuer.sources.is_none() && issuer.signers[0].key == KeyConfig::Elsewhere, "{issuer:?}");
}

#[test]
fn only_a_replica_does_without_sources_and_keys() {
    let writer = feed(&format!("{FEED}key = \"w.key\""));
    let alone = writer.replace("[feed]", "[feet]");
    for text in [writer, alone] {
        let error = read(&text).unwrap_err();
        for told in ["issuer.index: is missing", "issuer.signer.key: is missing"] {
            assert!(error.contains(told), "{text}: {error}");
        }
    }
    // Whatever else is wrong there.
    let error = read(&feed("cluster = 1")).unwrap_err();
    assert!(!error.contains("issuer"), "{error}");
    // A time-stamp is signed where it is asked for.
    let tsa = feed(FEED) + "[[tsa]]\npolicy = \"1.2.3\"\nsigner = { certificate = \"tsa.pem\" }\n";
    assert!(read(&tsa).unwrap_err().contains("tsa.signer.key: is missing"));
}

#[test]
fn a_replica_does_not_vouch_for_what_may_be_listed_by_an_index_elsewhere() {
    let good = "unlisted = \"good\"\naccept_unlisted_as_good = true\n";
    let text = feed(FEED);
    let of_tenant = read(&text.replace("[feed]", &format!("{good}[feed]"))).unwrap();
    let of_issuer = read(&text.replace("[[issuer]]\n", &format!("[[issuer]]\n{good}"))).unwrap();
    let unlisted = |config: &Config| config.tenants[0].policy_of(&config.tenants[0].issuers[0]).unlisted;
    assert_eq!((unlisted(&of_tenant), unlisted(&of_issuer)), (Unlisted::Unauthorized, Unlisted::Good));
}

#[test]
fn what_is_wrong_in_the_feed_is_told_with_the_remedy_and_all_at_once() {
    let long = "a".repeat(40);
    let issuer = "[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"i\"\nsigner = { key = \"k\" }\n";
    let many = format!("trusted = [{}]", vec!["\"k\""; 65].join(", "));
    let many_urls = (0..65).map(|n| format!("\"http://a{n}\"")).collect::<Vec<_>>().join(", ");
    let cases: &[(&str, &[&str])] = &[
        ("", &["cluster: is missing", "redis: is missing; name the Redis", "trusted: is missing; name the files"]),
        ("cluster = \"a b\"", &["is `a b`; expected 1 to 64 letters"]),
        ("cluster = \"\"", &["is ``; expected 1 to 64 letters"]),
        ("redis = \"a\"", &["which has no port: `a:6379`"]),
        ("redis = 6379", &["is 6379; expected a string"]),
        ("redis = \"redis://:7391@a\"", &["may hold a password, and is not shown"]),
        ("redis = \"redis://a\"\ntls_ca = \"ca.pem\"", &["tls_ca: is for TLS", "write `rediss://`"]),
        ("redis = \"/run/redis.sock\"\ntls_ca = \"system\"", &["has no effect on a socket"]),
        ("tls_ca = \"\"", &["tls_ca: is empty"]),
        ("sentinels = [\"a:1\"]\nmaster = \"m\"", &["redis: and `sentinels` exclude each other"]),
        ("sentinels = [\"a:1\"]", &["master: is missing; write the name that `sentinel monitor` gives"]),
        ("sentinels = [\"a:1\"]\nmaster = \"\"", &["master: is no name of a master"]),
        ("sentinels = []\nmaster = \"m\"", &["sentinels: names 0; name 1 to 9 of them"]),
        ("sentinels = [\"a:1\", \"a:1\"]\nmaster = \"m\"", &["sentinels: names a:1 twice"]),
        ("sentinels = [\"/a.sock\"]\nmaster = \"m\"", &["sentinels: has `/a.sock`; a Sentinel has a host and a port"]),
        ("sentinels = [\"redis://:7391@a\"]\nmaster = \"m\"", &["sentinels: may hold a password, and is not shown"]),
        ("sentinels = [\"rediss://a\", \"redis://b\"]\nmaster = \"m\"", &["has addresses with and without TLS"]),
        ("sentinels = [\"redis://a\"]\nmaster = \"m\"\ntls_ca = \"c\"", &["tls_ca: is for TLS, and `sentinels` says"]),
        ("master = \"m\"", &["master: has no effect without `sentinels`"]),
        ("sentinel_password_file = \"p\"", &["sentinel_password_file: has no effect without `sentinels`"]),
        ("sentinel_user = \"u\"", &["sentinel_user: has no effect without a password; add `sentinel_password_file`"]),
        ("acknowledge_redis_replicas = 17", &["is 17; expected a whole number from 0 to 16"]),
        ("takeover = \"never\"", &["takeover: is `never`; expected one of"]),
        ("acknowledge_standbys = -1", &["is -1; expected a whole number from 0 to 8"]),
        ("shared_answers = 1", &["shared_answers: is 1; expected true or false"]),
        ("user = \"ostia\"", &["user: has no effect without a password; add `password_file`"]),
        ("user = \"a b\"\npassword_file = \"p\"", &["user: is no user of Redis"]),
        ("password_file = \"\"", &["password_file: is empty; name a file"]),
        (&format!("password_file = \"{long}\""), &["may be the password itself, and is not shown"]),
        ("trusted = []", &["trusted: is an empty list; name the files"]),
        ("trusted = [\"\"]", &["trusted: has an empty name"]),
        (&many, &["names 65 files; at most 64 keys are trusted"]),
        ("key = \"\"", &["key: is empty"]),
        ("key = \"pkcs11:token=a?pin-value=7391\"", &["key: is a pkcs11: URI", "name a file"]),
        ("key = \"-----BEGIN PRIVATE KEY-----7391\"", &["is not shown"]),
        ("api_url = \"a:9090\"", &["api_url: is `a:9090`; expected a URL such as"]),
        ("snapshot_listen = \"0.0.0.0:9090\"", &["taken by 127.0.0.1:9090 of `admin.listen`"]),
        (
            "https_ca = \"\"",
            &["https_ca: is empty; name a file with CA certificates, or write `https_ca = \"system\"`"],
        ),
        ("snapshot_from = [\"ftp://a\"]", &["does not begin with `http://` or `https://`"]),
        ("snapshot_from = [\"http://u:7391@a\"]", &["has a URL with a user name", "is not shown"]),
        ("snapshot_from = [\"http://a/?token=7391\"]", &["or something behind its path", "is not shown; write it as"]),
        ("snapshot_from = [\"http://a/#7391\"]", &["or something behind its path", "is not shown"]),
        ("snapshot_from = [\"a?token=7391\"]", &["is not shown"]),
        ("snapshot_from = [\"http://a\", \"http://a/\"]", &["names http://a twice"]),
        (&format!("snapshot_from = [{many_urls}]"), &["names 65 URLs; at most 64 are asked"]),
        ("snapshot_interval = \"1s\"", &["is `1s`; expected a duration from 10s to 7d"]),
        ("takeover_after = \"1s\"", &["is `1s`; expected a duration from 2s to 1h"]),
        ("priority = 31", &["is 31; expected a whole number from 0 to 30"]),
        ("acknowledge_within = \"1m\"", &["is `1m`; expected a duration from 50ms to 30s"]),
        ("takover_after = \"6s\"", &["did you mean `takeover_after`?"]),
    ];
    for (lines, told) in cases {
        let given =
            |key: &&str| !lines.is_empty() && !lines.split('\n').any(|line| line.starts_with(&format!("{key} =")));
        let rest = FEED.lines().filter(|line| given(&line.split(' ').next().unwrap()));
        let lines_of_feed = rest.chain([*lines]).collect::<Vec<_>>().join("\n");
        let error = read(&format!("version = 1\n[feed]\n{lines_of_feed}\n{issuer}")).expect_err(lines);
        for told in *told {
            assert!(error.contains(told), "{lines}: no `{told}` in {error}");
        }
        assert!(error.lines().all(|line| line.contains("feed.") && line.contains("ostia.toml:")), "{lines}: {error}");
        assert!(!error.contains("7391") && !error.contains(&long), "{lines}: {error}");
    }
}

/// The policy of the only issuer of a file, from what its tenant and the issuer itself say.
fn policy_of_issuer(of_tenant: &str, of_issuer: &str) -> Result<Policy, String> {
    let rest = "certificate = \"ca.pem\"\nindex = \"i\"\nsigner = { key = \"k\" }\n";
    let config = read(&format!("version = 1\n{of_tenant}\n[[issuer]]\n{of_issuer}\n{rest}"))?;
    Ok(config.tenants[0].policy_of(&config.tenants[0].issuers[0]))
}

#[test]
fn an_issuers_word_counts_before_its_tenants_and_a_key_before_a_profile() {
    let (tls, x_road) = (Policy::DEFAULT, Profile::XRoad.applied_to(Policy::DEFAULT));
    let (private, microsoft) = (Profile::Private.applied_to(tls), Profile::Microsoft.applied_to(tls));
    let half = Refresh::Share(Share::HALF);
    for (of_tenant, of_issuer, expected) in [
        ("", "", tls),
        ("profile = \"tls\"", "", tls),
        ("validity = \"9h\"", "", Policy { validity: 9 * HOUR, ..tls }),
        ("", "validity = \"9h\"", Policy { validity: 9 * HOUR, ..tls }),
        (
            "validity = \"10h\"\nmax_age = \"1h\"",
            "validity = \"9h\"",
            Policy { validity: 9 * HOUR, max_age: HOUR, ..tls },
        ),
        ("profile = \"x-road\"", "", x_road),
        ("", "profile = \"x-road\"", x_road),
        ("profile = \"x-road\"", "serve_for = \"5m\"", Policy { serve_for: HOUR / 12, ..x_road }),
        ("validity = \"2d\"\nrefresh = 0.9\nmax_age = \"3h\"", "profile = \"x-road\"", x_road),
        ("profile = \"x-road\"", "profile = \"tls\"", tls),
        (
            "profile = \"x-road\"\nvalidity = \"2h\"",
            "profile = \"private\"\nvalidity = \"3h\"",
            Policy { validity: 3 * HOUR, ..private },
        ),
        (
            "profile = \"microsoft\"",
            "refresh = 0.25",
            Policy { refresh: Refresh::Share(Share::of_thousandths(250)), ..microsoft },
        ),
        ("refresh = 0.5", "profile = \"microsoft\"", microsoft),
        ("refresh = 0.5", "backdate = \"1h\"", Policy { refresh: half, backdate: HOUR, ..tls }),
        ("crl_grace = \"1d\"\nstale_after = \"2d\"", "crl_grace = \"0s\"", Policy { stale_after: 2 * DAY, ..tls }),
        (
            "retain_expired = \"1d\"\narchive_cutoff = true",
            "profile = \"private\"",
            Policy { retain_expired: DAY, archive_cutoff: true, ..private },
        ),
        (
            "retain_expired = \"1d\"",
            "archive_cutoff = true",
            Policy { retain_expired: DAY, archive_cutoff: true, ..tls },
        ),
        ("nonce = \"echo\"", "profile = \"private\"", Policy { nonce: NoncePolicy::Echo, ..private }),
    ] {
        assert_eq!(policy_of_issuer(of_tenant, of_issuer), Ok(expected), "{of_tenant:?} {of_issuer:?}");
    }
}

#[test]
fn what_an_issuer_says_of_time_is_checked_together_with_what_its_tenant_says() {
    for (of_tenant, of_issuer, told) in [
        ("", "nonce = \"echo\"", "issuer.nonce: is not a known key here; it belongs to the top of the file"),
        ("", "archive_cutoff = true", "issuer.archive_cutoff: says how long"),
        (
            "retain_expired = \"1d\"\narchive_cutoff = true",
            "retain_expired = \"0s\"",
            "issuer.archive_cutoff: says how long",
        ),
        ("", "validity = \"119s\"", "issuer.validity: is `119s`; expected a duration from 2m to 30d"),
        ("", "validity = \"31d\"", "issuer.validity: is `31d`; expected a duration from 2m to 30d"),
        ("backdate = \"1h\"", "validity = \"90m\"", "issuer.validity: does not fit"),
        ("", "validity = \"2m\"\nbackdate = \"61s\"", "issuer.backdate: does not fit"),
        ("", "backdate = \"25h\"", "issuer.backdate: is `25h`; expected a duration from 0s to 1d"),
        ("", "refresh = 0.95", "issuer.refresh: is 0.95; expected a number from 0.05 to 0.9, such as 0.5"),
        (
            "",
            "refresh = \"50%\"",
            "issuer.refresh: is `50%`; expected a number from 0.05 to 0.9, such as 0.5; write it without quotes: `refresh = 0.5`",
        ),
        ("", "refresh = nan", "issuer.refresh: is nan; expected a number"),
        (
            "",
            "profile = \"x_road\"",
            "issuer.profile: is `x_road`; expected one of `tls`, `microsoft`, `x-road`, `private`",
        ),
        ("serve_for = \"59s\"", "", "serve_for: is `59s`; expected a duration from 1m to 30d"),
        ("max_age = \"31d\"", "", "max_age: is `31d`; expected a duration from 0s to 30d"),
        ("crl_grace = \"31d\"", "", "crl_grace: is `31d`; expected a duration from 0s to 30d"),
    ] {
        let error = policy_of_issuer(of_tenant, of_issuer).expect_err(told);
        assert!(error.contains(told), "{of_tenant:?} {of_issuer:?}: no `{told}` in {error}");
    }
}

fn crl_issuer(lines: &str) -> String {
    format!(
        "version = 1\nstate_dir = \"/state\"\n[[issuer]]\ncertificate = \"ca.pem\"\nsigner = {{ key = \"k\" }}\n{lines}\n"
    )
}

#[test]
fn a_crl_may_be_at_a_url_which_becomes_a_file_of_the_state_directory() {
    let config =
        read(&crl_issuer("crl = \"https://user:7391@a/ca.crl\"\ndelta_crl = \"file:///ca/delta%201.crl\"")).unwrap();
    let sources = &config.tenants[0].issuers[0].sources;
    assert_eq!(sources.crls[1], Path::new("/ca/delta 1.crl"));
    let [fetched] = &sources.fetched[..] else { panic!("{sources:?}") };
    assert_eq!(sources.crls[0], fetched.mirror);
    assert!(fetched.mirror.starts_with("/state/fetched") && fetched.tls_ca.is_none(), "{fetched:?}");
    assert_eq!(sources.names(), ["https://a/ca.crl", "/ca/delta 1.crl"]);
    assert!(!format!("{config:?}").contains("7391"));

    // Of the same URL, each issuer has its own.
    let two = crl_issuer("crl = \"http://a/ca.crl\"")
        + "[[issuer]]\ncertificate = \"other.pem\"\nsigner = { key = \"k\" }\ncrl = \"http://a/ca.crl\"\n";
    let config = read(&two).unwrap();
    let mirrors: Vec<_> = config.tenants[0].issuers.iter().map(|issuer| issuer.sources.crls.clone()).collect();
    assert_ne!(mirrors[0], mirrors[1]);
}

#[test]
fn whose_certificates_count_for_a_url_is_the_tenants_or_the_issuers_own() {
    let tls_ca = |top: &str, own: &str| {
        let text = crl_issuer(&format!("crl = \"https://a/ca.crl\"\n{own}"))
            .replace("version = 1", &format!("version = 1\n{top}"));
        read(&text).unwrap().tenants[0].issuers[0].sources.fetched[0].tls_ca.clone()
    };
    let file = |name: &str| Some(Path::new("/etc/ostia").join(name));
    assert_eq!(tls_ca("", ""), None);
    assert_eq!(tls_ca("tls_ca = \"a.pem\"", ""), file("a.pem"));
    assert_eq!(tls_ca("tls_ca = \"a.pem\"", "tls_ca = \"b.pem\""), file("b.pem"));
    assert_eq!(tls_ca("tls_ca = \"a.pem\"", "tls_ca = \"system\""), None);
}

#[test]
fn how_often_a_crl_is_asked_for_may_be_said_by_issuer() {
    let every = |lines: &str| read(&crl_issuer(&format!("crl = \"http://a/ca.crl\"\n{lines}")));
    let of = |config: Config| config.tenants[0].issuers[0].sources.fetched[0].every;
    assert_eq!(of(every("").unwrap()), None);
    assert_eq!(of(every("crl_every = \"10s\"").unwrap()), Some(Duration::from_secs(10)));
    assert!(every("crl_every = \"100ms\"").unwrap_err().contains("crl_every"));
}

#[test]
fn problems_with_a_url_of_a_crl_are_reported_without_its_secrets() {
    for (lines, told) in [
        (
            "crl = \"ldap://user:7391@dc/CN=CA?certificateRevocationList\"",
            "crl: is `ldap://dc/CN=CA?certificateRevocationList`, which is an LDAP URL",
        ),
        ("crl = \"ftp://user:7391@a/ca.crl\"", "crl: is `ftp://a/ca.crl`, which does not begin with `http://`"),
        ("crl = \"http://user:7391@/ca.crl\"", "crl: is `http:///ca.crl`, which names no host"),
        (
            "crl = \"ca.crl\"\ndelta_crl = \"file://host/d\"",
            "delta_crl: is `file://host/d`, which names a file of another machine",
        ),
        ("crl = \"ca.crl\"\ntls_ca = \"ca.pem\"", "tls_ca: has no effect: no source of this issuer is at a URL"),
        ("crl = \"http://a/ca.crl\"\ntls_ca = \"\"", "tls_ca: is empty"),
        ("crl = \"ca.crl\"\ncrl_every = \"10s\"", "crl_every: has no effect: no CRL of this issuer is at a URL"),
        ("index = \"i\"\ncrls_are_complete = true", "crls_are_complete: speaks of CRLs, and there is none"),
        ("crl = 7", "crl: is 7; expected a path, or a list of paths"),
        ("crl = \"\"", "crl: has to be a path, or a list of paths"),
    ] {
        let error = read(&crl_issuer(lines)).expect_err(lines);
        assert!(error.contains(told) && error.contains("ostia.toml:"), "{lines}: {error}");
        assert!(!error.contains("7391") && error.lines().count() == 1, "{lines}: {error}");
    }
}

#[test]
fn a_directory_is_a_listing_that_is_named_with_a_slash() {
    let lines =
        "crl = \"ca.crl\"\nissued = [\"issued.txt\", \"certs/\", \"/other/certs/\"]\nissued_serials = \"decimal\"";
    let sources = read(&crl_issuer(lines)).unwrap().tenants[0].issuers[0].sources.clone();
    assert_eq!(sources.names(), ["/etc/ostia/issued.txt", "/etc/ostia/certs/", "/other/certs/", "/etc/ostia/ca.crl"]);
    assert_eq!(sources.paths_of_others(), [Path::new("/etc/ostia/issued.txt"), Path::new("/etc/ostia/ca.crl")]);
    let mirrors: Vec<_> = sources.directories.iter().map(|directory| directory.mirror.clone()).collect();
    assert!(
        mirrors[0] != mirrors[1] && mirrors.iter().all(|mirror| mirror.starts_with("/state/fetched")),
        "{mirrors:?}"
    );
    assert_eq!(sources.listings[1], ListingFile { path: mirrors[0].clone(), form: Form::Mirrored });
    assert_eq!(sources.key_of(&sources.listings[1]), "issued");
    assert_eq!(sources.directories[0].names, Radix::Decimal);
    assert_eq!(sources.mirrors(), mirrors);
    for (lines, are_mirrors) in [
        ("crl = [\"http://a/ca.crl\", \"http://a/more.crl\"]\nissued = \"certs/\"", true),
        ("crl = [\"http://a/ca.crl\", \"ca.crl\"]", false),
        ("crl = \"http://a/ca.crl\"\nissued = [\"certs/\", \"issued.txt\"]", false),
        ("pushes = true", false),
    ] {
        let sources = read(&crl_issuer(lines)).unwrap().tenants[0].issuers[0].sources.clone();
        assert_eq!(sources.are_mirrors(), are_mirrors, "{lines}");
    }
    let error = read(&crl_issuer("issued = [\"certs/\", \"certs/\"]")).expect_err("twice");
    assert!(error.contains("names /etc/ostia/certs/ twice"), "{error}");
}

#[test]
fn a_database_is_a_listing_of_its_issuer_and_its_password_is_never_in_the_file() {
    let config = read(&crl_issuer(
        "crl = \"ca.crl\"\nsql = { url = \"postgres://ostia@db/ejbca\", schema = \"ejbca\", password_file = \"db.password\", every = \"2s\" }",
    ));
    let sources = config.unwrap().tenants[0].issuers[0].sources.clone();
    let sql = sources.sql.as_ref().unwrap();
    assert!(sql.mirror.starts_with("/state/fetched"), "{sql:?}");
    assert_eq!(sources.listings, [ListingFile { path: sql.mirror.clone(), form: Form::Mirrored }]);
    assert_eq!(sources.names(), ["postgres://ostia@db/ejbca", "/etc/ostia/ca.crl"]);
    assert_eq!(sources.paths_of_others(), [Path::new("/etc/ostia/ca.crl")]);
    assert_eq!((sql.every, sql.whole_every), (Duration::from_secs(2), Duration::from_secs(3600)));
    let own =
        read(&crl_issuer("sql = { url = \"sqlite:ca.db\", query = \"SELECT serial FROM c\", serials = \"decimal\" }"));
    let own = own.unwrap().tenants[0].issuers[0].sources.sql.clone().unwrap();
    assert_eq!(own.url.to_string(), "sqlite:/etc/ostia/ca.db");

    let url = "url = \"postgres://ostia@db/ejbca\"";
    for (lines, told) in [
        ("schema = \"ejbca\"".to_owned(), "sql.url: is missing; name the database"),
        ("url = \"postgres://ostia:7391@db/ejbca\", schema = \"ejbca\"".to_owned(), "sql.url: has a password"),
        (url.to_owned(), "schema: is missing"),
        (format!("{url}, schema = \"other\""), "schema: is `other`; expected one of `ejbca`"),
        (format!("{url}, schema = \"ejbca\", query = \"SELECT 1\""), "query: stands beside `schema`"),
        (
            format!("{url}, schema = \"ejbca\", serials = \"decimal\""),
            "serials: says how the serial numbers of `query`",
        ),
        (format!("{url}, schema = \"ejbca\", every = \"1ms\""), "every: is `1ms`; expected a duration"),
        (format!("{url}, schema = \"ejbca\", tls_ca = \"system\""), "tls_ca: is `system`; name the file"),
        ("url = \"sqlite:a\", schema = \"ejbca\", password_file = \"a.b\"".to_owned(), "password_file: has no effect"),
    ] {
        let error = read(&crl_issuer(&format!("sql = {{ {lines} }}"))).expect_err(&lines);
        assert!(error.contains(told) && error.lines().count() == 1, "{lines}: {error}");
        assert!(!error.contains("7391"), "{error}");
    }
}
