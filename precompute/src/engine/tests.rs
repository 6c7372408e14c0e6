//! What a pass does with the sources, on a real book and with CRLs from the real `openssl`.

mod crls;
mod doubt;
mod fetched;
mod holds;
mod mapped;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::*;
use crate::{
    config::{ListingFile, Sources},
    pki::{Certificate, Reason, Status},
    records::Counts,
    source::{
        draft,
        openssl::{Ca, KEYS},
    },
    state_dir::BOOK,
};

/// A CA directory, a book, and what is watched.
struct World {
    ca: Ca,
    state: tempfile::TempDir,
    book: Arc<SharedBook>,
    watched: SourceReader,
}

/// A reader of this issuer, whose ledger is served.
fn open(book: &Arc<SharedBook>, issuer: FollowedIssuer) -> SourceReader {
    let saver = Saver::start().unwrap();
    let opened = Ledger::open(&issuer.id, &issuer.name, book, &saver).unwrap();
    opened.ledger.serve(&issuer.name);
    let state_dir = book.lock().state_dir().to_owned();
    let mut reader = SourceReader::new(issuer, opened.ledger, false, opened.verified, Vec::new(), &state_dir)
        .with_stamps(opened.stamps.as_deref());
    reader.removal_delay = Duration::ZERO;
    reader
}

fn open_book(state_dir: &Path) -> Arc<SharedBook> {
    Arc::new(SharedBook::new(Book::open(state_dir).unwrap()))
}

const SHRINK: Accepted = Accepted { shrink: true, older: false, carry_over: false, forgotten: false };

const DATE: &str = "250101000000Z";

fn good(serial: u32) -> String {
    format!("V\t350101000000Z\t\t{serial:04X}\tunknown\t/CN={serial}\n")
}

fn revoked(serial: u32, reason: &str) -> String {
    format!("R\t350101000000Z\t{DATE}{reason}\t{serial:04X}\tunknown\t/CN={serial}\n")
}

fn list(serials: std::ops::Range<u32>) -> String {
    serials.map(good).collect()
}

const FINAL: Status = Status::Revoked { time: UnixTime(1_735_689_600), reason: Reason::KeyCompromise };
const HOLD: Status = Status::Revoked { time: UnixTime(1_735_689_600), reason: Reason::CertificateHold };

fn issuer(tenant: &str, certificate: Certificate, sources: Sources) -> FollowedIssuer {
    FollowedIssuer::of(tenant, "issuer", &certificate, sources)
}

fn followed(tenant: &str, ca: &Ca, sources: &Sources) -> FollowedIssuer {
    issuer(tenant, ca.certificate(), sources.clone())
}

impl World {
    fn new(sources: impl FnOnce(&Ca) -> Sources) -> Self {
        let ca = Ca::new("Engine", KEYS[1]);
        let state = tempfile::tempdir().unwrap();
        let book = open_book(state.path());
        let watched = open(&book, followed("tenant", &ca, &sources(&ca)));
        Self { ca, state, book, watched }
    }

    fn with_index() -> Self {
        Self::new(|ca| Sources::of_index(ca.path("listed.txt")))
    }

    fn index(&self, text: &str) {
        fs::write(self.ca.path("listed.txt"), text).unwrap();
    }

    /// Writes a CRL of what `text` revokes to the place where the sources look for it.
    fn crl(&self, text: &str, file: &str, arguments: &[&str]) {
        fs::write(self.ca.path("index.txt"), text).unwrap();
        self.ca.write_crl(file, arguments);
    }

    fn pass(&mut self) -> Result<Pass, String> {
        self.pass_accepting(Accepted::default())
    }

    fn pass_accepting(&mut self, accept: Accepted) -> Result<Pass, String> {
        self.watched.watch.changed();
        let pass = self.watched.pass(accept).map_err(|error| error.to_string());
        self.watched.ledger.save().unwrap();
        pass
    }

    fn look(&mut self) {
        self.watched.look(Accepted::default());
        let _ = self.watched.ledger.save();
    }

    fn report(&self) -> HealthReport {
        self.watched.ledger.state().health.report()
    }

