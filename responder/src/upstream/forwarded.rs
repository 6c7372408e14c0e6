//! An issuer that is answered elsewhere: somebody else's responder, and what is kept of its answers.
//!
//! Purpose: clients ask here about certificates of another CA, and get the signed answers of that CA's responder.
//! Invariants: an answer leaves only while it counts (never after nextUpdate), and only after [`super::verify`]; there is no
//! record here, so nothing is ever said that the responder has not said, and nothing older that says something else
//! ([`super::newest`]); what is kept is kept no longer than its Cache-Control, the tenant's `max_age`, its nextUpdate and the
//! certificate of its signer allow, and a refusal for [`limits::REFUSAL_KEPT`]; equal questions
//! without nonce that come while one is under way share its answer. It does not know tenants or connections.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use bytes::Bytes;
use moka::{Expiry, sync::Cache};
use precompute::{
    ocsp::{CertId, CertStatus, HashAlgorithm, IssuerHashes, OcspError},
    pki::{Certificate, Serial, UnixTime, hex},
};
use tokio::sync::oneshot;

use super::{
    client::{Errand, Protocol, Reply},
    courier::{Courier, Use},
    group::Group,
    newest::{Newest, Said},
    question::Question,
    told::{Fault, word},
    verify::{Objection, Rules, Verified, verify},
};
use crate::{
    limits::{MISS_DEADLINE, upstream as limits},
    metrics::Requests,
};

/// Bytes of an entity tag: two quotes, and 24 bytes of a hash in hexadecimal.
const TAG: usize = 2 + 2 * 24;

/// What the configuration says of such an issuer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In metrics and logs.
    pub name: String,
    /// The CA's certificate.
    pub certificate: Certificate,
    /// How long an answer may be kept at most.
    pub max_age: Duration,
    /// Whether an answer without the nonce that was sent counts.
    pub may_lack_nonce: bool,
}

/// An issuer that is answered elsewhere.
#[derive(Debug)]
pub struct Forwarded {
    /// Unique in this process.
    number: u32,
    settings: Settings,
    hashes: IssuerHashes,
    group: Arc<Group>,
    shared: Shared,
    pending: Mutex<HashMap<Key, Pending>>,
    /// Requests for its certificates.
    pub requests: Arc<Requests>,
}

/// What all such issuers share.
#[derive(Clone, Debug)]
pub struct Shared {
    courier: Courier,
    kept: Cache<(u32, Key), Kept>,
    newest: Newest<Arc<Answer>>,
}

/// A question that is under way, and the requests that wait for its answer.
#[derive(Debug)]
struct Pending {
    since: Instant,
    waiting: Vec<oneshot::Sender<Outcome>>,
}

/// The certificate of a request.
type Key = (HashAlgorithm, Serial);

/// What a request comes to.
pub type Outcome = Result<Arc<Answer>, OcspError>;

/// An answer that may leave.
#[derive(Debug)]
pub struct Answer {
    /// The OCSPResponse.
    pub body: Bytes,
    /// Its entity tag, with quotes.
    pub tag: [u8; TAG],
    /// When it was signed.
    pub signed_at: UnixTime,
    /// Until when it counts, and can be verified; `None` where it counts for the client that has asked alone.
    pub next_update: Option<UnixTime>,
    /// Until when caches may keep it; `None` if they may not.
    pub kept_until: Option<UnixTime>,
    /// What it says of the first certificate; a date can confirm a copy of it only while that is good.
    pub status: CertStatus,
    /// Its thisUpdate.
    this_update: UnixTime,
}

impl Answer {
    /// What is greater is newer.
    fn at(&self) -> (UnixTime, UnixTime) {
        (self.this_update, self.signed_at)
    }

    /// It, to be kept as long as another answer may be.
    fn kept_like(&self, other: Option<&Self>) -> Self {
        let until = other.and_then(|other| other.kept_until).zip(self.next_update).map(|(until, end)| until.min(end));
        Self { body: self.body.clone(), kept_until: until, ..*self }
    }

    /// Whether it may leave `now`.
    pub fn counts(&self, now: UnixTime) -> bool {
        self.next_update.is_none_or(|end| now < end)
    }
}

/// What is kept of an answer, and until when.
#[derive(Clone, Debug)]
struct Kept {
    outcome: Outcome,
    until: UnixTime,
}

struct AtEnd;

impl Expiry<(u32, Key), Kept> for AtEnd {
    fn expire_after_create(&self, _: &(u32, Key), kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.until.since(UnixTime::now()))
    }

    fn expire_after_update(&self, _: &(u32, Key), kept: &Kept, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.until.since(UnixTime::now()))
    }
}

