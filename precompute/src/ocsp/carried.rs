//! What an answer carries about its certificate beside the status: single extensions, as values.
//!
//! Purpose: certHash (Common PKI 2.0 part 4), crlID (RFC 6960 section 4.4.2) and invalidityDate (RFC 5280 section 5.3.2,
//! which RFC 6960 section 4.4.5 allows in answers). A kept answer has them in a tail behind its packed signature, whose
//! length follows from the policy, so that a response is rebuilt from what is kept of it alone, here and on replicas.
//! Invariant: what is read from a tail is what was written to it. It does not know where the values are from.

use crate::{
    pki::{
        UnixTime,
        encode::{Unsigned, element, header, put},
    },
    records::{CertificateHash, CrlReference},
};

/// Which of them the answers of an issuer carry.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Carries {
    /// certHash.
    pub cert_hash: bool,
    /// crlID.
    pub crl_reference: bool,
    /// invalidityDate.
    pub invalidity_date: bool,
}

const HASH: usize = 32;
/// URL and number of a CRL, its time, invalidityDate.
const OF_REVOCATION: usize = 1 + 7 + 4 + 4;

impl Carries {
    /// Nothing.
    pub const NONE: Self = Self { cert_hash: false, crl_reference: false, invalidity_date: false };
    /// Bytes of the longest tail.
    pub const TAIL_MAX: usize = HASH + OF_REVOCATION;

    /// Bytes of the tail of each kept answer, a multiple of eight.
    #[inline]
    pub const fn tail(self) -> usize {
        let hash = if self.cert_hash { HASH } else { 0 };
        hash + if self.of_revocation() { OF_REVOCATION } else { 0 }
    }

    /// Whether they carry anything of revocations.
    #[inline]
    pub const fn of_revocation(self) -> bool {
        self.crl_reference || self.invalidity_date
    }

    /// As one byte, for a fingerprint.
    pub const fn bits(self) -> u8 {
        self.cert_hash as u8 | (self.crl_reference as u8) << 1 | (self.invalidity_date as u8) << 2
    }
}

/// What one answer carries.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Carried {
    /// The SHA-256 hash of the certificate.
    pub cert_hash: Option<CertificateHash>,
    /// The CRL that lists it as revoked.
    pub crl: Option<CrlReference>,
    /// Since when its key is known or suspected to be compromised.
    pub invalidity_date: Option<UnixTime>,
}

impl Carried {
    /// Appends its tail. A time before 1970-01-01T00:00:01Z or after 2106 is left out, as is a CRL with such a time.
    pub fn write_tail(&self, carries: Carries, packed: &mut Vec<u8>) {
        if carries.cert_hash {
            packed.extend_from_slice(&self.cert_hash.unwrap_or_default());
        }
        if carries.of_revocation() {
            let seconds = |time: UnixTime| u32::try_from(time.0).unwrap_or_default();
            let crl = self.crl.unwrap_or(CrlReference { url: 0, number: None, time: UnixTime(0) });
            let number = crl.number.map_or(CrlReference::NO_NUMBER, |number| number.min(CrlReference::NO_NUMBER));
            packed.extend_from_slice(&(u64::from(crl.url) << 56 | number).to_be_bytes());
            packed.extend_from_slice(&seconds(crl.time).to_be_bytes());
            packed.extend_from_slice(&self.invalidity_date.map_or(0, seconds).to_be_bytes());
        }
    }

    /// Reads a tail; nothing from one of another length.
    pub fn of_tail(carries: Carries, tail: &[u8]) -> Self {
        let mut carried = Self::default();
        if tail.len() != carries.tail() {
            return carried;
        }
        let mut rest = tail;
        if carries.cert_hash
            && let Some((hash, behind)) = tail.split_first_chunk::<HASH>()
        {
            (carried.cert_hash, rest) = (Some(*hash).filter(|hash| *hash != [0; HASH]), behind);
        }
        if carries.of_revocation()
            && let Some((word, behind)) = rest.split_first_chunk::<8>()
            && let Some((of_crl, behind)) = behind.split_first_chunk::<4>()
            && let Some((invalid, _)) = behind.split_first_chunk::<4>()
        {
            let word = u64::from_be_bytes(*word);
            let time = |octets: &[u8; 4]| Some(UnixTime(u32::from_be_bytes(*octets).into())).filter(|time| time.0 > 0);
            let number = Some(word & CrlReference::NO_NUMBER).filter(|number| *number < CrlReference::NO_NUMBER);
            carried.crl = time(of_crl).map(|time| CrlReference { url: (word >> 56) as u8, number, time });
            carried.invalidity_date = time(invalid);
        }
        carried
    }

