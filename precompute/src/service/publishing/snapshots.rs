//! Makes snapshots beside everything else, one at a time.
//!
//! Invariant: a snapshot that is not whole is never given out. It does not know when one is wanted.

use std::{
    collections::HashSet,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use tracing::info;

use super::statuses::status_of;
use crate::{
    answers::Answers,
    book::{BookReader, Place},
    feed::{
        Chain, Cluster, Manifest, Position, WriterKey, ahead,
        body::{AnswerSection, IssuerStatus},
        shelf::{Directory, SnapshotId},
        snapshot::{SnapshotWriter, Written},
    },
    issuer_id::IssuerId,
    ledger::Ledgers,
    limits,
    pki::UnixTime,
    presign::Subject,
    service::rim,
    state_dir::ServerId,
};

/// What a manifest is signed with.
#[derive(Clone, Debug)]
pub(super) struct Sealing {
    pub(super) cluster: Cluster,
    pub(super) server: ServerId,
    pub(super) key: WriterKey,
}

type Made = Result<Manifest, NotMade>;

/// Why there is no snapshot; it names a remedy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NotMade {
    /// It would be longer than any may be, which only another configuration changes.
    TooLong,
    /// Anything else.
    Other(String),
}

impl From<String> for NotMade {
    fn from(problem: String) -> Self {
        Self::Other(problem)
    }
}

impl fmt::Display for NotMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(
                f,
                "it would be longer than {} GiB, which is the most that a snapshot may have; keep fewer answers (`presign_hashes`, `cache.answers_octets`), or give some of the issuers a cluster of their own",
                limits::feed::SNAPSHOT_OCTETS_MAX >> 30
            ),
            Self::Other(problem) => f.write_str(problem),
        }
    }
}

/// The snapshots of a writer.
#[derive(Debug)]
pub(super) struct Snapshots {
    directory: Directory,
    sealing: Sealing,
    making: Option<Present>,
    /// The one that was made last.
    last: Option<SnapshotId>,
    /// How many chunks one may have.
    chunks_max: usize,
}

/// The one that is being made.
#[derive(Debug)]
struct Present {
    thread: JoinHandle<()>,
    made: Receiver<Made>,
    stop: Arc<AtomicBool>,
}

impl Snapshots {
    pub(super) fn new(directory: Directory, sealing: Sealing) -> Self {
        Self { directory, sealing, making: None, last: None, chunks_max: limits::feed::CHUNKS_MAX }
    }

    /// Whether one is being made. Then no other is: `make` is not to be called.
    pub(super) fn is_busy(&self) -> bool {
        self.making.is_some()
    }

    /// Nobody wants the present one any more. It ends soon.
    pub(super) fn abandon(&self) {
        if let Some(present) = &self.making {
            present.stop.store(true, Relaxed);
        }
    }

    /// Begins to make one: of the records as they were told last, and of the answers that are kept for `subjects`.
    /// `known`: the issuers that others may know by it; the records of all are in it. `begins`: called when the records are
    /// taken that a feed begins with; `None` where it has begun.
    pub(super) fn make(
        &mut self,
        ledgers: &Ledgers,
        known: HashSet<IssuerId>,
        subjects: Vec<Subject>,
        answers: &Arc<Answers>,
        begins: Option<Box<dyn FnOnce() + Send>>,
    ) -> io::Result<()> {
        if self.is_busy() {
            return Err(io::Error::other("another one is being made"));
        }
        let ((tell, made), stop) = (channel(), Arc::<AtomicBool>::default());
        let making = Making {
            directory: self.directory.clone(),
            sealing: self.sealing.clone(),
            ledgers: ledgers.clone(),
            known,
            subjects,
            answers: Arc::clone(answers),
            chunks_max: self.chunks_max,
            stop: Arc::clone(&stop),
        };
        let thread = thread::Builder::new().name("snapshot".into()).spawn(move || {
            // Whoever serves or tells comes first.
            let _ = rustix::process::setpriority_process(None, limits::SOURCE_PRIORITY);
            let _ = tell.send(making.make(begins));
        })?;
        self.making = Some(Present { thread, made, stop });
        Ok(())
    }

    /// What became of the one that was being made, once.
    pub(super) fn look(&mut self) -> Option<Made> {
        let made = match self.making.as_ref()?.made.try_recv() {
            Ok(made) => made,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("the thread that makes it ended".to_owned().into()),
        };
        self.making = None;
        self.last = made.as_ref().ok().map(SnapshotId::of).or(self.last);
        Some(made)
    }

    /// The one that was made last, if it is not given out any more: who read it found that it was changed on disk.
    pub(super) fn lost(&self) -> Option<SnapshotId> {
        self.last.filter(|id| self.directory.whole(*id).is_none())
    }

