//! The page of the journal: reads its file, has it verified, and shows what this reader may read of it.
//!
//! Invariant: one page at a time is made of it, apart from the thread that answers. It does not know what verifies.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    forms::Form,
    handlers::{It, not_found},
    journal::{Selected, select},
    page::Place,
    pages::{AuditPage, Filter},
    view::Refused,
    visit::{html, trouble},
};
use crate::{
    audit::{Key, Report, verify_content},
    journal::{Identity, Options},
    limits::console::{JOURNAL_LINES, JOURNAL_OCTETS_MAX, SIGN_IN_WITHIN},
    pki::open_regular,
};

/// Where the journal is, and the public key of its heads.
#[derive(Clone, Debug)]
pub struct JournalFile {
    /// The file that lines are appended to.
    pub path: PathBuf,
    /// The server's.
    pub key: Key,
}

impl JournalFile {
    /// That of a server.
    pub fn of(options: &Options, identity: &Identity) -> Self {
        Self { path: options.path.clone(), key: identity.key.public() }
    }
}

pub(super) async fn show(State(console): It, request: Request) -> Result<Response, Response> {
    let visit = console.visit(&request)?;
    if !visit.reader.places.contains(&Place::Audit) {
        return Ok(not_found(&visit));
    }
    let form = Form::of_query(request.uri().query());
    let filter = Filter { what: form.text("type"), tenant: form.text("tenant"), serial: form.text("serial") };
    let before = form.text("before").parse().ok();
    let none = AuditPage { filter: &filter, verified: None, lines: &[], older: None, trouble: None };
    let Some(file) = console.parts.journal.clone() else {
        let told = "No journal is kept: add a section [journal] to the configuration, and restart.";
        return Ok(html(StatusCode::OK, AuditPage { trouble: Some(told), ..none }.page(&visit.reader)));
    };
    let Ok(Ok(place)) = timeout(SIGN_IN_WITHIN, Arc::clone(&console.journal_reads).acquire_owned()).await else {
        let refused = Refused::of(StatusCode::SERVICE_UNAVAILABLE, "The journal is being read for others. Try again.");
        return Ok(trouble(Some(&visit.reader), &refused, (Place::Audit.path(), "Try again")));
    };
    let (principal, wanted) = (Arc::clone(&visit.whose.caller.principal), filter.clone());
    let read = spawn_blocking(move || {
        let _place = place;
        let content = read(&file.path)?;
        let report = content.is_whole.then(|| verify_content(&file.path, &content.octets, Some(file.key)));
        let selected = select(&content.octets, &principal, &wanted, before, JOURNAL_LINES);
        Ok::<_, io::Error>((report, selected, file.path))
    });
    let read = read.await.unwrap_or_else(|error| Err(io::Error::other(error.to_string())));
    let page = match read {
        Ok((report, Selected { lines, older }, path)) => {
            let (in_order, words) = verified(report.as_ref(), &path);
            let older = older.map(|before| query(&filter, before));
            let page = AuditPage { verified: Some((in_order, &words)), lines: &lines, older: older.as_deref(), ..none };
            page.page(&visit.reader)
        }
        Err(error) => {
            let told = format!("The journal cannot be read: {error}");
            AuditPage { trouble: Some(&told), ..none }.page(&visit.reader)
        }
    };
    Ok(html(StatusCode::OK, page))
}

/// The end of a file.
struct Content {
    octets: Vec<u8>,
    /// Whether it is all of it.
    is_whole: bool,
}

/// Whole lines alone: the last one may be being written.
fn read(path: &Path) -> io::Result<Content> {
    let mut file: File = open_regular(path)?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(JOURNAL_OCTETS_MAX);
    file.seek(SeekFrom::Start(skipped))?;
    let mut octets = Vec::new();
    file.take(JOURNAL_OCTETS_MAX).read_to_end(&mut octets)?;
    octets.truncate(octets.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1));
    if skipped > 0 {
        let first = octets.iter().position(|octet| *octet == b'\n').map_or(octets.len(), |end| end + 1);
        octets.drain(..first);
    }
    Ok(Content { octets, is_whole: skipped == 0 })
}

/// Whether the file is as it was written, in words.
fn verified(report: Option<&Report>, path: &Path) -> (bool, String) {
    let whole =
        format!("The command ostia-precompute audit verify verifies {} with the files before it.", path.display());
    match report {
        None => (true, format!("The file is longer than what is verified for a page, and was not. {whole}")),
        Some(report) if report.is_in_order() => {
            let last = report.last_head.as_deref().unwrap_or("none");
            let Report { lines, heads, behind_head, .. } = report;
            let told = format!(
                "{lines} lines of the present file fit each other and the key of this server: {heads} signatures, the last of {last}; {behind_head} lines behind it are not vouched for yet. {whole}"
            );
            (true, told)
        }
        Some(report) => {
            let first = report.faults.first().map(ToString::to_string).unwrap_or_default();
            (false, format!("{} faults in the present file. The first: {first}. {whole}", report.faults_all))
        }
    }
}

/// The query of older lines.
fn query(filter: &Filter, before: u64) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("before", &before.to_string());
    for (name, value) in [("type", &filter.what), ("tenant", &filter.tenant), ("serial", &filter.serial)] {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_being_written_is_left_for_the_next_page() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\ntwo\nthr").unwrap();
        let content = read(file.path()).unwrap();
        assert!(content.is_whole && content.octets == b"one\ntwo\n");
        std::fs::write(file.path(), "").unwrap();
        assert!(read(file.path()).unwrap().octets.is_empty());
        assert!(read(&file.path().join("no such file")).is_err());
    }

    #[test]
    fn the_link_to_older_lines_keeps_the_filter() {
        let filter = Filter { tenant: "a&b<c".into(), ..Filter::default() };
        assert_eq!(query(&filter, 7), "before=7&tenant=a%26b%3Cc");
    }
}
