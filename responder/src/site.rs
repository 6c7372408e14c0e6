//! The tenants as the workers see them: which tenant and issuer a URL and a CertID belong to.
//!
//! Invariant: an issuer, with its key and records, is reached only through its own tenant. A site
//! never changes once made: a changed configuration makes another site, which takes over everything unchanged, with
//! what is kept for it. It does not know HTTP.

mod issuer;
mod published;
mod urls;

use std::{io, num::NonZeroU32, sync::Arc, time::Instant};

use precompute::{
    assemble::{AssembledForwarded, AssembledIssuer, AssembledTenant, AssembledTsa, Assembly},
    issuer::ActiveIssuer,
    ocsp::{CertId, HashAlgorithm, NoncePolicy, Policy},
    pki::Certificate,
    service::Tenants,
    usage::Usage,
};

use self::urls::Urls;
pub use self::{
    issuer::Issuer,
    published::{PublishedNames, PublishedTarget, is_suffix},
};
use crate::{
    limits,
    metrics::Requests,
    page,
    quota::Bound,
    tsa::{
        authority::{Authority, promised_name},
        clocks::Clocks,
        elsewhere::{Elsewhere, ElsewhereAt},
        promised::Name,
        routes::{TsaRoutes, TsaTarget},
    },
    upstream::{
        forwarded::{Forwarded, Settings, Upstreams},
        group::{Group, Wanted},
    },
};

/// All tenants.
#[derive(Debug)]
pub struct Site {
    tenants: Vec<Tenant>,
    urls: Urls,
    /// The hosts of tenants whose time-stamping clients show certificates; `None`: at any host.
    asking: Vec<Option<String>>,
}

/// One tenant.
#[derive(Debug)]
pub struct Tenant {
    /// For logs and metrics.
    pub name: Arc<str>,
    /// How it answers, before any setting of its issuers.
    pub policy: Policy,
    /// Bounds what is signed while clients wait, if anything does;
    pub signatures: Option<Arc<Bound>>,
    /// and its time-stamps.
    pub time_stamps: Option<Arc<Bound>>,
    /// CAs of clients that may sign requests.
    pub request_anchors: Arc<[Certificate]>,
    /// The page for people.
    pub page: String,
    /// Requests that name none of its issuers.
    pub requests: Arc<Requests>,
    hosts: Vec<String>,
    path: String,
    issuers: Vec<Arc<Issuer>>,
    directory: Directory,
    /// Those that other responders answer for.
    forwarded: Vec<Arc<Forwarded>>,
    tsa_routes: TsaRoutes,
    published: PublishedNames,
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

    /// The indices of the issuers whose key hash may be `key_hash`.
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

/// What all tenants of the process share.
#[derive(Clone, Copy, Debug)]
pub struct Around<'p> {
    /// Clocks for time-stamps.
    pub clocks: &'p Clocks,
    /// What clients of authorities have had.
    pub usage: &'p Usage,
    /// What asks other responders.
    pub upstreams: &'p Upstreams,
}

impl Site {
    /// `tenants`: those of `config`. Everything in `former` that has not changed is taken over. Fails if a clock cannot
    /// be watched.
    pub fn new(
        config: &Assembly,
        tenants: &Tenants,
        around: Around<'_>,
        workers: usize,
        former: Option<&Self>,
    ) -> io::Result<Self> {
        let tenants = config.tenants.iter().map(|tenant| {
            let active = tenants.get(&tenant.name).map_or(&[][..], |tenant| &tenant.issuers);
            let former = former.and_then(|site| site.tenants.iter().find(|former| *former.name == *tenant.name));
            Tenant::new(tenant, active, around, workers, former)
        });
        let site = Self::with(tenants.collect::<io::Result<_>>()?);
        // Last, when nothing else can prevent the site.
        let ordered = config.tenants.iter().flat_map(|tenant| &tenant.tsas).filter(|tsa| tsa.policy.ordering);
        let promises: Vec<_> = ordered.map(|tsa| (promised_name(tsa), tsa.policy.accuracy.duration())).collect();
        around.clocks.promised().promise(&promises, Instant::now()).map_err(io::Error::other)?;
        Ok(site)
    }

    fn with(tenants: Vec<Tenant>) -> Self {
        let urls = Urls::of(tenants.iter().map(|tenant| (&tenant.hosts[..], tenant.path.as_str())));
        let asking = asking(&tenants);
        Self { tenants, urls, asking }
    }

    /// Whether clients of TLS that name this host are asked for a certificate.
    pub fn asks(&self, host: Option<&str>) -> bool {
        let is_it = |own: &Option<String>| match (own, host) {
            (None, _) => true,
            (Some(own), Some(host)) => own.eq_ignore_ascii_case(host),
            // Who names no server may mean any.
            (Some(_), None) => true,
        };
        self.asking.iter().any(is_it)
    }

    /// Every time-stamping authority with its tenant's name.
    pub fn authorities(&self) -> impl Iterator<Item = (&str, &Arc<Authority>)> {
        self.tenants.iter().flat_map(|tenant| tenant.authorities().map(|authority| (&*tenant.name, authority)))
    }

