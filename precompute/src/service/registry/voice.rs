//! What a server says of itself.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aws_lc_rs::rand;

use crate::{
    feed::{
        Freshness, Position,
        servers::{Addresses, InUse, Keys, Notice, Said, ServerRole},
    },
    limits::servers as limits,
    pki::{Certificate, UnixTime, hex},
    service::{Tenants, rim},
    state_dir::ServerId,
};

/// What a server is at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// What it is doing.
    pub role: ServerRole,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Where it is in the feed.
    pub position: Option<Position>,
    /// Of a replica.
    pub freshness: Option<Freshness>,
    /// The configuration in use.
    pub configuration: InUse,
    /// The keys of its signers.
    pub keys: Keys,
}

/// The keys of the signers of these tenants, and of `authorities`: `tenant/name` with the certificate.
pub fn keys_of<'c>(tenants: &Tenants, authorities: impl IntoIterator<Item = (String, &'c Certificate)>) -> Keys {
    let of_issuer = |(tenant, issuer): (&str, &std::sync::Arc<crate::issuer::ActiveIssuer>)| {
        let certificates = issuer.signers.all().iter().filter_map(|signer| {
            // It was read before.
            Certificate::from_der(signer.certificate_der()).ok()
        });
        let spkis: BTreeSet<Vec<u8>> = certificates.map(|certificate| certificate.spki_der().to_vec()).collect();
        (false, format!("{tenant}/{}", issuer.name), spkis.into_iter().collect::<Vec<_>>())
    };
    let of_authority =
        |(name, certificate): (String, &Certificate)| (true, name, vec![certificate.spki_der().to_vec()]);
    let all: Vec<_> = tenants.issuers().map(of_issuer).chain(authorities.into_iter().map(of_authority)).collect();
    Keys::of(all.iter().map(|(is_tsa, name, spkis)| (*is_tsa, name.clone(), spkis.iter().map(Vec::as_slice).collect())))
}

/// Who speaks, and what was said last.
#[derive(Debug)]
pub(super) struct Voice {
    server: ServerId,
    name: String,
    instance: String,
    started: UnixTime,
    number: u64,
    last: Option<(Facts, Instant)>,
}

impl Voice {
    pub(super) fn new(server: ServerId, name: String) -> Self {
        let mut random = [0; 8];
        // Without random numbers a restart looks like the same process.
        let _ = rand::fill(&mut random);
        Self { server, name, instance: hex::text(&random), started: UnixTime::now(), number: 0, last: None }
    }

    /// Whether this is worth a word now: something has changed, or it is time for a sign of life.
    pub(super) fn is_due(&self, facts: &Facts) -> bool {
        let Some((last, at)) = &self.last else { return true };
        let is_alike = |a: &Facts, b: &Facts| {
            (a.role, &a.addresses, &a.configuration, &a.keys) == (b.role, &b.addresses, &b.configuration, &b.keys)
        };
        let wait = if is_alike(last, facts) { limits::TELL_INTERVAL } else { limits::TELL_CHANGE_INTERVAL };
        // Looks come each few seconds: none is a little too early.
        at.elapsed() + limits::LOOK_INTERVAL_OF_WRITERS / 2 >= wait
    }

    /// The next word, and how long it lasts.
    pub(super) fn next(&mut self, facts: Facts, stopped: bool) -> (Notice, Duration) {
        self.number += 1;
        let said = Said {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            role: facts.role,
            stopped,
            instance: self.instance.clone(),
            number: self.number,
            at: rim::wall(),
            started: self.started.0,
            addresses: facts.addresses.clone(),
            position: facts.position.map(|position| position.to_string()),
            freshness: facts.freshness.map(|freshness| word(freshness).into()),
            configuration: facts.configuration.clone(),
            keys: facts.keys.clone(),
        };
        self.last = Some((facts, Instant::now()));
        let lasts = if stopped { limits::STOPPED_FORGOTTEN_AFTER } else { limits::FORGOTTEN_AFTER };
        (Notice { server: self.server, said }, lasts)
    }

    /// It was not heard.
    pub(super) fn unsaid(&mut self) {
        self.last = None;
    }

    /// Whether a notice is of this process.
    pub(super) fn is_mine(&self, notice: &Notice) -> bool {
        notice.server == self.server && notice.instance == self.instance
    }
}

const fn word(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Fresh => "fresh",
        Freshness::Lagging => "lagging",
        Freshness::Stale => "stale",
    }
}