    /// Whether it says of the certificate what is `known` now, as far as anything is. A newer CRL makes an answer no other.
    pub fn agrees_with(&self, known: &Self) -> bool {
        // Others have no place in a tail.
        let is_kept = |time: &UnixTime| u32::try_from(time.0).is_ok_and(|seconds| seconds > 0);
        known.cert_hash.is_none_or(|hash| self.cert_hash == Some(hash))
            && known.invalidity_date.filter(is_kept).is_none_or(|time| self.invalidity_date == Some(time))
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What an answer carries, with the URLs of its issuer's CRLs, to be written.
#[derive(Clone, Copy, Debug)]
pub struct Carrying<'a> {
    /// The values.
    pub carried: &'a Carried,
    /// The URLs to which [`CrlReference::url`] refers; ASCII, and empty where there is none to tell.
    pub urls: &'a [Box<str>],
}

/// The Extension certHash (1.3.36.8.3.13), not critical, up to the hash: the hash algorithm is SHA-256, without
/// parameters (RFC 5754 section 2).
const CERT_HASH: [u8; 28] = [
    0x30, 0x3a, 0x06, 0x05, 0x2b, 0x24, 0x08, 0x03, 0x0d, 0x04, 0x31, 0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86,
    0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x20,
];

/// The Extension invalidityDate (2.5.29.24), not critical, up to its GeneralizedTime.
const INVALIDITY_DATE: [u8; 9] = [0x30, 0x18, 0x06, 0x03, 0x55, 0x1d, 0x18, 0x04, 0x11];

/// OBJECT IDENTIFIER id-pkix-ocsp-crl, 1.3.6.1.5.5.7.48.1.3
const ID_PKIX_OCSP_CRL: [u8; 11] = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x03];

/// Bytes of a GeneralizedTime with its header.
const TIME: usize = 17;

impl<'a> Carrying<'a> {
    /// Bytes of its Extensions.
    pub(super) fn length(&self) -> usize {
        let Carried { cert_hash, invalidity_date, .. } = self.carried;
        let hash = cert_hash.map_or(0, |_| CERT_HASH.len() + HASH);
        let date = invalidity_date.map_or(0, |_| INVALIDITY_DATE.len() + TIME);
        hash + date + self.crl().map_or(0, |crl| element(crl.extension()))
    }

    /// Appends its Extensions.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if let Some(crl) = self.crl() {
            crl.write(out);
        }
        if let Some(date) = self.carried.invalidity_date {
            out.extend_from_slice(&INVALIDITY_DATE);
            put(out, 0x18, &date.generalized());
        }
        if let Some(hash) = self.carried.cert_hash {
            out.extend_from_slice(&CERT_HASH);
            out.extend_from_slice(&hash);
        }
    }

    fn crl(&self) -> Option<CrlId<'a>> {
        let CrlReference { url, number, time } = self.carried.crl?;
        let url = usize::from(url).checked_sub(1).and_then(|place| self.urls.get(place)).map(|url| &**url);
        let url = url.filter(|url| !url.is_empty());
        Some(CrlId { url, number: number.map(u64::to_be_bytes), time })
    }
}

/// CrlID, RFC 6960 section 4.4.2.
struct CrlId<'a> {
    url: Option<&'a str>,
    number: Option<[u8; 8]>,
    time: UnixTime,
}

impl CrlId<'_> {
    /// Bytes of the SEQUENCE without its header.
    fn length(&self) -> usize {
        let url = self.url.map_or(0, |url| element(element(url.len())));
        let number = self.number.map_or(0, |number| element(element(Unsigned::of(&number).length())));
        url + number + element(TIME)
    }

    /// Bytes of the Extension without its header.
    fn extension(&self) -> usize {
        ID_PKIX_OCSP_CRL.len() + element(element(self.length()))
    }

    fn write(&self, out: &mut Vec<u8>) {
        header(out, 0x30, self.extension());
        out.extend_from_slice(&ID_PKIX_OCSP_CRL);
        header(out, 0x04, element(self.length()));
        header(out, 0x30, self.length());
        if let Some(url) = self.url {
            header(out, 0xa0, element(url.len()));
            put(out, 0x16, url.as_bytes());
        }
        if let Some(number) = self.number {
            let number = Unsigned::of(&number);
            header(out, 0xa1, element(number.length()));
            number.put(out, 0x02);
        }
        header(out, 0xa2, TIME);
        put(out, 0x18, &self.time.generalized());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times() -> impl Strategy<Value = UnixTime> {
        (1..=u64::from(u32::MAX)).prop_map(UnixTime)
    }

    fn references() -> impl Strategy<Value = CrlReference> {
        let number = prop::option::of(prop_oneof![0..CrlReference::NO_NUMBER, 0..300u64]);
        (any::<u8>(), number, times()).prop_map(|(url, number, time)| CrlReference { url, number, time })
    }

    proptest! {
        #[test]
        fn a_tail_gives_back_what_was_written(
            bits in 0u8..8,
            cert_hash in prop::option::of(any::<[u8; 32]>()),
            crl in prop::option::of(references()),
            invalidity_date in prop::option::of(times()),
        ) {
            let carries =
                Carries { cert_hash: bits & 1 > 0, crl_reference: bits & 2 > 0, invalidity_date: bits & 4 > 0 };
            prop_assert_eq!(carries.bits(), bits);
            let of = carries.of_revocation();
            let carried = Carried {
                cert_hash: cert_hash.filter(|hash| carries.cert_hash && *hash != [0; 32]),
                crl: crl.filter(|_| of),
                invalidity_date: invalidity_date.filter(|_| of),
            };
            let mut tail = Vec::new();
            carried.write_tail(carries, &mut tail);
            prop_assert_eq!(tail.len(), carries.tail());
            prop_assert!(tail.len() % 8 == 0 && tail.len() <= Carries::TAIL_MAX);
            prop_assert_eq!(Carried::of_tail(carries, &tail), carried);
            tail.push(0);
            prop_assert!(Carried::of_tail(carries, &tail).is_empty());
        }
    }
}