/// How a request gets its answer.
#[derive(Debug)]
pub enum Asked {
    /// At once.
    Ended(Outcome),
    /// From an upstream. Dropping the receiver only ends the wait.
    Waiting(oneshot::Receiver<Outcome>),
}

/// What asks upstreams, once there are any.
#[derive(Clone, Default, Debug)]
pub struct Upstreams(Arc<OnceLock<Shared>>);

impl Upstreams {
    /// It is started when it is needed first.
    pub fn shared(&self) -> io::Result<Shared> {
        if let Some(shared) = self.0.get() {
            return Ok(shared.clone());
        }
        let shared = Shared::new(Courier::start()?);
        Ok(self.0.get_or_init(|| shared).clone())
    }

    /// How many requests wait for upstreams now.
    pub fn waiting(&self) -> usize {
        self.0.get().map_or(0, |shared| shared.courier.waiting())
    }
}

impl Settings {
    /// Whether both say the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.certificate.der() == other.certificate.der()
            && (self.max_age, self.may_lack_nonce) == (other.max_age, other.may_lack_nonce)
    }
}

impl Shared {
    /// Nothing is kept yet.
    pub fn new(courier: Courier) -> Self {
        let weigh = |_: &(u32, Key), kept: &Kept| {
            const OVERHEAD: usize = 512;
            let length = kept.outcome.as_ref().map_or(0, |answer| answer.body.len());
            u32::try_from(length + OVERHEAD).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().max_capacity(limits::KEPT_OCTETS_MAX).weigher(weigh).expire_after(AtEnd).build();
        Self { courier, kept, newest: Newest::new(|answer| answer.body.len()) }
    }

    /// The thread that asks.
    pub fn courier(&self) -> &Courier {
        &self.courier
    }
}

impl Forwarded {
    /// Nobody is asked yet.
    pub fn new(settings: Settings, group: Arc<Group>, shared: Shared, workers: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let hashes = IssuerHashes::of(&settings.certificate);
        let (number, requests) = (NEXT.fetch_add(1, Relaxed), Arc::new(Requests::new(workers)));
        Self { number, settings, hashes, group, shared, pending: Mutex::default(), requests }
    }

    /// In metrics and logs.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its upstreams.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// What it was made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether a CertID names this issuer.
    pub fn is_named(&self, id: &CertId<'_>) -> bool {
        self.hashes.get(id.hash) == (id.issuer_name_hash, id.issuer_key_hash)
    }

    /// The answer that is kept, or the refusal.
    pub fn kept(&self, hash: HashAlgorithm, serial: Serial, now: UnixTime) -> Option<Outcome> {
        let Kept { outcome, until } = self.shared.kept.get(&(self.number, (hash, serial)))?;
        (now < until).then_some(outcome)
    }

    /// Asks an upstream; the answer is kept if it may be.
    pub fn ask(self: &Arc<Self>, question: Question) -> Asked {
        let key = match (&*question.ids, &question.nonce) {
            ([only], None) => only.id().serial().ok().map(|serial| (only.hash, serial)),
            _ => None,
        };
        let (sender, receiver) = oneshot::channel();
        let courier = &self.shared.courier;
        let Some(key) = key else {
            let Some(place) = courier.place(Use::OneClient) else { return Asked::Ended(Err(OcspError::TryLater)) };
            let this = Arc::clone(self);
            courier.run(place, async move {
                let _ = sender.send(this.answer(&question, None).await);
            });
            return Asked::Waiting(receiver);
        };
        let mut pending = self.pending();
        let now = Instant::now();
        // One that has been lost keeps nobody waiting.
        let is_under_way = |pending: &&mut Pending| now.duration_since(pending.since) <= MISS_DEADLINE;
        if let Some(under_way) = pending.get_mut(&key).filter(is_under_way) {
            under_way.waiting.push(sender);
            return Asked::Waiting(receiver);
        }
        let Some(place) = courier.place(Use::Everybody) else { return Asked::Ended(Err(OcspError::TryLater)) };
        let this = Arc::clone(self);
        courier.run(place, async move {
            let outcome = this.answer(&question, Some(key)).await;
            let waiting = this.pending().remove(&key).map(|pending| pending.waiting).unwrap_or_default();
            waiting.into_iter().for_each(|sender| drop(sender.send(outcome.clone())));
        });
        pending.insert(key, Pending { since: now, waiting: vec![sender] });
        Asked::Waiting(receiver)
    }

