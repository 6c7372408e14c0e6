//! Issuers that a configuration no longer has, and what nobody would be told of them any more.
//!
//! Purpose: what was pushed stands in the book and in no source. Where its issuer is removed, or its CA gets another key or
//! name, which makes another issuer of it, nobody would answer for it, without a word. Invariant: a start or a reload that
//! leaves such an issuer behind is refused before anything changes, unless an operator has said that it is meant
//! (`ostia-precompute forget`). The book keeps its records in any case. It does not know sources, and leaves an issuer whose
//! tenant has another name now to [`predecessor`](super::predecessor).

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    path::Path,
};

use tracing::{info, warn};

use super::{
    Engine, EngineError, FollowedIssuer,
    follower::Follower,
    let_go::{LetGo, Why},
};
use crate::{
    book::{Book, BookReader, Lineage},
    issuer_id::IssuerId,
    journal::trail,
    limits,
    pki::{Serial, UnixTime, hex::Hex},
    records::{Origin, Records, SEGMENTS},
    state_dir::StateError,
};

/// An issuer that the book has and the configuration has not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Departed {
    /// Which.
    pub issuer: IssuerId,
    /// Its name, if it was followed until now.
    name: Option<String>,
    /// How many of its records no source says.
    pub records: u64,
    /// One of them.
    pub example: Option<Serial>,
}

impl Departed {
    fn of_book(book: &BookReader, issuer: IssuerId) -> Result<Self, StateError> {
        let (mut records, mut example) = (0, None);
        book.walk(&issuer, |serial, _, origin| {
            if is_in_no_source(origin) {
                records += 1;
                example.get_or_insert(serial);
            }
            true
        })?;
        Ok(Self { issuer, name: None, records, example })
    }

    fn of_running(running: &Follower) -> Self {
        let table = &running.ledger.state().records;
        let records = table.count_by_origin(is_in_no_source);
        let example = if records > 0 { example(table) } else { None };
        let FollowedIssuer { id, name, .. } = &*running.issuer;
        Self { issuer: id.clone(), name: Some(name.clone()), records, example }
    }
}

/// Whether no source says what a record says.
fn is_in_no_source(origin: Origin) -> bool {
    origin.is_pushed() && (!origin.is_listed() || origin.has(Origin::SOURCE_ALLOWS))
}

/// The first of such records.
fn example(records: &Records) -> Option<Serial> {
    let mut first: Option<Serial> = None;
    for segment in 0..SEGMENTS {
        records.each_in(segment, |serial, found| {
            if is_in_no_source(found.origin) && first.is_none_or(|first| serial < first) {
                first = Some(serial);
            }
        });
    }
    first
}

/// `acme/ca (CA 0a1b… of tenant `acme`): 3 pushed records, 0A1B among them`.
impl fmt::Display for Departed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, name, records, example } = self;
        let words = issuer.in_words();
        match name {
            Some(name) => write!(f, "{}/{name} ({words})", issuer.tenant())?,
            None => f.write_str(&words)?,
        }
        write!(f, ": {records} pushed record{}", if *records == 1 { "" } else { "s" })?;
        example.map_or(Ok(()), |example| write!(f, ", {example} among them"))
    }
}

/// Issuers that may not leave without a word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsaid(pub Vec<Departed>);

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(limits::DEPARTED_SHOWN_MAX)];
        let lines: Vec<_> = shown.iter().map(ToString::to_string).collect();
        let ids: Vec<_> = shown.iter().map(|departed| departed.issuer.to_string()).collect();
        let more = match self.0.len() - shown.len() {
            0 => String::new(),
            more => format!(", and {more} more issuers (`ostia-precompute forget --config FILE` lists them)"),
        };
        write!(
            f,
            "the configuration no longer has {}{more}, which no source says, so that nobody would be told any more; put the issuer back (a CA with another key or name is another issuer, and a tenant with another name has `formerly = \"…\"`), or, if it is meant, run `ostia-precompute forget --config FILE {}` and then start or reload again",
            lines.join(", and "),
            ids.join(" ")
        )
    }
}

/// The issuers of the book and of `running` whose CA is in no tenant of the configuration. Where it is in one, that issuer is
/// asked about what the others leave behind, whatever was said of them.
fn departed_ids(configured: &HashSet<IssuerId>, lineage: &Lineage, running: &[Follower]) -> Vec<IssuerId> {
    let present: HashSet<&[u8; 32]> = configured.iter().map(IssuerId::ca).collect();
    let running = running.iter().map(|running| running.issuer.id.clone());
    let all: BTreeSet<IssuerId> = lineage.issuers().into_iter().chain(running).collect();
    all.into_iter().filter(|id| !present.contains(id.ca())).collect()
}

/// What leaves with a configuration, when it may.
#[derive(Debug)]
pub(super) struct Departure {
    configured: HashSet<IssuerId>,
    left: Vec<Departed>,
}

impl Engine {
    /// What a configuration with these issuers leaves behind; an error if it may not, unless `accepts`.
    pub(super) fn departure(&self, configured: HashSet<IssuerId>, accepts: bool) -> Result<Departure, EngineError> {
        let lineage = self.book.lock().lineage()?;
        let forgotten = LetGo::read(&self.state_dir)?;
        let mut left = Vec::new();
        for id in departed_ids(&configured, &lineage, &self.followers) {
            // What was asked about once, or had nothing, is not walked through again.
            if forgotten.get(&id).is_some_and(|note| note.why != Why::Ordered) {
                continue;
            }
            let running = self.followers.iter().find(|running| running.issuer.id == id);
            left.push(match running {
                Some(running) => Departed::of_running(running),
                None => self.book.read(|book| Departed::of_book(book, id.clone()))?,
            });
        }
        let unsaid = left.iter().filter(|left| !forgotten.allows(left));
        let unsaid: Vec<Departed> = unsaid.cloned().collect();
        if unsaid.is_empty() || accepts {
            Ok(Departure { configured, left })
        } else {
            Err(EngineError::Departed(Unsaid(unsaid)))
        }
    }

