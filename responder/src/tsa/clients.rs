//! The clients of an authority: who may ask, and how much each gets.
//!
//! Invariants: an authority with clients makes no token for anybody else, unless it is open. Whoever sends a key that nobody has
//! is refused, even where others may ask without: a client with a wrong key has to notice. What a client is recognised by has
//! to hold as a whole, and who is recognised by a key counts before who is recognised by a network alone. A key is compared by
//! its hash. Pure; it does not know HTTP beyond the value of one field.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use precompute::{
    config::{ClientConfig, ClientsConfig, Quota},
    pki::UnixTime,
    principals::{Mark, TokenHash},
    tls::{ClientCas, Shown},
    usage::{Account, Begun, Counter, Usage, UsedUp},
};

use tracing::warn;

use super::failure::Rejection;
use crate::{
    limits,
    quota::{Bucket, Told},
};

/// Who may ask an authority.
#[derive(Debug)]
pub struct Clients {
    config: ClientsConfig,
    cas: Option<Arc<ClientCas>>,
    /// Those with a proof of who they are first.
    clients: Vec<Arc<Client>>,
    /// Everybody else.
    others: Arc<Client>,
}

/// Somebody who may ask.
#[derive(Debug)]
pub struct Client {
    /// `None` for whoever is none that is configured.
    pub name: Option<Arc<str>>,
    quota: Quota,
    bucket: Option<Bucket>,
    counter: Arc<Counter>,
    account: Account,
    /// When it was logged last that its quota is used up.
    told: Told,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The certificate that it has shown.
    pub shown: Option<&'a Shown>,
    /// When.
    pub now: UnixTime,
    /// Its address, as far as it is known.
    pub address: IpAddr,
    /// What it sends as Authorization.
    pub authorization: Credential<'a>,
}

/// The value of an Authorization field.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Credential<'a> {
    /// There is no such field.
    #[default]
    None,
    /// There are several.
    Ambiguous,
    /// Its value.
    Value(&'a [u8]),
}

/// It is a secret.
impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "no credential",
            Self::Ambiguous | Self::Value(_) => "a credential",
        })
    }
}

/// Why somebody may not ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// A key would do, or another one.
    KeyNeeded,
    /// Nothing that can be sent would do.
    Forbidden,
}

impl Clients {
    /// Those of an authority of this tenant.
    pub fn new(tenant: &str, tsa: &str, (config, cas): OfClients<'_>, usage: &Usage, now: Instant) -> Self {
        let account = |client: Option<&str>| Account {
            tenant: tenant.to_owned(),
            tsa: tsa.to_owned(),
            client: client.map(str::to_owned),
        };
        let client = |config: &ClientConfig| {
            let bucket = config.quota.per_second.and_then(NonZeroU32::new).map(|rate| Bucket::new(rate, now));
            let name = Some(config.name.as_str().into());
            Arc::new(Client { name, quota: config.quota, bucket, ..Client::of(account(Some(&config.name)), usage) })
        };
        let mut config = config.clone();
        config.clients.sort_by_key(|client| !client.has_proof());
        let clients = config.clients.iter().map(client).collect();
        let others = Arc::new(Client::of(account(None), usage));
        Self { config, cas: cas.cloned(), clients, others }
    }

