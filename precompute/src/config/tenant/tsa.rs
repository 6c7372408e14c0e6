//! Time-stamping authorities as the file names them: `[[tsa]]`, or `[[tenant.tsa]]`. No key is opened here, and no
//! certificate is known.

use std::time::Duration;

use super::{
    super::Place,
    ClientsConfig, DAY, Section, TenantConfig, client, read_name,
    signer::{self, SignerConfig},
};
use crate::{
    limits,
    pki::UnixTime,
    tsp::{Accuracy, ImprintHash, Oid, Precision, TsaCertificates, TsaName, TsaPolicy},
};

/// One time-stamping authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TsaConfig {
    /// Its place in the file.
    pub place: Place,
    /// Its name in metrics, logs and records; empty if a problem was noted.
    pub name: String,
    /// Its path below the tenant's path: starts with a slash, and has none at the end; empty for `/`.
    pub path: String,
    /// The policies and contents of its tokens.
    pub policy: TsaPolicy,
    /// The signer of its tokens.
    pub signer: SignerConfig,
    /// How much longer the signer's certificate has to be valid.
    pub validity_left: Duration,
    /// When the use of its key ends, if that is before its certificate does.
    pub key_usage_end: Option<UnixTime>,
    /// Whether another tenant's authority may have the same key.
    pub shared_key: bool,
    /// Who may ask it.
    pub clients: ClientsConfig,
}

impl TsaConfig {
    /// [`Self::path`] as the configuration writes it.
    pub fn shown_path(&self) -> &str {
        shown_path(&self.path)
    }
}

/// The path of an authority as the configuration writes it.
pub(crate) fn shown_path(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// All authorities of a tenant. `need_keys`: their tokens are signed here.
pub(super) fn read_all(section: &mut Section<'_>, need_keys: bool) -> Vec<TsaConfig> {
    if !section.has("tsa") {
        return Vec::new();
    }
    let mut read: Vec<TsaConfig> = Vec::new();
    section.sections("tsa", |section| {
        let tsa = read_tsa(section, need_keys);
        for other in &read {
            if other.name == tsa.name && !tsa.name.is_empty() {
                section.problem("name", format_args!("is `{}`, the name of another TSA of this tenant; logs and metrics tell TSAs apart by it, give each its own", tsa.name));
            }
            let shared = tsa.policy.policies.iter().find(|policy| other.policy.policies.contains(policy));
            if let (true, Some(policy)) = (other.path == tsa.path, shared) {
                section.problem("policy", format_args!("names {policy}, which `{}` already serves at {}; at one path each policy has one TSA, give this one another `path` or policy", other.name, tsa.shown_path()));
            }
        }
        read.push(tsa);
        Some(())
    });
    read
}

/// A tenant with a longer path takes everything below it, even from another tenant's authority.
pub(super) fn check_reachable(root: &Section<'_>, tenants: &[TenantConfig]) {
    for (tenant, tsa) in tenants.iter().flat_map(|tenant| tenant.tsas.iter().map(move |tsa| (tenant, tsa))) {
        let url = format!("{}{}", tenant.path, tsa.path);
        let takes = |other: &&TenantConfig| {
            // A tenant that names a host takes precedence over one that does not, whatever their paths.
            let share_host = tenant.hosts.is_empty() && other.hosts.is_empty()
                || tenant.hosts.iter().any(|host| other.hosts.contains(host));
            let below = url.strip_prefix(&*other.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            other.name != tenant.name && share_host && other.path.len() > tenant.path.len() && below
        };
        if let Some(other) = tenants.iter().find(takes) {
            root.problem(
                "tenant",
                format_args!(
                    "`{}` has the URLs below {}, which include {url} of `{}/{}`; give one of them another `path`",
                    other.name, other.path, tenant.name, tsa.name
                ),
            );
        }
    }
}

fn read_tsa(section: &mut Section<'_>, needs_key: bool) -> TsaConfig {
    let name = if section.has("name") { read_name(section, "name") } else { Some("tsa".to_owned()) };
    let path = section.string("path").unwrap_or_else(|| "/tsa".into());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let given = path;
    // Many authorities are at the host itself, which is the path `/`.
    let path = if given == "/" { String::new() } else { given.trim_end_matches('/').to_owned() };
    // Segments that clients would change.
    let odd = path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | ".."));
    let begins = given == "/" || path.starts_with('/');
    if !begins || !path.bytes().all(plain) || odd {
        section.problem("path", format_args!("is `{given}`; expected a URL path such as `/tsa`, or `/`"));
    } else if path.ends_with("/chain.pem") {
        section.problem("path", format_args!("is `{given}`, the place of another authority's certificates; choose a path that does not end in /chain.pem"));
    }
    let policy = read_policy(section);
    let (mut validity_left, mut key_usage_end) = (DAY, None);
    let signer = section.section("signer", |section| {
        if !section.has("certificate") {
            section.problem("certificate", "is missing; name the certificate that the CA issued for time-stamping");
        }
        validity_left = section.duration("validity_left", Duration::ZERO..=3650 * DAY).unwrap_or(DAY);
        key_usage_end = section.instant("key_usage_end");
        Some(signer::read(section, false, needs_key))
    });
    if !section.has("signer") {
        section.problem("signer", "is missing; add `signer = { key = \"tsa.key\", certificate = \"tsa.pem\" }`");
    }
    let shared_key = section.boolean("shared_key").unwrap_or(false);
    let clients = client::read_all(section);
    TsaConfig {
        place: section.place(),
        name: name.unwrap_or_default(),
        path,
        policy,
        signer: signer.unwrap_or_else(|| SignerConfig::missing(section)),
        validity_left,
        key_usage_end,
        shared_key,
        clients,
    }
}

