//! The record of OCSP transactions, on request: a line of JSON for every certificate that somebody asked for.
//!
//! Purpose: to prove later who was told what about which certificate, and when. Invariant: as for the record of time-stamps,
//! a serving thread never waits for it and allocates nothing for it; what finds no room is counted. It is a [`journal`] of
//! its own, since it has a thousand times the lines of the journal of the service. It does not know how answers are
//! decided, or HTTP.
//!
//! The members of its lines behind those of the journal (the time is UTC; what is not known is null):
//!
//! ```text
//! "type":"ocsp","time":"2026-11-30T20:10:31.123456Z","tenant":"a","issuer":"Issuing CA 1","serial":"4F…","status":"revoked","result":"hit","client":"192.0.2.7","latency_us":12
//! ```
//!
//! `time` is that of the response, `latency_us` the microseconds from the request's header section to it. `status` is
//! what the response says: `good`, `revoked`, `unknown`; null for an error, which `result` names. A request about several
//! certificates has a line for each, in its order.

use std::{
    fmt::Write as _,
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use precompute::{
    journal::{
        self, Entry, Identity, Journal, Kind, Options,
        members::{Nullable, Text, Time},
    },
    ocsp::CertStatus,
    pki::{FileError, Serial},
};

use crate::{site::Issuer, upstream::forwarded::Forwarded};

/// What kind of journal it is.
pub const KIND: Kind = Kind { name: "ocsp", title: "the record of OCSP transactions" };

/// What somebody was told about a certificate.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// When the response was written, Unix time in nanoseconds.
    pub unix_nanos: u64,
    /// The client's address, behind trusted proxies.
    pub client: IpAddr,
    /// The tenant.
    pub tenant: Arc<str>,
    /// The certificate, as far as it is known.
    pub asked: Asked,
    /// The label of the outcome, as metrics have it.
    pub result: &'static str,
    /// From the header section of the request to the response.
    pub took: Duration,
}

/// An issuer of the tenant.
#[derive(Clone, Debug)]
pub enum Named {
    /// One that is answered for here.
    Here(Arc<Issuer>),
    /// One that another responder answers for.
    Elsewhere(Arc<Forwarded>),
}

impl Named {
    fn name(&self) -> &str {
        match self {
            Self::Here(issuer) => &issuer.name,
            Self::Elsewhere(issuer) => issuer.name(),
        }
    }
}

/// A certificate in a request, and what the response says of it.
#[derive(Clone, Default, Debug)]
pub struct Asked {
    /// Its issuer, if that is one of the tenant's.
    pub issuer: Option<Named>,
    /// Its serial number, if certificates can have it.
    pub serial: Option<Serial>,
    /// The status, unless the response is an error.
    pub status: Option<CertStatus>,
}

impl Entry for Transaction {
    fn push(&self, members: &mut String) {
        let Asked { issuer, serial, status } = &self.asked;
        let issuer = issuer.as_ref().map(Named::name);
        push(members, self, (issuer, *serial, *status));
    }
}

fn push(members: &mut String, told: &Transaction, asked: (Option<&str>, Option<Serial>, Option<CertStatus>)) {
    let Transaction { unix_nanos, client, tenant, result, took, .. } = told;
    let (issuer, serial, status) = asked;
    let issuer = Nullable(issuer.map(Text));
    let status = Nullable(status.map(|status| Text(word(status))));
    let time = Time(unix_nanos - unix_nanos % 1000);
    // Writing to a String never fails.
    let _ = write!(members, r#""type":"ocsp","time":"{time}","tenant":{},"issuer":{issuer},"serial":"#, Text(tenant));
    let _ = match &serial {
        Some(serial) => write!(members, r#""{serial}""#),
        None => write!(members, "null"),
    };
    let microseconds = took.as_micros();
    let _ =
        write!(members, r#","status":{status},"result":"{result}","client":"{client}","latency_us":{microseconds}"#);
}

/// As responses have it.
fn word(status: CertStatus) -> &'static str {
    match status {
        CertStatus::Good => "good",
        CertStatus::Revoked { .. } => "revoked",
        CertStatus::Unknown => "unknown",
    }
}

/// The present time for [`Transaction::unix_nanos`].
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Records the transactions of one serving thread.
pub type Recorder = journal::Recorder<Transaction>;

/// Why the record could not be written, or a new file begun, if so; the check leaves no trace.
pub fn check(options: &Options, state_dir: &Path) -> Result<(), FileError> {
    journal::check(KIND, options, state_dir)
}

/// Opens the file and starts the thread; returns a [`Recorder`] for each of `workers` serving threads.
pub fn start(identity: &Identity, options: Options, workers: usize) -> Result<(Journal, Vec<Recorder>), FileError> {
    journal::start(identity, KIND, options, workers)
}

#[cfg(test)]
mod tests {
    use precompute::pki::{Reason, UnixTime};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn every_line_is_read_by_another_parser(
            (unix_nanos, client, took) in (any::<u64>(), any::<IpAddr>(), any::<u32>()),
            (tenant, issuer) in (any::<String>(), any::<Option<String>>()),
            serial in any::<Option<[u8; 20]>>(),
            place in 0usize..4,
        ) {
            let revoked = CertStatus::Revoked { time: UnixTime(1), reason: Reason::KeyCompromise };
            let statuses = [None, Some(CertStatus::Good), Some(revoked), Some(CertStatus::Unknown)];
            let serial = serial.and_then(|octets| Serial::from_magnitude(&octets));
            let took = Duration::from_micros(took.into());
            let told = Transaction {
                unix_nanos, client, tenant: tenant.as_str().into(), asked: Asked::default(), result: "hit", took,
            };
            let mut line = String::new();
            push(&mut line, &told, (issuer.as_deref(), serial, statuses[place]));
            prop_assert!(!line.contains('\n'));
            let mut read: Value = serde_json::from_str(&format!("{{{line}}}")).unwrap();
            let time = read["time"].take();
            prop_assert_eq!(read, json!({
                "type": "ocsp", "time": null, "tenant": tenant, "issuer": issuer,
                "serial": serial.map(|serial| serial.to_string()),
                "status": statuses[place].map(word),
                "result": "hit", "client": client.to_string(), "latency_us": took.as_micros() as u64,
            }));
            prop_assert!(time.as_str().is_some_and(|text| text.ends_with('Z') && text.len() <= 27));
        }
    }
}
