//! Indexes that are written while they are compared, against records without a book.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;
use crate::{
    config::{ListingFile, Sources},
    limits,
    ocsp::Carries,
    pki::{Certificate, written::Radix},
    records::Change,
    source::{
        Form, MIRROR_BEGINNING, MIRROR_CHANGES,
        openssl::{Ca, KEYS},
    },
};

/// An index, the records of it, and what is kept from one pass to the next.
struct Follow {
    dir: tempfile::TempDir,
    issuer: FollowedIssuer,
    records: std::sync::Arc<Records>,
    details: Details,
    writer: crate::records::RecordsWriter,
    mark: Option<Mark>,
    candidates: Candidates,
}

fn certificate() -> Certificate {
    static CERTIFICATE: std::sync::OnceLock<Certificate> = std::sync::OnceLock::new();
    CERTIFICATE.get_or_init(|| Ca::new("Compare", KEYS[1]).certificate()).clone()
}

fn good(serial: u32) -> String {
    format!("V\t350101000000Z\t\t{serial:04X}\tunknown\t/CN={serial}\n")
}

fn revoked(serial: u32) -> String {
    format!("R\t350101000000Z\t250101000000Z\t{serial:04X}\tunknown\t/CN={serial}\n")
}

fn list(serials: std::ops::Range<u32>) -> String {
    serials.map(good).collect()
}

fn serial(number: u32) -> Serial {
    Serial::from_hex(&format!("{number:04X}")).unwrap()
}

impl Follow {
    fn new() -> Self {
        Self::of(&[("index.txt", Form::Database)])
    }

