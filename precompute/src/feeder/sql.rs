//! A database of a CA.
//!
//! Purpose: all rows at first and now and then, and in between the rows that have changed, within a second of their commit.
//! Invariants: nothing is ever written there; a mirror that is replaced has every change that was appended to the one
//! before; whatever a question costs is bounded in time and memory, and the connection is made anew after any fault. It
//! does not know what the rows are for.
//!
//! Rows say themselves when they have changed, by the clocks of those who write them, and come into sight when their
//! transaction ends. So changes are asked for from some time before the newest one on ([`SqlSource::overlap`]), and those
//! that were seen are left out. A row that was deleted says nothing: the next whole pass misses it. While all rows are read,
//! changes are asked for on a second connection and appended to the mirror that is there.
//!
//! `url` names a database, `link` connects, `query` is what is asked, `row` what a row says, `changes` what of it is new,
//! and `fault` what is wrong.

mod changes;
mod fault;
mod link;
mod query;
mod row;
#[cfg(test)]
mod tests;
mod url;

use std::{
    io::Write as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Runtime, sync::Notify, time};
use tracing::warn;

use self::{
    changes::{Changes, Known},
    link::{Access, Fault, Link},
    query::Whose,
    row::Unit,
};
pub use self::{
    query::Query,
    url::{Server, SqlUrl},
};
use super::{
    mirror::{self, Draft},
    origin::{Answer, Facts, Origin, Problem, Question, of_file},
};
use crate::{
    limits::{feed::PASSWORD_FILE_OCTETS_MAX, fetch as limits},
    pki::{Certificate, UnixTime, read_secret},
    source::{MIRROR_BEGINNING, MIRROR_CHANGES, mirror_line},
};

/// Which rows of which database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SqlSource {
    /// The database.
    pub url: SqlUrl,
    /// The file with the password, read at each connection.
    pub password_file: Option<PathBuf>,
    /// The file with the CAs whose certificates count over TLS.
    pub tls_ca: Option<PathBuf>,
    /// What is asked for.
    pub query: Query,
    /// How often for changes.
    pub every: Duration,
    /// How often for everything.
    pub whole_every: Duration,
    /// How much earlier than the newest change a row may say that it has changed: by the clocks of those who write, and the
    /// length of their transactions.
    pub overlap: Duration,
    /// The file that mirrors it.
    pub mirror: PathBuf,
}

impl SqlSource {
    /// With everything else as it is by default.
    pub fn new(url: SqlUrl, query: Query, mirror: PathBuf) -> Self {
        Self {
            url,
            password_file: None,
            tls_ca: None,
            query,
            every: limits::ROWS_EVERY,
            whole_every: limits::ROWS_WHOLE_EVERY,
            overlap: limits::ROWS_OVERLAP,
            mirror,
        }
    }
}

/// The rows of an issuer.
#[derive(Clone, PartialEq, Debug)]
pub struct RowsOfIssuer {
    /// Where they are.
    pub source: SqlSource,
    /// Of whom.
    pub issuer: Certificate,
}

/// What is known of the rows that were read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SqlFacts {
    /// When the last reading of all rows began, in seconds since 1970.
    whole: u64,
    rows: u64,
    /// The newest change; `None` if rows do not say when they have changed.
    newest: Option<(i64, Unit)>,
    /// Bytes appended to the mirror since.
    appended: u64,
    /// Rows that changed before this are among those that were read then, and too many to be asked for again; in
    /// milliseconds since 1970.
    #[serde(default)]
    floor: Option<i64>,
}

impl SqlFacts {
    /// When to ask next.
    pub(super) fn pause(&self, source: &SqlSource) -> Duration {
        if self.newest.is_some() || self.rows == 0 { source.every } else { source.whole_every }
    }

    fn is_whole_due(&self, source: &SqlSource, now: UnixTime) -> bool {
        // A clock that was set back must not put it off.
        self.newest.is_none()
            || self.appended > limits::CHANGES_OCTETS_MAX
            || now.since(UnixTime(self.whole)) >= source.whole_every
            || UnixTime(self.whole).since(now) >= source.whole_every
    }
}

