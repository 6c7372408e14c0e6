//! What pages show, as plain values.
//!
//! Purpose: between those who know something and the pages that are made of it. What comes from the API is read here as any
//! client reads it: members that are not known are passed over. It does not know how a page looks.

use serde::Deserialize;

use crate::pki::UnixTime;

/// An issuer by its names.
#[derive(Clone, PartialEq, Eq, Deserialize, Debug)]
pub(super) struct IssuerName {
    /// 64 hexadecimal digits.
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) name: String,
}

/// An issuer of the list of all.
#[derive(Clone, Deserialize, Debug)]
pub(super) struct ListedIssuer {
    #[serde(flatten)]
    pub(super) name: IssuerName,
    /// Its CA certificate in base64.
    pub(super) certificate: Option<String>,
}

/// `GET /v1/issuers`.
#[derive(Clone, Deserialize, Debug)]
pub(super) struct ListedIssuers {
    pub(super) issuers: Vec<ListedIssuer>,
}

/// What is known of a certificate.
#[derive(Clone, PartialEq, Deserialize, Debug)]
pub(super) struct Record {
    pub(super) issuer: IssuerName,
    pub(super) serial: String,
    /// `good` or `revoked`.
    pub(super) status: String,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) revoked_since: Option<String>,
    /// Since when the CA is revoked, and all its certificates with it; then its own status stands beside.
    #[serde(default)]
    pub(super) ca_revoked_since: Option<String>,
    #[serde(default)]
    pub(super) own_status: Option<String>,
    #[serde(default)]
    pub(super) own_reason: Option<String>,
    #[serde(default)]
    pub(super) own_revoked_since: Option<String>,
    #[serde(default)]
    pub(super) not_after: Option<String>,
    /// Who says so.
    pub(super) origin: String,
    /// What a client is told now, and why, where that is something else.
    #[serde(default)]
    pub(super) answered: Option<String>,
    #[serde(default)]
    pub(super) answered_why: Option<String>,
    /// The answers about it that are kept.
    #[serde(default)]
    pub(super) answers: Option<Vec<KeptAnswer>>,
}

/// A kept answer.
#[derive(Clone, PartialEq, Eq, Deserialize, Debug)]
pub(super) struct KeptAnswer {
    /// Of the CertIDs that get it.
    pub(super) hashes: Vec<String>,
    /// The serial number of the signer's certificate.
    pub(super) signer_serial: Option<String>,
    /// `good`, `revoked` or `unknown`.
    pub(super) status: Option<String>,
    pub(super) this_update: String,
    pub(super) next_update: String,
    /// Whether it is given to clients now.
    pub(super) is_served: bool,
}

/// `certificateHold`, as RFC 5280 names it.
pub(super) const HOLD: &str = "certificateHold";

impl Record {
    /// Its own status, whatever becomes of its CA: the word, the reason, and since when.
    pub(super) fn own(&self) -> (&str, Option<&str>, Option<&str>) {
        match &self.own_status {
            Some(status) => (status, self.own_reason.as_deref(), self.own_revoked_since.as_deref()),
            None => (&self.status, self.reason.as_deref(), self.revoked_since.as_deref()),
        }
    }

    /// Whether it is on hold.
    pub(super) fn is_held(&self) -> bool {
        self.own().1 == Some(HOLD)
    }

    /// Whether it is revoked for good.
    pub(super) fn is_final(&self) -> bool {
        self.own().0 == "revoked" && !self.is_held()
    }
}

/// `GET /v1/certificates/SERIAL`.
#[derive(Clone, Deserialize, Debug)]
pub(super) struct Records {
    pub(super) certificates: Vec<Record>,
}

/// What is answered for an issuer that does not list a certificate.
#[derive(Clone, PartialEq, Eq, Deserialize, Debug)]
pub(super) struct AnsweredOtherwise {
    pub(super) issuer: IssuerName,
    pub(super) answered: String,
    #[serde(default)]
    pub(super) answered_why: Option<String>,
}

/// What the API refuses.
#[derive(Clone, PartialEq, Eq, Default, Deserialize, Debug)]
pub(super) struct Refused {
    /// Its kind, behind a prefix.
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) detail: String,
    #[serde(default)]
    pub(super) status: u16,
    /// The issuer that was meant.
    #[serde(default)]
    pub(super) issuer: Option<IssuerName>,
    #[serde(default)]
    pub(super) answered: Vec<AnsweredOtherwise>,
}

/// A server of the feed.
#[derive(Clone, PartialEq, Eq, Default, Deserialize, Debug)]
#[serde(default)]
pub(super) struct Server {
    pub(super) id: String,
    pub(super) name: String,
    /// `leads`, `stands_by`, `takes_over` or `replica`.
    pub(super) role: String,
    /// `live`, `silent`, `stopped` or `decommissioned`.
    pub(super) state: String,
    pub(super) version: String,
    /// How long ago it said something.
    pub(super) silent_seconds: u64,
    /// Its place in the feed.
    pub(super) position: Option<String>,
    /// Of a replica: `fresh`, `lagging` or `stale`.
    pub(super) freshness: Option<String>,
    pub(super) complaints: Vec<String>,
}