    #[track_caller]
    fn refuses(&mut self, problem: &str) {
        let before = (self.watched.ledger.state().records.counts(), self.book.lock().record_count().unwrap());
        let error = self.pass().expect_err(problem);
        assert!(error.contains(problem), "expected `{problem}`, found `{error}`");
        assert_eq!(
            (self.watched.ledger.state().records.counts(), self.book.lock().record_count().unwrap()),
            before,
            "nothing changed"
        );
    }

    fn status(&self, serial: u32) -> Option<Status> {
        let serial = Serial::from_magnitude(&serial.to_be_bytes()).unwrap();
        self.watched.ledger.state().records.get(&serial).map(|found| found.status)
    }

    fn contradictions(&self) -> u64 {
        self.watched.ledger.state().health.report().contradictions
    }

    /// As after kill -9: another process finds the file while this one still has it open, and nothing closes it.
    fn restart(self) -> Self {
        let Self { ca, state, book, watched } = self;
        let died = tempfile::tempdir().unwrap();
        let left = died.path().join(BOOK);
        fs::copy(state.path().join(BOOK), &left).unwrap();
        assert!(is_open(&left), "the book was closed");
        let issuer = (*watched.issuer).clone();
        drop((book, watched));
        assert!(!is_open(&state.path().join(BOOK)), "a book that is closed is told apart");
        let book = open_book(died.path());
        let watched = open(&book, issuer);
        Self { ca, state: died, book, watched }
    }
}

/// Whether this redb file was not closed since it was opened: a bit in the byte after its magic number.
fn is_open(file: &Path) -> bool {
    const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
    const RECOVERY_REQUIRED: u8 = 2;
    let bytes = fs::read(file).unwrap();
    bytes.strip_prefix(MAGIC).expect("a file of redb's")[0] & RECOVERY_REQUIRED != 0
}

#[test]
fn what_a_pass_acknowledged_is_there_after_a_restart() {
    let mut world = World::with_index();
    world.index(&(list(1..100) + &revoked(100, ",keyCompromise")));
    let pass = world.pass().unwrap();
    assert_eq!((pass.listed, pass.changed, pass.counts), (100, 100, Counts { good: 99, revoked: 1 }));
    assert_eq!(world.pass().unwrap().changed, 0, "the same file changes nothing");
    let world = world.restart();
    assert_eq!((world.status(1), world.status(100), world.status(101)), (Some(Status::Good), Some(FINAL), None));
}

#[test]
fn a_revocation_is_never_taken_back_by_an_index_except_from_hold() {
    let mut world = World::with_index();
    world.index(
        &(revoked(1, ",keyCompromise") + &revoked(2, ",certificateHold") + &revoked(3, ",keyCompromise") + &good(4)),
    );
    world.pass().unwrap();
    world.index(&(good(1) + &good(2) + &good(4)));
    world.pass().unwrap();
    assert_eq!(world.status(1), Some(FINAL), "said good again");
    assert_eq!(world.status(2), Some(Status::Good), "released from hold");
    assert_eq!(world.status(3), Some(FINAL), "no longer listed");
    assert_eq!(world.contradictions(), 2);
    let mut world = world.restart();
    assert_eq!(world.status(1), Some(FINAL));
    world.index(&(revoked(1, ",keyCompromise") + &good(2) + &revoked(3, ",keyCompromise") + &good(4)));
    world.pass().unwrap();
    assert_eq!(world.contradictions(), 0, "set right");
}

#[test]
fn a_good_certificate_that_is_no_longer_listed_is_unlisted() {
    let mut world = World::with_index();
    world.index(&list(1..5));
    world.pass().unwrap();
    world.index(&list(1..4));
    assert_eq!(world.pass().unwrap().changed, 1);
    assert_eq!(world.status(4), None);
    assert_eq!(world.restart().status(4), None);
}

#[test]
fn an_index_with_anything_wrong_adds_and_releases_nobody() {
    let mut world = World::with_index();
    world.index(&list(1..5));
    world.pass().unwrap();
    for (text, problem) in [
        (list(1..5) + &good(5) + "garbage\n", "listed.txt:6: "),
        (list(1..5) + "V\t350101", "listed.txt:5: "),
        (list(1..5) + &good(3), "listed.txt:5: lists serial 03 a second time"),
        (list(1..8) + &good(7), "listed.txt:8: lists serial 07 a second time"),
    ] {
        world.index(&text);
        world.refuses(problem);
    }
    fs::remove_file(world.ca.path("listed.txt")).unwrap();
    world.refuses("listed.txt: ");
}

