//! Signed answers, until nextUpdate: most of them compact, a few whole.
//!
//! An answer about one listed certificate goes to the compact table ([`Answers`]), which has as many as there are
//! certificates; it is rebuilt from its values each time it is served. Other answers (about unlisted serials if the
//! policy signs those, and any that come while the table is full) are kept whole in a bounded cache that drops the
//! least requested.
//!
//! It does not know whether what it holds is still right: [`super::answer`] compares each with the record before use.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use moka::{Expiry, sync::Cache};
use precompute::{
    answers::{AnswerKey, Answers},
    ocsp::{
        Packing, Template,
        profile::{Kept, Statement, Times},
    },
    pki::{UnixTime, hex},
};

/// One signed response.
#[derive(Debug)]
pub struct Answer {
    /// Its statement about each CertID, and the state that it comes from.
    pub statements: Box<[Statement]>,
    /// Its validity.
    pub times: Times,
    /// Its entity tag.
    pub etag: Etag,
    /// The OCSPResponse.
    pub body: Bytes,
    /// What stands behind its packed signature where it is kept: what it carries beside the status.
    pub tail: Vec<u8>,
}

impl Answer {
    /// The values of an answer for one certificate.
    pub fn kept(&self) -> Option<Kept> {
        match *self.statements {
            [statement] => Some(Kept { statement, times: self.times }),
            _ => None,
        }
    }

    /// Whether it says exactly this, and may be served `now`.
    pub fn says(&self, statements: &[Statement], now: UnixTime) -> bool {
        *self.statements == *statements && self.times.hold(now)
    }
}

/// The strong entity tag of a response, quotes included: a fingerprint of what all answers of its signer share, and
/// part of its signature.
///
/// It is not a hash over the body, which would cost more than all the rest of a hit. Two bodies of one resource with
/// the same signature and template are the same body, because the signature covers everything in which they could
/// differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Etag([u8; Etag::OCTETS]);

impl Etag {
    /// Two quotes, the eight bytes of the template's fingerprint, sixteen of the signature.
    const OCTETS: usize = 2 + 2 * (8 + 16);

    /// For a response with this signature, in the response's encoding.
    pub fn of(template: &Template, signature: &[u8]) -> Self {
        let mut text = [b'"'; Self::OCTETS];
        // In every algorithm these bytes come from a hash or are random, unlike the end of an ML-DSA signature: for
        // ECDSA they are within r, for Ed25519 within R, for ML-DSA within the commitment hash.
        let some = signature.get(8..24).unwrap_or(signature);
        let fingerprint = template.fingerprint();
        let (first, second) = text[1..Self::OCTETS - 1].split_at_mut(2 * fingerprint.len());
        hex::write(fingerprint, first);
        hex::write(some, second);
        Self(text)
    }

    /// Its text in a header field.
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// All kept answers, shared by all workers.
#[derive(Debug)]
pub struct Store {
    compact: Arc<Answers>,
    whole: Cache<AnswerKey, Arc<Answer>>,
}

/// What an answer kept whole costs beside its bytes: key, Arc, Bytes, and about 350 bytes of moka's own.
const ENTRY_OVERHEAD: u32 = 512;

struct AtNextUpdate;

impl AtNextUpdate {
    fn left(answer: &Answer) -> Option<Duration> {
        Some(answer.times.next_update.since(UnixTime::now()))
    }
}

impl Expiry<AnswerKey, Arc<Answer>> for AtNextUpdate {
    fn expire_after_create(&self, _: &AnswerKey, answer: &Arc<Answer>, _: Instant) -> Option<Duration> {
        Self::left(answer)
    }

    fn expire_after_update(
        &self,
        _: &AnswerKey,
        answer: &Arc<Answer>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Self::left(answer)
    }
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Answers in the compact table, and its bytes.
    pub compact: (u64, u64),
    /// Answers kept whole, and their bytes, as of the cache's last housekeeping.
    pub whole: (u64, u64),
}

impl Store {
    /// Uses at most these numbers of bytes for the compact table, and for answers kept whole.
    pub fn new(compact_octets: u64, whole_octets: u64) -> Self {
        let weigh = |_: &AnswerKey, answer: &Arc<Answer>| {
            u32::try_from(answer.body.len()).unwrap_or(u32::MAX).saturating_add(ENTRY_OVERHEAD)
        };
        Self {
            compact: Arc::new(Answers::new(compact_octets)),
            whole: Cache::builder().max_capacity(whole_octets).weigher(weigh).expire_after(AtNextUpdate).build(),
        }
    }

    /// The answer in the compact table; its packed signature and what stands behind it, `packed_length` bytes together, are
    /// written to `packed`.
    #[inline]
    pub fn compact(&self, key: &AnswerKey, packed_length: usize, packed: &mut Vec<u8>) -> Option<Kept> {
        Kept::of(&self.compact.get(key, packed_length, packed)?)
    }

    /// The answer kept whole.
    pub fn whole(&self, key: &AnswerKey) -> Option<Arc<Answer>> {
        self.whole.get(key)
    }

    /// Keeps an answer for one certificate, and replaces any other with this key; `signature`: the answer's.
    pub fn keep(&self, key: AnswerKey, answer: &Arc<Answer>, packing: Packing, signature: &[u8]) {
        if !self.keep_compact(&key, answer, packing, signature) {
            self.whole.insert(key, Arc::clone(answer));
        }
    }

    /// Keeps one as it is.
    pub fn keep_whole(&self, key: AnswerKey, answer: &Arc<Answer>) {
        self.whole.insert(key, Arc::clone(answer));
    }

    fn keep_compact(&self, key: &AnswerKey, answer: &Answer, packing: Packing, signature: &[u8]) -> bool {
        let Some(entry) = answer.kept().and_then(|kept| kept.entry()) else { return false };
        packing.pack(signature).is_some_and(|mut packed| {
            packed.extend_from_slice(&answer.tail);
            self.compact.insert(key, &entry, &packed)
        })
    }

    /// The compact table itself, to be filled by pre-signing.
    pub fn answers(&self) -> &Arc<Answers> {
        &self.compact
    }

    /// The present size.
    pub fn size(&self) -> Size {
        Size {
            compact: (self.compact.len(), self.compact.octets()),
            whole: (self.whole.entry_count(), self.whole.weighted_size()),
        }
    }
}

#[cfg(test)]
mod tests {
    use precompute::{ocsp::ResponderId, sign::Algorithm};

    use super::*;

    #[test]
    fn signatures_that_end_alike_have_other_entity_tags() {
        // An ML-DSA signature ends with the positions of its hints, which are often mostly zero.
        let template = Template::new(ResponderId::ByKey(&[7; 20]), Algorithm::MlDsa44.identifier(), &[]);
        let [one, other] = [1, 2].map(|octet| [vec![octet; 2400], vec![0; 20]].concat());
        assert_eq!(Etag::of(&template, &one), Etag::of(&template, &one));
        assert_ne!(Etag::of(&template, &one), Etag::of(&template, &other));
    }
}
