//! A line of the `openssl ca` database (index.txt).
//!
//! Invariant: pure; every line is a record or an error that says what is wrong with it. Six tab-separated fields:
//! status, expiry, revocation time and reason, serial in hex, file, subject (see openssl-ca(1) and apps/lib/apps.c).

use crate::ocsp::judge::{Expectation, Reason};
use crate::time::{UnixSeconds, generalized, utc};

/// What matters of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) serial: &'a str,
    pub(super) expectation: Expectation,
}

pub(super) fn parse(line: &str, now: UnixSeconds) -> Result<Record<'_>, String> {
    let mut fields = line.split('\t');
    let mut field = |name: &str| fields.next().ok_or_else(|| format!("no {name}; six tab-separated fields are needed"));
    let status = field("status")?;
    let expiry = field("expiry")?;
    let revocation = field("revocation")?;
    let serial = field("serial")?;
    let expires = time(expiry).ok_or_else(|| format!("expiry {expiry:?} is not YYMMDDHHMMSSZ"))?;
    let expectation = match status {
        "V" if expires < now => Expectation::Expired,
        "V" => Expectation::Good,
        "E" => Expectation::Expired,
        "R" => {
            let (at, reason) = revocation.split_once(',').unwrap_or((revocation, ""));
            let at = time(at).ok_or_else(|| format!("revocation time {at:?} is not YYMMDDHHMMSSZ"))?;
            Expectation::Revoked { at, reason: reason_of(reason) }
        }
        other => return Err(format!("status {other:?} is not V, R or E")),
    };
    Ok(Record { serial, expectation })
}

fn time(text: &str) -> Option<UnixSeconds> {
    match text.len() {
        13 => utc(text.as_bytes()).ok(),
        15 => generalized(text.as_bytes()).ok(),
        _ => None,
    }
}

/// Reasons by openssl's names. `keyTime` and `CAkeyTime` carry the time of compromise after another comma, and
/// `holdInstruction` an OID.
fn reason_of(text: &str) -> Reason {
    const NAMES: [(&str, u8); 14] = [
        ("", 0),
        ("unspecified", 0),
        ("keyCompromise", 1),
        ("keyTime", 1),
        ("CACompromise", 2),
        ("CAkeyTime", 2),
        ("affiliationChanged", 3),
        ("superseded", 4),
        ("cessationOfOperation", 5),
        ("certificateHold", 6),
        ("holdInstruction", 6),
        ("removeFromCRL", 8),
        ("privilegeWithdrawn", 9),
        ("AACompromise", 10),
    ];
    let name = text.split(',').next().unwrap_or("");
    NAMES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or(Reason::Unfixed, |(_, code)| Reason::Code(*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_reason_that_openssl_writes() {
        for (text, reason) in [
            ("240102030405Z", Reason::Code(0)),
            ("240102030405Z,unspecified", Reason::Code(0)),
            ("240102030405Z,superseded", Reason::Code(4)),
            ("240102030405Z,keyTime,20240101000000Z", Reason::Code(1)),
            ("240102030405Z,holdInstruction,1.2.840.10040.2.3", Reason::Code(6)),
            ("20240102030405Z,CACompromise", Reason::Code(2)),
            ("240102030405Z,somethingElse", Reason::Unfixed),
        ] {
            let line = format!("R\t350101000000Z\t{text}\t0A\tunknown\t/CN=x");
            let expectation = Expectation::Revoked { at: 1_704_164_645, reason };
            assert_eq!(parse(&line, 0), Ok(Record { serial: "0A", expectation }), "{text}");
        }
    }

    #[test]
    fn refuses_lines_that_are_no_record() {
        for line in ["", "V", "V\t350101000000Z", "Q\t350101000000Z\t\t01", "V\tnever\t\t01", "R\t350101000000Z\t\t01"]
        {
            assert!(parse(line, 0).is_err(), "{line:?}");
        }
    }
}
