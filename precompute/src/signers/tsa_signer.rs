//! A key with the certificate that authorises it to time-stamp, RFC 3161 section 2.3.
//!
//! Invariant: everything that would make clients refuse the tokens is found here, before the first token. It does not
//! know what is in tokens.

use std::{fmt, sync::Arc, time::Duration};

use tracing::warn;

use super::{SignerError, ocsp_signer::try_out};
use crate::{
    ocsp::{EXPIRES_SOON, IdentityError, Packing},
    pki::{Algorithm, Certificate, CertificatePath, TIME_STAMPING, TimeStampingKeyUsage, UnixTime},
    sign::Signing,
};

/// Signs time-stamp tokens.
#[derive(Debug)]
pub struct TsaSigner {
    signing: Arc<dyn Signing>,
    certificate: Certificate,
    chain: Vec<Certificate>,
    use_of_key: UseOfKey,
    /// For people.
    key_names: Vec<String>,
}

/// When a key may make tokens, and what ends that first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UseOfKey {
    /// From when.
    pub begins: UnixTime,
    /// Until when: no token is made at that instant or later.
    pub ends: UnixTime,
    /// What ends it.
    pub by: EndOfUse,
}

/// What ends the use of a key first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndOfUse {
    /// The end of its certificate.
    Certificate,
    /// The certificate's PrivateKeyUsagePeriod.
    Period,
    /// `key_usage_end` of the configuration.
    Configuration,
}

impl fmt::Display for EndOfUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "the end of its certificate",
            Self::Period => "the PrivateKeyUsagePeriod of its certificate",
            Self::Configuration => "`key_usage_end`",
        })
    }
}

impl UseOfKey {
    /// Of the key of this certificate, for which the configuration sets an `end`. The error completes "certificate …".
    pub fn of(certificate: &Certificate, end: Option<UnixTime>) -> Result<Self, String> {
        let period = certificate.private_key_usage()?.unwrap_or_default();
        let begins = period.begins.map_or(certificate.not_before(), |begin| begin.max(certificate.not_before()));
        let ends = [
            (Some(certificate.not_after()), EndOfUse::Certificate),
            (period.ends, EndOfUse::Period),
            (end, EndOfUse::Configuration),
        ];
        // The first of those that end at the same instant: a certificate that has ended is renewed.
        let ends = ends.into_iter().filter_map(|(end, by)| Some((end?, by)));
        let (ends, by) = ends.min_by_key(|(end, _)| *end).unwrap_or((certificate.not_after(), EndOfUse::Certificate));
        Ok(Self { begins, ends, by })
    }

    /// Whether tokens may be made.
    #[inline]
    pub fn holds(&self, now: UnixTime) -> bool {
        self.begins <= now && now < self.ends
    }

    /// Whether it has ended, though the certificate has not.
    pub fn is_over(&self, now: UnixTime) -> bool {
        self.by != EndOfUse::Certificate && self.ends <= now
    }

    /// What is to be said of it if it ends soon, though the certificate does not; it completes "the use of its key …".
    pub fn doubt(&self, now: UnixTime) -> Option<String> {
        let Self { ends, by, .. } = self;
        (*by != EndOfUse::Certificate && ends.since(now) < EXPIRES_SOON).then(|| {
            format!(
                "ends soon, at {ends}, by {by}: no token is made after that; have a certificate issued for a new key"
            )
        })
    }
}

/// Why a key and certificate cannot time-stamp. The texts complete "certificate …".
#[derive(Debug)]
pub enum TsaSignerError {
    /// A fault that any signer can have.
    Signer(SignerError),
    /// Its extendedKeyUsage is not critical, or not timeStamping alone.
    Usage(String),
    /// Its keyUsage is not the one for signing tokens, or allows more.
    KeyUsage(String),
    /// Clients find no path from it to a root.
    Path(String),
    /// Its PrivateKeyUsagePeriod cannot be understood.
    Period(String),
    /// The key may not make tokens now.
    OutOfUse(UseOfKey),
    /// It ends too soon.
    EndsSoon {
        /// When the key may be used.
        use_of_key: UseOfKey,
        /// How much validity the configuration requires.
        wanted: Duration,
    },
}

impl fmt::Display for TsaSignerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signer(error) => error.fmt(f),
            Self::Usage(has) => write!(
                f,
                "{has}, and clients refuse its tokens (RFC 3161 section 2.3); have the CA issue it with `extendedKeyUsage = critical, timeStamping`"
            ),
            Self::KeyUsage(has) => write!(
                f,
                "{has}, and clients such as openssl refuse its tokens; have the CA issue it with `keyUsage = critical, digitalSignature`"
            ),
            Self::Path(problem) => write!(f, "{problem}. Clients refuse every token that comes with this file"),
            Self::Period(has) => write!(
                f,
                "{has}, so that nobody knows for how long its key may make tokens; have the CA issue it with times of the form YYYYMMDDHHMMSSZ, or without the extension"
            ),
            Self::OutOfUse(UseOfKey { begins, ends, by }) => write!(
                f,
                "is of a key that may make tokens from {begins} to {ends} by {by}, not now; have a certificate issued for a new key, or check this machine's clock"
            ),
            Self::EndsSoon { use_of_key: UseOfKey { ends, by, .. }, wanted } => {
                // As the configuration writes it, in the largest unit that fits.
                let seconds = wanted.as_secs();
                let fits = |(unit, _): &(u64, &str)| seconds >= *unit && seconds.is_multiple_of(*unit);
                let (unit, name) = [(86_400, "d"), (3600, "h"), (60, "m")].into_iter().find(fits).unwrap_or((1, "s"));
                let what = match by {
                    EndOfUse::Certificate => format!("expires at {ends}"),
                    by => format!("is of a key whose use ends at {ends} by {by}"),
                };
                write!(
                    f,
                    "{what}, in less than the {}{name} that `validity_left` asks for; renew it, or lower `validity_left`",
                    seconds / unit
                )
            }
        }
    }
}

