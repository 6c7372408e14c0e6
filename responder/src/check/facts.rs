//! What a check has found in order, for people and for programs.

use std::{fmt, path::Path};

use precompute::{
    assemble::{AssembledTenant, AssembledTsa},
    cli::{CertificateFacts, IssuerFacts, StateFacts},
    engine::Survey,
    publication::Published,
    signers::{EndOfUse, UseOfKey},
};
use serde::Serialize;

use super::Checked;
use crate::site::PublishedNames;

/// What `ostia-responder check` tells.
#[derive(Serialize, Debug)]
pub struct Facts {
    serving: ServingFacts,
    state: StateFacts,
    feed: Option<FeedFacts>,
    issuers: Vec<IssuerFacts>,
    tsas: Vec<TsaFacts>,
    /// `null` without time-stamping.
    clock: Option<ClockFacts>,
}

#[derive(Serialize, Debug)]
struct ServingFacts {
    /// Addresses, or `systemd` for the sockets of a unit.
    http: Vec<String>,
    tls: Vec<String>,
    /// What TLS shows.
    tls_certificate: Option<CertificateFacts>,
    admin: String,
    workers: usize,
}

#[derive(Serialize, Debug)]
struct FeedFacts {
    cluster: String,
    is_replica: bool,
    /// What is in order, in words.
    in_order: Vec<String>,
}

/// A time-stamping authority.
#[derive(Serialize, Debug)]
struct TsaFacts {
    tenant: String,
    name: String,
    path: String,
    policies: Vec<String>,
    algorithm: String,
    certificate: CertificateFacts,
    /// Until when it makes tokens.
    ends: String,
    /// What ends that, if its certificate does not.
    ended_by: Option<String>,
    accuracy: String,
}

#[derive(Serialize, Debug)]
struct ClockFacts {
    source: String,
    /// The file in which tokens are recorded.
    record: Option<String>,
}

impl Facts {
    /// Of what was checked.
    pub(super) fn of(checked: &Checked, tls_certificate: Option<CertificateFacts>) -> Self {
        let Checked { config, assembly, surveys, feed } = checked;
        let listens = |listens: &[crate::config::Listen]| listens.iter().map(|listen| format!("{listen:?}")).collect();
        let issuers = assembly.common.issuers().enumerate().map(|(place, (tenant, issuer))| {
            let survey = surveys.get(place);
            let paths = issuer.published.as_ref().map(|published| published_at(&tenant.path, published, survey));
            IssuerFacts::of(tenant, issuer, survey).published_at(paths.unwrap_or_default())
        });
        // Those of an edge need no clock of its own.
        let has_tsas = assembly.common.tsas().next().is_some();
        let shown = |path: &Path| path.display().to_string();
        let clock = has_tsas.then(|| ClockFacts {
            source: config.time_stamping.clock.to_string(),
            record: config.time_stamping.record.as_ref().map(|record| shown(&record.path)),
        });
        Self {
            serving: ServingFacts {
                http: listens(&config.http),
                tls: config.tls.as_ref().map(|tls| listens(&tls.listen)).unwrap_or_default(),
                tls_certificate,
                admin: config.common.admin.listen.to_string(),
                workers: config.workers,
            },
            state: StateFacts::of(&config.common.state_dir),
            feed: config.common.feed.as_ref().map(|own| FeedFacts {
                cluster: own.cluster.to_string(),
                is_replica: own.is_of_replica(),
                in_order: feed.clone(),
            }),
            issuers: issuers.collect(),
            tsas: assembly.common.tsas().map(|(tenant, tsa)| TsaFacts::of(tenant, tsa)).collect(),
            clock,
        }
    }
}

impl TsaFacts {
    fn of(tenant: &AssembledTenant, tsa: &AssembledTsa) -> Self {
        let UseOfKey { ends, by, .. } = tsa.signer.use_of_key();
        let below = if tenant.path.is_empty() { tsa.shown_path() } else { &tsa.path };
        Self {
            tenant: tenant.name.clone(),
            name: tsa.name.clone(),
            path: format!("{}{below}", tenant.path),
            policies: tsa.policy.policies.iter().map(ToString::to_string).collect(),
            algorithm: tsa.signer.algorithm().to_string(),
            certificate: CertificateFacts::of(tsa.signer.certificate()),
            ends: ends.to_string(),
            ended_by: (*by != EndOfUse::Certificate).then(|| by.to_string()),
            accuracy: tsa.policy.accuracy.to_string(),
        }
    }
}

/// The paths of what is published of an issuer; `survey`: what its sources say, if they were read.
fn published_at(path: &str, published: &Published, survey: Option<&Survey>) -> Vec<String> {
    let crls = survey.map_or(&[][..], |survey| &survey.published);
    let of_sources = crls.iter().map(|suffix| format!("{}{suffix}.crl", published.name));
    let mut files: Vec<_> = PublishedNames::files(published).collect();
    if !crls.is_empty() {
        files.retain(|file| !file.ends_with(".crl"));
    }
    of_sources.chain(files).map(|file| format!("{path}/{file}")).collect()
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { serving, state, feed, issuers, tsas, clock } = self;
        let http = serving.http.join(", ");
        writeln!(f, "  answers on [{http}] with {} workers, admin on {}", serving.workers, serving.admin)?;
        write!(f, "{state}")?;
        if let Some(FeedFacts { cluster, is_replica, in_order }) = feed {
            let role = if *is_replica { "a replica" } else { "a writer, or a replica" };
            write!(f, "\n  {role} of the feed `{cluster}`")?;
            in_order.iter().try_for_each(|fact| write!(f, "\n    {fact}"))?;
        }
        issuers.iter().try_for_each(|issuer| write!(f, "\n{issuer}"))?;
        tsas.iter().try_for_each(|tsa| write!(f, "\n{tsa}"))?;
        clock.iter().try_for_each(|clock| write!(f, "\n{clock}"))
    }
}

impl fmt::Display for TsaFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, name, path, policies, algorithm, ends, ended_by, accuracy, .. } = self;
        let by = ended_by.as_ref().map(|by| format!(" (by {by})")).unwrap_or_default();
        let policies = policies.join(", ");
        write!(
            f,
            "  {tenant}/{name}: time-stamps at {path} under {policies}, by {algorithm} until {ends}{by}, within {accuracy}"
        )
    }
}

impl fmt::Display for ClockFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.record.as_deref().unwrap_or("nowhere");
        write!(f, "  the clock by {}, tokens recorded in {record}", self.source)
    }
}
