//! What is told of a backup, and of one that is taken back.
//!
//! Invariant: whoever reads it knows of each issuer what the file has and what becomes of it, and what is lost all the
//! same. It does not know files.

use std::fmt;

use super::{
    contents::{Contents, Counts},
    framing::Head,
    merging::Changes,
};
use crate::pki::UnixTime;

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { good, held, revoked, pushed } = self;
        write!(f, "{good} good, {held} on hold and {revoked} revoked, {pushed} of them pushed")
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made, server, host, cluster, program, records: _ } = self;
        let server = server.as_deref().unwrap_or("without an identity");
        write!(f, "made at {} by server {server} on `{host}`, version {program}", UnixTime(*made))?;
        cluster.as_ref().map_or(Ok(()), |cluster| write!(f, ", of the cluster `{cluster}`"))
    }
}

/// In one line.
impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records of {} issuers, {}", self.records, self.issuers.len(), self.head)
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, revoked, held, others, hashes, held_by_pushes: _ } = self;
        if self.is_empty() {
            return f.write_str("nothing changes");
        }
        let added_count = added.good + added.held + added.revoked;
        let parts = [
            (added_count, format!("{added_count} records are new ({added})")),
            (*revoked, format!("{revoked} that were not are revoked")),
            (*held, format!("{held} that were good are on hold")),
            (*others, format!("of {others} only who said it changes")),
            (*hashes, format!("{hashes} hashes of pushed certificates are new")),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect();
        f.write_str(&parts.join("; "))
    }
}
