//! Whether lines follow each other as they were written: pure.
//!
//! Invariant: no line that was changed, removed, inserted or swapped before the last head goes unnoticed. Where a line does not
//! fit the one before, the next one decides which of the two is wrong. It does not know files.

use aws_lc_rs::{
    digest::{self, SHA256},
    signature::{ED25519, ParsedPublicKey},
};

use super::{
    Finding, Key, Place, Report,
    line::{Hash, Kind, Line, Shown},
};
use crate::{limits::audit as limits, pki::hex::Hex};

/// What a signature is over, before the bytes of the line.
const PREFIX: &[u8] = b"Ostia journal head 1\n";

/// Behind a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Point {
    seq: u64,
    link: Hash,
}

impl Point {
    fn next(self, hash: &[u8]) -> Self {
        let mut context = digest::Context::new(&SHA256);
        context.update(&self.link);
        context.update(hash);
        let mut link = [0; 32];
        link.copy_from_slice(context.finish().as_ref());
        Self { seq: self.seq + 1, link }
    }
}

/// A line that does not fit the one before, until the next line tells why.
struct Suspect {
    before: Place,
    place: Place,
    what: Misfit,
}

enum Misfit {
    /// The number fits, the chain does not.
    Chain,
    /// So many numbers are not there.
    Gap { first: u64, last: u64 },
    /// The number was there before.
    Back,
}

pub(super) struct Chain {
    pinned: Option<Key>,
    key: Option<(Key, ParsedPublicKey)>,
    /// The line that tells it.
    key_told: Option<Place>,
    /// Behind the last line; `None` where that cannot be known.
    point: Option<Point>,
    /// Behind the line before one that is wrong, or may be.
    fallback: Option<Point>,
    suspect: Option<Suspect>,
    last: Option<Place>,
    /// Behind the last head.
    head: Option<Point>,
    is_export: bool,
    report: Report,
}

impl Chain {
    pub(super) fn new(pinned: Option<Key>) -> Self {
        Self {
            pinned,
            key: None,
            key_told: None,
            point: None,
            fallback: None,
            suspect: None,
            last: None,
            head: None,
            is_export: false,
            report: Report::default(),
        }
    }

    /// Takes what comes next: a line without its end, or bytes at the end of a file that are none.
    pub(super) fn next(&mut self, place: &Place, text: &[u8], is_whole: bool) {
        if is_whole { self.take(place, text) } else { self.torn(place, text.len()) }
    }

    fn take(&mut self, place: &Place, text: &[u8]) {
        match Line::read(text) {
            Some(Line::Export) if self.report.lines == 0 && !self.is_export => {
                self.is_export = true;
                return;
            }
            Some(Line::Hidden(hash)) if self.is_export => self.hidden(place, &hash),
            Some(Line::Shown(shown)) => self.shown(place, text, &shown),
            _ => self.wrong(place, "is no line of a journal: it was changed or inserted".into()),
        }
        self.report.lines += 1;
        self.report.behind_head += 1;
        self.last = Some(place.clone());
        if self.head.is_some() && self.head == self.point {
            self.report.behind_head = 0;
        }
    }

    fn torn(&mut self, place: &Place, octets: usize) {
        self.note(
            place,
            format!(
                "{octets} bytes at the end are no whole line: a write was cut short, or the end of the file was cut off"
            ),
        );
    }

    fn hidden(&mut self, place: &Place, hash: &Hash) {
        self.settle();
        self.report.hidden += 1;
        match self.point {
            Some(point) => self.point = Some(point.next(hash)),
            None => self.fault(place, "nothing before this hidden line shows where the chain stands".into()),
        }
    }

    fn shown(&mut self, place: &Place, text: &[u8], shown: &Shown<'_>) {
        let Some(kind) = shown.kind(text) else {
            return self.wrong(place, "is a first line or a head that is not as it has to be: it was changed".into());
        };
        let claimed = shown.seq.checked_sub(1).map(|seq| Point { seq, link: shown.prev });
        if self.report.server.is_empty() {
            self.report.server = String::from_utf8_lossy(shown.server).into_owned();
            if shown.seq > 1 {
                self.note(place, format!("the lines before number {} are not here", shown.seq));
            } else if shown.prev != [0; 32] {
                self.fault(place, "is line number 1, and tells of lines before: it was changed".into());
            }
        } else if shown.server != self.report.server.as_bytes() && self.report.lines == 1 && claimed != self.point {
            // Of the two it is the first that does not fit.
            let first = self.last.clone().unwrap_or_else(|| place.clone());
            self.fault(&first, "was changed: the next line does not fit it".into());
            self.report.server = String::from_utf8_lossy(shown.server).into_owned();
            self.point = None;
        } else if shown.server != self.report.server.as_bytes() {
            let (other, server) = (String::from_utf8_lossy(shown.server), &self.report.server);
            return self.wrong(place, format!("is of the server {other}, and those before are of {server}"));
        }
        if place.line == 1 + u64::from(self.is_export) && !matches!(kind, Kind::File { .. }) {
            self.fault(place, "is not the first line of a file: what was before it was removed".into());
        }
        match kind {
            Kind::File { journal, key } => self.begin(place, journal, key),
            // Where the first line of the file is what does not fit, its key may be what was changed.
            Kind::Head { signed, signature }
                if !self.is_signed(&text[..signed], &signature)
                    && (claimed == self.point || self.key_told != self.last) =>
            {
                return self.wrong(place, "the signature of this head is wrong: it was changed".into());
            }
            Kind::Lost => self.note(place, "entries were lost here, as the line says".into()),
            Kind::Torn => self.note(place, "an incomplete line was cut off here at a start, as after a crash".into()),
            Kind::Fault => self.note(place, "a start found the file before this one changed, as the line says".into()),
            Kind::Head { .. } | Kind::Entry => {}
        }
        self.follow(place, claimed);
        self.point = claimed.map(|point| point.next(digest::digest(&SHA256, text).as_ref()));
        self.report.numbers = Some((self.report.numbers.map_or(shown.seq, |(first, _)| first), shown.seq));
        if matches!(kind, Kind::Head { .. }) {
            self.report.heads += 1;
            self.report.last_head = Some(String::from_utf8_lossy(shown.at).into_owned());
            self.head = self.point;
        }
    }