impl std::error::Error for TsaSignerError {}

impl TsaSigner {
    /// A signer with this certificate and the others in its file. `name` is for warnings. The certificate has to be
    /// valid `now` and for at least `validity_left` more.
    pub fn new(
        name: &str,
        (certificate, chain): (&Certificate, &[Certificate]),
        public_key_octets: &[u8],
        signing: Arc<dyn Signing>,
        now: UnixTime,
        validity_left: Duration,
        key_usage_end: Option<UnixTime>,
    ) -> Result<Self, TsaSignerError> {
        if certificate.public_key_octets() != public_key_octets {
            return Err(TsaSignerError::Signer(SignerError::KeyMismatch));
        }
        for doubt in Self::check((certificate, chain), now, validity_left, key_usage_end)? {
            warn!(signer = name, "the time-stamping certificate {doubt}");
        }
        let packing = Packing::of(signing.algorithm(), public_key_octets);
        let packing = packing.ok_or(TsaSignerError::Signer(SignerError::Identity(IdentityError::KeyUnreadable)))?;
        try_out(&*signing, certificate, packing).map_err(TsaSignerError::Signer)?;
        let use_of_key = UseOfKey::of(certificate, key_usage_end).map_err(TsaSignerError::Period)?;
        let (certificate, chain) = (certificate.clone(), chain.to_vec());
        Ok(Self { signing, certificate, chain, use_of_key, key_names: Vec::new() })
    }

    /// Whether a certificate, with the others in its file, may time-stamp, whoever has its key. Gives what some clients may
    /// object to, for the operator; the texts complete "the certificate …".
    pub fn check(
        (certificate, chain): (&Certificate, &[Certificate]),
        now: UnixTime,
        validity_left: Duration,
        key_usage_end: Option<UnixTime>,
    ) -> Result<Vec<String>, TsaSignerError> {
        certificate.check_time_stamping_only().map_err(TsaSignerError::Usage)?;
        let key_usage = certificate.check_time_stamping_key_usage().map_err(TsaSignerError::KeyUsage)?;
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        if now < not_before || not_after <= now {
            return Err(TsaSignerError::Signer(SignerError::Identity(IdentityError::NotValid {
                not_before,
                not_after,
            })));
        }
        let use_of_key = UseOfKey::of(certificate, key_usage_end).map_err(TsaSignerError::Period)?;
        if !use_of_key.holds(now) {
            return Err(TsaSignerError::OutOfUse(use_of_key));
        }
        if use_of_key.ends.since(now) < validity_left {
            return Err(TsaSignerError::EndsSoon { use_of_key, wanted: validity_left });
        }
        let path = CertificatePath::of(certificate, chain, TIME_STAMPING, now);
        if let Some(problem) = path.error {
            return Err(TsaSignerError::Path(problem));
        }
        let mut doubts = path.doubts;
        let minded = match key_usage {
            TimeStampingKeyUsage::Signs => None,
            TimeStampingKeyUsage::VouchesAlone => {
                Some("of nonRepudiation alone, and some clients, Java among them, want digitalSignature")
            }
            TimeStampingKeyUsage::Unreadable => Some("that is unreadable, and clients may refuse it"),
        };
        doubts.extend(minded.map(|minded| {
            format!("has a keyUsage {minded}; have the CA issue it with `keyUsage = critical, digitalSignature`")
        }));
        if not_after.since(now) < EXPIRES_SOON {
            doubts.push(format!("expires soon, at {not_after}; renew it, no token can be issued after its end"));
        }
        doubts.extend(use_of_key.doubt(now).map(|doubt| format!("is of a key whose use {doubt}")));
        Ok(doubts)
    }

    /// The same signer, with the name of its key at each holder, for people.
    pub fn with_key_names(self, key_names: Vec<String>) -> Self {
        Self { key_names, ..self }
    }

    /// The name of its key at each holder; empty if unknown.
    pub fn key_names(&self) -> &[String] {
        &self.key_names
    }

    /// The key.
    pub fn signing(&self) -> &Arc<dyn Signing> {
        &self.signing
    }

    /// The algorithm it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.signing.algorithm()
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificates after its own in the file, usually the path to a root.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// When its certificate ends.
    pub fn not_after(&self) -> UnixTime {
        self.certificate.not_after()
    }

    /// When its key may make tokens.
    pub fn use_of_key(&self) -> &UseOfKey {
        &self.use_of_key
    }

    /// Its certificate, followed by the chain.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.certificate).chain(&self.chain)
    }

    /// Whether it may make tokens: its certificate is valid, and its key in use.
    #[inline]
    pub fn is_valid(&self, now: UnixTime) -> bool {
        self.use_of_key.holds(now)
    }
}

#[cfg(test)]
mod tests;