    /// Every authority of an edge with its tenant's name.
    pub fn authorities_elsewhere(&self) -> impl Iterator<Item = (&str, &Arc<Elsewhere>)> {
        let at =
            self.tenants.iter().flat_map(|tenant| tenant.tsa_routes.elsewhere().map(move |at| (&*tenant.name, at)));
        at.flat_map(|(tenant, at)| at.authorities().iter().map(move |authority| (tenant, authority)))
    }

    /// The same as `tenant/name`, without those that `former` has under this name already.
    pub fn authorities_since(&self, former: Option<&Self>) -> Vec<String> {
        self.names_since(former, |_| true)
    }

    /// The same for authorities with ordered tokens, without those whose tokens were ordered in `former` already.
    pub fn ordered_since(&self, former: Option<&Self>) -> Vec<String> {
        self.names_since(former, |authority| authority.policy.ordering)
    }

    fn names_since(&self, former: Option<&Self>, which: impl Fn(&Authority) -> bool) -> Vec<String> {
        let named = |site: &Self| {
            let chosen = site.authorities().filter(|(_, authority)| which(authority));
            chosen.map(|(tenant, authority)| format!("{tenant}/{}", authority.name)).collect()
        };
        let (mut names, before): (Vec<_>, Vec<_>) = (named(self), former.map(named).unwrap_or_default());
        names.retain(|name| !before.contains(name));
        names
    }

    /// The upstreams of all issuers that other responders answer for.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        let forwarded = self.tenants.iter().flat_map(|tenant| &tenant.forwarded);
        forwarded.map(|issuer| &**issuer.group())
    }

    /// The tenants, in the order of the file.
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// The tenant of a URL and the rest of its path: among the tenants that serve `host`, the one with the longest
    /// path. A tenant that names the host takes precedence over one that names none.
    #[inline]
    pub fn route<'p>(&self, host: Option<&[u8]>, path: &'p [u8]) -> Option<(&Tenant, &'p [u8])> {
        let tenant = &self.tenants[self.urls.find(host, path)?];
        Some((tenant, &path[tenant.path.len()..]))
    }
}

impl Tenant {
    fn new(
        config: &AssembledTenant,
        active: &[Arc<ActiveIssuer>],
        Around { clocks, usage, upstreams }: Around<'_>,
        workers: usize,
        former: Option<&Self>,
    ) -> io::Result<Self> {
        let issuers = active.iter().map(|active| {
            let mut formers = former.into_iter().flat_map(|tenant| &tenant.issuers);
            let same = formers.find(|former| former.serves(active)).map(Arc::clone);
            same.unwrap_or_else(|| Arc::new(Issuer::new(Arc::clone(active), workers)))
        });
        let issuers: Vec<_> = issuers.collect();
        let name = &config.name;
        let authority = |config: &AssembledTsa| {
            let mut formers = former.into_iter().flat_map(Self::authorities);
            let former = formers.find(|authority| authority.name == config.name);
            if let Some(same) = former.filter(|former| former.is_as(config)) {
                return Ok(Arc::clone(same));
            }
            let clock = clocks.clock(&config.policy);
            let clock = clock.map_err(|error| io::Error::other(format!("the clock cannot be watched: {error}")))?;
            let former_accuracy = |name: &Name| clocks.promised().former(name);
            Authority::new(name, config, (clock, usage), former.map(Arc::as_ref), former_accuracy, workers)
                .map(Arc::new)
                .map_err(io::Error::other)
        };
        let authorities = config.tsas.iter().map(authority).collect::<io::Result<Vec<_>>>()?;
        let tsa_routes = TsaRoutes::new(authorities, ElsewhereAt::all(&config.tsas_elsewhere, workers));
        let forwarded = config.forwarded.iter().map(|own| {
            let formers = former.into_iter().flat_map(|tenant| &tenant.forwarded);
            forwarded(config, own, upstreams, workers, formers)
        });
        let forwarded = forwarded.collect::<io::Result<Vec<_>>>()?;
        let published = || config.issuers.iter().filter_map(|issuer| Some((issuer, issuer.published.as_ref()?)));
        let served = |(config, published): (&AssembledIssuer, _)| {
            let issuer = issuers.iter().find(|issuer| *issuer.id() == config.id)?;
            Some((published, Arc::clone(issuer)))
        };
        Ok(Self {
            name: config.name.as_str().into(),
            page: page::text(
                &config.path,
                !issuers.is_empty() || !forwarded.is_empty(),
                tsa_routes.paths(),
                published().flat_map(|(_, published)| PublishedNames::files(published)),
            ),
            published: PublishedNames::new(published().filter_map(served)),
            policy: config.policy,
            signatures: bound(config.signatures_per_second, former.and_then(|former| former.signatures.as_ref())),
            time_stamps: bound(config.time_stamps_per_second, former.and_then(|former| former.time_stamps.as_ref())),
            request_anchors: Arc::clone(&config.request_anchors),
            requests: former.map_or_else(|| Arc::new(Requests::new(workers)), |former| Arc::clone(&former.requests)),
            hosts: config.hosts.clone(),
            path: config.path.clone(),
            directory: Directory::of(&issuers),
            issuers,
            forwarded,
            tsa_routes,
        })
    }

