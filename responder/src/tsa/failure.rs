//! Rejections: a TimeStampResp without a token, RFC 3161 section 2.4.2.

use std::{borrow::Cow, fmt, time::Duration};

use precompute::pki::{
    elements::DerError,
    encode::{element, header},
};

/// Why there is no token: PKIFailureInfo, each with the number of its bit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    /// An unrecognised or unsupported algorithm identifier.
    BadAlg = 0,
    /// A transaction that is not permitted or supported.
    BadRequest = 2,
    /// Data of the wrong format.
    BadDataFormat = 5,
    /// The time source is not available.
    TimeNotAvailable = 14,
    /// A policy that is not served here.
    UnacceptedPolicy = 15,
    /// An extension that is not served here.
    UnacceptedExtension = 16,
    /// The request cannot be handled due to a system failure.
    SystemFailure = 25,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::BadAlg,
        Self::BadRequest,
        Self::BadDataFormat,
        Self::TimeNotAvailable,
        Self::UnacceptedPolicy,
        Self::UnacceptedExtension,
        Self::SystemFailure,
    ];

    /// The name in RFC 3161.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadAlg => "badAlg",
            Self::BadRequest => "badRequest",
            Self::BadDataFormat => "badDataFormat",
            Self::TimeNotAvailable => "timeNotAvailable",
            Self::UnacceptedPolicy => "unacceptedPolicy",
            Self::UnacceptedExtension => "unacceptedExtension",
            Self::SystemFailure => "systemFailure",
        }
    }

    /// statusString: for the person who reads the client's output.
    const fn text(self) -> &'static str {
        match self {
            Self::BadAlg => "the hash algorithm of the message imprint is not accepted here",
            Self::BadRequest => {
                "the request cannot be served: its version is not 1, or its nonce is longer than 128 bytes"
            }
            Self::BadDataFormat => {
                "the request is not a TimeStampReq in DER, or its digest does not have the length of its hash algorithm"
            }
            Self::TimeNotAvailable => "the clock is not known to be right at present; ask again later",
            Self::UnacceptedPolicy => "the policy asked for is not served here",
            Self::UnacceptedExtension => "no extension of requests is supported here",
            Self::SystemFailure => "the token could not be signed; ask again later",
        }
    }
}

/// A failure in the client's form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// failInfo.
    pub failure: Failure,
    text: Text,
}

/// The text in statusString.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Text {
    Fixed(&'static str),
    /// For how many more seconds no token is issued.
    Withheld(u64),
}

impl Text {
    fn whole(self) -> Cow<'static, str> {
        match self {
            Self::Fixed(text) => text.into(),
            Self::Withheld(seconds) => format!(
                "tokens of this authority are ordered by their times: none is issued for {seconds} s more, so that none is earlier than those issued before it was started; ask again then"
            )
            .into(),
        }
    }
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        Self { failure, text: Text::Fixed(failure.text()) }
    }
}

impl Rejection {
    /// Trying again does not help before the operator has installed another certificate.
    pub const CERTIFICATE_NOT_VALID: Self = Self {
        failure: Failure::SystemFailure,
        text: Text::Fixed(
            "the certificate of this time-stamping authority is not valid now: it has expired, or is not valid yet; its operator has to renew it",
        ),
    };

    /// Trying again does not help before the operator has installed another key.
    pub const KEY_OUT_OF_USE: Self = Self {
        failure: Failure::SystemFailure,
        text: Text::Fixed(
            "the key of this time-stamping authority may not be used any more: the time for its use is over; its operator has to install another one",
        ),
    };

    /// A client has had what its quota allows in a second,
    pub const QUOTA_OF_SECOND: Self = Self {
        failure: Failure::BadRequest,
        text: Text::Fixed("this client's quota of time-stamps in a second is used up; ask again in a second"),
    };
    /// in a day,
    pub const QUOTA_OF_DAY: Self = Self {
        failure: Failure::BadRequest,
        text: Text::Fixed("this client's quota of time-stamps for this day (UTC) is used up"),
    };
    /// or in a month.
    pub const QUOTA_OF_MONTH: Self = Self {
        failure: Failure::BadRequest,
        text: Text::Fixed("this client's quota of time-stamps for this month (UTC) is used up"),
    };
    /// A tenant has had what its quota allows in a second.
    pub const QUOTA_OF_TENANT: Self = Self {
        failure: Failure::BadRequest,
        text: Text::Fixed("the quota of time-stamps in a second is used up; ask again in a second"),
    };