/// A bad line about another certificate must not delay a revocation until somebody has fixed it.
#[test]
fn what_the_readable_lines_of_a_broken_index_revoke_is_told_at_once() {
    for (bad, what) in [
        ("garbage\n".to_owned(), "no line of openssl ca"),
        (good(3), "a serial listed twice"),
        (good(9).replace("\t0009\t", "\tzz\t"), "no serial number"),
        (good(9).replacen('V', "r", 1), "no type"),
        (good(9).replace("350101000000Z", "garbage"), "no expiry"),
        ("V\t350101".to_owned(), "half a line"),
    ] {
        let mut world = World::with_index();
        world.index(&(list(1..5) + &revoked(6, ",certificateHold")));
        world.pass().unwrap();
        let lines = revoked(1, ",keyCompromise") + &revoked(2, ",certificateHold") + &list(3..5) + &good(6) + &good(8);
        for text in [format!("{lines}{bad}"), format!("{}{bad}", revoked(7, ",keyCompromise") + &lines)] {
            world.index(&text);
            world.pass().expect_err(what);
        }
        assert_eq!([1, 2, 7].map(|serial| world.status(serial)), [Some(FINAL), Some(HOLD), Some(FINAL)], "{what}");
        assert_eq!([3, 6, 8].map(|serial| world.status(serial)), [Some(Status::Good), Some(HOLD), None], "{what}");
        let world = world.restart();
        assert_eq!(world.status(1), Some(FINAL), "{what}");
    }
    // An index that names no known certificate does not count at all.
    let mut world = World::with_index();
    world.index(&list(1..5));
    world.pass().unwrap();
    world.index(&(revoked(100, ",keyCompromise") + "garbage\n"));
    world.pass().unwrap_err();
    assert_eq!(world.status(100), None);
}

#[test]
fn an_index_that_lost_most_of_its_certificates_is_refused_until_accepted() {
    let mut world = World::with_index();
    world.index(&(list(1..100) + &revoked(100, ",keyCompromise")));
    world.pass().unwrap();
    world.index(&list(1..10));
    world.refuses("no longer lists 90 of the 100 known certificates");
    for nobody in [String::new(), list(500..600)] {
        world.index(&nobody);
        world.refuses("lists none of the 100 known certificates");
    }
    world.index(&list(1..60));
    assert_eq!(world.pass().unwrap().counts, Counts { good: 59, revoked: 1 }, "less than half went");
    world.index(&list(1..10));
    world.pass_accepting(SHRINK).unwrap();
    assert_eq!(world.watched.ledger.state().records.counts(), Counts { good: 9, revoked: 1 });
}

#[test]
fn a_file_that_is_written_while_it_is_read_is_read_again() {
    use crate::source::Ended;
    let world = World::with_index();
    world.index(&list(1..5));
    let path = world.ca.path("listed.txt");
    let mut index = crate::source::Listing::open(&path, crate::source::Form::Database).unwrap();
    assert!(index.by_ref().all(|listed| listed.is_ok()) && index.ended() == Ended::Whole);
    let mut index = crate::source::Listing::open(&path, crate::source::Form::Database).unwrap();
    world.index(&list(1..7));
    assert!(index.by_ref().all(|listed| listed.is_ok()) && index.ended() != Ended::Whole, "written in place");
    let mut index = crate::source::Listing::open(&path, crate::source::Form::Database).unwrap();
    fs::write(world.ca.path("new.txt"), list(1..9)).unwrap();
    fs::rename(world.ca.path("new.txt"), &path).unwrap();
    assert!(index.by_ref().all(|listed| listed.is_ok()));
    assert_eq!(index.ended(), Ended::Whole, "one whole version, replaced since");
}

