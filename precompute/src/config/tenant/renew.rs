//! How a signer gets its next certificate: `renew = { … }` of a signer. Nothing is run, and no file is opened here.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::{
    super::{Place, Section},
    DAY,
};
use crate::limits::renew as limits;

/// How a signer gets its next certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RenewConfig {
    /// Its place in the file.
    pub place: Place,
    /// Who is asked for it.
    pub by: RenewBy,
    /// How long before the present one ends.
    pub before: Duration,
}

/// Who is asked for the next certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RenewBy {
    /// A command: its program and its arguments, and how long it may take.
    Command(PathBuf, Vec<OsString>, Duration),
    /// Somebody who finds the request in this file, and replaces the certificate's file.
    Request(PathBuf),
    /// Somebody who replaces the certificate's file without being asked.
    Nobody,
}

/// Reads it. `has_key`: whether a request can be signed here; `has_certificate`: whether there is a file to watch.
pub(super) fn read(section: &mut Section<'_>, has_key: bool, has_certificate: bool) -> Option<RenewConfig> {
    if section.has("renew") && !has_certificate {
        section.problem("renew", "renews the certificate in the signer's file, and the CA's own key has none here; have the CA issue a certificate for a delegate, and name it as `certificate`");
    }
    section.section("renew", |section| {
        let before = section.duration("before", limits::BEFORE_RANGE).unwrap_or(14 * DAY);
        let by = read_by(section);
        if !has_key && by != RenewBy::Nobody {
            let key = if section.has("command") { "command" } else { "request" };
            section.problem(key, "needs the signer's key, which signs the request, and it is not here; leave it out: the certificate's file is watched, and whoever has the key renews it");
        }
        Some(RenewConfig { place: section.place(), by, before })
    })
}

fn read_by(section: &mut Section<'_>) -> RenewBy {
    let deadline = section.duration("deadline", limits::DEADLINE_RANGE);
    if section.has("deadline") && !section.has("command") {
        section.problem("deadline", "is for a `command`; remove it");
    }
    if !section.has("command") {
        return section.path("request").map_or(RenewBy::Nobody, RenewBy::Request);
    }
    if section.has("request") {
        section.problem("request", "stands beside `command`, which gets the request on its standard input; remove one");
        // So that it is not an unknown key as well.
        let _ = section.path("request");
    }
    let words = section.strings("command").unwrap_or_default();
    match &words[..] {
        [program, arguments @ ..] if !program.is_empty() => {
            let arguments = arguments.iter().map(OsString::from).collect();
            RenewBy::Command(section.resolve(program), arguments, deadline.unwrap_or(limits::DEADLINE))
        }
        _ => {
            section.problem("command", "names no program; write a list: `command = [\"/usr/local/bin/get-cert\"]`");
            RenewBy::Nobody
        }
    }
}
