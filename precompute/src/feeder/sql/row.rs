//! What a row says. Pure.
//!
//! Invariant: a row that says anything against a certificate lists nobody as *good*; one that does not say of whom it speaks
//! lists nobody, and is counted. It does not know where the row is from.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::query::Query;
use crate::{
    pki::{
        Reason, Record, Serial, Status, UnixTime, hex,
        written::{self, Radix},
    },
    source::{Listed, REVOCATION_TIME_MAX, listed_by},
};

/// How a column has instants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in crate::feeder) enum Unit {
    /// Numbers, since 1970.
    Seconds,
    /// The same in milliseconds.
    Milliseconds,
    /// Dates with a time of day, in UTC.
    Timestamp,
}

impl Unit {
    /// The least between two instants that differ, in milliseconds: fractions of a second in dates are not read.
    pub(super) fn step(self) -> i64 {
        match self {
            Self::Milliseconds => 1,
            Self::Seconds | Self::Timestamp => 1000,
        }
    }
}

/// What kind of value a serial number is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Text,
    Number,
    /// In hexadecimal here.
    Bytes,
}

/// The values of a row that matter; `None` for NULL, and for columns that there are not.
#[derive(Default, Debug)]
pub(super) struct Row<'r> {
    pub(super) serial: Option<(Cow<'r, str>, Kind)>,
    pub(super) status: Option<Cow<'r, str>>,
    pub(super) revoked_at: Option<Cow<'r, str>>,
    pub(super) reason: Option<Cow<'r, str>>,
    pub(super) not_after: Option<Cow<'r, str>>,
    pub(super) certificate_sha256: Option<Cow<'r, str>>,
    pub(super) changed_at: Option<Cow<'r, str>>,
}