    /// A site with only these issuers, for every URL.
    #[cfg(test)]
    pub(crate) fn of(policy: Policy, issuers: Vec<Arc<Issuer>>, request_anchors: Arc<[Certificate]>) -> Self {
        Self {
            name: "tests".into(),
            policy,
            signatures: None,
            time_stamps: None,
            request_anchors,
            page: String::new(),
            requests: Arc::new(Requests::new(0)),
            hosts: Vec::new(),
            path: String::new(),
            directory: Directory::of(&issuers),
            issuers,
            forwarded: Vec::new(),
            tsa_routes: TsaRoutes::default(),
            published: PublishedNames::default(),
        }
    }

    /// Its issuers, in the order of the file.
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// The issuers that other responders answer for.
    pub fn forwarded(&self) -> &[Arc<Forwarded>] {
        &self.forwarded
    }

    /// The one that a CertID names.
    pub fn forwarded_by(&self, id: &CertId<'_>) -> Option<&Arc<Forwarded>> {
        self.forwarded.iter().find(|issuer| issuer.is_named(id))
    }

    /// Whether it answers for certificates at all.
    pub fn has_issuers(&self) -> bool {
        !self.issuers.is_empty() || !self.forwarded.is_empty()
    }

    /// Its time-stamping authorities.
    pub fn authorities(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.tsa_routes.authorities()
    }

    /// Where other servers with the same configuration have it: its path, and a host if it is known by that.
    pub fn asked_at(&self) -> (Arc<str>, Option<Arc<str>>) {
        (self.path.as_str().into(), self.hosts.first().map(|host| host.as_str().into()))
    }

    /// The authorities at `rest`, the path after this tenant's path.
    pub fn time_stamping(&self, rest: &[u8]) -> Option<TsaTarget<'_>> {
        self.tsa_routes.at(rest)
    }

    /// What is published at `rest`, the path after this tenant's path; `None` if nothing can be at such a path.
    #[inline]
    pub fn published<'b>(&self, rest: &'b [u8]) -> Option<PublishedTarget<'_, 'b>> {
        self.published.at(rest)
    }

    /// The issuer of a CertID, if it is this tenant's.
    pub fn issuer(&self, id: &CertId<'_>) -> Option<&Arc<Issuer>> {
        let asked = (id.issuer_name_hash, id.issuer_key_hash);
        let mut candidates = self.directory.candidates(id.hash, id.issuer_key_hash).map(|place| &self.issuers[place]);
        candidates.find(|issuer| issuer.hashes.get(id.hash) == asked)
    }
}

/// See [`Site::asking`].
fn asking(tenants: &[Tenant]) -> Vec<Option<String>> {
    let asks = |tenant: &&Tenant| tenant.authorities().any(|authority| authority.clients.have_certificates());
    let hosts = |tenant: &Tenant| match &tenant.hosts[..] {
        [] => vec![None],
        hosts => hosts.iter().cloned().map(Some).collect(),
    };
    tenants.iter().filter(asks).flat_map(hosts).collect()
}

/// A bound, the present one if it is the same.
fn bound(per_second: Option<NonZeroU32>, former: Option<&Arc<Bound>>) -> Option<Arc<Bound>> {
    let per_second = per_second?;
    let same = former.filter(|former| former.per_second() == per_second);
    Some(same.map_or_else(|| Arc::new(Bound::new(per_second, Instant::now())), Arc::clone))
}

/// An issuer of `tenant` that others answer for: the former one, with what it keeps, if nothing has changed.
fn forwarded<'f>(
    tenant: &AssembledTenant,
    own: &AssembledForwarded,
    upstreams: &Upstreams,
    workers: usize,
    mut formers: impl Iterator<Item = &'f Arc<Forwarded>>,
) -> io::Result<Arc<Forwarded>> {
    let settings = Settings {
        name: own.name.clone(),
        certificate: own.certificate.clone(),
        max_age: own.max_age,
        may_lack_nonce: tenant.policy.nonce != NoncePolicy::Require,
    };
    let wanted = Wanted {
        of: format!("{}/{}", tenant.name, own.name),
        urls: own.upstreams.clone(),
        cas: own.cas.clone(),
        fail_back: limits::upstream::FAIL_BACK_DEFAULT,
    };
    let is_same = |former: &&Arc<Forwarded>| former.settings().is_same(&settings) && *former.group().wanted() == wanted;
    if let Some(same) = formers.find(is_same) {
        return Ok(Arc::clone(same));
    }
    let group = Group::new(wanted).map_err(|problem| io::Error::other(format!("the upstream {problem}")))?;
    Ok(Arc::new(Forwarded::new(settings, group, upstreams.shared()?, workers)))
}

#[cfg(test)]
mod tests;
