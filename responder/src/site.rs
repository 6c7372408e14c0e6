//! The tenants as the workers see them: who is asked by which URL, and for which issuer.
//!
//! Invariant (4 of the house): an issuer, with its key and records, is reached only through its
//! own tenant. Immutable once made: a changed configuration makes another site, which takes over what has not changed
//! with everything that is kept for it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use precompute::{
    answers::Key,
    config::{Config, IssuerConfig, Policy, Tenant as TenantConfig, TsaConfig},
    engine::IssuerState,
    limits::ISSUERS_MAX,
    ocsp::{CertId, HashAlgorithm, IssuerHashes, OcspError},
    pki::{Certificate, Serial, UnixTime},
    presign::Subject,
    sign::{Algorithm, OcspSigner, Signers},
};
use tracing::error;

use crate::{
    metrics::Requests,
    ocsp::store::hex,
    page,
    tsa::{
        authority::{Authority, promised_name},
        clocks::Clocks,
        doors::{Doors, Under},
        promised::Name,
    },
};

/// Everybody.
#[derive(Debug)]
pub struct Site {
    tenants: Vec<Tenant>,
}

/// One tenant.
#[derive(Debug)]
pub struct Tenant {
    /// For logs and metrics.
    pub name: Arc<str>,
    /// How it answers.
    pub policy: Policy,
    /// CAs of those who may sign requests.
    pub request_anchors: Arc<[Certificate]>,
    /// The hash algorithms of the CertIDs whose answers are signed before anybody asks.
    pub presign: Vec<HashAlgorithm>,
    /// For people who come by.
    pub page: String,
    /// Requests that name none of its issuers.
    pub requests: Arc<Requests>,
    hosts: Vec<String>,
    path: String,
    issuers: Vec<Arc<Issuer>>,
    directory: Directory,
    doors: Doors,
}

/// Issuers by the hashes of their keys.
#[derive(Debug)]
struct Directory([Vec<(u64, usize)>; HashAlgorithm::ALL.len()]);

impl Directory {
    fn of(issuers: &[Arc<Issuer>]) -> Self {
        Self(HashAlgorithm::ALL.map(|hash| {
            let entry = |(place, issuer): (usize, &Arc<Issuer>)| (Self::start(issuer.hashes.get(hash).1), place);
            let mut entries: Vec<_> = issuers.iter().enumerate().map(entry).collect();
            entries.sort_unstable();
            entries
        }))
    }

    /// The places of the issuers whose key hash may be `key_hash`.
    fn candidates(&self, hash: HashAlgorithm, key_hash: &[u8]) -> impl Iterator<Item = usize> {
        let entries = &self.0[hash as usize];
        let start = Self::start(key_hash);
        let first = entries.partition_point(|entry| entry.0 < start);
        entries[first..].iter().take_while(move |entry| entry.0 == start).map(|entry| entry.1)
    }

    fn start(key_hash: &[u8]) -> u64 {
        key_hash.iter().take(8).fold(0, |word, &octet| word << 8 | u64::from(octet))
    }
}

/// One issuer of one tenant.
#[derive(Debug)]
pub struct Issuer {
    /// No other issuer of this process ever had it.
    number: u32,
    /// For logs and metrics.
    pub name: String,
    /// The tenant's policy.
    pub policy: Policy,
    /// What CertIDs name it by.
    pub hashes: IssuerHashes,
    /// Since when the CA exists.
    pub not_before: UnixTime,
    /// Its certificates, and how their sources fare.
    pub state: IssuerState,
    /// Who signs for it.
    pub signers: Signers,
    /// Requests for its certificates.
    pub requests: Arc<Requests>,
    /// Whether the log says already that the signer's certificate has expired.
    expiry_told: AtomicBool,
    surrogate: [u8; 16],
}

impl Issuer {
    /// Numbered anew.
    pub fn new(
        name: &str,
        policy: Policy,
        certificate: &Certificate,
        state: IssuerState,
        signers: Signers,
        workers: usize,
    ) -> Self {
        let (hashes, not_before) = (IssuerHashes::of(certificate), certificate.not_before());
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        assert!(number < ISSUERS_MAX, "this process has had {ISSUERS_MAX} issuers; it has to be started anew");
        let mut surrogate = [0; 16];
        let key_hash = hashes.get(HashAlgorithm::Sha256).1;
        for (octet, place) in key_hash.iter().zip(surrogate.chunks_exact_mut(2)) {
            place.copy_from_slice(&hex(*octet));
        }
        let (name, expiry_told) = (name.to_owned(), AtomicBool::new(false));
        let requests = Arc::new(Requests::new(workers));
        Self { number, name, policy, hashes, not_before, state, signers, requests, expiry_told, surrogate }
    }

