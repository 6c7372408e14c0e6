//! Whether a token is the one that was asked for: everything short of public-key arithmetic.
//!
//! Invariant: pure; no clock is read. It does not know signatures (`proof`) or other tokens (`serials`).

use crate::hash::Hash;
use crate::limits::TSA_SERIAL_OCTETS;
use crate::outcome::Kind;
use crate::time::UnixNanos;
use crate::tsa::response::TimeStampResponse;

/// A serialNumber as 160 bits, most significant byte first.
pub(crate) type Serial = [u8; TSA_SERIAL_OCTETS];

/// What was asked, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) hash: Hash,
    pub(crate) imprint: &'a [u8],
    /// Content bytes.
    pub(crate) nonce: &'a [u8],
    /// Content bytes of the policy's OID, if one was asked for.
    pub(crate) policy: Option<&'a [u8]>,
    pub(crate) asked: UnixNanos,
    pub(crate) skew_s: i64,
}

/// Judges the body of a 200 response: the token's serial number, or what is wrong with it.
pub(crate) fn judge(question: &Question<'_>, body: &[u8], now: UnixNanos) -> Result<Serial, Kind> {
    let token = match TimeStampResponse::read(body).map_err(|_| Kind::Malformed)? {
        TimeStampResponse::Refused(kind) => return Err(kind),
        TimeStampResponse::Granted(token) => token,
    };
    let info = &token.info;
    if info.imprint != question.imprint || Hash::identified(&info.imprint_algorithm) != Some(question.hash) {
        return Err(Kind::ImprintMismatch);
    }
    if info.nonce != Some(question.nonce) {
        return Err(Kind::NonceMismatch);
    }
    if question.policy.is_some_and(|policy| policy != info.policy) {
        return Err(Kind::PolicyMismatch);
    }
    // The token was made between the asking and now, on a clock that may differ by the skew and is as good as it says.
    let tolerance = question.skew_s.saturating_mul(1_000_000_000).saturating_add(info.accuracy_ns);
    let earliest = question.asked.0.saturating_sub(tolerance);
    let latest = now.0.saturating_add(tolerance);
    if !(earliest..=latest).contains(&info.gen_time.0) {
        return Err(Kind::GenTime);
    }
    serial(info.serial).ok_or(Kind::Malformed)
}

/// A positive INTEGER of up to 160 bits; RFC 3161 obliges clients to no more.
fn serial(content: &[u8]) -> Option<Serial> {
    let magnitude = match content {
        [first, ..] if *first >= 0x80 => return None,
        [] | [0] => return None,
        [0, rest @ ..] => rest,
        all => all,
    };
    let mut serial = [0; TSA_SERIAL_OCTETS];
    let start = TSA_SERIAL_OCTETS.checked_sub(magnitude.len())?;
    serial[start..].copy_from_slice(magnitude);
    Some(serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_serials_of_up_to_160_bits_and_tells_them_apart() {
        assert_eq!(serial(&[1]).map(|s| s[19]), Some(1));
        assert!(serial(&[0x7f; 20]).is_some());
        assert!(serial(&[&[0][..], &[0xff; 20]].concat()).is_some());
        assert_ne!(serial(&[1]), serial(&[1, 0]));
        for refused in [&[0u8][..], &[0x80], &[0x7f; 21], &[]] {
            assert!(serial(refused).is_none(), "{refused:02x?}");
        }
    }
}