    fn of(listings: &[(&str, Form)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |(name, form): &(&str, Form)| ListingFile { path: dir.path().join(name), form: *form };
        let sources = Sources { listings: listings.iter().map(file).collect(), ..Sources::default() };
        let issuer = FollowedIssuer {
            carries: Carries { cert_hash: true, crl_reference: true, invalidity_date: true },
            ..FollowedIssuer::of("tenant", "issuer", &certificate(), sources)
        };
        let (records, writer) = Records::new();
        Self {
            dir,
            issuer,
            records,
            writer,
            details: Details::default(),
            mark: None,
            candidates: Candidates::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("index.txt")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn append(&self, text: &str) {
        OpenOptions::new().append(true).open(self.path()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn compare(&self, still: bool) -> Comparison {
        compare(&Question {
            records: &self.records,
            details: &self.details,
            issuer: &self.issuer,
            crl_marks: &CrlMarks::default(),
            mark: self.mark.as_ref(),
            candidates: &self.candidates,
            now: UnixTime(1_800_000_000),
            still,
            accept_shrink: false,
            shrink_remedy: "",
            accept_older: false,
            older_remedy: "",
            progress: &Progress::default(),
        })
    }

    /// One pass while the file is not still.
    fn pass(&mut self) -> Comparison {
        let mut comparison = self.compare(false);
        self.writer.reserve(comparison.changes.len());
        self.writer.apply(comparison.changes.iter().copied().map(Change::from));
        self.mark = comparison.mark.take();
        self.candidates = std::mem::take(&mut comparison.candidates);
        comparison
    }

    fn is_revoked(&self, number: u32) -> Option<bool> {
        self.records.get(&serial(number)).map(|found| found.status != Status::Good)
    }
}

mod details;
mod several;

#[test]
fn appended_lines_are_compared_alone_and_give_what_the_whole_index_gives() {
    let mut follow = Follow::new();
    follow.write(&list(1..50));
    let first = follow.pass();
    assert!(!first.is_of_appended && first.faults.is_empty());
    follow.append(&(revoked(60) + &good(61)));
    let second = follow.pass();
    assert!(second.is_of_appended);
    assert_eq!((second.changes.len(), second.listed), (2, 51));
    assert_eq!((follow.is_revoked(60), follow.is_revoked(61)), (Some(true), Some(false)));
    // Touched.
    follow.append("");
    assert!(follow.pass().is_of_appended);
    // Half a line waits for its end.
    let line = revoked(62);
    follow.append(&line[..20]);
    let half = follow.pass();
    assert!(half.is_of_appended && half.held_back && half.changes.is_empty() && half.faults.is_empty());
    follow.append(&line[20..]);
    let done = follow.pass();
    assert!(done.is_of_appended && !done.held_back);
    assert_eq!((follow.is_revoked(62), done.listed), (Some(true), 52));
    // A copy with more lines in another file is the same beginning.
    fs::write(follow.dir.path().join("new"), fs::read_to_string(follow.path()).unwrap() + &good(63)).unwrap();
    fs::rename(follow.dir.path().join("new"), follow.path()).unwrap();
    assert!(follow.pass().is_of_appended);
    assert_eq!(follow.is_revoked(63), Some(false));
}

#[test]
fn what_appended_lines_cannot_say_alone_is_left_to_the_whole_index() {
    for (what, more, fault) in [
        ("listed before", good(7), Some("lists serial 07 a second time (first in record 7)")),
        ("listed before and revoked now", revoked(7), Some("lists serial 07 a second time")),
        ("twice in what is new", good(70) + &revoked(70), Some("lists serial 70 a second time")),
        ("a line that is none", revoked(80) + "garbage\n", Some("index.txt:51: has 1 of the six fields")),
    ] {
        let mut follow = Follow::new();
        follow.write(&list(1..50));
        follow.pass();
        follow.append(&more.replace("0046", "70"));
        let comparison = follow.compare(true);
        assert!(!comparison.is_of_appended && comparison.mark.is_none(), "{what}");
        let told = comparison.faults.first().map(ToString::to_string);
        assert!(told.as_deref().unwrap_or_default().contains(fault.unwrap_or_default()), "{what}: {told:?}");
    }
    // Lines before the new ones have changed, or are gone.
    let mut follow = Follow::new();
    follow.write(&list(1..50));
    follow.pass();
    follow.write(&(good(1) + &revoked(2) + &list(3..50) + &good(50)));
    let comparison = follow.pass();
    assert!(!comparison.is_of_appended && comparison.faults.is_empty());
    assert_eq!(follow.is_revoked(2), Some(true));
    follow.write(&list(3..51));
    assert!(follow.pass().held_back);
}

/// A database says anew what has changed, and may release a hold.
#[test]
fn a_later_line_of_a_mirror_takes_the_place_of_an_earlier_one_and_is_compared_alone() {
    let mut follow = Follow::of(&[("index.txt", Form::Mirrored)]);
    let held = |number: u32| format!("R\t350101000000Z\t250101000000Z,certificateHold\t{number:04X}\tunknown\t/\n");
    follow.write(&format!("{MIRROR_BEGINNING}{}{}{MIRROR_CHANGES}", list(1..50), held(50)));
    assert!(follow.pass().faults.is_empty());
    assert_eq!(follow.is_revoked(50), Some(true));
    follow.append(&good(50));
    let released = follow.pass();
    assert!(released.is_of_appended && released.faults.is_empty(), "{:?}", released.faults);
    assert_eq!((follow.is_revoked(50), released.listed), (Some(false), 50));
    follow.append(&(held(51) + &good(51) + &revoked(7)));
    let several = follow.pass();
    assert!(several.is_of_appended);
    assert_eq!((follow.is_revoked(51), follow.is_revoked(7), several.listed), (Some(false), Some(true), 51));
    // A final revocation is not taken back, and that it was tried is counted for all of it.
    follow.append(&good(7));
    let taken_back = follow.pass();
    assert!(!taken_back.is_of_appended && taken_back.faults.is_empty());
    assert_eq!((follow.is_revoked(7), taken_back.contradictions.of(Contradiction::TakenBack).count), (Some(true), 1));
    follow.mark = None;
    let whole = follow.pass();
    assert!(whole.changes.is_empty() && !whole.held_back);
    assert_eq!(whole.listed, 51);
}

/// A line that was lost and comes back may be a second one of its serial number.
#[test]
fn a_certificate_that_only_a_push_has_named_may_come_with_appended_lines() {
    use crate::records::Origin;
    let mut follow = Follow::new();
    follow.write(&list(1..50));
    follow.pass();
    for (number, origin, alone) in
        [(60, Origin::PUSHED.with(Origin::UNLISTED), true), (61, Origin::PUSHED, false), (62, Origin::SOURCE, false)]
    {
        let record = Record { status: Status::Good, not_after: None };
        follow.writer.reserve(1);
        follow.writer.apply([Change { origin, ..Change::new(serial(number), Some(record)) }]);
        follow.append(&good(number));
        assert_eq!(follow.pass().is_of_appended, alone, "{number}");
    }
}

#[test]
fn half_a_last_line_is_a_fault_only_once_nobody_writes_it_any_more() {
    let follow = Follow::new();
    follow.write(&(list(1..5) + &revoked(5) + &good(6)[..10]));
    let fresh = follow.compare(false);
    assert!(fresh.faults.is_empty() && fresh.held_back);
    assert_eq!((fresh.listed, fresh.changes.len()), (5, 5));
    let still = follow.compare(true);
    assert!(still.faults[0].problem.contains("ends in the middle of a line"), "{:?}", still.faults);
}

/// A program that writes over the old content block by block leaves new lines, half a line, and old lines.
#[test]
fn a_file_that_is_written_over_counts_once_it_has_settled() {
    let mut follow = Follow::new();
    // Lines of one length.
    let before: String = (1..400).map(good).collect();
    let after: String = (1..400).map(|number| good(number).replacen("350101", "360202", 1)).collect();
    follow.write(&before);
    follow.pass();
    let file = OpenOptions::new().write(true).open(follow.path()).unwrap();
    // On a machine that stands still in between, the file has settled.
    let midway = (0..50).find_map(|_| {
        file.write_all_at(&after.as_bytes()[..4096], 0).unwrap();
        let written = std::time::Instant::now();
        let midway = follow.compare(false);
        (written.elapsed() < limits::SETTLED_AFTER / 2).then_some(midway)
    });
    let midway = midway.expect("a pass in time");
    assert!(midway.faults[0].unsteady && midway.changes.is_empty(), "{midway:?}");
    file.write_all_at(after.as_bytes(), 0).unwrap();
    thread::sleep(limits::SETTLED_AFTER + Duration::from_millis(20));
    let done = follow.pass();
    assert!(done.faults.is_empty());
    assert_eq!(done.changes.len(), 399);
}

/// What one read of a torn index says counts when the next one says the same, and nothing else does.
#[test]
fn of_a_torn_index_only_what_two_passes_say_of_known_certificates_counts() {
    let mut follow = Follow::new();
    follow.write(&(list(1..50) + &revoked(50)));
    follow.pass();
    let candidates = |text: &str| {
        follow.write(text);
        Candidates::read(
            &Question {
                records: &follow.records,
                details: &follow.details,
                issuer: &follow.issuer,
                crl_marks: &CrlMarks::default(),
                mark: None,
                candidates: &follow.candidates,
                now: UnixTime(1_800_000_000),
                still: false,
                accept_shrink: false,
                shrink_remedy: "",
                accept_older: false,
                older_remedy: "",
                progress: &Progress::default(),
            },
            &follow.issuer.sources.listings[0],
        )
    };
    let torn = [
        revoked(1),
        // Another one's end, an unknown certificate, one listed twice with two meanings, no change, a release.
        revoked(2).replacen("350101", "360101", 1),
        revoked(99),
        revoked(3) + &revoked(3).replacen("250101", "250102", 1),
        revoked(4).replacen("350101000000Z", "garbage", 1),
        good(5),
        good(50),
        "garbage\n".to_owned(),
        revoked(6),
        revoked(7)[..20].to_owned(),
    ];
    let first = candidates(&torn.concat());
    let second = candidates(&(list(1..5) + &revoked(6) + &revoked(8)));
    let said = |changes: Vec<Stated>| changes.iter().map(|change| change.serial).collect::<Vec<_>>();
    assert_eq!(said(first.confirmed(&Candidates::default())), []);
    assert_eq!(said(first.confirmed(&first)), [serial(1), serial(6)]);
    assert_eq!(said(second.confirmed(&first)), [serial(6)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is appended in whatever pieces, the records are those of one read of the whole.
    #[test]
    fn in_pieces_of_any_size_an_index_says_what_it_says_as_a_whole(
        lines in prop::collection::vec((1u32..200, any::<bool>()), 1..60),
        pieces in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut listed = BTreeMap::new();
        let text: String = lines
            .iter()
            .filter(|(number, is_revoked)| listed.insert(*number, *is_revoked).is_none())
            .map(|(number, is_revoked)| if *is_revoked { revoked(*number) } else { good(*number) })
            .collect();
        let mut ends: Vec<usize> = pieces.iter().map(|piece| piece.index(text.len() + 1)).chain([text.len()]).collect();
        ends.sort_unstable();
        let (mut cut, mut whole, mut last) = (Follow::new(), Follow::new(), 0);
        cut.write("");
        for end in ends {
            cut.append(&text[last..end]);
            last = end;
            let comparison = cut.pass();
            prop_assert!(comparison.faults.is_empty(), "{:?}", comparison.faults);
        }
        whole.write(&text);
        whole.pass();
        prop_assert_eq!(cut.records.counts(), whole.records.counts());
        for number in 1..200 {
            prop_assert_eq!(cut.is_revoked(number), whole.is_revoked(number));
        }
    }
}

/// Several kinds of writers, each as fast as it can: nobody is ever revoked whom no version of the file revokes, and
/// one whom every version revokes from some time on is told.
#[test]
fn whoever_writes_however_nobody_is_revoked_whom_no_version_revokes() {
    type Writer = fn(&Path, &str);
    let writers: [(&str, Writer); 4] = [
        ("cut and written anew", |path, text| fs::write(path, text).unwrap()),
        ("replaced", |path, text| {
            fs::write(path.with_extension("new"), text).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("written over", |path, text| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(text.as_bytes(), 0).unwrap();
            file.set_len(text.len() as u64).unwrap();
        }),
        ("written over in blocks", |path, text| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            for (at, block) in (0..).step_by(1000).zip(text.as_bytes().chunks(1000)) {
                file.write_all_at(block, at).unwrap();
            }
            file.set_len(text.len() as u64).unwrap();
        }),
    ];
    for (what, write) in writers {
        let mut follow = Follow::new();
        // Of four in a row one may be revoked; which one changes, and with it the places of all lines after it.
        let never = |number: u32| !number.is_multiple_of(4);
        let version = |round: u32, told: bool| -> String {
            let line = |number: u32| match number {
                400 if told => revoked(400),
                _ if !never(number) && number < 400 && (number / 4) % 7 <= round % 7 => revoked(number),
                _ => good(number),
            };
            (1..=400).map(line).collect()
        };
        follow.write(&list(1..401));
        follow.pass();
        let (path, end) = (follow.path(), AtomicBool::new(false));
        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0.. {
                    write(&path, &version(round, begun.elapsed() > Duration::from_millis(300)));
                    if end.load(Relaxed) {
                        return;
                    }
                    thread::sleep(Duration::from_micros(u64::from(round % 5) * 100));
                }
            });
            let is_told = |follow: &Follow| follow.is_revoked(400) == Some(true) || begun.elapsed().as_secs() >= 30;
            while begun.elapsed() < Duration::from_millis(1500) || !is_told(&follow) {
                follow.pass();
            }
            end.store(true, Relaxed);
        });
        let wrong: BTreeSet<u32> =
            (1..2000).filter(|number| never(*number) && follow.is_revoked(*number) == Some(true)).collect();
        assert!(wrong.is_empty(), "{what}: {wrong:?}");
        assert_eq!(follow.is_revoked(400), Some(true), "{what}");
    }
}