/// A [`RowsOfIssuer`] as it is being asked.
#[derive(Debug)]
pub(super) struct Rows {
    of: RowsOfIssuer,
    runtime: Option<Runtime>,
    link: Option<Connected>,
    /// As of the last question; the notes of the mirror have the facts for the next start.
    known: Option<Known>,
    told: Option<String>,
}

/// A connection, and what it has told.
#[derive(Debug)]
struct Connected {
    link: Link,
    whose: Whose,
    since: Instant,
}

impl Rows {
    pub(super) fn new(of: RowsOfIssuer) -> Self {
        Self { of, runtime: None, link: None, known: None, told: None }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.link = None;
        // A name that is being resolved is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Origin for Rows {
    fn ask(&mut self, question: &Question<'_>, draft: &mut Draft) -> Result<Answer, Problem> {
        let name = self.of.source.url.to_string();
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                Problem::new(format!("{name}: cannot be asked: {error}; free memory or file descriptors"))
            })?,
        };
        let (stopped, stop) = (Arc::new(Notify::new()), question.stop);
        let notify = Arc::clone(&stopped);
        stop.then(move || notify.notify_one());
        let answer = runtime.block_on(async {
            tokio::select! {
                answer = time::timeout(question.within, self.talk(question, draft)) => answer.unwrap_or_else(|_| {
                    Err(Problem::new(format!("{name}: has not given all its rows within {:?}", question.within)))
                }),
                () = stopped.notified() => Err(Problem::new(format!("{name}: nobody wants it any more"))),
            }
        });
        if answer.is_err() {
            let _inside = runtime.enter();
            self.link = None;
        }
        self.runtime = Some(runtime);
        answer
    }
}

impl Rows {
    async fn talk(&mut self, question: &Question<'_>, draft: &mut Draft) -> Result<Answer, Problem> {
        let noted = question.last.and_then(|last| last.facts.sql.clone());
        // What was given and not kept is asked for again.
        let is_as_noted = |known: &Known| noted.as_ref().is_some_and(|noted| known.is_of(noted));
        if noted.is_some() && !self.known.as_ref().is_some_and(is_as_noted) {
            self.known = noted.clone().map(Known::new);
        }
        // What hears nothing of a fail-over must not be asked for ever.
        if self.link.as_ref().is_some_and(|link| link.since.elapsed() > limits::LINK_LIFETIME) {
            self.link = None;
        }
        if self.link.is_none() {
            self.link = Some(connect(&self.of).await?);
        }
        let is_due = |known: &Known| known.facts.is_whole_due(&self.of.source, question.now);
        if noted.is_some()
            && let Some(known) = self.known.as_mut().filter(|known| !is_due(known))
            && let Some(link) = &mut self.link
            && let Changes::Lines(lines, _) = changes_of(&self.of, link, known, question.now).await?
        {
            let octets = lines.len() as u64;
            known.facts.appended += octets;
            let facts = Facts { sql: Some(known.facts.clone()), ..Facts::default() };
            return Ok(if octets == 0 { Answer::Same(None) } else { Answer::More(lines, Box::new(facts)) });
        }
        self.whole(question, draft).await
    }

    /// Reads all rows into the draft. Meanwhile changes are appended to the mirror that is there.
    async fn whole(&mut self, question: &Question<'_>, draft: &mut Draft) -> Result<Answer, Problem> {
        let Some(mut link) = self.link.take() else { return Err(Problem::new("has no connection")) };
        let of = self.of.clone();
        let mut beside = self.known.take().filter(|known| known.facts.newest.is_some() && of.source.mirror.is_file());
        let mut known = Known::new(SqlFacts { whole: question.now.0, rows: 0, newest: None, appended: 0, floor: None });
        let reading = read_all(&of, &mut link, draft, &mut known, question);
        let odd = tokio::select! {
            odd = reading => odd,
            never = follow(&of, beside.as_mut()) => match never {},
        };
        // While a whole reading fails, changes are asked for from where the last one was.
        self.known = beside;
        let odd = odd?;
        if odd.is_some() && odd != self.told {
            warn!("{}: {}", of.source.url, odd.as_deref().unwrap_or_default());
        }
        self.told = odd;
        let newest = known.facts.newest.map(|(newest, _)| UnixTime(u64::try_from(newest / 1000).unwrap_or_default()));
        let changes = newest.map_or("they do not say when they have changed".to_owned(), |newest| {
            format!("the newest change that counts is of {newest}")
        });
        let remarks = [format!("{} rows; {changes}", known.facts.rows)].into_iter().chain(self.told.clone()).collect();
        let facts = Facts { sql: Some(known.facts.clone()), remarks, ..Facts::default() };
        (self.known, self.link) = (Some(known), Some(link));
        Ok(Answer::New(Box::new(facts)))
    }
}

