//! What a database is asked. Pure.
//!
//! Invariant: nothing of a database or a certificate gets into a query but numbers and hexadecimal digits ([`Whose`]); an operator's own
//! query stands in parentheses. Of each row the same columns come, whatever the tables are called. It does not know what
//! the rows mean.

use std::time::Duration;

use aws_lc_rs::digest;

use super::row::Unit;
use crate::pki::{Certificate, hex, written::Radix};

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Query {
    /// The rows that EJBCA has of the issuer in `CertificateData`.
    Ejbca,
    /// The rows that xipki has of it in `CERT`, in its schemas 4 to 8 (xipki 5.3 to 6.5).
    Xipki,
    /// The operator's own.
    Own {
        /// A `SELECT` with the columns that the documentation names.
        text: String,
        /// How its serial numbers are written where they are text.
        serials: Radix,
    },
}

impl Query {
    /// The CAs that the database has, a number and a certificate in each row; `None` where that need not be asked.
    pub(super) fn cas(&self) -> Option<&'static str> {
        matches!(self, Self::Xipki).then_some("SELECT ID AS serial, CERT AS status FROM CA")
    }

    /// All rows.
    pub(super) fn rows(&self, whose: &Whose) -> String {
        self.text(whose, None)
    }

    /// Rows that have changed since, so many at most.
    pub(super) fn changes(&self, whose: &Whose, since: Since, most: u64) -> String {
        format!("{} LIMIT {most}", self.text(whose, Some(since)))
    }

    fn text(&self, whose: &Whose, since: Option<Since>) -> String {
        let Whose(whose) = whose;
        match self {
            Self::Ejbca => {
                let since = since.map(|since| format!(" AND updateTime >= {}", since.milliseconds)).unwrap_or_default();
                format!(
                    "SELECT serialNumber AS serial, status, revocationDate AS revoked_at, revocationReason AS reason, \
                     expireDate AS not_after, updateTime AS changed_at FROM CertificateData \
                     WHERE {whose}{since}"
                )
            }
            Self::Xipki => {
                let since =
                    since.map(|since| format!(" AND LUPDATE >= {}", since.milliseconds / 1000)).unwrap_or_default();
                format!(
                    "SELECT SN AS serial, REV AS status, RT AS revoked_at, RR AS reason, NAFTER AS not_after, \
                     LUPDATE AS changed_at FROM CERT WHERE {whose}{since}"
                )
            }
            Self::Own { text, .. } => {
                let since = since.map(|since| format!(" WHERE changed_at >= {}", since.literal())).unwrap_or_default();
                format!("SELECT * FROM ({}) AS ostia{since}", text.trim().trim_end_matches(';'))
            }
        }
    }

    /// One row if the database knows the issuer at all; `None` where that cannot be asked.
    pub(super) fn knows(&self, issuer: &Certificate) -> Option<String> {
        match self {
            Self::Ejbca => Some(format!(
                "SELECT serialNumber AS serial FROM CertificateData WHERE fingerprint = '{}'",
                fingerprint(issuer)
            )),
            Self::Xipki | Self::Own { .. } => None,
        }
    }
}

/// Which rows are an issuer's, as a condition.
#[derive(Clone, Default, Debug)]
pub(super) struct Whose(String);

impl Whose {
    /// As EJBCA tells CAs apart.
    pub(super) fn ejbca(issuer: &Certificate) -> Self {
        Self(format!("cAFingerprint = '{}'", fingerprint(issuer)))
    }

    /// As xipki numbers them: at least one number.
    pub(super) fn xipki(ids: &[i64]) -> Self {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        Self(format!("CA_ID IN ({})", ids.join(", ")))
    }
}

/// By which EJBCA tells CAs apart: SHA-1 of the certificate, in hexadecimal.
pub(super) fn fingerprint(issuer: &Certificate) -> String {
    hex::text(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, issuer.der()).as_ref()).to_ascii_lowercase()
}

/// An instant of the column `changed_at`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Since {
    /// Since 1970.
    pub(super) milliseconds: i64,
    /// How the column has it.
    pub(super) unit: Unit,
}

impl Since {
    /// So much earlier than the newest row that was seen, and than now: a clock that is ahead must not hide what others
    /// write.
    pub(super) fn before(newest: i64, now: i64, overlap: Duration, unit: Unit) -> Self {
        let overlap = i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX);
        Self { milliseconds: newest.min(now).saturating_sub(overlap).max(0), unit }
    }

    fn literal(&self) -> String {
        match self.unit {
            Unit::Milliseconds => self.milliseconds.to_string(),
            Unit::Seconds => (self.milliseconds / 1000).to_string(),
            Unit::Timestamp => {
                let seconds = u64::try_from(self.milliseconds / 1000).unwrap_or_default();
                let text = crate::pki::UnixTime(seconds).to_string();
                format!("'{}'", text.trim_end_matches('Z').replace('T', " "))
            }
        }
    }
}