    /// The configuration is in use: whoever left is noted and told, and whoever is back will be asked about again.
    pub(super) fn depart(&self, departure: Departure) {
        let Departure { configured, left } = departure;
        // A standby's book follows the writer's.
        if self.leads
            && let Err(error) = self.book.lock().are_there(&configured)
        {
            warn!("{error}: who is back in the configuration is noted at the next start");
        }
        let noted = LetGo::read(&self.state_dir).and_then(|mut forgotten| {
            configured.iter().for_each(|id| forgotten.is_back(id));
            for departed in &left {
                note(&mut forgotten, departed);
            }
            forgotten.write()
        });
        if let Err(error) = noted {
            warn!("{error}: what was said about issuers that have left is asked about again at the next start");
        }
    }

    /// Of issuers that leave, the records that were pushed since it was asked about them.
    pub(super) fn unsaid_of<'f>(
        &self,
        leaving: impl Iterator<Item = &'f Follower>,
        configured: &HashSet<IssuerId>,
    ) -> Result<(), EngineError> {
        let forgotten = LetGo::read(&self.state_dir)?;
        let is_asked_about = |gone: &Follower| configured.iter().any(|id| id.ca() == gone.issuer.id.ca());
        let leaving = leaving.filter(|gone| !is_asked_about(gone)).map(Departed::of_running);
        let unsaid: Vec<_> = leaving.filter(|departed| !forgotten.allows(departed)).collect();
        if unsaid.is_empty() { Ok(()) } else { Err(EngineError::Departed(Unsaid(unsaid))) }
    }
}

fn note(forgotten: &mut LetGo, departed: &Departed) {
    let Departed { issuer, records, .. } = departed;
    if *records == 0 && !forgotten.has(issuer) {
        return forgotten.add(issuer, Why::Nothing, "-", UnixTime::now(), 0);
    }
    // The order itself was accepted on the command line where there is no note.
    let ordered = forgotten.get(issuer).filter(|note| note.why != Why::Nothing).map(|note| note.by.clone());
    if ordered.is_none() {
        forgotten.add(issuer, Why::Taken, "sync", UnixTime::now(), *records);
    }
    let by = ordered.unwrap_or_else(|| "sync".to_owned());
    forgotten.taken(issuer, *records);
    info!(
        tenant = issuer.tenant(),
        issuer = %Hex(issuer.ca()),
        records,
        by,
        "the issuer is no longer configured, as was said; the book keeps what was pushed of it"
    );
    trail::tell("forgotten", |event| {
        let event = event.text("tenant", issuer.tenant()).text("issuer", Hex(issuer.fingerprint()));
        event.number("records", *records).text("by", &by)
    });
}

/// What a configuration with these issuers leaves behind, as the book says, which a service may have. The note of each says
/// whether it may leave.
pub fn departed(state_dir: &Path, configured: &HashSet<IssuerId>) -> Result<Vec<(Departed, bool)>, StateError> {
    while_it_is_written(|| look(state_dir, configured))
}

/// Looks into the book again where a service writes it: a read can see half of a write.
fn while_it_is_written<T>(mut look: impl FnMut() -> Result<T, StateError>) -> Result<T, StateError> {
    for _ in 1..limits::BOOK_LOOKS_MAX {
        match look() {
            Err(error) if error.is_damage() => std::thread::sleep(limits::BOOK_LOOK_PAUSE),
            other => return other,
        }
    }
    look()
}

fn look(state_dir: &Path, configured: &HashSet<IssuerId>) -> Result<Vec<(Departed, bool)>, StateError> {
    let Some(mut book) = Book::look(state_dir)? else { return Ok(Vec::new()) };
    let (lineage, forgotten, reader) = (book.lineage()?, LetGo::read(state_dir)?, book.reader()?);
    let ids = departed_ids(configured, &lineage, &[]);
    let ids = ids.into_iter().map(|id| {
        let departed = Departed::of_book(&reader, id)?;
        let may_leave = forgotten.allows(&departed);
        Ok((departed, may_leave))
    });
    ids.collect()
}

/// Issuers of the book that are not configured and whose CA is, each with the issuer that has it.
pub fn beside(state_dir: &Path, configured: &HashSet<IssuerId>) -> Result<Vec<(IssuerId, IssuerId)>, StateError> {
    let known = while_it_is_written(|| match Book::look(state_dir)? {
        Some(mut book) => Ok(book.lineage()?.issuers()),
        None => Ok(Vec::new()),
    })?;
    let gone = known.into_iter().filter(|id| !configured.contains(id));
    let with_ca = |gone: IssuerId| {
        let present = configured.iter().filter(|id| id.ca() == gone.ca()).min()?.clone();
        Some((gone, present))
    };
    Ok(gone.filter_map(with_ca).collect())
}

/// Notes that these issuers may leave with the records that they have now. `by`: who says so, a word.
pub fn forget<'i>(
    state_dir: &Path,
    departed: impl IntoIterator<Item = &'i Departed>,
    by: &str,
) -> Result<(), StateError> {
    let mut forgotten = LetGo::read(state_dir)?;
    for Departed { issuer, records, .. } in departed {
        forgotten.add(issuer, Why::Ordered, by, UnixTime::now(), *records);
    }
    forgotten.write()
}

#[cfg(test)]
mod tests;