/// All rows, and then what has changed meanwhile. What is odd about them, in words.
async fn read_all(
    of: &RowsOfIssuer,
    link: &mut Connected,
    draft: &mut Draft,
    known: &mut Known,
    question: &Question<'_>,
) -> Result<Option<String>, Problem> {
    let source = &of.source;
    let mut lines = MIRROR_BEGINNING.as_bytes().to_vec();
    let (mut odd, mut odds, mut failed) = (None, 0_u64, None);
    let query = source.query.rows(&link.whose);
    let read = link.link.rows(&query, question.within, |row| {
        let mut this = None;
        if let Some(listed) = known.note(row, &source.query, &mut this) {
            mirror_line(&listed, row.sha256(), &mut lines);
        }
        odds += u64::from(this.is_some());
        if let (None, Some(this)) = (&odd, this) {
            odd = Some(format!("row {} {this}", known.facts.rows));
        }
        if lines.len() >= limits::ROWS_OCTETS_AT_ONCE {
            failed = failed.take().or(draft.write_all(&lines).err());
            lines.clear();
        }
    });
    read.await.map_err(|fault| problem(source, &fault))?;
    if known.facts.rows == 0 {
        is_known(of, &mut link.link).await?;
    }
    lines.extend_from_slice(MIRROR_CHANGES.as_bytes());
    known.begin(question.now, &source.query);
    let mut changes = changes_of(of, link, known, question.now).await?;
    let are_many = !matches!(changes, Changes::Lines(_, rows) if rows <= limits::CHANGES_AGAIN_MAX);
    if are_many && known.begin_behind(question.now, source.overlap) && matches!(changes, Changes::TooMany) {
        changes = changes_of(of, link, known, question.now).await?;
    }
    match changes {
        Changes::Lines(changes, _) => lines.extend(changes),
        Changes::TooMany => {
            return Err(Problem::new(format!(
                "{}: more than {} rows have changed while all were read; it is read again",
                source.url,
                limits::CHANGES_MAX
            )));
        }
    }
    failed = failed.or(draft.write_all(&lines).err());
    if let Some(error) = failed {
        return Err(of_file(&source.mirror, "what is fetched cannot be written", &error));
    }
    Ok(odd.map(|first| format!("{odds} rows are read differently from how they stand there: {first}")))
}

/// Appends changes to the mirror, again and again. Faults of it are those of the reading that goes on beside.
async fn follow(of: &RowsOfIssuer, known: Option<&mut Known>) -> std::convert::Infallible {
    let Some(known) = known else { return std::future::pending().await };
    let mut link = None;
    loop {
        time::sleep(of.source.every).await;
        if link.is_none() {
            link = connect(of).await.ok();
        }
        let Some(connected) = &mut link else { continue };
        match changes_of(of, connected, known, UnixTime::now()).await {
            Ok(Changes::Lines(lines, _)) if lines.is_empty() => {}
            Ok(Changes::Lines(lines, _)) => {
                let _ = mirror::append(&of.source.mirror, &lines);
            }
            Ok(Changes::TooMany) => {}
            Err(_) => link = None,
        }
    }
}

async fn changes_of(
    of: &RowsOfIssuer,
    link: &mut Connected,
    known: &mut Known,
    now: UnixTime,
) -> Result<Changes, Problem> {
    let within = limits::CHANGES_WITHIN;
    match time::timeout(within, changes::ask(of, link, known, now)).await {
        Ok(changes) => changes.map_err(|fault| problem(&of.source, &fault)),
        Err(_) => Err(Problem::new(format!(
            "{}: has not said within {within:?} what has changed; an index on the column that says when a row has changed makes this quick, and if it has one, the database hangs",
            of.source.url
        ))),
    }
}