    /// Whether the answers of this one are right for an issuer of the same tenant with this configuration.
    fn answers_for(&self, config: &IssuerConfig, policy: &Policy, state: &IssuerState) -> bool {
        self.name == config.name
            && self.policy == *policy
            && Arc::ptr_eq(&self.state.records, &state.records)
            && self.signers.all().len() == config.signers.all().len()
            && self.signers.all().iter().zip(config.signers.all()).all(|(signer, other)| {
                signer.template().fingerprint() == other.template().fingerprint()
                    && (signer.not_before(), signer.not_after()) == (other.not_before(), other.not_after())
                    && signer.signing().setting() == other.signing().setting()
                    // What was locked may be asked again once somebody has mended it, by those that begin anew.
                    && signer.signing().status().locked() <= other.signing().status().locked()
            })
    }

    /// What its answer about a certificate is kept under.
    #[inline]
    pub fn key(&self, hash: HashAlgorithm, signer: u8, serial: &Serial) -> Key {
        Key::new(self.number, hash, signer, serial)
    }

    fn subject(&self, tenant: &Tenant) -> Subject {
        Subject {
            number: self.number,
            tenant: tenant.name.to_string(),
            name: self.name.clone(),
            policy: self.policy,
            hashes: self.hashes.clone(),
            not_before: self.not_before,
            state: self.state.clone(),
            signers: self.signers.clone(),
            ahead: tenant.presign.clone(),
        }
    }

    /// Who signs an answer `now` for a client with these preferences, and its place among the signers.
    #[inline]
    pub fn choose(
        &self,
        now: UnixTime,
        preferred: impl Iterator<Item = Algorithm>,
    ) -> Result<(u8, &Arc<OcspSigner>), OcspError> {
        if let Some(chosen) = self.signers.choose(now, self.policy.validity, preferred) {
            return Ok(chosen);
        }
        // Told once: every request comes here from then on.
        if !self.expiry_told.swap(true, Relaxed) {
            let not_after = self.not_after();
            error!(issuer = self.name, %not_after, "the signing certificate has expired; nothing can be signed until it is renewed");
        }
        Err(OcspError::InternalError)
    }

    /// Who signs an answer for such a client that is not kept, where that is another than `chosen`: the one of that place
    /// has been away for a while.
    pub fn stand_in(
        &self,
        chosen: u8,
        now: UnixTime,
        preferred: impl Iterator<Item = Algorithm> + Clone,
    ) -> Option<(u8, &Arc<OcspSigner>)> {
        self.signers.choose_at_work(now, self.policy.validity, preferred).filter(|(place, _)| *place != chosen)
    }

    /// When the last of its signers ends.
    pub fn not_after(&self) -> UnixTime {
        self.signers.all().iter().map(|signer| signer.not_after()).max().unwrap_or(UnixTime(0))
    }

    /// Who signs one answer for certificates of all of these, of one tenant; `None` where no signer is authorised for
    /// every one.
    pub fn choose_for_all<'i>(issuers: impl Iterator<Item = &'i Self>, now: UnixTime) -> Option<Arc<OcspSigner>> {
        let mut validity = Duration::ZERO;
        let lists = issuers.inspect(|issuer| validity = issuer.policy.validity).map(|issuer| &issuer.signers);
        let lists: Vec<_> = lists.collect();
        Signers::shared(lists, now, validity)
    }

    /// Whether it is the very same.
    pub fn is(&self, other: &Self) -> bool {
        self.number == other.number
    }

    /// The issuer's name in caches: the first 16 hexadecimal digits of its issuerKeyHash in SHA-256.
    pub fn surrogate(&self) -> &[u8] {
        &self.surrogate
    }
}