    /// Whether it is because of a quota.
    pub fn is_of_quota(self) -> bool {
        [Self::QUOTA_OF_SECOND, Self::QUOTA_OF_DAY, Self::QUOTA_OF_MONTH, Self::QUOTA_OF_TENANT].contains(&self)
    }

    /// No time is given for this long, though it is known: see `ordering`.
    pub fn withheld(left: Duration) -> Self {
        let seconds = left.as_secs().saturating_add((left.subsec_nanos() > 0).into());
        Self { failure: Failure::TimeNotAvailable, text: Text::Withheld(seconds) }
    }

    /// Appends the TimeStampResp.
    pub fn write(self, out: &mut Vec<u8>) {
        let text = self.text.whole();
        let text = text.as_bytes();
        // A BIT STRING with named bits ends with its last set bit (X.690 section 11.2.2).
        let bit = self.failure as usize;
        let octets = bit / 8 + 1;
        let free_text = element(text.len());
        let status = 3 + element(free_text) + element(1 + octets);
        header(out, 0x30, element(status));
        header(out, 0x30, status);
        out.extend_from_slice(&[0x02, 0x01, 0x02]); // rejection
        header(out, 0x30, free_text);
        header(out, 0x0c, text.len());
        out.extend_from_slice(text);
        header(out, 0x03, 1 + octets);
        out.push((7 - bit % 8) as u8);
        out.resize(out.len() + octets - 1, 0);
        out.push(0x80 >> (bit % 8));
    }

    /// Bytes of the TimeStampResp.
    pub fn length(self) -> usize {
        let status = 3 + element(element(self.text.whole().len())) + element(2 + self.failure as usize / 8);
        element(element(status))
    }
}

impl From<DerError> for Failure {
    fn from(_: DerError) -> Self {
        Self::BadDataFormat
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use der::{Decode as _, Reader as _, SliceReader, asn1::BitStringRef};

    use super::*;

    #[test]
    fn a_rejection_has_one_failure_bit_and_a_text() {
        let rejections = Failure::ALL.into_iter().map(Rejection::from).chain([
            Rejection::CERTIFICATE_NOT_VALID,
            Rejection::KEY_OUT_OF_USE,
            Rejection::QUOTA_OF_SECOND,
            Rejection::QUOTA_OF_DAY,
            Rejection::QUOTA_OF_MONTH,
            Rejection::QUOTA_OF_TENANT,
            Rejection::withheld(Duration::ZERO),
            Rejection::withheld(Duration::MAX),
        ]);
        for rejection in rejections {
            let Rejection { failure, text } = rejection;
            let mut out = Vec::new();
            rejection.write(&mut out);
            assert_eq!(out.len(), rejection.length(), "{failure}");
            // The types of other crates only hold one byte of failInfo.
            let mut reader = SliceReader::new(&out).unwrap();
            let (status, texts, bits) = reader
                .sequence(|response| {
                    response.sequence(|info| {
                        let status = u8::decode(info)?;
                        let texts = Vec::<String>::decode(info)?;
                        Ok((status, texts, BitStringRef::decode(info)?))
                    })
                })
                .unwrap();
            assert!(reader.is_finished());
            assert_eq!((status, texts), (2, vec![text.whole().into_owned()]), "{failure}");
            let set: Vec<_> = bits.bits().enumerate().filter_map(|(bit, is_set)| is_set.then_some(bit)).collect();
            assert_eq!(set, [failure as usize], "{failure}");
            assert_eq!(bits.bit_len(), failure as usize + 1, "DER: it ends with its last bit");
        }
    }

    #[test]
    fn how_long_tokens_are_withheld_is_told_in_seconds_that_are_enough() {
        for (millis, seconds) in [(1, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            let text = Rejection::withheld(Duration::from_millis(millis)).text.whole();
            assert!(text.contains(&format!("for {seconds} s more")), "{text}");
        }
    }
}