#[test]
fn a_refused_source_is_tried_again_although_its_file_does_not_change() {
    // A read can fail for lack of a descriptor while `stat` sees nothing wrong. The revocation in the file must not
    // wait for the next change of the file. A directory in place of the file stands in for that here.
    let mut world = World::with_index();
    let path = world.ca.path("listed.txt");
    fs::create_dir(&path).unwrap();
    world.look();
    assert!(world.report().fault.is_some() && world.watched.read_again_at.is_some());
    world.watched.read_again_at = Some(Instant::now());
    world.look();
    assert_eq!(world.report().faults, 2, "tried again");
    fs::remove_dir(&path).unwrap();
    world.index(&list(1..5));
    world.look();
    let report = world.report();
    assert_eq!((report.fault, report.listed), (None, 4));
}

#[test]
fn a_book_that_cannot_be_written_is_told_and_written_later() {
    let mut world = World::with_index();
    world.index(&list(1..5));
    world.look();
    let book = std::mem::replace(&mut *world.book.lock(), Book::lost(world.state.path()));
    world.index(&(list(1..4) + &revoked(4, ",keyCompromise")));
    world.look();
    assert_eq!(world.status(4), Some(FINAL), "told although not on disk");
    assert!(world.report().book_fault.is_some() && !world.watched.ledger.is_saved());
    let serial = Serial::from_magnitude(&[4]).unwrap();
    let shown = world.watched.ledger.look_up(&serial);

    // A source that breaks in the meantime does not keep the change from being saved.
    world.index("garbage\n");
    *world.book.lock() = book;
    world.look();
    assert!(world.watched.ledger.is_saved() && world.report().book_fault.is_none());
    assert_eq!(world.watched.ledger.look_up(&serial), shown, "writing does not change the record a second time");
    assert_eq!(world.restart().status(4), Some(FINAL));
}

/// Clients that compare revocationTime take the certificate as good until then.
#[test]
fn a_revocation_of_the_future_is_taken_as_of_when_it_was_first_seen() {
    let mut world = World::with_index();
    let future = revoked(4, ",keyCompromise").replace(DATE, "491231235959Z");
    world.index(&(list(1..4) + &future + &revoked(5, ",keyCompromise")));
    let before = UnixTime::now();
    world.look();
    let time = |world: &World| match world.status(4) {
        Some(Status::Revoked { time, reason: Reason::KeyCompromise }) => time,
        other => panic!("{other:?}"),
    };
    let taken = time(&world);
    assert!(before <= taken && taken <= UnixTime::now(), "{taken}");
    assert_eq!(world.status(5), Some(FINAL));
    let warnings = world.report().warnings;
    let words = "1 revocations are dated in the future, that of 04 at 2049-12-31T23:59:59Z";
    assert!(warnings.iter().any(|warning| warning.contains(words)), "{warnings:?}");
    // It stays at that, over later readings and a restart.
    std::thread::sleep(Duration::from_millis(1100));
    world.index(&(list(1..4) + &future + &revoked(5, ",keyCompromise") + &good(6)));
    world.pass().unwrap();
    assert_eq!((time(&world), world.report().changed), (taken, 6));
    let mut world = world.restart();
    world.pass().unwrap();
    assert_eq!(time(&world), taken);
}

const COMPLETE: &[&str] = &["-crlexts", "complete"];

fn crl_sources(ca: &Ca) -> Sources {
    Sources { crls: vec![ca.path("ca.crl")], ..Sources::default() }
}

/// A complete CRL and a delta.
fn crl_and_delta(ca: &Ca) -> Sources {
    Sources { crls: vec![ca.path("ca.crl"), ca.path("delta.crl")], ..Sources::default() }
}

#[test]
fn a_crl_lists_the_revoked_and_releases_holds_by_leaving_them_out() {
    let mut world = World::new(crl_sources);
    let file: PathBuf = world.ca.path("ca.crl");
    world.crl(&(revoked(1, ",keyCompromise") + &revoked(2, ",certificateHold")), "ca.crl", &["-crlexts", "complete"]);
    world.pass().unwrap();
    assert_eq!((world.status(1), world.status(2), world.status(3)), (Some(FINAL), Some(HOLD), None));
    let first = fs::read(&file).unwrap();
    world.crl(&revoked(3, ",keyCompromise"), "ca.crl", &["-crlexts", "complete"]);
    world.pass().unwrap();
    assert_eq!(world.status(1), Some(FINAL), "left out when it expired");
    assert_eq!(world.status(2), None, "released");
    assert_eq!(world.contradictions(), 0);

    fs::write(&file, first).unwrap();
    world.refuses("older than the CRL taken before");
    let mut world = world.restart();
    world.refuses("older than the CRL taken before");
}

