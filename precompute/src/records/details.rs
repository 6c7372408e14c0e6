//! What answers may say about a certificate beside its status: its hash, and what its revocation is from.
//!
//! Purpose: a table beside the records, filled only for issuers whose answers carry such things, so that a record stays
//! small. It takes about 80 bytes for each hash, and as much for each revocation. Invariant: what is here decides no status
//! and no answer that is kept; a kept answer has its own copy. So no hit looks here, and losing it only delays signatures.
//! It is in memory: sources are read again at a start, and the book has the hashes that were pushed. It does not know
//! answers, sources or the book.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::pki::{Serial, UnixTime};

/// The SHA-256 hash of a certificate.
pub type CertificateHash = [u8; 32];

/// Somebody's way to say that there is none.
pub const NO_HASH: CertificateHash = [0; 32];

/// The CRL that lists a certificate as revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrlReference {
    /// Its place among the URLs of the issuer's CRLs, from 1 on; 0 for none.
    pub url: u8,
    /// Its cRLNumber, below [`CrlReference::NO_NUMBER`].
    pub number: Option<u64>,
    /// Its thisUpdate.
    pub time: UnixTime,
}

impl CrlReference {
    /// Numbers from here on are left out: seven bytes are kept.
    pub const NO_NUMBER: u64 = (1 << 56) - 1;
}

/// What is known of a revocation beside its time and reason.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RevocationDetails {
    /// The CRL that lists it.
    pub crl: Option<CrlReference>,
    /// invalidityDate: since when the key is known or suspected to be compromised (RFC 5280 section 5.3.2).
    pub invalid_since: Option<UnixTime>,
}

/// By serial number.
pub type Revocations = HashMap<Serial, RevocationDetails>;

/// A table grows by parts, so that none is locked for long.
const PARTS: usize = 64;

/// What is known of the certificates of one issuer, for any thread.
#[derive(Debug)]
pub struct Details {
    hashes: [RwLock<HashMap<Serial, CertificateHash>>; PARTS],
    revocations: RwLock<Revocations>,
    /// Whether answers carry hashes.
    wants_hashes: AtomicBool,
}

impl Default for Details {
    fn default() -> Self {
        Self {
            hashes: std::array::from_fn(|_| RwLock::default()),
            revocations: RwLock::default(),
            wants_hashes: AtomicBool::new(false),
        }
    }
}

impl Details {
    /// The hash of this certificate, if some source has told it.
    pub fn hash(&self, serial: &Serial) -> Option<CertificateHash> {
        read(self.part(serial)).get(serial).copied()
    }

    /// Notes the hash of a certificate.
    pub fn note_hash(&self, serial: Serial, hash: CertificateHash) {
        if hash == NO_HASH {
            return;
        }
        let part = self.part(&serial);
        // Most reads find what is there already.
        if read(part).get(&serial) != Some(&hash) {
            write(part).insert(serial, hash);
        }
    }

    /// Says whether answers carry hashes.
    pub fn want_hashes(&self, wants: bool) {
        self.wants_hashes.store(wants, Relaxed);
    }

    /// Whether they do: else it is not worth keeping what was pushed.
    pub fn wants_hashes(&self) -> bool {
        self.wants_hashes.load(Relaxed)
    }

    /// How many hashes there are.
    pub fn hashes(&self) -> usize {
        self.hashes.iter().map(|part| read(part).len()).sum()
    }

    /// Forgets the hashes of the other certificates.
    pub fn keep_hashes(&self, is_kept: impl Fn(&Serial) -> bool) {
        for part in &self.hashes {
            let mut part = write(part);
            part.retain(|serial, _| is_kept(serial));
            part.shrink_to_fit();
        }
    }

    /// What is known of the revocation of a certificate.
    pub fn revocation(&self, serial: &Serial) -> RevocationDetails {
        read(&self.revocations).get(serial).copied().unwrap_or_default()
    }

    /// Notes all that the sources say now.
    pub fn replace_revocations(&self, revocations: Revocations) {
        let former = std::mem::replace(&mut *write(&self.revocations), revocations);
        drop(former);
    }

    /// Notes this, too.
    pub fn add_revocations(&self, revocations: Revocations) {
        if !revocations.is_empty() {
            write(&self.revocations).extend(revocations);
        }
    }

    fn part(&self, serial: &Serial) -> &RwLock<HashMap<Serial, CertificateHash>> {
        // Serial numbers that are counted differ in their last byte, random ones in every byte.
        &self.hashes[usize::from(serial.padded()[Serial::MAX_OCTETS - 1]) % PARTS]
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(number: u32) -> Serial {
        Serial::from_magnitude(&(number + 1).to_be_bytes()).unwrap()
    }

    #[test]
    fn each_certificate_has_the_hash_that_was_noted_last_until_it_is_forgotten() {
        let details = Details::default();
        let hash = |number: u32| [(number % 255) as u8 + 1; 32];
        for number in 0..1000 {
            details.note_hash(serial(number), hash(number));
        }
        details.note_hash(serial(7), hash(99));
        assert_eq!((details.hash(&serial(7)), details.hash(&serial(8))), (Some(hash(99)), Some(hash(8))));
        assert_eq!((details.hashes(), details.hash(&serial(1000))), (1000, None));
        details.note_hash(serial(8), [0; 32]);
        assert_eq!(details.hash(&serial(8)), Some(hash(8)), "zeros are no hash");
        details.keep_hashes(|kept| *kept == serial(8));
        assert_eq!((details.hashes(), details.hash(&serial(8)), details.hash(&serial(7))), (1, Some(hash(8)), None));
    }

    #[test]
    fn what_sources_say_no_longer_of_a_revocation_is_forgotten() {
        let details = Details::default();
        let of = |time| RevocationDetails { invalid_since: Some(UnixTime(time)), crl: None };
        details.add_revocations([(serial(1), of(1)), (serial(2), of(2))].into());
        details.add_revocations([(serial(2), of(3))].into());
        assert_eq!([1, 2, 3].map(|number| details.revocation(&serial(number))), [of(1), of(3), Default::default()]);
        details.replace_revocations([(serial(3), of(4))].into());
        assert_eq!([1, 3].map(|number| details.revocation(&serial(number))), [Default::default(), of(4)]);
    }
}