    fn begin(&mut self, place: &Place, journal: &str, key: Key) {
        if self.report.journal.is_empty() {
            journal.clone_into(&mut self.report.journal);
        } else if self.report.journal != journal {
            self.fault(
                place,
                format!("is of the journal `{journal}`, and those before are of `{}`", self.report.journal),
            );
        }
        self.key_told = Some(place.clone());
        if self.key.as_ref().is_some_and(|(there, _)| *there == key) {
            return;
        }
        if self.pinned.is_some_and(|pinned| pinned != key) {
            self.fault(place, format!("heads from here on are signed with another key, {}", Hex(&key)));
        } else if self.key.is_some() {
            self.note(place, format!("heads from here on are signed with another key, {}", Hex(&key)));
        }
        self.key = ParsedPublicKey::new(&ED25519, key).ok().map(|parsed| (key, parsed));
        if !self.report.keys.contains(&key) && self.report.keys.len() < limits::KEYS_MAX {
            self.report.keys.push(key);
        }
    }

    fn is_signed(&self, signed: &[u8], signature: &[u8; 64]) -> bool {
        let message = [PREFIX, signed].concat();
        self.key.as_ref().is_some_and(|(_, key)| key.verify_sig(&message, signature).is_ok())
    }

    /// Whether a line stands behind the one before, as it says. `claimed`: the point before it.
    fn follow(&mut self, place: &Place, claimed: Option<Point>) {
        let fits = |point: Option<Point>| point.is_some() && point == claimed;
        if fits(self.point) {
            self.settle();
            self.fallback = None;
            return;
        }
        if fits(self.fallback) {
            if let Some(suspect) = self.suspect.take() {
                self.fault(&suspect.place, "does not belong here: it was inserted, or moved from its place".into());
            }
            self.fallback = None;
            return;
        }
        if let Some(suspect) = self.suspect.take() {
            // It fits neither the line before nor this one.
            self.fault(&suspect.place, "was changed".into());
            self.fallback = None;
            return;
        }
        let (Some(before), Some(claimed)) = (self.last.clone(), claimed) else { return };
        let expected = match (self.point, self.fallback) {
            (Some(point), _) => point.seq,
            // One line was wrong, in place of another.
            (None, Some(fallback)) => fallback.seq + 1,
            (None, None) => return,
        };
        let what = if claimed.seq > expected {
            Misfit::Gap { first: expected + 1, last: claimed.seq }
        } else if claimed.seq < expected {
            Misfit::Back
        } else if self.point.is_some() {
            Misfit::Chain
        } else {
            self.fallback = None;
            return;
        };
        self.fallback = self.point;
        self.suspect = Some(Suspect { before, place: place.clone(), what });
    }

    /// The line behind a suspect one fits it: so it is itself as it was.
    fn settle(&mut self) {
        let Some(Suspect { before, place, what }) = self.suspect.take() else { return };
        match what {
            Misfit::Chain if before.file == place.file => {
                self.fault(&before, "was changed: the next line does not fit it".into());
            }
            Misfit::Chain => self.fault(&before, format!("was changed: {place} does not fit it")),
            Misfit::Gap { first, last } if first == last => {
                self.fault(&place, format!("line number {first} is missing before this one"));
            }
            Misfit::Gap { first, last } if before.file != place.file => self.fault(
                &place,
                format!("line numbers {first} to {last} are missing before this one: a file is missing, or the end of {} was cut off", before.file.display()),
            ),
            Misfit::Gap { first, last } => {
                self.fault(&place, format!("line numbers {first} to {last} are missing before this one"));
            }
            Misfit::Back => self.fault(&place, "its number was there before: from here on it is another journal, or lines were inserted".into()),
        }
    }

    /// A line that is wrong by itself.
    fn wrong(&mut self, place: &Place, what: String) {
        self.settle();
        self.fault(place, what);
        self.fallback = self.point.take().or(self.fallback);
    }

    fn fault(&mut self, place: &Place, what: String) {
        self.report.faults_all += 1;
        if self.report.faults.len() < limits::FINDINGS_MAX {
            self.report.faults.push(Finding { place: place.clone(), what });
        }
    }

    fn note(&mut self, place: &Place, what: String) {
        if self.report.notes.len() < limits::FINDINGS_MAX {
            self.report.notes.push(Finding { place: place.clone(), what });
        }
    }

    pub(super) fn report(mut self, files: Vec<std::path::PathBuf>) -> Report {
        self.settle();
        Report { files, ..self.report }
    }
}