/// Its policies are empty if a problem with them was noted.
fn read_policy(section: &mut Section<'_>) -> TsaPolicy {
    let policies = read_oids(section);
    let default = TsaPolicy::of(Vec::new());
    let accuracy = section
        .duration("accuracy", Duration::from_millis(1)..=Duration::from_secs(60))
        .and_then(Accuracy::new)
        .unwrap_or(default.accuracy);
    let precision = section
        .choice(
            "precision",
            &[
                ("seconds", Precision::Seconds),
                ("milliseconds", Precision::Milliseconds),
                ("microseconds", Precision::Microseconds),
            ],
        )
        .unwrap_or_default();
    if accuracy.duration() < Duration::from_nanos(precision.told_early_max()) {
        section.problem("accuracy", format_args!("is {accuracy}, and truncating genTime already costs that much; choose a finer `precision`, or a larger `accuracy`"));
    }
    let ordering = section.boolean("ordering").unwrap_or(false);
    let sole = section.boolean("sole_instance").unwrap_or(false);
    if ordering && !(sole && precision == Precision::Microseconds) {
        section.problem(
            "ordering",
            "must hold for all tokens of this TSA: it needs `precision = \"microseconds\"`, and `sole_instance = true`, which says that no other process or replica signs in this TSA's name",
        );
    }
    TsaPolicy {
        policies: policies.unwrap_or_default(),
        hashes: read_hashes(section).unwrap_or(default.hashes),
        accuracy,
        precision,
        ordering,
        certificates: section
            .choice("certificates", &[("signer", TsaCertificates::Signer), ("chain", TsaCertificates::Chain)])
            .unwrap_or_default(),
        tsa_name: section
            .choice(
                "tsa_name",
                &[
                    ("subject", TsaName::Subject),
                    ("subject-alt-name", TsaName::SubjectAltName),
                    ("none", TsaName::None),
                ],
            )
            .unwrap_or_default(),
        signing_time: section.boolean("signing_time").unwrap_or(false),
        algorithm_protection: section.boolean("algorithm_protection").unwrap_or(false),
        ess_cert_id_v1: section.choice("ess_cert_id", &[("v2", false), ("v1", true)]).unwrap_or(false),
        qc_statements: section.boolean("qc_statements").unwrap_or(false),
        verify_one_in: section
            .integer("verify_one_in", 1..=i64::from(u32::MAX))
            .map_or(default.verify_one_in, |number| number as u32),
    }
}

fn read_oids(section: &mut Section<'_>) -> Option<Vec<Oid>> {
    if !section.has("policy") {
        section.problem(
            "policy",
            "is missing; give the object identifier of the policy that tokens are made under, such as `policy = \"1.3.6.1.4.1.99999.1\"`, or a list of which the first is the default",
        );
    }
    let texts = section.strings("policy")?;
    let mut oids: Vec<Oid> = Vec::new();
    for text in &texts {
        match Oid::parse(text) {
            Ok(oid) if oids.contains(&oid) => section.problem("policy", format_args!("names {oid} twice; remove one")),
            Ok(oid) => oids.push(oid),
            Err(error) => section.problem("policy", format_args!("names `{text}`; {error}")),
        }
    }
    if texts.is_empty() || texts.len() > limits::TSA_POLICIES_MAX {
        section.problem("policy", format_args!("names {}; expected 1 to {}", texts.len(), limits::TSA_POLICIES_MAX));
    }
    (!oids.is_empty()).then_some(oids)
}

fn read_hashes(section: &mut Section<'_>) -> Option<Vec<ImprintHash>> {
    let names = section.strings("hashes")?;
    let mut hashes = Vec::new();
    for name in &names {
        match ImprintHash::ALL.into_iter().find(|hash| hash.name() == name) {
            Some(hash) if hashes.contains(&hash) => {
                section.problem("hashes", format_args!("names `{name}` twice; remove one"))
            }
            Some(hash) => hashes.push(hash),
            None => {
                let known = ImprintHash::ALL.map(ImprintHash::name).join(", ");
                section.problem("hashes", format_args!("names `{name}`; expected some of {known}"));
            }
        }
    }
    if names.is_empty() {
        section.problem("hashes", "is an empty list; every request would be refused");
    }
    Some(hashes)
}