    /// No other one is made; returns when the present one has ended.
    pub(super) fn stop(&mut self) {
        self.abandon();
        if let Some(present) = self.making.take() {
            let _ = present.thread.join();
        }
    }
}

/// What one is made of.
struct Making {
    directory: Directory,
    sealing: Sealing,
    ledgers: Ledgers,
    known: HashSet<IssuerId>,
    subjects: Vec<Subject>,
    answers: Arc<Answers>,
    chunks_max: usize,
    stop: Arc<AtomicBool>,
}

impl Making {
    fn make(&self, begins: Option<Box<dyn FnOnce() + Send>>) -> Made {
        let reader = match begins {
            None => self.ledgers.reader(),
            Some(begins) => {
                // So that little is owed from the beginning.
                self.ledgers.save().map_err(|error| error.to_string())?;
                self.ledgers.begun().inspect(|_| begins())
            }
        };
        let reader = reader.map_err(|error| error.to_string())?;
        let begun = Instant::now();
        let mut draft = self.directory.draft().map_err(|error| error.to_string())?;
        let mut writer = SnapshotWriter::default();
        let mut left = self.chunks_max;
        let mut done = |chunk: &[u8]| -> Result<(), NotMade> {
            if self.stop.load(Relaxed) {
                return Err("it is not wanted any more".to_owned().into());
            }
            left = left.checked_sub(1).ok_or(NotMade::TooLong)?;
            Ok(draft.put(chunk).map_err(|error| error.to_string())?)
        };
        let place = self.records(&reader, &mut writer, &mut done)?;
        let records_in = begun.elapsed();
        self.answers(&mut writer, &mut done)?;
        let Written { records, octets, chunk_octets, record_chunks, hashes } = writer.finish(&mut done)?;
        let manifest = Manifest {
            position: Position { epoch: place.epoch, sequence: place.sequence },
            chain: Chain(place.chain),
            author: self.sealing.server,
            made: rim::wall(),
            records,
            octets,
            chunk_octets,
            record_chunks,
            chunks: hashes.into(),
        };
        let sealed = manifest.seal(&self.sealing.cluster, &self.sealing.key);
        draft.finish(&sealed).map_err(|error| error.to_string())?;
        info!(
            position = %manifest.position,
            records,
            octets,
            records_seconds = records_in.as_secs_f32(),
            seconds = begun.elapsed().as_secs_f32(),
            "a snapshot was made"
        );
        Ok(manifest)
    }

    /// The records of one commit of the book, and the place that they are from.
    fn records(
        &self,
        reader: &BookReader,
        writer: &mut SnapshotWriter,
        done: &mut impl FnMut(&[u8]) -> Result<(), NotMade>,
    ) -> Result<Place, NotMade> {
        let ledgers = self.ledgers.all();
        let known = ledgers.iter().filter(|ledger| self.known.contains(ledger.id()));
        let issuers: Vec<IssuerStatus> = known.filter_map(status_of).collect();
        let place = reader.place().map_err(|error| error.to_string())?;
        let place = place.ok_or_else(|| "the book is of no place in the feed".to_owned())?;
        for status in &issuers {
            let count = reader.room_for(&status.id).map_err(|error| error.to_string())?;
            writer.issuer(status, count as u64, done)?;
        }
        for ledger in ledgers.iter() {
            let (issuer, mut outcome) = (ledger.id().into(), Ok(()));
            let read = reader.each_told(ledger.id(), |change| {
                outcome = writer.record(issuer, &change, done);
                outcome.is_ok()
            });
            outcome?;
            read.map_err(|error| error.to_string())?;
            let mut outcome = Ok(());
            let read = reader.load_hashes(ledger.id(), |serial, hash| {
                if outcome.is_ok() {
                    outcome = writer.hash(issuer, (&serial, &hash), done);
                }
            });
            outcome?;
            read.map_err(|error| error.to_string())?;
        }
        Ok(place)
    }

    /// Each answer is looked up where no cache has it, so that is a thread's work beside the writing.
    fn answers(
        &self,
        writer: &mut SnapshotWriter,
        done: &mut impl FnMut(&[u8]) -> Result<(), NotMade>,
    ) -> Result<(), NotMade> {
        let mut written = Ok(());
        ahead(
            "kept answers",
            RUNS_AHEAD,
            |give| self.look_up(give),
            |section: AnswerSection| {
                written = writer.answers(&section.rows(), done);
                written.is_ok()
            },
        );
        written
    }

