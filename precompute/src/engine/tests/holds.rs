//! Certificates on hold, and what ends a hold: index, CRLs of one scope and of several, delta CRLs, restarts.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::source::CrlMarks;

/// Sources in a directory: CRLs byte by byte, since openssl releases nobody and writes no scopes of our choice.
struct Place {
    dir: tempfile::TempDir,
    state: tempfile::TempDir,
    watched: SourceReader,
    book: Arc<SharedBook>,
    number: u8,
}

const HELD: u8 = 6;
const LOST: u8 = 1;
const REMOVED: u8 = 8;

fn users() -> Vec<u8> {
    draft::distribution_point(&[0x81, 1, 0xff])
}

fn shard(name: &[u8]) -> Vec<u8> {
    draft::distribution_point(&draft::element(0xa0, draft::element(0xa0, draft::element(0x86, name))))
}

fn sources(dir: &tempfile::TempDir, index: bool, delta: bool) -> Sources {
    let path = |file: &str| dir.path().join(file);
    let crls = [path("ca.crl")].into_iter().chain(delta.then(|| path("delta.crl"))).collect();
    let listings = Some(path("index.txt")).filter(|_| index).map(ListingFile::database).into_iter().collect();
    Sources { listings, crls, ..Sources::default() }
}

fn reader(book: &Arc<SharedBook>, sources: Sources) -> SourceReader {
    open(book, issuer("tenant", draft::issuer(), sources))
}

impl Place {
    fn new(index: bool, delta: bool) -> Self {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let book = open_book(state.path());
        let watched = reader(&book, sources(&dir, index, delta));
        Self { dir, state, watched, book, number: 0 }
    }

    fn write(&self, file: &str, entries: &[(u8, u8)], extensions: &[Vec<u8>]) {
        let entries: Vec<_> =
            entries.iter().map(|(serial, code)| draft::entry(*serial, &[draft::reason(*code)])).collect();
        let crl = draft::Draft { entries: draft::sequence(&entries), ..draft::Draft::extensions(extensions) };
        fs::write(self.dir.path().join(file), crl.der()).unwrap();
    }

    /// The next complete CRL.
    fn crl(&mut self, scope: Option<Vec<u8>>, entries: &[(u8, u8)]) {
        self.number += 1;
        let extensions: Vec<_> = [draft::number(self.number)].into_iter().chain(scope).collect();
        self.write("ca.crl", entries, &extensions);
    }

    /// A delta CRL to the complete one.
    fn delta(&mut self, scope: Option<Vec<u8>>, entries: &[(u8, u8)]) {
        let base = self.number;
        self.number += 1;
        let extensions: Vec<_> = [draft::number(self.number), draft::delta(base)].into_iter().chain(scope).collect();
        self.write("delta.crl", entries, &extensions);
    }

    fn index(&self, text: &str) {
        fs::write(self.dir.path().join("index.txt"), text).unwrap();
    }

    fn pass(&mut self) -> Result<Pass, String> {
        self.watched.watch.changed();
        let pass = self.watched.pass(Accepted::default()).map_err(|error| error.to_string());
        self.watched.ledger.save().unwrap();
        pass
    }

    fn status(&self, serial: u8) -> Option<Status> {
        self.watched.ledger.state().records.get(&Serial::from_magnitude(&[serial]).unwrap()).map(|found| found.status)
    }