impl Row<'_> {
    /// When it last changed, in milliseconds since 1970.
    pub(super) fn changed_at(&self) -> Option<(i64, Unit)> {
        moment(self.changed_at.as_deref()?)
    }

    /// The hash of the certificate, if there is one.
    pub(super) fn sha256(&self) -> Option<[u8; 32]> {
        let text = self.certificate_sha256.as_deref()?.trim();
        hex::array(&text.strip_prefix("\\x").unwrap_or(text).replace(':', ""))
    }

    /// What it lists, if anything. `odd`: what was taken differently from how it stands there.
    pub(super) fn listed(&self, query: &Query, odd: &mut Option<String>) -> Option<Listed> {
        let (serial, kind) = self.serial.as_ref()?;
        let radix = match (kind, query) {
            (_, Query::Xipki) | (Kind::Bytes, _) => Radix::Hexadecimal,
            (Kind::Number, _) | (Kind::Text, Query::Ejbca) => Radix::Decimal,
            (Kind::Text, Query::Own { serials, .. }) => *serials,
        };
        match query {
            Query::Ejbca | Query::Xipki => {
                let serial = written::serial(serial, radix).map_err(|what| {
                    odd.get_or_insert(format!("has as serial number {what}; its certificate is not listed"));
                });
                let serial = serial.ok()?;
                let (status, not_after) = match query {
                    Query::Xipki => (self.of_xipki(serial, odd), self.not_after.as_deref().and_then(in_seconds)),
                    _ => (
                        self.of_ejbca(serial, odd),
                        self.not_after.as_deref().and_then(moment).map(|(moment, _)| seconds(moment)),
                    ),
                };
                Some(Listed { serial, record: Record { status, not_after } })
            }
            Query::Own { .. } => {
                let instant = |text: &Option<Cow<'_, str>>| -> String {
                    let text = text.as_deref().unwrap_or_default();
                    match moment(text) {
                        Some((moment, _)) => seconds(moment).0.to_string(),
                        // As databases write that there is none.
                        None if matches!(text.trim(), "0" | "-1") => String::new(),
                        None => text.to_owned(),
                    }
                };
                let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().trim().to_owned();
                let said = [
                    serial.trim_start_matches("\\x").to_owned(),
                    text(&self.status),
                    instant(&self.revoked_at),
                    text(&self.reason),
                    instant(&self.not_after),
                ];
                listed_by(said.each_ref().map(String::as_str), radix, odd)
            }
        }
    }

    /// The flag of xipki: 0 is not revoked, 1 is. Releasing a hold clears reason and time.
    fn of_xipki(&self, serial: Serial, odd: &mut Option<String>) -> Status {
        let flag = self.status.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
        let code = self.reason.as_deref().and_then(|text| text.trim().parse::<u8>().ok());
        let reason = match (&*flag, code) {
            ("0" | "f" | "false", _) => return Status::Good,
            ("1" | "t" | "true", code) => code.and_then(Reason::from_code).unwrap_or(Reason::Unspecified),
            _ => {
                odd.get_or_insert_with(|| {
                    format!("of serial {serial} has the flag `{}` in REV: taken as on hold", flag.escape_debug())
                });
                Reason::CertificateHold
            }
        };
        let time = self.revoked_at.as_deref().and_then(in_seconds).unwrap_or(UnixTime(0));
        Status::Revoked { time: time.min(REVOCATION_TIME_MAX), reason }
    }

    /// The states of EJBCA's `CertificateConstants`: 40 is revoked; an archived one (60) is revoked if it has a reason; in
    /// the others it is not. A reason of 8 says that a hold was released.
    fn of_ejbca(&self, serial: Serial, odd: &mut Option<String>) -> Status {
        let number = |text: &Option<Cow<'_, str>>| text.as_deref().and_then(|text| text.trim().parse::<i64>().ok());
        let (status, code) = (number(&self.status), number(&self.reason).filter(|code| !matches!(code, -1 | 8)));
        let reason = code.and_then(|code| u8::try_from(code).ok()).and_then(Reason::from_code);
        let reason = match (status, code) {
            (Some(0 | 10 | 11 | 20 | 21 | 50), None) | (Some(60), None) => return Status::Good,
            (Some(30 | 40 | 60), _) => reason.unwrap_or(Reason::Unspecified),
            // Both, or something that is not known: until somebody says what it means.
            _ => {
                odd.get_or_insert_with(|| {
                    format!("of serial {serial} has the status {status:?} and the reason {code:?}: taken as on hold")
                });
                Reason::CertificateHold
            }
        };
        let time = self.revoked_at.as_deref().and_then(moment).map_or(UnixTime(0), |(moment, _)| seconds(moment));
        Status::Revoked { time: time.min(REVOCATION_TIME_MAX), reason }
    }
}

/// A column that has seconds since 1970, whatever their size: 9999 is no instant in milliseconds.
fn in_seconds(text: &str) -> Option<UnixTime> {
    text.trim().parse::<u64>().ok().map(|seconds| UnixTime(seconds).min(UnixTime::MAX))
}

fn seconds(milliseconds: i64) -> UnixTime {
    UnixTime(u64::try_from(milliseconds / 1000).unwrap_or_default()).min(UnixTime::MAX)
}

/// An instant after 1970 in milliseconds since then, from a number or a date with a time of day.
pub(super) fn moment(text: &str) -> Option<(i64, Unit)> {
    /// Of seconds: the year 5138. Of milliseconds: 1973.
    const SECONDS_MAX: i64 = 100_000_000_000;
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return match number {
            ..=0 => None,
            1..SECONDS_MAX => Some((number * 1000, Unit::Seconds)),
            _ => Some((number, Unit::Milliseconds)),
        };
    }
    let zone = text.get(19..).and_then(|rest| rest.find(['+', '-', 'Z'])).map(|at| text[19 + at..].len());
    let whole = match (text.len(), zone) {
        (10, _) => format!("{text}T00:00:00Z"),
        (_, None) => format!("{text}Z"),
        // PostgreSQL writes the hours of an offset alone.
        (_, Some(3)) => format!("{text}:00"),
        _ => text.to_owned(),
    };
    let time = written::time(&whole).ok()?;
    Some((i64::try_from(time.0).ok()? * 1000, Unit::Timestamp))
}