impl Site {
    /// `states` are those of `config`'s issuers, in order; what `former` had and has not changed is taken over. Fails
    /// where a clock cannot be watched.
    pub fn new(
        config: &Config,
        states: &[IssuerState],
        clocks: &Clocks,
        workers: usize,
        former: Option<&Self>,
    ) -> io::Result<Self> {
        let mut states = states.iter();
        let tenants = config.tenants.iter().map(|tenant| {
            let former = former.and_then(|site| site.tenants.iter().find(|former| *former.name == *tenant.name));
            Tenant::new(tenant, states.by_ref(), clocks, workers, former)
        });
        let site = Self { tenants: tenants.collect::<io::Result<_>>()? };
        // Last, when nothing else can keep it from being served.
        let ordered = config.tenants.iter().flat_map(|tenant| &tenant.tsas).filter(|tsa| tsa.policy.ordering);
        let promises: Vec<_> = ordered.map(|tsa| (promised_name(tsa), tsa.policy.accuracy.duration())).collect();
        clocks.promised().promise(&promises, Instant::now()).map_err(io::Error::other)?;
        Ok(site)
    }

    /// Every time-stamping authority with its tenant's name.
    pub fn authorities(&self) -> impl Iterator<Item = (&str, &Arc<Authority>)> {
        self.tenants.iter().flat_map(|tenant| tenant.authorities().map(|authority| (&*tenant.name, authority)))
    }

    /// The same as `tenant/name`, but for those that `former` has under this name already.
    pub fn authorities_since(&self, former: Option<&Self>) -> Vec<String> {
        let named = |site: &Self| site.authorities().map(|(tenant, tsa)| format!("{tenant}/{}", tsa.name)).collect();
        let (mut names, before): (Vec<_>, Vec<_>) = (named(self), former.map(named).unwrap_or_default());
        names.retain(|name| !before.contains(name));
        names
    }

    /// The tenants, in the order of the file.
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// Those whose answers are signed before anybody asks.
    pub fn subjects(&self) -> Vec<Subject> {
        let ahead = self.tenants.iter().filter(|tenant| !tenant.presign.is_empty());
        ahead.flat_map(|tenant| tenant.issuers.iter().map(|issuer| issuer.subject(tenant))).collect()
    }

    /// The tenant of a URL and what follows its path: of those that serve `host`, the one with
    /// the longest path; a named host goes before none.
    pub fn route<'p>(&self, host: Option<&[u8]>, path: &'p [u8]) -> Option<(&Tenant, &'p [u8])> {
        let mut best: Option<(&Tenant, &[u8], (bool, usize))> = None;
        for tenant in &self.tenants {
            let Some(rest) = tenant.rest_of(path) else { continue };
            if !tenant.serves(host) {
                continue;
            }
            let rank = (!tenant.hosts.is_empty(), tenant.path.len());
            if best.is_none_or(|(_, _, other)| rank > other) {
                best = Some((tenant, rest, rank));
            }
        }
        best.map(|(tenant, rest, _)| (tenant, rest))
    }
}

