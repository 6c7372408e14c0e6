//! Takes a changed configuration while connections go on.
//!
//! Purpose: SIGHUP makes it read the file again; a renewed certificate makes it open what is in use anew. Tenants, issuers, policies, keys, sources and the TLS certificate
//! change as a whole, or not at all. Invariant: a refused file changes nothing; the refusal is logged, and readiness
//! shows it until a good file is read. What is bound at the start (addresses, threads, memory, the state directory)
//! stays; a difference there is reported. It does not know connections.

use std::sync::Arc;

use precompute::{
    admin::{Status, gate::Gate},
    api::{Api, ApiSettings},
    assemble::Assembly as Common,
    journal::Journal,
    pki::UnixTime,
    service::{
        Change, Handle, Opens, Purging, Renewer, Tenants,
        configurations::Taken,
        following::{FeedChange, FeedHandle},
        let_go,
        reload_socket::Verdict,
    },
    tls::Certificates,
    usage::Usage,
};
use tokio::sync::watch;
use tracing::{error, info};

use crate::{
    assemble::{Assembly, Opener},
    config::{Config, keys},
    site::{Around, Site},
    tsa::clocks::Clocks,
    upstream::forwarded::Upstreams,
};

/// Reads the file again.
#[derive(Debug)]
pub struct Reload {
    /// The configuration file.
    pub opener: Opener,
    /// The configuration at the start: parts of it are used until the next one.
    pub started_with: Config,
    /// The TLS certificate, if there is TLS.
    pub tls: Option<Arc<Certificates>>,
    /// The clocks for tokens.
    pub clocks: Arc<Clocks>,
    /// What clients have had.
    pub usage: Arc<Usage>,
    /// What asks other responders.
    pub upstreams: Upstreams,
    /// What is known of the issuers.
    pub knowledge: Knowledge,
    /// For every reader of the site.
    pub sites: watch::Sender<Arc<Site>>,
    /// Where the outcome is reported.
    pub status: Arc<Status>,
    /// The record; it is opened again, in case its file was renamed.
    pub record: Option<Arc<Journal>>,
    /// What renews signers.
    pub renewer: Arc<Renewer>,
    /// Who may ask on the admin listener.
    pub gate: Arc<Gate>,
}

/// Where what is known of the issuers comes from.
#[derive(Debug)]
pub enum Knowledge {
    /// From sources, and from pushes; and caches are told of changes.
    Sources(Handle, Arc<Api>, Arc<Purging>),
    /// From a feed; and caches are told of what the configuration changes.
    Feed(FeedHandle, Arc<Purging>),
}

/// What was prepared.
enum Prepared {
    Sources(Change, Box<ApiSettings>),
    Feed(FeedChange),
}

impl Prepared {
    fn tenants(&self) -> &Arc<Tenants> {
        match self {
            Self::Sources(change, _) => change.tenants(),
            Self::Feed(change) => change.tenants(),
        }
    }

    /// What of it waits for the next start, beside keys of the file, a line each.
    fn warnings(&self) -> Vec<String> {
        match self {
            Self::Sources(..) => Vec::new(),
            Self::Feed(change) => change.warnings.clone(),
        }
    }
}

impl Knowledge {
    /// The old sources are followed until there is a site with the new ones, which may still be refused.
    async fn prepare(&self, assembly: &Arc<Common>) -> Result<Prepared, String> {
        // Issuers without sources and signers without keys would be taken for what they are in the other role.
        let (of_feed, changed) = (matches!(self, Self::Feed(..)), "this service is started anew");
        match &assembly.feed {
            Some(_) if !of_feed => {
                return Err(format!("`[feed]` was added, which makes a replica of it once {changed}"));
            }
            None if of_feed => return Err(format!("`[feed]` was removed, which ends the replica once {changed}")),
            _ => {}
        }
        match self {
            Self::Sources(handle, ..) => {
                let settings = Box::new(ApiSettings::of(assembly));
                Ok(Prepared::Sources(handle.prepare(Arc::clone(assembly)).await?, settings))
            }
            Self::Feed(handle, _) => Ok(Prepared::Feed(handle.prepare(assembly)?)),
        }
    }

    /// What is wrong with sources now, a line for each. A replica has none.
    fn source_faults(&self) -> Vec<String> {
        match self {
            Self::Sources(handle, ..) => handle.source_faults(),
            Self::Feed(..) => Vec::new(),
        }
    }

    /// What has caches told.
    fn purging(&self) -> &Purging {
        match self {
            Self::Sources(.., purging) | Self::Feed(_, purging) => purging,
        }
    }

    /// What is prepared is of the same kind.
    async fn adopt(&self, prepared: Prepared) -> Result<(), String> {
        match (self, prepared) {
            (Self::Sources(handle, api, _), Prepared::Sources(change, settings)) => {
                handle.adopt(change).await?;
                // From here on nothing can be refused.
                api.change(*settings);
                Ok(())
            }
            (Self::Feed(handle, _), Prepared::Feed(change)) => handle.adopt(change).await,
            _ => Err("a defect of this program: it was prepared for another role".to_owned()),
        }
    }
}