    /// Looks up all answers that are kept, until `give` returns false.
    fn look_up(&self, give: &mut dyn FnMut(AnswerSection) -> bool) {
        let now = UnixTime::now();
        for subject in &self.subjects {
            let (issuer, mut runs) = (subject.issuer.id().into(), Vec::<AnswerSection>::new());
            let goes_on = subject.each_kept(&self.answers, now, |form, stored| {
                let (form, packed_length) = (form.fingerprint, stored.packed.len());
                let empty = || AnswerSection { issuer, form, packed_length, entries: Vec::new() };
                let place = runs.iter().position(|run| run.form == form).unwrap_or_else(|| {
                    runs.push(empty());
                    runs.len() - 1
                });
                stored.write(&mut runs[place].entries);
                runs[place].entries.len() < RUN_OCTETS || give(std::mem::replace(&mut runs[place], empty()))
            });
            if !goes_on || !runs.into_iter().filter(|run| !run.entries.is_empty()).all(&mut *give) {
                return;
            }
        }
    }
}

/// Bytes of answers of one form that are written together: a section's head is a thousandth of it.
const RUN_OCTETS: usize = 128 << 10;
/// How many of those may be looked up ahead.
const RUNS_AHEAD: usize = 16;

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;
    use crate::{
        book::{Book, Move},
        feed::{Trusted, https::Https, shelf::Fetcher, store::Snapshots as _},
        issuer_id::IssuerId,
        ledger::{Ledger, Saver, SharedBook},
    };

    /// Each new epoch wants a snapshot. A Redis that comes and goes would have one more thread read the whole book each time.
    #[test]
    fn one_is_made_at_a_time_and_one_that_is_abandoned_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let book = Arc::new(SharedBook::new(Book::open(dir.path()).unwrap()));
        let opened = Ledger::open(&IssuerId::new("tenant", [7; 32]), "ca", &book, &Saver::start().unwrap()).unwrap();
        opened.ledger.serve("ca");
        let ledgers = Ledgers::default();
        ledgers.set(vec![opened.ledger]);
        let to = Some(Place { epoch: 1, sequence: 1, chain: [1; 32] });
        ledgers.told(Move { from: None, to }, &[]).unwrap();

        let cluster = Cluster::new("tests").unwrap();
        let key = WriterKey::from_seed(&[1; 32]);
        let trusted = Arc::new(Trusted::of(&[key.public()]).unwrap());
        let directory = Directory::open(&dir.path().join("snapshots"), cluster.clone(), trusted).unwrap();
        let mut snapshots =
            Snapshots::new(directory.clone(), Sealing { cluster, server: ServerId::from_bytes([1; 16]), key });
        let answers = Arc::new(Answers::new(1 << 20));
        let (go_on, held) = mpsc::channel::<()>();
        let holds = move || _ = held.recv();
        snapshots.make(&ledgers, HashSet::new(), Vec::new(), &answers, Some(Box::new(holds))).unwrap();
        assert!(snapshots.is_busy() && snapshots.make(&ledgers, HashSet::new(), Vec::new(), &answers, None).is_err());
        snapshots.abandon();
        drop(go_on);
        let until_made = |snapshots: &mut Snapshots| loop {
            match snapshots.look() {
                Some(made) => break made,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        assert!(until_made(&mut snapshots).is_err(), "nobody wants it");
        snapshots.make(&ledgers, HashSet::new(), Vec::new(), &answers, None).unwrap();
        let made = until_made(&mut snapshots).unwrap();
        assert_eq!((made.position.epoch, made.records), (1, 0));
        assert_eq!(snapshots.lost(), None);

        // As where 64 GiB do not suffice: what was written is gone, and the one before is still there.
        snapshots.chunks_max = 0;
        snapshots.make(&ledgers, HashSet::new(), Vec::new(), &answers, None).unwrap();
        let not_made = until_made(&mut snapshots).unwrap_err();
        assert_eq!(not_made, NotMade::TooLong);
        let told = not_made.to_string();
        assert!(told.contains("longer than 64 GiB") && told.contains("`cache.answers_octets`"), "{told}");
        assert_eq!(snapshots.lost(), None);
        let files = || std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(files().all(|name| !name.to_string_lossy().starts_with("draft")), "{:?}", files().collect::<Vec<_>>());

        // It is changed on disk, and somebody asks for it.
        let id = SnapshotId::of(&made);
        std::fs::write(directory.path().join(format!("{id}.snapshot")), "wrong").unwrap();
        assert_eq!(snapshots.lost(), None, "nobody has noticed");
        let mut fetcher = Fetcher::start(Some(directory), &[], &Https::default()).unwrap();
        assert!(fetcher.here(&made).is_some() && fetcher.chunk(&made, 0).is_none());
        assert_eq!(snapshots.lost(), Some(id));
    }
}
