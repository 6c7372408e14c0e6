//! The newest that was said of each certificate of another CA, so that no older answer takes its place.
//!
//! Purpose: upstreams that stand for one another are not equally up to date, and anybody on the way can send an old answer that
//! still counts. Invariant: while what was said counts, an older answer that says something else does not leave, unless it is a
//! final revocation, which nothing takes back. That holds for all hash algorithms, and with a nonce. It is bounded by
//! [`limits::NEWEST_OCTETS_MAX`]: what is asked for rarely is forgotten first. Time is a parameter. It does not know answers.

use std::time::{Duration, Instant};

use moka::{Expiry, sync::Cache};
use precompute::{
    ocsp::{CertStatus, HashAlgorithm},
    pki::{Reason, Serial, UnixTime},
};

use crate::limits::upstream as limits;

/// A certificate: the number of its issuer, and its name in a CertID.
pub(super) type Of = (u32, (HashAlgorithm, Serial));

/// What an answer says of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// Its status.
    pub status: CertStatus,
    /// thisUpdate, then when it was signed: what is greater is newer.
    pub at: (UnixTime, UnixTime),
    /// Until when it counts.
    pub until: UnixTime,
}

impl Said {
    /// Whether it keeps `other`, which has come after it, from leaving.
    fn forbids(&self, other: &Self, now: UnixTime) -> bool {
        now < self.until && other.at < self.at && other.status != self.status && !is_final(&other.status)
    }
}

fn is_final(status: &CertStatus) -> bool {
    matches!(status, CertStatus::Revoked { reason, .. } if *reason != Reason::CertificateHold)
}

/// What was said, and the answer where everybody may have it.
#[derive(Clone, Debug)]
struct Entry<A> {
    said: Said,
    answer: Option<A>,
}

struct AtEnd;

impl<A> Expiry<Of, Entry<A>> for AtEnd {
    fn expire_after_create(&self, _: &Of, entry: &Entry<A>, _: Instant) -> Option<Duration> {
        Some(entry.said.until.since(UnixTime::now()))
    }

    fn expire_after_update(&self, _: &Of, entry: &Entry<A>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.said.until.since(UnixTime::now()))
    }
}

/// The newest of all certificates. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Newest<A: Clone + Send + Sync + 'static>(Cache<Of, Entry<A>>);

impl<A: Clone + Send + Sync + 'static> Newest<A> {
    /// `length`: of an answer in bytes.
    pub(super) fn new(length: fn(&A) -> usize) -> Self {
        let weigh = move |_: &Of, entry: &Entry<A>| {
            const OVERHEAD: usize = 512;
            u32::try_from(OVERHEAD + entry.answer.as_ref().map_or(0, length)).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(limits::NEWEST_OCTETS_MAX).weigher(weigh).expire_after(AtEnd).build())
    }

    /// The newer status that keeps `said` from leaving, if there is one.
    pub(super) fn against(&self, (number, (_, serial)): Of, said: &Said, now: UnixTime) -> Option<CertStatus> {
        let all = HashAlgorithm::ALL.into_iter().filter_map(|hash| self.0.get(&(number, (hash, serial))));
        all.map(|entry| entry.said).find(|known| known.forbids(said, now)).map(|known| known.status)
    }

    /// Whether a certificate of this issuer was said to be revoked, and that still counts.
    pub(super) fn is_revoked(&self, number: u32, serial: Serial, now: UnixTime) -> bool {
        let mut all = HashAlgorithm::ALL.into_iter().filter_map(|hash| self.0.get(&(number, (hash, serial))));
        all.any(|Entry { said, .. }| now < said.until && matches!(said.status, CertStatus::Revoked { .. }))
    }

    /// Notes what leaves.
    pub(super) fn note(&self, of: Of, said: Said, answer: Option<A>, now: UnixTime) {
        let known = self.0.get(&of).filter(|known| now < known.said.until);
        if let Some(known) = &known
            && said.at < known.said.at
            && (is_final(&known.said.status) || !is_final(&said.status))
        {
            return;
        }
        // One with a nonce does not take the place of one for everybody that says the same.
        let kept = || known.filter(|known| known.said.status == said.status).and_then(|known| known.answer);
        self.0.insert(of, Entry { said, answer: answer.or_else(kept) });
    }

    /// The newest answer for everybody.
    pub(super) fn answer(&self, of: &Of) -> Option<A> {
        self.0.get(of)?.answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn revoked(reason: Reason) -> CertStatus {
        CertStatus::Revoked { time: UnixTime(5), reason }
    }
    const FINAL: CertStatus = revoked(Reason::KeyCompromise);
    const HELD: CertStatus = revoked(Reason::CertificateHold);

    fn of(hash: HashAlgorithm, serial: u8) -> Of {
        (1, (hash, Serial::from_der_content(&[serial]).unwrap()))
    }

    fn said(status: CertStatus, at: u64, now: UnixTime) -> Said {
        Said { status, at: (UnixTime(at), UnixTime(at)), until: now.after(Duration::from_secs(3600)) }
    }

    #[test]
    fn nothing_older_that_says_something_else_takes_the_place_of_what_still_counts() {
        let now = UnixTime::now();
        for (known, other, at, is_refused) in [
            (FINAL, CertStatus::Good, 99, true),
            (FINAL, CertStatus::Unknown, 99, true),
            (FINAL, CertStatus::Good, 100, false),
            (FINAL, FINAL, 99, false),
            (HELD, CertStatus::Good, 99, true),
            (CertStatus::Good, HELD, 99, true),
            // It cannot have been taken back.
            (CertStatus::Good, FINAL, 99, false),
            (CertStatus::Good, CertStatus::Good, 99, false),
        ] {
            let newest: Newest<&str> = Newest::new(|answer| answer.len());
            newest.note(of(HashAlgorithm::Sha1, 1), said(known, 100, now), Some("first"), now);
            let (other, end) = (said(other, at, now), now.after(Duration::from_secs(3600)));
            for hash in HashAlgorithm::ALL {
                let against = newest.against(of(hash, 1), &other, now);
                assert_eq!(against, is_refused.then_some(known), "{known:?} {other:?} {hash:?}");
            }
            assert_eq!(newest.against(of(HashAlgorithm::Sha1, 1), &other, end), None, "it counts no longer");
            assert_eq!(newest.against(of(HashAlgorithm::Sha1, 2), &other, now), None, "another certificate");
        }
    }

    #[test]
    fn the_newest_answer_for_everybody_stays_until_there_is_a_newer_one() {
        let (now, key) = (UnixTime::now(), of(HashAlgorithm::Sha1, 1));
        let newest: Newest<&str> = Newest::new(|answer| answer.len());
        newest.note(key, said(CertStatus::Good, 100, now), Some("first"), now);
        newest.note(key, said(CertStatus::Good, 99, now), Some("older"), now);
        newest.note(key, said(CertStatus::Good, 101, now), None, now);
        assert_eq!(newest.answer(&key), Some("first"));
        newest.note(key, said(FINAL, 90, now), Some("final"), now);
        assert_eq!(newest.answer(&key), Some("final"));
        newest.note(key, said(CertStatus::Good, 89, now), Some("older"), now);
        assert_eq!(newest.answer(&key), Some("final"));
        newest.note(key, said(CertStatus::Good, 102, now), None, now);
        assert_eq!(newest.answer(&key), None, "it says something else now");
    }
}