#[test]
fn a_crl_of_one_distribution_point_releases_within_it_as_openssl_writes_it() {
    let mut world = World::new(crl_sources);
    world.crl(&revoked(2, ",certificateHold"), "ca.crl", &["-crlexts", "users"]);
    world.pass().unwrap();
    world.crl(&revoked(3, ",keyCompromise"), "ca.crl", &["-crlexts", "users"]);
    world.pass().unwrap();
    assert_eq!((world.status(2), world.status(3)), (None, Some(FINAL)));
    // The last CRL that listed 4 was one of all certificates: this partial CRL says nothing about it.
    world.crl(&(revoked(3, ",keyCompromise") + &revoked(4, ",certificateHold")), "ca.crl", COMPLETE);
    world.pass().unwrap();
    world.crl(&revoked(3, ",keyCompromise"), "ca.crl", &["-crlexts", "users"]);
    world.pass().unwrap();
    assert_eq!(world.status(4), Some(HOLD));
}

#[test]
fn of_index_and_crl_the_stricter_counts() {
    let mut world =
        World::new(|ca| Sources { listings: vec![ListingFile::database(ca.path("listed.txt"))], ..crl_sources(ca) });
    world.crl(
        &(revoked(1, ",keyCompromise") + &revoked(2, ",keyCompromise") + &revoked(9, ",keyCompromise")),
        "ca.crl",
        &["-crlexts", "complete"],
    );
    world.index(&(good(1) + &revoked(2, ",certificateHold") + &revoked(3, ",keyCompromise") + &good(4)));
    let pass = world.pass().unwrap();
    assert_eq!((pass.listed, pass.changed), (5, 5));
    for serial in [1, 2, 3, 9] {
        assert_eq!(world.status(serial), Some(FINAL), "{serial}");
    }
    assert_eq!(world.status(4), Some(Status::Good));
    assert_eq!(world.pass().unwrap().changed, 0);
}

#[test]
fn a_delta_crl_goes_on_top_of_its_complete_crl() {
    let mut world = World::new(crl_and_delta);
    world.crl(&(revoked(1, ",keyCompromise") + &revoked(2, ",certificateHold")), "ca.crl", &["-crlexts", "complete"]);
    let error = world.pass().unwrap_err();
    assert!(error.contains("delta.crl: "), "{error}");
    assert_eq!((world.status(1), world.status(2)), (Some(FINAL), Some(HOLD)), "what the complete one revokes is");
    world.crl(&(revoked(2, ",removeFromCRL") + &revoked(3, ",keyCompromise")), "delta.crl", &["-crlexts", "delta"]);
    world.pass().unwrap();
    assert_eq!((world.status(1), world.status(2), world.status(3)), (Some(FINAL), None, Some(FINAL)));
    fs::copy(world.ca.path("delta.crl"), world.ca.path("ca.crl")).unwrap();
    world.refuses("is a delta CRL");
}

#[test]
fn two_tenants_with_one_ca_keep_two_sets() {
    let mut world = World::with_index();
    world.index(&list(1..5));
    world.pass().unwrap();
    let other = open(&world.book, followed("other", &world.ca, &world.watched.issuer.sources));
    assert_eq!(other.ledger.state().records.counts(), Counts::default());
}

/// A second reader of the same ledger, with an index of its own.
fn other_reader(world: &World, file: &str, held: bool) -> SourceReader {
    let sources = Sources::of_index(world.ca.path(file));
    let (issuer, ledger) = (followed("tenant", &world.ca, &sources), world.watched.ledger.clone());
    let mut reader = SourceReader::new(issuer, ledger, held, None, Vec::new(), world.state.path());
    reader.removal_delay = Duration::ZERO;
    reader
}

