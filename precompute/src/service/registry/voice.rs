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

/// What a server does at the moment. It costs little to ask for, and is asked for often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// What it is doing.
    pub role: ServerRole,
    /// Of a replica.
    pub freshness: Option<Freshness>,
    /// Whether balancers are told to send nothing.
    pub draining: bool,
}

/// What a server is at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// What it does.
    pub state: State,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Where it is in the feed.
    pub position: Option<Position>,
    /// The configuration in use.
    pub configuration: InUse,
    /// The keys of its signers.
    pub keys: Keys,
}

/// What tells what this server is.
pub struct Own {
    /// What it does: asked each second.
    pub state: Box<dyn Fn() -> State + Send>,
    /// All of it.
    pub facts: Box<dyn Fn() -> Facts + Send>,
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
    pub(super) fn is_due(&self, facts: &Facts, now: Instant) -> bool {
        let Some((last, at)) = &self.last else { return true };
        let is_alike = |a: &Facts, b: &Facts| {
            (a.state, &a.addresses, &a.configuration, &a.keys) == (b.state, &b.addresses, &b.configuration, &b.keys)
        };
        // Looks come each few seconds: none is a little too early for a sign of life.
        let of_life = limits::TELL_INTERVAL - limits::LOOK_INTERVAL_OF_WRITERS / 2;
        let wait = if is_alike(last, facts) { of_life } else { limits::TELL_CHANGE_INTERVAL };
        now.saturating_duration_since(*at) >= wait
    }

    /// Whether it does something else than was said last, and may say so.
    pub(super) fn has_turned(&self, state: State, now: Instant) -> bool {
        let is_other = |(last, at): &(Facts, Instant)| {
            last.state != state && now.saturating_duration_since(*at) >= limits::TELL_CHANGE_INTERVAL
        };
        self.last.as_ref().is_some_and(is_other)
    }

    /// The next word, and how long it lasts.
    pub(super) fn next(&mut self, facts: Facts, stopped: bool, now: Instant) -> (Notice, Duration) {
        self.number += 1;
        let said = Said {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            role: facts.state.role,
            stopped,
            draining: facts.state.draining,
            instance: self.instance.clone(),
            number: self.number,
            at: rim::wall(),
            started: self.started.0,
            addresses: facts.addresses.clone(),
            position: facts.position.map(|position| position.to_string()),
            freshness: facts.state.freshness.map(|freshness| word(freshness).into()),
            configuration: facts.configuration.clone(),
            keys: facts.keys.clone(),
        };
        self.last = Some((facts, now));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A replica that was stale at its first word stood so in the list for a minute.
    #[test]
    fn what_a_server_does_is_told_as_soon_as_it_turns_and_not_more_often_than_each_few_seconds() {
        let state = |freshness, draining| State { role: ServerRole::Replica, freshness: Some(freshness), draining };
        let facts = |state| Facts {
            state,
            addresses: Addresses::default(),
            position: None,
            configuration: InUse::default(),
            keys: Keys::default(),
        };
        let [stale, fresh] = [Freshness::Stale, Freshness::Fresh].map(|freshness| state(freshness, false));
        let leaves = state(Freshness::Fresh, true);
        let mut server = [7; 16];
        (server[6], server[8]) = (0x47, 0x87);
        let mut voice = Voice::new(ServerId::from_bytes(server), "r0".into());
        let begun = Instant::now();
        assert!(voice.is_due(&facts(stale), begun) && !voice.has_turned(fresh, begun), "nothing was said yet");
        let (notice, _) = voice.next(facts(stale), false, begun);
        assert_eq!((notice.freshness.as_deref(), notice.draining), (Some("stale"), false));
        let (early, soon) = (begun + Duration::from_millis(1), begun + limits::TELL_CHANGE_INTERVAL);
        for other in [fresh, leaves] {
            assert!(!voice.has_turned(other, early) && !voice.is_due(&facts(other), early), "at most each few seconds");
            assert!(voice.has_turned(other, soon) && voice.is_due(&facts(other), soon));
        }
        assert!(!voice.has_turned(stale, soon) && !voice.is_due(&facts(stale), soon));
        assert!(voice.is_due(&facts(stale), begun + limits::TELL_INTERVAL), "a sign of life");
        let (notice, _) = voice.next(facts(leaves), false, soon);
        assert!(notice.draining && !voice.has_turned(leaves, soon + limits::TELL_INTERVAL));
    }
}