impl Reload {
    /// Reads the file, or opens what is in use anew, and changes to it.
    pub async fn run(&self, opens: Opens) -> Verdict {
        if opens == Opens::WhatIsInUse {
            let outcome = self.change(opens).await;
            outcome.as_ref().err().into_iter().for_each(|problem| self.renewer.refused(problem));
            return outcome;
        }
        if opens == Opens::NextVersion {
            return self.take_version().await;
        }
        self.record.iter().for_each(|record| record.reopen());
        self.status.reopen_journals();
        let outcome = self.change(opens).await;
        match &outcome {
            Ok(_) => info!(file = %self.opener.path().display(), "the configuration was read again"),
            Err(problem) => error!("{problem}; the configuration stays as it was"),
        }
        self.status.reloaded(outcome.as_ref().err().cloned());
        if outcome.is_ok() {
            self.opener.taken().into_iter().for_each(Taken::try_again);
        }
        outcome
    }

    /// Takes the next version of the published configuration, as a whole or not at all.
    async fn take_version(&self) -> Verdict {
        let outcome = self.change(Opens::NextVersion).await;
        let Some(taken) = self.opener.taken() else { return outcome };
        match &outcome {
            Ok(_) => {
                if let Some(version) = taken.taken() {
                    info!(version, "a version of the published configuration was taken");
                    self.status.reloaded(None);
                }
            }
            Err(problem) => {
                if let Some(refused) = taken.refuse(self.opener.lines(), problem) {
                    error!("the configuration was refused: {refused}");
                    self.status.reloaded(Some(refused));
                }
            }
        }
        outcome
    }

    async fn change(&self, opens: Opens) -> Verdict {
        let (opener, now) = (self.opener.clone(), UnixTime::now());
        // Keys are opened and tried, which takes time.
        let open = move || match opens {
            Opens::TheFile => opener.read(now),
            Opens::WhatIsInUse => opener.reopen(now),
            Opens::NextVersion => opener.read_next(now).unwrap_or_else(|| opener.reopen(now)),
        };
        let read = tokio::task::spawn_blocking(open);
        let (config, assembly) = read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let mut warnings = keys::tell_waiting(keys::waiting(&self.started_with, &config));
        let Assembly { common: mut assembly, certificates, .. } = assembly;
        let admin = std::mem::take(&mut assembly.admin);
        for (_, tsa) in assembly.tsas() {
            // With the present lease; a changed one is used from the next start on.
            self.clocks.check(&tsa.policy).map_err(|problem| format!("of the TSA `{}`: {problem}", tsa.name))?;
        }
        let (renewing, caches) = (self.renewer.of(&assembly), assembly.purge.clone());
        let assembly = Arc::new(assembly);
        let prepared = self.knowledge.prepare(&assembly).await?;
        warnings.extend(prepared.warnings());
        let tenants = Arc::clone(prepared.tenants());
        let former = Arc::clone(&self.sites.borrow());
        let (clocks, usage, workers) = (Arc::clone(&self.clocks), Arc::clone(&self.usage), self.started_with.workers);
        let (upstreams, replaced) = (self.upstreams.clone(), Arc::clone(&former));
        // Watching a clock begins with a request for the time, and the source may be silent.
        let made = tokio::task::spawn_blocking(move || {
            let around = Around { clocks: &clocks, usage: &usage, upstreams: &upstreams };
            Site::new(&assembly, &tenants, around, workers, Some(&replaced))
        });
        let site = made.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        // A certificate that the old records show as *revoked* must not be *good* in the new ones: the site waits for
        // that.
        self.knowledge.adopt(prepared).await?;
        // From here on nothing can be refused.
        self.gate.change(admin);
        self.clocks.warn_if_unchecked(&site.authorities_since(Some(&former)), &site.ordered_since(Some(&former)));
        let clocks: Vec<_> = site.authorities().map(|(_, authority)| Arc::clone(&authority.clock)).collect();
        self.sites.send_replace(Arc::new(site));
        // Who is told asks for the new answers.
        self.knowledge.purging().change(caches);
        let unused = self.clocks.retain(&clocks);
        // The reload does not wait for it, nor for the old site.
        drop(tokio::task::spawn_blocking(move || drop(unused)));
        if let (Some(own), Some(certificates)) = (&self.tls, &certificates) {
            own.go_over_to(certificates);
        }
        if opens == Opens::TheFile {
            self.opener.file_taken();
        }
        self.renewer.change(renewing);
        tokio::spawn(let_go(former));
        warnings.extend(self.knowledge.source_faults());
        Ok(warnings)
    }
}