    /// Whether they are those of this configuration.
    pub fn are_as(&self, (config, cas): OfClients<'_>) -> bool {
        let mut sorted = config.clone();
        sorted.clients.sort_by_key(|client| !client.has_proof());
        let are_same = match (&self.cas, cas) {
            (Some(own), Some(other)) => own.are_as(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        self.config == sorted && are_same
    }

    /// Whether any shows a certificate.
    pub fn have_certificates(&self) -> bool {
        self.config.have_certificates()
    }

    /// Everybody who may ask, and whoever is none of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.clients.iter().chain(self.config.is_open.then_some(&self.others))
    }

    /// Whether any client has a key.
    fn has_keys(&self) -> bool {
        self.config.clients.iter().any(|client| !client.keys.is_empty())
    }

    /// Whether a certificate with one of these marks is shown, which counts if there are CAs and these have issued it. Without
    /// CAs the marks are hashes of it or of its key.
    fn is_shown(&self, marks: &[Mark], asking: &Asking<'_>) -> bool {
        asking.shown.is_some_and(|shown| {
            marks.iter().any(|mark| mark.is_of(&shown.certificate))
                && self.cas.as_ref().is_none_or(|cas| shown.is_of(cas, asking.now))
        })
    }

    /// Who it is.
    pub fn admit(&self, asking: &Asking<'_>) -> Result<&Arc<Client>, Denied> {
        if self.clients.is_empty() {
            return Ok(&self.others);
        }
        let key = if self.has_keys() { asking.key_hash()? } else { None };
        let address = asking.address.to_canonical();
        let is_it = |config: &ClientConfig| {
            let is_there =
                config.networks.is_empty() || config.networks.iter().any(|network| network.contains(&address));
            let has_key = match &key {
                Some(key) => config.keys.iter().any(|own| own.is(key)),
                None => config.keys.is_empty(),
            };
            is_there && has_key && (config.certificates.is_empty() || self.is_shown(&config.certificates, asking))
        };
        let found = self.config.clients.iter().position(is_it);
        match found {
            Some(place) => Ok(&self.clients[place]),
            None if key.is_some() => Err(Denied::KeyNeeded),
            None if self.config.is_open => Ok(&self.others),
            None if self.has_keys() => Err(Denied::KeyNeeded),
            None => Err(Denied::Forbidden),
        }
    }
}

/// How an authority's clients are configured, and the CAs of their certificates.
pub type OfClients<'c> = (&'c ClientsConfig, Option<&'c Arc<ClientCas>>);

impl Asking<'_> {
    /// The hash of the key that is sent: of a bearer's token (RFC 6750), or of the password of HTTP Basic (RFC 7617), whatever
    /// the name beside it. What is neither is a wrong one.
    fn key_hash(&self) -> Result<Option<TokenHash>, Denied> {
        let value = match self.authorization {
            Credential::None => return Ok(None),
            Credential::Ambiguous => return Err(Denied::KeyNeeded),
            Credential::Value(value) => value.trim_ascii(),
        };
        let place = value.iter().position(|octet| *octet == b' ').ok_or(Denied::KeyNeeded)?;
        let (scheme, rest) = (&value[..place], value[place..].trim_ascii());
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return Ok(Some(TokenHash::of(rest)));
        }
        if !scheme.eq_ignore_ascii_case(b"basic") || rest.len() > limits::BASIC_OCTETS_MAX {
            return Err(Denied::KeyNeeded);
        }
        let pair = BASE64_STANDARD.decode(rest).map_err(|_| Denied::KeyNeeded)?;
        let colon = pair.iter().position(|octet| *octet == b':').ok_or(Denied::KeyNeeded)?;
        Ok(Some(TokenHash::of(&pair[colon + 1..])))
    }
}

impl Client {
    /// One that may have as much as it likes.
    fn of(account: Account, usage: &Usage) -> Self {
        let counter = usage.counter(account.clone());
        Self { name: None, quota: Quota::default(), bucket: None, counter, account, told: Told::default() }
    }

    /// Begins a token for it, if its quota allows one.
    pub fn begin(&self, now: Instant) -> Result<Begun, Rejection> {
        let begun = self.counter.begin(self.quota.per_day, self.quota.per_month).map_err(|used_up| match used_up {
            UsedUp::Day => Rejection::QUOTA_OF_DAY,
            UsedUp::Month => Rejection::QUOTA_OF_MONTH,
        });
        let has_one = || self.bucket.as_ref().is_none_or(|bucket| bucket.take(now));
        let begun = begun.and_then(|begun| if has_one() { Ok(begun) } else { Err(Rejection::QUOTA_OF_SECOND) });
        begun.inspect_err(|_| {
            self.counter.refused();
            self.tell(now);
        })
    }

    /// Logs that its quota is used up, once in a while.
    fn tell(&self, now: Instant) {
        if self.told.is_due(now) {
            let Account { tenant, tsa, client } = &self.account;
            let client = client.as_deref().unwrap_or_default();
            warn!(
                tenant,
                tsa,
                client,
                "the quota of a client is used up; its requests are rejected until there is more, and `ostia-precompute usage` counts them"
            );
        }
    }
}

#[cfg(test)]
mod tests;