#[test]
fn a_prepared_reader_changes_nothing_until_it_is_adopted_and_a_replaced_one_changes_nothing_more() {
    let mut world = World::with_index();
    world.index(&list(1..6));
    world.pass().unwrap();
    fs::write(world.ca.path("other.txt"), list(1..5) + &revoked(5, ",keyCompromise")).unwrap();
    let mut other = other_reader(&world, "other.txt", true);
    other.first_pass(Terms::default(), &stop::Stop::default()).unwrap();
    assert_eq!(world.status(5), Some(Status::Good), "it is only prepared");
    // What the former sources revoke until then is revoked, and the new ones do not take it back.
    world.index(&[revoked(1, ",keyCompromise"), list(2..6)].concat());
    world.pass().unwrap();
    world.watched.handover.close();
    other.handover.open();
    assert_eq!([1, 5].map(|serial| world.status(serial)), [Some(FINAL); 2]);
    other.look(Accepted::default());
    assert_eq!(world.contradictions(), 1, "it is told at once");
    // The former one comes back from a read that hung.
    world.index(&[list(1..3), revoked(3, ",keyCompromise"), good(9)].concat());
    let _ = world.watched.pass(SHRINK);
    assert_eq!([3, 9].map(|serial| world.status(serial)), [Some(Status::Good), None]);
    assert_eq!(world.watched.handover.health().map(|_| ()), None);
}

#[test]
fn what_comes_from_the_former_sources_after_the_new_ones_were_read_is_removed_when_they_do_not_list_it() {
    let mut world = World::with_index();
    world.index(&list(1..6));
    world.pass().unwrap();
    fs::write(world.ca.path("other.txt"), list(1..6)).unwrap();
    let mut other = other_reader(&world, "other.txt", true);
    other.first_pass(Terms::default(), &stop::Stop::default()).unwrap();
    world.index(&list(1..8));
    world.pass().unwrap();
    world.watched.handover.close();
    other.handover.open();
    assert_eq!(world.status(7), Some(Status::Good));
    other.look(Accepted::default());
    assert_eq!(world.status(7), None, "the sources that count now do not list it");
}

/// What it was prepared with said good; meanwhile the certificate was put on hold again, and answered so.
#[test]
fn what_a_prepared_reader_has_found_released_stays_on_hold_until_it_has_read_again() {
    let mut world = World::with_index();
    world.index(&(list(1..5) + &revoked(5, ",certificateHold")));
    world.pass().unwrap();
    fs::write(world.ca.path("other.txt"), list(1..6)).unwrap();
    let mut other = other_reader(&world, "other.txt", true);
    other.first_pass(Terms::default(), &stop::Stop::default()).unwrap();
    let under_way = other.compare(Accepted::default());
    for released in [false, true] {
        let line = if released { good(5) } else { revoked(5, ",certificateHold") };
        world.index(&(list(1..5) + &line));
        world.pass().unwrap();
    }
    world.index(&(list(1..5) + &revoked(5, ",certificateHold")));
    world.pass().unwrap();
    fs::copy(world.ca.path("listed.txt"), world.ca.path("other.txt")).unwrap();
    world.watched.handover.close();
    other.handover.open();
    assert_eq!(world.status(5), Some(HOLD));
    other.hand_over(under_way, Instant::now()).unwrap();
    assert_eq!(world.status(5), Some(HOLD), "nor does a read that was under way release it");
    fs::write(world.ca.path("other.txt"), list(1..6)).unwrap();
    other.look(Accepted::default());
    assert_eq!(world.status(5), Some(Status::Good), "what it reads now counts");
}

/// Its mark said that the records had what it had found, and the stamps in the book would have said so too.
#[test]
fn what_was_compared_before_the_adoption_leaves_no_mark() {
    let mut world = World::with_index();
    world.index(&(list(1..5) + &revoked(5, ",certificateHold")));
    world.pass().unwrap();
    fs::copy(world.ca.path("listed.txt"), world.ca.path("other.txt")).unwrap();
    let mut other = other_reader(&world, "other.txt", true);
    let comparison = other.compare(Accepted::default());
    assert_eq!(comparison.changes, [], "it says the same");
    world.index(&list(1..6));
    world.pass().unwrap();
    world.watched.handover.close();
    other.handover.open();
    other.hand_over(comparison, Instant::now()).unwrap();
    assert_eq!(world.status(5), Some(Status::Good), "the former sources have released it since");
    assert!(other.mark.is_none());
    other.look(Accepted::default());
    assert_eq!(world.status(5), Some(HOLD));
}