    /// The code of the revocation's reason; `None` if it is not revoked.
    fn reason(&self, serial: u8) -> Option<u8> {
        match self.status(serial)? {
            Status::Revoked { reason, .. } => Some(reason.code()),
            Status::Good => None,
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.watched.ledger.state().health.report().warnings
    }

    fn restart(self) -> Self {
        let Self { dir, state, watched, book, number } = self;
        let sources = watched.issuer.sources.clone();
        drop((book, watched));
        let book = open_book(state.path());
        let watched = reader(&book, sources);
        Self { dir, state, watched, book, number }
    }
}

#[test]
fn a_crl_of_a_part_releases_who_is_on_hold_within_it() {
    // step-ca, EJBCA and boulder write such CRLs, and a hold never ended.
    for scope in [users(), shard(b"http://ca/1"), draft::distribution_point(&[0x82, 1, 0xff])] {
        for (index, restart) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut place = Place::new(index, false);
            place.index(&list(1..4));
            place.crl(Some(scope.clone()), &[(1, HELD), (2, LOST), (3, HELD)]);
            place.pass().unwrap();
            assert_eq!([1, 2, 3].map(|serial| place.reason(serial)), [HELD, LOST, HELD].map(Some));
            if restart {
                place = place.restart();
            }
            place.crl(Some(scope.clone()), &[(3, HELD)]);
            place.pass().unwrap();
            let released = if index { Some(Status::Good) } else { None };
            assert_eq!(place.status(1), released, "index {index}, restart {restart}");
            assert_eq!([2, 3].map(|serial| place.reason(serial)), [LOST, HELD].map(Some), "what is final stays");
            assert_eq!(place.warnings(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_crl_of_another_part_says_nothing_of_a_hold() {
    for index in [false, true] {
        for restart in [false, true] {
            let mut place = Place::new(index, false);
            place.index(&list(1..4));
            place.crl(Some(shard(b"http://ca/1")), &[(1, HELD)]);
            place.pass().unwrap();
            // Twice: the second is of the scope of the CRL before, and not of that which listed the hold.
            for entries in [&[(2, HELD)][..], &[(2, HELD), (3, HELD)], &[(3, HELD)]] {
                if restart {
                    place = place.restart();
                }
                place.crl(Some(shard(b"http://ca/2")), entries);
                place.pass().unwrap();
                assert_eq!(place.reason(1), Some(HELD), "index {index}, restart {restart}");
            }
            assert!(place.warnings()[0].contains("stay on hold"), "{:?}", place.warnings());
            // One of all certificates tells.
            place.crl(None, &[(3, HELD)]);
            place.pass().unwrap();
            let released = if index { Some(Status::Good) } else { None };
            assert_eq!(([1, 2].map(|serial| place.status(serial)), place.reason(3)), ([released; 2], Some(HELD)));
            assert!(place.warnings().is_empty());
            // And the next part releases nobody whom the whole listed.
            place.crl(Some(users()), &[]);
            place.pass().unwrap();
            assert_eq!(place.reason(3), Some(HELD));
        }
    }
}

#[test]
fn a_hold_whose_part_is_not_known_is_released_once_one_part_lists_all() {
    // The book of an earlier version has no scope.
    let mut place = Place::new(false, false);
    place.crl(Some(users()), &[(1, HELD), (2, HELD)]);
    place.pass().unwrap();
    let marks = &mut place.watched.crl_marks;
    *marks = CrlMarks::new(marks.scopes().iter().copied(), None);
    place.crl(Some(users()), &[(2, HELD)]);
    place.pass().unwrap();
    assert_eq!([1, 2].map(|serial| place.reason(serial)), [HELD; 2].map(Some), "who knows who listed 1");
    place.crl(Some(users()), &[(1, HELD), (2, HELD)]);
    place.pass().unwrap();
    place.crl(Some(users()), &[(1, HELD)]);
    place.pass().unwrap();
    assert_eq!([1, 2].map(|serial| place.reason(serial)), [Some(HELD), None]);
}

#[test]
fn a_delta_crl_of_a_part_releases_within_it() {
    for restart in [false, true] {
        let mut place = Place::new(false, true);
        place.crl(Some(users()), &[(1, HELD), (2, HELD)]);
        place.delta(Some(users()), &[(3, HELD)]);
        place.pass().unwrap();
        assert_eq!([1, 2, 3].map(|serial| place.reason(serial)), [HELD; 3].map(Some));
        if restart {
            place = place.restart();
        }
        place.number -= 1;
        let base = place.number;
        place.number = 9;
        place.write("delta.crl", &[(1, REMOVED), (3, HELD)], &[draft::number(9), draft::delta(base), users()]);
        place.pass().unwrap();
        assert_eq!([1, 2, 3].map(|serial| place.reason(serial)), [None, Some(HELD), Some(HELD)]);
        // The next complete one of that part without them.
        place.crl(Some(users()), &[]);
        place.delta(Some(users()), &[]);
        place.pass().unwrap();
        assert_eq!([1, 2, 3].map(|serial| place.reason(serial)), [None; 3]);
    }
}

#[test]
fn a_delta_crl_takes_no_final_revocation_back_whatever_was_seen_before() {
    // It was good at a first start, and revoked had the complete CRL been seen before.
    for first in [true, false] {
        let mut place = Place::new(false, true);
        place.crl(None, &[(1, LOST), (2, HELD), (3, LOST)]);
        if !first {
            place.delta(None, &[]);
            place.pass().unwrap();
            place.number -= 1;
        }
        let base = place.number;
        place.write("delta.crl", &[(1, REMOVED), (2, REMOVED), (3, HELD)], &[draft::number(9), draft::delta(base)]);
        place.pass().unwrap();
        assert_eq!([1, 2, 3].map(|serial| place.reason(serial)), [Some(LOST), None, Some(LOST)], "first {first}");
    }
}

/// What an index, a complete CRL and a delta CRL say of one certificate: codes of reasons, and 0 for good.
type SaidOfOne = (Option<u8>, Option<u8>, Option<u8>);
/// And of certificates 1, 2 and 3.
type Said = [SaidOfOne; 3];

fn any_said() -> impl Strategy<Value = Said> {
    let index = prop::sample::select(vec![None, Some(0), Some(HELD), Some(LOST)]);
    let complete = prop::sample::select(vec![None, None, Some(HELD), Some(LOST)]);
    let delta = prop::sample::select(vec![None, None, Some(HELD), Some(LOST), Some(REMOVED)]);
    prop::array::uniform3((index, complete, delta))
}

impl Place {
    fn take(&mut self, said: &Said) {
        let line = |(serial, (index, ..)): (u32, &(Option<u8>, _, _))| match index {
            None => String::new(),
            Some(0) => good(serial),
            Some(HELD) => revoked(serial, ",certificateHold"),
            Some(_) => revoked(serial, ",keyCompromise"),
        };
        self.index(&(1..).zip(said).map(line).collect::<String>());
        let entries = |of: fn(&SaidOfOne) -> Option<u8>| -> Vec<(u8, u8)> {
            (1..).zip(said).filter_map(|(serial, said)| Some((serial, of(said)?))).collect()
        };
        self.crl(None, &entries(|said| said.1));
        self.delta(None, &entries(|said| said.2));
        self.watched.watch.changed();
        self.watched.pass(Accepted::default()).map_err(|error| error.to_string()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_same_sources_give_the_same_answer_whatever_came_before(
        history in vec(any_said(), 1..4),
        index in any::<bool>(),
    ) {
        let (mut following, mut fresh) = (Place::new(index, true), Place::new(index, true));
        history.iter().for_each(|said| following.take(said));
        let last = history.last().unwrap();
        fresh.take(last);
        let is_final = |said: &SaidOfOne| {
            index && said.0 == Some(LOST) || said.1 == Some(LOST) || said.2 == Some(LOST)
        };
        for at in 0..3 {
            let serial = at as u8 + 1;
            let (followed, first) = (following.status(serial), fresh.status(serial));
            if is_final(&last[at]) {
                prop_assert_eq!([following.reason(serial), fresh.reason(serial)], [Some(LOST); 2], "final in the last");
            } else if history.iter().any(|said| is_final(&said[at])) {
                prop_assert_eq!(following.reason(serial), Some(LOST), "final before");
            } else {
                prop_assert_eq!(followed, first, "never final");
            }
        }
    }
}