impl Tenant {
    fn new<'s>(
        config: &TenantConfig,
        states: impl Iterator<Item = &'s IssuerState>,
        clocks: &Clocks,
        workers: usize,
        former: Option<&Self>,
    ) -> io::Result<Self> {
        let issuer = |(config_of, state): (&IssuerConfig, &IssuerState)| {
            let mut formers = former.into_iter().flat_map(|tenant| &tenant.issuers);
            if let Some(same) = formers.find(|issuer| issuer.answers_for(config_of, &config.policy, state)) {
                return Arc::clone(same);
            }
            let IssuerConfig { name, certificate, signers, .. } = config_of;
            Arc::new(Issuer::new(name, config.policy, certificate, state.clone(), signers.clone(), workers))
        };
        let issuers: Vec<_> = config.issuers.iter().zip(states).map(issuer).collect();
        let name = &config.name;
        let authority = |config: &TsaConfig| {
            let mut formers = former.into_iter().flat_map(Self::authorities);
            let former = formers.find(|authority| authority.name == config.name);
            if let Some(same) = former.filter(|former| former.is_as(config)) {
                return Ok(Arc::clone(same));
            }
            let clock = clocks.clock(&config.policy);
            let clock = clock.map_err(|error| io::Error::other(format!("the clock cannot be watched: {error}")))?;
            let former_accuracy = |name: &Name| clocks.promised().former(name);
            Authority::new(name, config, clock, former.map(Arc::as_ref), former_accuracy, workers)
                .map(Arc::new)
                .map_err(io::Error::other)
        };
        let authorities = config.tsas.iter().map(authority).collect::<io::Result<Vec<_>>>()?;
        let doors = Doors::new(authorities);
        Ok(Self {
            name: config.name.as_str().into(),
            page: page::text(&config.path, !issuers.is_empty(), doors.paths()),
            policy: config.policy,
            request_anchors: Arc::clone(&config.request_anchors),
            presign: config.presign.clone(),
            requests: former.map_or_else(|| Arc::new(Requests::new(workers)), |former| Arc::clone(&former.requests)),
            hosts: config.hosts.clone(),
            path: config.path.clone(),
            directory: Directory::of(&issuers),
            issuers,
            doors,
        })
    }

    /// Its issuers, in the order of the file.
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// Its time-stamping authorities.
    pub fn authorities(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.doors.authorities()
    }

    /// Those that are asked at `rest`, what follows this tenant's path.
    pub fn time_stamping(&self, rest: &[u8]) -> Option<Under<'_>> {
        self.doors.at(rest)
    }

    fn serves(&self, host: Option<&[u8]>) -> bool {
        self.hosts.is_empty()
            || host.is_some_and(|host| {
                let name = without_port(host);
                self.hosts.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
            })
    }

    /// What follows this tenant's path in `path`, if `path` is it or below it.
    fn rest_of<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rest = path.strip_prefix(self.path.as_bytes())?;
        (self.path.is_empty() || matches!(rest.first(), None | Some(b'/'))).then_some(rest)
    }

    /// The issuer that a CertID names, if it is this tenant's.
    pub fn issuer(&self, id: &CertId<'_>) -> Option<&Arc<Issuer>> {
        let asked = (id.issuer_name_hash, id.issuer_key_hash);
        let mut candidates = self.directory.candidates(id.hash, id.issuer_key_hash).map(|place| &self.issuers[place]);
        candidates.find(|issuer| issuer.hashes.get(id.hash) == asked)
    }
}

/// A Host field's value without its port; IPv6 addresses stand in brackets.
fn without_port(host: &[u8]) -> &[u8] {
    let end = match host.first() {
        Some(b'[') => host.iter().position(|&b| b == b']').map(|at| at + 1),
        _ => host.iter().position(|&b| b == b':'),
    };
    &host[..end.unwrap_or(host.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(tenants: &[(&str, &[&str], &str)]) -> Site {
        let tenant = |(name, hosts, path): &(&str, &[&str], &str)| Tenant {
            name: (*name).into(),
            policy: Policy::DEFAULT,
            request_anchors: Arc::default(),
            presign: Vec::new(),
            page: String::new(),
            requests: Arc::new(Requests::new(0)),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            path: (*path).to_owned(),
            issuers: Vec::new(),
            directory: Directory::of(&[]),
            doors: Doors::default(),
        };
        Site { tenants: tenants.iter().map(tenant).collect() }
    }

    #[test]
    fn a_url_reaches_the_tenant_with_the_longest_path_and_a_named_host_first() {
        let site = site(&[("root", &[], ""), ("a", &[], "/a"), ("ab", &[], "/a/b"), ("named", &["ocsp.example"], "")]);
        for (host, path, expected) in [
            (None, "/", Some(("root", "/"))),
            (None, "", Some(("root", ""))),
            (None, "/a", Some(("a", ""))),
            (None, "/a/MFE", Some(("a", "/MFE"))),
            (None, "/ab", Some(("root", "/ab"))),
            (None, "/a/b/MFE", Some(("ab", "/MFE"))),
            (None, "/a/bMFE", Some(("a", "/bMFE"))),
            (Some("ocsp.example"), "/MFE", Some(("named", "/MFE"))),
            (Some("OCSP.example:8080"), "/a/MFE", Some(("named", "/a/MFE"))),
            (Some("other.example"), "/MFE", Some(("root", "/MFE"))),
            (Some("[::1]:80"), "/a/MFE", Some(("a", "/MFE"))),
        ] {
            let found = site.route(host.map(str::as_bytes), path.as_bytes());
            let found = found.map(|(tenant, rest)| (&*tenant.name, std::str::from_utf8(rest).unwrap()));
            assert_eq!(found, expected, "{host:?} {path}");
        }
    }

    #[test]
    fn a_url_outside_of_every_tenant_reaches_nobody() {
        let site = site(&[("a", &[], "/a"), ("named", &["ocsp.example"], "")]);
        assert!(site.route(None, b"/b").is_none());
        assert!(site.route(Some(b"other"), b"/").is_none());
    }
}