    /// The answer of an upstream, kept under `key` if it may be.
    async fn answer(&self, question: &Question, key: Option<Key>) -> Outcome {
        let errand =
            Errand { protocol: Protocol::Ocsp, path: "".into(), host: None, body: Bytes::from(question.der()) };
        let mut is_outdated = false;
        let judge = |reply| {
            let judged = self.judge(question, reply, key.is_some(), UnixTime::now());
            is_outdated |= matches!(judged, Err(Fault::Outdated { .. }));
            judged
        };
        let asked = self.group.ask(&errand, judge).await;
        let newest = key.and_then(|key| self.shared.newest.answer(&(self.number, key)));
        let newest = newest.filter(|newest| newest.counts(UnixTime::now()));
        let outcome = match (asked, newest) {
            // An upstream has an older one; the newer one still counts.
            (Ok(answer), Some(newest)) if answer.at() < newest.at() => Ok(Arc::new(newest.kept_like(Some(&answer)))),
            (Err(_), Some(newest)) if is_outdated => Ok(Arc::new(newest.kept_like(None))),
            (asked, _) => asked,
        };
        let outcome = match outcome {
            Ok(answer) => Ok(answer),
            Err(Some(Fault::Refused("unauthorized"))) => Err(OcspError::Unauthorized),
            Err(_) => Err(OcspError::TryLater),
        };
        if let Some(key) = key {
            self.keep(key, &outcome, UnixTime::now());
        }
        outcome
    }

    fn keep(&self, key: Key, outcome: &Outcome, now: UnixTime) {
        let until = match outcome {
            Ok(answer) => answer.kept_until,
            Err(OcspError::Unauthorized) => Some(now.after(limits::REFUSAL_KEPT)),
            // The upstreams' own back-off bounds how often they are asked.
            Err(_) => None,
        };
        if let Some(until) = until.filter(|until| now < *until) {
            self.shared.kept.insert((self.number, key), Kept { outcome: outcome.clone(), until });
        }
    }

    /// What an upstream has sent, if it may leave.
    fn judge(
        &self,
        question: &Question,
        reply: Reply,
        is_for_everybody: bool,
        now: UnixTime,
    ) -> Result<Arc<Answer>, Fault> {
        let Settings { certificate, max_age, may_lack_nonce, .. } = &self.settings;
        let issuers = &[certificate];
        let rules = Rules { question, issuers, signer: None, carried: &[], may_lack_nonce: *may_lack_nonce };
        let verified = verify(&reply.body, &rules, now).map_err(Fault::Refuted)?.map_err(Fault::of_error)?;
        let own = verified.delegate.as_ref().and_then(|delegate| Some((delegate, delegate.serial()?)));
        if let Some((delegate, serial)) = own
            && self.shared.newest.is_revoked(self.number, serial, now)
        {
            return Err(Fault::Refuted(Objection::revoked(delegate)));
        }
        let said = self.said(question, &verified, now);
        for (key, said) in &said {
            if let Some(known) = self.shared.newest.against((self.number, *key), said, now) {
                return Err(Fault::Outdated { says: word(&said.status), known: word(&known) });
            }
        }
        let may_be_kept = is_for_everybody && verified.statuses[0] != CertStatus::Unknown;
        let longest = reply.max_age.unwrap_or(Duration::MAX).min(*max_age);
        let next_update = verified.next_update.map(|end| end.min(verified.verifiable_until));
        let until = next_update.map(|end| now.after(longest).min(end));
        let answer = Arc::new(Answer {
            tag: tag(&verified.body),
            signed_at: verified.signed_at,
            next_update,
            kept_until: until.filter(|until| may_be_kept && now < *until),
            status: verified.statuses[0],
            this_update: verified.updates[0],
            body: verified.body.into(),
        });
        // What is unknown may be issued the next moment, with a status that is older.
        for (key, said) in said.into_iter().filter(|(_, said)| said.status != CertStatus::Unknown) {
            let for_everybody = (may_be_kept && next_update.is_some()).then(|| Arc::clone(&answer));
            self.shared.newest.note((self.number, key), said, for_everybody, now);
        }
        Ok(answer)
    }

    /// What it says of each certificate that was asked for.
    fn said(&self, question: &Question, verified: &Verified, now: UnixTime) -> Vec<(Key, Said)> {
        let until = verified.next_update.unwrap_or_else(|| now.after(limits::AGE_WITHOUT_END_MAX));
        let all = question.ids.iter().zip(&verified.statuses).zip(&verified.updates);
        let said = all.map(|((asked, status), this_update)| {
            let serial = asked.id().serial().ok()?;
            Some(((asked.hash, serial), Said { status: *status, at: (*this_update, verified.signed_at), until }))
        });
        said.flatten().collect()
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<Key, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tag(body: &[u8]) -> [u8; TAG] {
    let mut tag = [b'"'; TAG];
    hex::write(&digest::digest(&digest::SHA256, body).as_ref()[..24], &mut tag[1..TAG - 1]);
    tag
}

#[cfg(test)]
mod tests;
