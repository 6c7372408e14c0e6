//! The admin listener's part: who may ask there, and its certificate.
//!
//! Invariant: whoever is known has a proof of their own. It does not know requests.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    sync::Arc,
};

use rustls::ServerConfig;

use super::{open_pair, read_token};
use crate::{
    config::{Admin, AdminTls, At, OF_TOKEN_FILE, Problems, TenantConfig},
    output::nearest,
    pki::{Certificate, UnixTime, certificates},
    principals::{Entry, Known, Principal, Proof, Rates, TokenHash, dns_names},
    tls::Certificates,
};

/// Who may ask on the admin listener, and how it speaks.
#[derive(Clone, Default, Debug)]
pub struct AssembledAdmin {
    /// Everybody who may ask for something; nobody: there is no API.
    pub known: Arc<Known>,
    /// How often each of them may ask, by name, if that is limited.
    pub rates: HashMap<String, Rates>,
    /// How many pushes a second are taken for a tenant, by name, if that is limited.
    pub tenant_pushes: HashMap<String, u32>,
    /// Its TLS.
    pub tls: Option<AssembledTls>,
    /// Names and addresses under which it is reached, in lower case, beside loopback.
    pub hosts: Vec<String>,
    /// Whether metrics and the remarks of health are for everybody, if the configuration says.
    pub open_metrics: Option<bool>,
}

/// TLS of the admin listener.
#[derive(Clone, Debug)]
pub struct AssembledTls {
    /// What it shows.
    pub certificates: Arc<Certificates>,
    /// How connections are accepted.
    pub config: Arc<ServerConfig>,
}

impl AssembledAdmin {
    /// Opens it; what is wrong is noted, and left out. `tenants`: those that there are.
    pub fn open(
        admin: &Admin,
        tenants: &[TenantConfig],
        problems: &Problems,
        credentials: Option<&OsStr>,
        now: UnixTime,
    ) -> Self {
        let at = problems.at(&admin.place);
        let names: Vec<_> = tenants.iter().map(|tenant| &*tenant.name).collect();
        let mut entries = Vec::new();
        let token = admin.token_file.as_ref().and_then(|file| {
            let token = file.find(credentials).and_then(|path| read_token(&path));
            at.noted("token_file", token)
        });
        if let Some(token) = token {
            let proof = Proof::Token(TokenHash::of(token.as_bytes()));
            entries.push(Entry { principal: Arc::new(Principal::administrator(OF_TOKEN_FILE)), proof });
        }
        for config in &admin.principals {
            let at = problems.at(&config.place);
            if entries.first().is_some_and(|entry: &Entry| entry.proof == config.proof) {
                at.problem("token_sha256", "is that of the token in `admin.token_file`; give each its own");
            }
            let (allow, deny) = (config.allow.clone(), config.deny.clone());
            doubt(&at, "allow", allow.iter().filter_map(|grant| grant.tenant.as_deref()), &names);
            doubt(&at, "deny", deny.iter().filter_map(|denial| denial.tenant()), &names);
            let principal = Principal { name: config.name.clone(), allow, deny };
            entries.push(Entry { principal: Arc::new(principal), proof: config.proof.clone() });
        }
        let tls = admin.tls.as_ref().and_then(|tls| open_tls(tls, &at, now));
        let own = || tls.as_ref().and_then(AssembledTls::certificate).map(|own| dns_names(&own)).unwrap_or_default();
        let hosts = admin.hosts.clone().unwrap_or_else(own);
        let rates = admin.principals.iter().map(|config| (config.name.clone(), config.rates)).collect();
        let tenant_pushes = tenants.iter().filter_map(|one| Some((one.name.clone(), one.pushes_per_second?))).collect();
        let known = Arc::new(Known::new(entries));
        Self { known, rates, tenant_pushes, tls, hosts, open_metrics: admin.open_metrics }
    }
}

impl AssembledTls {
    /// The listener's certificate.
    pub fn certificate(&self) -> Option<Certificate> {
        self.certificates.certificate().and_then(|der| Certificate::from_der(&der).ok())
    }
}

/// A right in a tenant that is not there is none, and mostly a name that is written in another way.
fn doubt<'t>(at: &At<'_>, key: &str, named: impl Iterator<Item = &'t str>, tenants: &[&str]) {
    let unknown: BTreeSet<_> = named.filter(|name| !tenants.contains(name)).collect();
    for name in unknown {
        let meant = nearest(name, tenants.iter().copied());
        let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        at.warning(key, format_args!("names the tenant `{name}`, which is not in this file{meant}"));
    }
}

fn open_tls(tls: &AdminTls, at: &At<'_>, now: UnixTime) -> Option<AssembledTls> {
    let pair = open_pair(at, &tls.certificate, &tls.key, now);
    let cas = match &tls.client_ca {
        None => Vec::new(),
        Some(path) => at.noted("client_ca", certificates(path))?,
    };
    for ca in cas.iter().filter(|ca| ca.not_after() <= now) {
        at.warning("client_ca", format_args!("has a CA that expired at {}: {}", ca.not_after(), ca.subject()));
    }
    let certificates = pair?;
    match certificates.admin_config(&cas) {
        Ok(config) => Some(AssembledTls { certificates, config }),
        Err(problem) => {
            at.problem("client_ca", problem);
            None
        }
    }
}