impl Server {
    /// Whether somebody should look at it.
    pub(super) fn is_wrong(&self) -> bool {
        let is_fresh = self.freshness.as_deref().is_none_or(|freshness| freshness == "fresh");
        self.state != "decommissioned" && (self.state != "live" || !is_fresh || !self.complaints.is_empty())
    }
}

/// `GET /v1/servers`.
#[derive(Clone, PartialEq, Eq, Default, Deserialize, Debug)]
#[serde(default)]
pub(super) struct Servers {
    pub(super) servers: Vec<Server>,
    pub(super) replicas_live: u64,
    pub(super) replicas_wanted: u64,
    /// Why they cannot be read now.
    pub(super) problem: Option<String>,
}

/// What became of a push.
#[derive(Clone, PartialEq, Eq, Deserialize, Debug)]
pub(super) struct Done {
    /// `done`, `unchanged` or `still-held`.
    pub(super) outcome: String,
    pub(super) serial: String,
    pub(super) issuer: IssuerName,
    #[serde(default)]
    pub(super) note: Option<String>,
}

/// How bad something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Level {
    /// Requests are not answered as they should be.
    Bad,
    /// Somebody has to do something.
    Warning,
    /// Worth knowing.
    Note,
}

impl Level {
    /// The class of its colour, and its word.
    pub(super) const fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Bad => ("bad", "Not ready"),
            Self::Warning => ("warn", "Warning"),
            Self::Note => ("note", "Note"),
        }
    }
}

/// Something that operators should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Alarm {
    /// How bad it is.
    pub(super) level: Level,
    /// What it is.
    pub(super) text: String,
}

/// A number at the top of the overview.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) value: String,
    pub(super) unit: String,
}

/// The sources of an issuer.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct SourceRow {
    pub(super) tenant: String,
    pub(super) issuer: String,
    pub(super) good: u64,
    pub(super) revoked: u64,
    /// How long ago they were last in order.
    pub(super) verified: String,
    pub(super) complaints: Vec<String>,
}

/// Days before the end of a certificate from which on somebody should look.
pub(super) const SOON_DAYS: i64 = 14;

/// A signer.
#[derive(Clone, PartialEq, Debug)]
pub struct SignerRow {
    /// Whose it is.
    pub tenant: String,
    /// The issuer or the authority that it signs for.
    pub signs_for: String,
    /// The subject of its certificate.
    pub certificate: String,
    /// When it signs no more.
    pub ends: UnixTime,
    /// What is wrong with it.
    pub fault: Option<String>,
    /// Whether its key is here.
    pub has_key: bool,
}

/// A table, of which only the first rows are shown.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Rows<R> {
    pub(super) shown: Vec<R>,
    pub(super) left_out: usize,
}

impl<R> Rows<R> {
    /// The first of these, with those ahead that have something wrong.
    pub(super) fn of(mut rows: Vec<R>, most: usize, is_wrong: impl Fn(&R) -> bool) -> Self {
        rows.sort_by_key(|row| !is_wrong(row));
        let left_out = rows.len().saturating_sub(most);
        rows.truncate(most);
        Self { shown: rows, left_out }
    }
}

/// How everything fares, as far as a principal may see it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Overview {
    pub(super) program: String,
    pub(super) server: String,
    pub(super) now: UnixTime,
    /// Whether it is ready; `None` for who sees some tenants alone.
    pub(super) ready: Option<bool>,
    pub(super) alarms: Rows<Alarm>,
    pub(super) figures: Vec<Figure>,
    pub(super) sources: Rows<SourceRow>,
    pub(super) signers: Rows<SignerRow>,
}

/// The clock of a time-stamping authority.
#[derive(Clone, PartialEq, Debug)]
pub struct ClockRow {
    /// Whose authority it is.
    pub tenant: String,
    /// The authority's name.
    pub tsa: String,
    /// Why no time-stamps are made now.
    pub problem: Option<String>,
    /// What checks the clock.
    pub source: String,
    /// What it says, such as how far the clock is off; a name and a value each.
    pub facts: Vec<(String, String)>,
    /// How many requests had which outcome since the start.
    pub outcomes: Vec<(String, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_something_wrong_are_not_left_out() {
        let rows = Rows::of((0..100).collect(), 3, |row| row % 40 == 39);
        assert_eq!(rows, Rows { shown: vec![39, 79, 0], left_out: 97 });
    }

    #[test]
    fn a_record_of_the_api_is_read_and_so_is_that_of_a_revoked_ca() {
        let issuer = r#""issuer":{"id":"00","tenant":"t","name":"CA"},"serial":"0A","origin":"a push","new":[1]"#;
        let record = |rest: &str| serde_json::from_str::<Record>(&format!("{{{issuer},{rest}}}")).unwrap();
        let good = record(r#""status":"good","not_after":null,"answered":"good","answered_why":null"#);
        assert!(!good.is_held() && !good.is_final() && good.own() == ("good", None, None));
        let held = record(r#""status":"revoked","reason":"certificateHold","revoked_since":"2026-01-01T00:00:00Z""#);
        assert!(held.is_held() && !held.is_final());
        let with_its_ca =
            record(r#""status":"revoked","reason":"cACompromise","ca_revoked_since":"2026","own_status":"good""#);
        assert!(!with_its_ca.is_final() && with_its_ca.own().0 == "good");
        assert!(record(r#""status":"revoked","reason":"keyCompromise""#).is_final());
    }
}