/// A database that has nothing of the issuer may be another CA's.
async fn is_known(of: &RowsOfIssuer, link: &mut Link) -> Result<(), Problem> {
    let Some(query) = of.source.query.knows(&of.issuer) else { return Ok(()) };
    let mut is_known = false;
    let asked = link.rows(&query, limits::CHANGES_WITHIN, |_| is_known = true).await;
    asked.map_err(|fault| problem(&of.source, &fault))?;
    if is_known {
        return Ok(());
    }
    Err(Problem::new(format!(
        "{}: has no certificate of this issuer, and not its own (fingerprint {}); is this the database of that CA, and `certificate` the CA certificate that EJBCA uses now?",
        of.source.url,
        query::fingerprint(&of.issuer)
    )))
}

/// Connects, and asks which rows are the issuer's.
async fn connect(of: &RowsOfIssuer) -> Result<Connected, Problem> {
    let (mut link, since) = (open(&of.source).await?, Instant::now());
    let whose = match (&of.source.query, of.source.query.cas()) {
        (Query::Ejbca, _) => Whose::ejbca(&of.issuer),
        (_, Some(cas)) => Whose::xipki(&numbers(of, &mut link, cas).await?),
        (_, None) => Whose::default(),
    };
    Ok(Connected { link, whose, since })
}

/// The numbers under which a database has the issuer: a CA whose certificate was renewed has several.
async fn numbers(of: &RowsOfIssuer, link: &mut Link, cas: &str) -> Result<Vec<i64>, Problem> {
    let (mut numbers, mut count) = (Vec::new(), 0);
    let asked = link.rows(cas, limits::CHANGES_WITHIN, |row| {
        count += 1;
        let number = row.serial.as_ref().and_then(|(number, _)| number.trim().parse::<i64>().ok());
        let certificate = row.status.as_deref().and_then(certificate);
        numbers.extend(number.filter(|_| certificate.is_some_and(|known| known.is_same_entity(&of.issuer))));
    });
    asked.await.map_err(|fault| problem(&of.source, &fault))?;
    if numbers.is_empty() {
        return Err(Problem::new(format!(
            "{}: has {count} CAs in its table CA, and none with the name and key of `certificate`; is this the database of that CA?",
            of.source.url
        )));
    }
    Ok(numbers)
}

/// A certificate in base64, with or without lines.
fn certificate(text: &str) -> Option<Certificate> {
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    let digits: String = lines.flat_map(|line| line.chars().filter(|letter| !letter.is_whitespace())).collect();
    Certificate::from_der(&BASE64_STANDARD.decode(digits).ok()?).ok()
}

async fn open(source: &SqlSource) -> Result<Link, Problem> {
    let password = source.password_file.as_deref().map(|path| {
        let read = read_secret(path, "the password of a database", PASSWORD_FILE_OCTETS_MAX);
        // Its name may be the password itself.
        read.map_err(|error| {
            Problem::new(format!("{}: the file that `password_file` names {}", source.url, error.problem))
        })
    });
    let password = password.transpose()?;
    let password = password.as_ref().map(|octets| {
        str::from_utf8(octets)
            .map(str::trim_ascii_end)
            .map_err(|_| Problem::new(format!("{}: the file that `password_file` names is not UTF-8", source.url)))
    });
    let access = Access { password: password.transpose()?, tls_ca: source.tls_ca.as_deref() };
    let within = limits::CONNECT_WITHIN;
    match time::timeout(within, Link::open(&source.url, access)).await {
        Ok(link) => link.map_err(|fault| problem(source, &fault)),
        Err(_) => {
            Err(Problem::new(format!("{}: gives no answer within {within:?}; is the host right, and up?", source.url)))
        }
    }
}

fn problem(source: &SqlSource, fault: &Fault) -> Problem {
    Problem::new(format!("{}: {}", source.url, fault::told(fault)))
}
