//! What a writer does where a seed rarely shows it.

mod staying;

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    feed::{
        Manifest,
        body::{AnswerSection, IssuerStatus},
        keys::PublicKey,
        reader::Condition,
        simulation::disk::Disk,
        store::{Snapshots, Store as _},
        transport::{Info, Raw, UnderKey},
    },
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::StateWord,
};

/// A stream in memory, which may be away.
#[derive(Default)]
struct Memory {
    entries: Vec<Raw>,
    head: Option<Arc<[u8]>>,
    acknowledgements: BTreeMap<KeyId, Arc<[u8]>>,
    is_away: bool,
    /// How many entries there is room for, if that is bounded.
    room: Option<usize>,
    connections: u64,
}

impl Memory {
    fn back(&mut self) {
        self.is_away = false;
        self.connections += 1;
    }
}

impl Transport for Memory {
    fn connection(&mut self) -> Option<u64> {
        (!self.is_away).then_some(self.connections)
    }

    fn append(&mut self, entry: &Sealed, may_create: bool) -> Appended {
        match self.entries.last() {
            _ if self.is_away => Appended::Gone,
            None if !may_create => Appended::NoStream,
            Some(last) if last.position >= entry.position => Appended::Lower,
            _ if self.room.is_some_and(|room| self.entries.len() >= room) => Appended::Full,
            _ => {
                self.entries.push(Raw { position: entry.position, bytes: entry.bytes.clone() });
                Appended::Written
            }
        }
    }

    fn read_after(&mut self, after: Position, most: usize) -> Result<Vec<Raw>, Gone> {
        if self.is_away {
            return Err(Gone);
        }
        let first = self.entries.partition_point(|raw| raw.position <= after);
        Ok(self.entries[first..].iter().take(most).cloned().collect())
    }

    fn info(&mut self) -> Result<Option<Info>, Gone> {
        let info = |last: &Raw| Info { last: last.position, length: self.entries.len() as u64 };
        if self.is_away { Err(Gone) } else { Ok(self.entries.last().map(info)) }
    }

    fn head(&mut self) -> Result<Option<Arc<[u8]>>, Gone> {
        Ok(self.head.clone())
    }

    fn set_head(&mut self, manifest: &[u8]) -> Result<(), Gone> {
        self.head = Some(manifest.into());
        Ok(())
    }

    fn acknowledge(&mut self, by: KeyId, acknowledgement: &[u8]) -> Result<(), Gone> {
        if self.is_away {
            return Err(Gone);
        }
        self.acknowledgements.insert(by, acknowledgement.into());
        Ok(())
    }

    fn acknowledgements(&mut self, by: &[KeyId]) -> Result<Vec<UnderKey>, Gone> {
        Ok(by.iter().filter_map(|key| Some((*key, Arc::clone(self.acknowledgements.get(key)?)))).collect())
    }

    fn trim(&mut self, before: Position) -> Result<(), Gone> {
        self.entries.retain(|raw| raw.position >= before);
        Ok(())
    }

    fn unlink(&mut self) -> Result<(), Gone> {
        self.entries.clear();
        Ok(())
    }
}

/// Nobody has any.
struct Nobody;

impl Snapshots for Nobody {
    fn here(&mut self, _: &Manifest) -> Option<usize> {
        None
    }

    fn chunk(&mut self, _: &Manifest, _: usize) -> Option<Vec<u8>> {
        None
    }
}

struct One {
    machine: Writer,
    book: Disk,
}

impl One {
    fn new(name: u8) -> Self {
        let trusted = Trusted::quick(&[1, 2, 3].map(|name| PublicKey([name; 32])));
        let settings = Settings {
            cluster: Cluster::new("memory").unwrap(),
            server: ServerId::from_bytes([name; 16]),
            key: WriterKey::quick(name),
            address: String::new(),
            takeover_after: Some(Duration::from_secs(6)),
            priority: 0,
            snapshot_interval: Duration::from_secs(3600),
            seed: name.into(),
        };
        let book = Disk::new(Rules::default());
        Self { machine: Writer::new(settings, trusted, &book), book }
    }

    fn step(&mut self, millis: u64, stream: &mut Memory) -> Vec<Notice> {
        let wall = 1_800_000_000_000_000 + millis * 1000;
        let now = Moment { monotonic: Duration::from_millis(millis), wall };
        self.machine.step(now, stream, &mut self.book, &mut Nobody)
    }

    /// Steps until it leads; returns when that was.
    fn lead(&mut self, mut millis: u64, stream: &mut Memory) -> u64 {
        let until = millis + 1_000_000;
        while self.machine.role() != Role::Leading {
            self.step(millis, stream);
            millis += 10;
            assert!(millis < until, "{:?}", self.machine.role());
        }
        millis
    }
}

/// Of a small snapshot of this place.
fn manifest_of(Place { position, chain }: Place) -> Manifest {
    Manifest {
        position,
        chain,
        author: ServerId::from_bytes([1; 16]),
        made: 0,
        records: 0,
        octets: 4,
        chunk_octets: 4,
        record_chunks: 1,
        chunks: [[0; 32]].into(),
    }
}

/// A writer that had been updated was taken over from by each standby that had not.
#[test]
fn nobody_takes_over_from_a_writer_of_a_later_version() {
    let (mut leader, mut standby, mut stream) = (One::new(1), One::new(2), Memory::default());
    let mut millis = leader.lead(0, &mut stream);
    let later = |writer: &One, position: Position, name: u8| {
        let sealed = writer.machine.seal(position, Chain::START, Body::Resign(None));
        let mut bytes = [&[crate::feed::entry::VERSION + 1], &sealed.bytes[1..sealed.bytes.len() - 64]].concat();
        let signature = WriterKey::quick(name).sign(crate::feed::keys::Purpose::Entry, &bytes);
        bytes.extend_from_slice(&signature);
        Raw { position, bytes: bytes.into() }
    };
    let mut position = stream.entries.last().unwrap().position;
    let mut go_on = |stream: &mut Memory, standby: &mut One, name: u8| {
        for _ in 0..60 {
            position = position.next();
            stream.entries.push(later(&leader, position, name));
            standby.step(millis, stream);
            millis += 1000;
            if standby.machine.role() != Role::Following {
                return true;
            }
        }
        false
    };
    assert!(!go_on(&mut stream, &mut standby, 1), "it does not understand a word, and hears that somebody lives");
    assert!(go_on(&mut stream, &mut standby, 9), "whom nobody trusts does not keep it from leading");
}

#[test]
fn a_standby_that_can_take_no_snapshot_hears_the_one_that_leads_all_the_same() {
    let (mut stream, mut one, mut other) = (Memory::default(), One::new(1), One::new(2));
    let begun = one.lead(0, &mut stream);
    // Its snapshot is never made.
    for millis in (begun..begun + 120_000).step_by(10) {
        one.step(millis, &mut stream);
        other.step(millis, &mut stream);
        assert_eq!(other.machine.role(), Role::Following, "after {millis} ms");
    }
    assert_eq!((one.machine.role(), other.book.place()), (Role::Leading, None));
    // Once that one is silent it takes over.
    other.lead(begun + 120_000, &mut stream);
}

#[test]
fn answers_that_come_while_redis_is_away_are_told_in_the_next_epoch() {
    let (mut stream, mut one) = (Memory::default(), One::new(1));
    let begun = one.lead(0, &mut stream);
    stream.is_away = true;
    let section = |form| AnswerSection { issuer: Issuer([1; 32]), form: [form; 32], packed_length: 8, entries: vec![] };
    for millis in (begun..begun + 5000).step_by(10) {
        one.step(millis, &mut stream);
    }
    one.machine.tell(Body::Answers(vec![section(1)]));
    stream.back();
    // Something else has become the last entry, so a new epoch begins.
    stream.entries.clear();
    one.step(begun + 5000, &mut stream);
    assert_ne!(one.machine.role(), Role::Leading);
    one.machine.tell(Body::Answers(vec![section(2)]));
    let begun = one.lead(begun + 5000, &mut stream);
    for millis in (begun..begun + 1000).step_by(10) {
        one.step(millis, &mut stream);
    }
    let trusted = Trusted::quick(&[PublicKey([1; 32])]);
    let forms: Vec<u8> = stream
        .entries
        .iter()
        .filter_map(|raw| {
            let cluster = Cluster::new("memory").unwrap();
            match Entry::open(raw.position, &raw.bytes, &cluster, &trusted).unwrap().entry.body {
                Body::Answers(sections) => Some(sections[0].form[0]),
                _ => None,
            }
        })
        .collect();
    assert_eq!(forms, [1, 2]);
    assert_eq!(one.machine.untold_beside(), 0);
}

#[test]
fn who_stands_by_is_told_nothing_beside_records() {
    let mut one = One::new(1);
    one.machine.tell(Body::IssuerStatus(Vec::<IssuerStatus>::new()));
    assert_eq!(one.machine.untold_beside(), 0);
}

#[test]
fn a_snapshot_is_wanted_also_while_records_come_without_end_and_again_when_it_could_not_be_made() {
    let (mut stream, mut one) = (Memory::default(), One::new(1));
    let begun = one.lead(0, &mut stream);
    let (mut wanted, mut failed) = (Vec::new(), 0);
    for millis in (begun..begun + 70_000).step_by(10) {
        let change = held(millis as u32 + 1);
        one.book.push((Issuer([1; 32]), change.serial), change);
        if one.step(millis, &mut stream).contains(&Notice::SnapshotWanted) {
            wanted.push((millis - begun) / 10_000);
            let now = Moment { monotonic: Duration::from_millis(millis), wall: 0 };
            one.machine.snapshot_failed(now);
            failed += 1;
        }
    }
    assert_eq!((wanted, failed), (vec![0, 3, 6], 3), "{:?}", limits::SNAPSHOT_RETRY);
}

/// A writer whose newest snapshot was damaged made another one when as much had been told as for any, or after hours:
/// until then nobody could be filled.
#[test]
fn a_snapshot_that_is_lost_is_made_again_after_a_pause() {
    let (mut stream, mut one) = (Memory::default(), One::new(1));
    let begun = one.lead(0, &mut stream);
    let now = |millis: u64| Moment { monotonic: Duration::from_millis(millis), wall: 0 };
    assert!(!one.machine.snapshot_lost(now(begun)), "there is none yet");
    let (mut wanted, mut lost) = (Vec::new(), Vec::new());
    for millis in (begun..begun + 70_000).step_by(10) {
        if one.step(millis, &mut stream).contains(&Notice::SnapshotWanted) {
            wanted.push((millis - begun) / 10_000);
            let place = one.book.place().unwrap();
            one.machine.snapshot_made(&manifest_of(place));
        }
        if one.machine.snapshot_lost(now(millis)) {
            lost.push((millis - begun) / 10_000);
        }
    }
    assert_eq!((wanted, lost), (vec![0, 3, 6], vec![3, 6]), "{:?}", limits::SNAPSHOT_RETRY);
    let mut other = One::new(2);
    assert!(!other.machine.snapshot_lost(now(begun)), "it stands by");
}

/// All answers are told again after a take-over, while its snapshot is made: whoever came then had to read them one by one.
#[test]
fn what_is_told_while_a_snapshot_is_made_counts_towards_the_next_one() {
    let (mut stream, mut one) = (Memory::default(), One::new(1));
    let mut millis = one.lead(0, &mut stream);
    let mut wanted = false;
    let mut told = 0;
    while !wanted || told <= limits::SNAPSHOT_AFTER_OCTETS as usize {
        let entries = vec![0; limits::ENTRY_BODY_OCTETS_MAX / 2];
        told += entries.len();
        let section = AnswerSection { issuer: Issuer([1; 32]), form: [2; 32], packed_length: 64, entries };
        one.machine.tell(Body::Answers(vec![section]));
        for _ in 0..3 {
            millis += 1;
            wanted |= one.step(millis, &mut stream).contains(&Notice::SnapshotWanted);
        }
    }
    let manifest = manifest_of(one.book.place().unwrap());
    one.machine.snapshot_made(&manifest);
    let again = (0..20).any(|step| one.step(millis + step, &mut stream).contains(&Notice::SnapshotWanted));
    assert!(again, "{told} bytes were told behind its place");
}

/// Who takes over verified every entry of the stream, and looked for each in all that it remembers, before it said a word:
/// the longer the stream, the sooner another one took over from it.
#[test]
fn a_take_over_is_not_held_up_by_a_long_stream() {
    const SECONDS: u64 = 30_000;
    let (mut stream, mut one, mut other) = (Memory::default(), One::new(1), One::new(2));
    let begun = one.lead(0, &mut stream);
    // It follows from the first entry on.
    other.book.apply(Place::START, &[]).unwrap();
    // However busy the machine is.
    let on_a_processor = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let began = on_a_processor();
    for second in 0..SECONDS {
        let millis = begun + 1000 * second;
        one.step(millis, &mut stream);
        one.step(millis + 1, &mut stream);
        other.step(millis + 2, &mut stream);
    }
    let followed = on_a_processor() - began;
    assert!(
        stream.entries.len() as u64 > SECONDS && other.machine.reader().condition(&other.book) == Condition::Following
    );
    let began = on_a_processor();
    other.lead(begun + 1000 * SECONDS, &mut stream);
    let took = on_a_processor() - began;
    // And however slow: to verify every entry again is a good part of what it took to write and follow them.
    assert!(took < Duration::from_secs(2).max(followed / 8), "{took:?} after {followed:?}");
}

/// A standby that was started after the other one had begun to lead for so long that its `begin` was trimmed never learned
/// where that one takes pushes: its debts stayed where they were, and who pushed to it was not told where to.
#[test]
fn a_standby_that_comes_when_the_begin_is_trimmed_learns_where_the_one_that_leads_takes_pushes() {
    let (mut stream, mut one, mut other) = (Memory::default(), One::new(1), One::new(2));
    one.machine.settings.address = "http://one:9090".into();
    let begun = one.lead(0, &mut stream);
    let both = |from: u64, stream: &mut Memory, one: &mut One, other: &mut One| {
        for millis in (from..from + 3000).step_by(10) {
            one.step(millis, stream);
            other.step(millis, stream);
        }
    };
    for millis in (begun..begun + 5000).step_by(10) {
        one.step(millis, &mut stream);
    }
    stream.entries.drain(..3);
    assert_eq!(other.machine.leader_address(), None, "it has heard nobody");
    both(begun + 5000, &mut stream, &mut one, &mut other);
    assert_eq!(other.machine.leader_address(), Some("http://one:9090"), "also before it has any records");
    assert_eq!(one.machine.leader_address(), None, "it is no other one");
    // The same one has another address after a restart.
    one.machine.settings.address.clear();
    both(begun + 8000, &mut stream, &mut one, &mut other);
    assert_eq!(other.machine.leader_address(), Some(""));
    // What it has said itself, before a restart, is no other writer's.
    let mut again = One::new(1);
    both(begun + 11_000, &mut stream, &mut one, &mut again);
    assert_eq!((again.machine.reader().heard().is_some(), again.machine.leader_address()), (true, None));
}

/// The memory of Redis was full of the stream itself. Whoever leads trims that, and nobody could lead who could not write:
/// no revocation came through until somebody gave Redis more.
#[test]
fn a_server_without_room_is_trimmed_up_to_the_newest_snapshot_by_who_leads_and_by_who_takes_over() {
    let (mut stream, mut one) = (Memory::default(), One::new(1));
    let begun = one.lead(0, &mut stream);
    let beats = |from: u64, seconds: u64, one: &mut One, stream: &mut Memory| {
        (from..from + 1000 * seconds).step_by(10).for_each(|millis| drop(one.step(millis, stream)));
    };
    beats(begun, 20, &mut one, &mut stream);
    let newest = one.book.place().unwrap();
    one.machine.snapshot_made(&manifest_of(newest));
    beats(begun + 20_000, 5, &mut one, &mut stream);
    let (newest, epoch) = (newest.position, one.machine.epoch);
    stream.room = Some(stream.entries.len() + 3);
    beats(begun + 25_000, 10, &mut one, &mut stream);
    assert!(stream.entries[0].position >= newest, "what the snapshot has was removed");
    assert_eq!((one.machine.role(), one.machine.epoch), (Role::Leading, epoch), "nobody else has to lead for that");
    assert!(one.book.place().unwrap().position.sequence > newest.sequence + 10, "it goes on telling");

    // Full again when another one takes over.
    let mut other = One::new(2);
    for sequence in [3, 2, 1] {
        stream.entries.insert(0, Raw { position: Position { epoch: 1, sequence }, bytes: Arc::new([]) });
    }
    stream.room = Some(stream.entries.len());
    other.lead(begun + 35_000, &mut stream);
    assert!(stream.entries[0].position >= newest);

    // Where all of it is newer, there is nothing to trim: the writer stands down, and leads again once there is room.
    stream.room = Some(stream.entries.len());
    beats(begun + 1_000_000, 3, &mut other, &mut stream);
    assert_ne!(other.machine.role(), Role::Leading);
    stream.room = None;
    other.lead(begun + 1_010_000, &mut stream);
}

fn begins(stream: &Memory) -> Vec<(ServerId, crate::feed::body::Begin)> {
    let trusted = Trusted::quick(&[1, 2].map(|name| PublicKey([name; 32])));
    let open = |raw: &Raw| Entry::open(raw.position, &raw.bytes, &Cluster::new("memory").unwrap(), &trusted).ok();
    let begin = |opened: crate::feed::Opened| match opened.entry.body {
        Body::Begin(begin) => Some((opened.entry.author, begin)),
        _ => None,
    };
    stream.entries.iter().filter_map(open).filter_map(begin).collect()
}

fn held(number: u32) -> Change {
    let status = Status::Revoked { time: UnixTime(5), reason: Reason::CertificateHold };
    let serial = Serial::from_magnitude(&number.to_be_bytes()).unwrap();
    Change::new(serial, Some(Record { status, not_after: None }))
}

/// A standby without one of the issuers took over, and told everybody that nothing was known of what had changed there: holds
/// ended on every replica, and in the book of the one that had them.
#[test]
fn of_an_issuer_that_the_next_writer_does_not_have_it_states_again_what_was_told() {
    let (known, stranger) = (Issuer([1; 32]), Issuer([2; 32]));
    let (mut stream, mut one, mut other) = (Memory::default(), One::new(1), One::new(2));
    other.book = Disk::new(Rules::default()).without(stranger);
    other.book.apply(Place::START, &[]).unwrap();
    let mut millis = one.lead(0, &mut stream);
    for number in [1, 2, 1] {
        one.book.push((known, held(number).serial), held(number));
        one.book.push((stranger, held(number).serial), held(number));
        for _ in 0..5 {
            millis += 10;
            one.step(millis, &mut stream);
            other.step(millis, &mut stream);
        }
    }
    other.lead(millis, &mut stream);
    let (author, begin) = begins(&stream).pop().unwrap();
    assert_eq!(author, ServerId::from_bytes([2; 16]));
    let said = |issuer| begin.again.iter().filter(move |section| section.issuer == issuer);
    for issuer in [known, stranger] {
        let changes: Vec<Change> = said(issuer).flat_map(|section| section.changes.clone()).collect();
        assert_eq!(changes, [held(1), held(2)], "{issuer:?}");
    }
}

/// Its connection broke, another one took over and told what its own sources say. When it came back it fenced that one off, kept
/// what that one had told, and read none of its own sources again.
#[test]
fn who_led_and_finds_another_writer_in_its_place_stands_by_and_undoes_what_it_did_not_tell() {
    let (mut stream, mut one, mut other) = (Memory::default(), One::new(1), One::new(2));
    other.book.apply(Place::START, &[]).unwrap();
    let mut millis = one.lead(0, &mut stream);
    for _ in 0..200 {
        millis += 10;
        one.step(millis, &mut stream);
        other.step(millis, &mut stream);
    }
    let issuer = Issuer([1; 32]);
    one.book.push((issuer, held(1).serial), held(1));
    millis = other.lead(millis, &mut stream);
    let (leads, count) = (other.book.place().unwrap().position.epoch, begins(&stream).len());
    stream.back();
    for _ in 0..100 {
        millis += 10;
        other.step(millis, &mut stream);
        one.step(millis, &mut stream);
    }
    assert_eq!((one.machine.role(), other.machine.role()), (Role::Following, Role::Leading));
    assert_eq!(
        (one.book.place().unwrap().position.epoch, begins(&stream).len()),
        (leads, count),
        "nobody was fenced off"
    );
    assert_eq!(one.book.get((issuer, held(1).serial)).record, None, "what nobody was told is undone");
}

/// Who takes over is silent until it has read up. With a long stream each of two began anew before the other one was done.
#[test]
fn of_two_writers_that_take_long_to_take_over_one_leads_in_the_end() {
    const READING: u64 = 30_000;
    let (mut stream, mut writers, mut busy) = (Memory::default(), [One::new(1), One::new(2)], [0; 2]);
    for millis in (0..1_800_000).step_by(50) {
        for (one, busy) in writers.iter_mut().zip(&mut busy) {
            if millis < *busy {
                continue;
            }
            let before = one.machine.role();
            one.step(millis, &mut stream);
            match one.machine.role() {
                Role::Leading => return,
                Role::Reading if before != Role::Reading => *busy = millis + READING,
                _ => {}
            }
        }
    }
    panic!("nobody leads");
}

#[test]
fn a_snapshot_is_wanted_after_half_as_many_records_as_a_reader_can_hold_behind_one() {
    let (mut stream, mut one) = (Memory::default(), One::new(1));
    let mut millis = one.lead(0, &mut stream);
    let go = |millis: &mut u64, one: &mut One, stream: &mut Memory| {
        *millis += 1;
        one.step(*millis, stream).contains(&Notice::SnapshotWanted)
    };
    while !go(&mut millis, &mut one, &mut stream) {}
    one.machine.snapshot_made(&manifest_of(one.book.place().unwrap()));
    let (mut told, mut wanted) = (0_usize, false);
    while !wanted && told < limits::OVERLAY_RECORDS_MAX {
        for _ in 0..limits::ENTRY_RECORDS_MAX {
            told += 1;
            let serial = Serial::from_magnitude(&(told as u32).to_be_bytes()).unwrap();
            one.book.push((Issuer([1; 32]), serial), Change { serial, ..held(1) });
        }
        while one.book.has_untold() {
            wanted |= go(&mut millis, &mut one, &mut stream);
        }
    }
    let octets: usize = stream.entries.iter().map(|raw| raw.bytes.len()).sum();
    assert!(wanted && told > limits::SNAPSHOT_AFTER_RECORDS, "after {told} records");
    assert!(octets < limits::SNAPSHOT_AFTER_OCTETS as usize, "and not for their {octets} bytes");
}

/// All entries of a long outage were in memory at once, with every answer.
#[test]
fn a_reader_that_was_away_for_long_takes_what_it_missed_in_parts() {
    let (mut stream, mut one, mut other) = (Memory::default(), One::new(1), One::new(2));
    other.book.apply(Place::START, &[]).unwrap();
    let mut millis = one.lead(0, &mut stream);
    let mut entries = Vec::new();
    let [this_update, refresh_at, next_update] = [1, 2, 3].map(UnixTime);
    for number in 1..=500_u16 {
        let entry = crate::answers::Entry { state: StateWord::from_word(1), this_update, refresh_at, next_update };
        let serial = Serial::from_magnitude(&number.to_be_bytes()).unwrap();
        assert!(crate::answers::Stored { serial, entry, packed: vec![7; 64] }.write(&mut entries));
    }
    let section = AnswerSection { issuer: Issuer([1; 32]), form: [2; 32], packed_length: 64, entries };
    let mut octets = 0;
    while octets <= 2 * limits::FOLLOWED_OCTETS_MAX {
        octets += section.entries.len();
        one.machine.tell(Body::Answers(vec![section.clone()]));
        for _ in 0..3 {
            millis += 1;
            one.step(millis, &mut stream);
        }
    }
    let linked = |notices: Vec<Notice>| {
        let is_linked = |notice: &&Notice| matches!(notice, Notice::Read(Event::Linked(_)));
        notices.iter().filter(is_linked).count()
    };
    let parts = [1, 2, 3].map(|step| linked(other.step(millis + step, &mut stream)));
    assert!(parts[0] > 100 && parts[1] > 100 && parts[2] == 0, "{parts:?}");
    assert_eq!(other.book.place(), one.book.place());
}

/// A standby whose disk was full for a moment said that an entry does not follow, and fetched a snapshot.
#[test]
fn a_standby_whose_disk_is_full_tries_the_same_entry_again() {
    let (mut stream, mut one, mut other) = (Memory::default(), One::new(1), One::new(2));
    other.book.apply(Place::START, &[]).unwrap();
    let begun = one.lead(0, &mut stream);
    let mut told = Vec::new();
    let epoch = one.machine.epoch;
    for millis in (begun..begun + 60_000).step_by(10) {
        other.book.is_full = (5000..45_000).contains(&(millis - begun));
        one.step(millis, &mut stream);
        told.extend(other.step(millis, &mut stream));
    }
    let faults = told.iter().filter(|notice| matches!(notice, Notice::Read(Event::Fault(_)))).count();
    assert!((1..50).contains(&faults), "{faults}");
    assert_eq!((one.machine.role(), one.machine.epoch), (Role::Leading, epoch), "it hears that one lives");
    assert!(!told.iter().any(|notice| matches!(notice, Notice::Read(Event::Lost(..)))));
    assert_eq!(other.book.place(), one.book.place());
}

/// It led with a book that lacked what the one before had told: also holds that this one had acknowledged.
#[test]
fn who_cannot_take_what_the_one_before_told_does_not_lead() {
    let (mut stream, mut one, mut other) = (Memory::default(), One::new(1), One::new(2));
    other.book.apply(Place::START, &[]).unwrap();
    let mut millis = one.lead(0, &mut stream);
    one.book.push((Issuer([1; 32]), held(1).serial), held(1));
    for _ in 0..10 {
        millis += 10;
        one.step(millis, &mut stream);
    }
    other.book.is_full = true;
    for _ in 0..6000 {
        millis += 10;
        other.step(millis, &mut stream);
        assert_ne!(other.machine.role(), Role::Leading);
    }
    other.book.is_full = false;
    other.lead(millis, &mut stream);
    assert_eq!(other.book.get((Issuer([1; 32]), held(1).serial)), held(1));
}

/// Entries that are refused moved no place, and whoever took over read the same ones for ever.
#[test]
fn a_take_over_comes_to_its_end_behind_much_that_is_refused() {
    let (mut stream, mut one) = (Memory::default(), One::new(1));
    one.book.apply(Place::START, &[]).unwrap();
    let bytes: Arc<[u8]> = vec![0; 1 << 20].into();
    let junk = 2 * limits::FOLLOWED_OCTETS_MAX / bytes.len();
    stream.entries.extend(
        (1..=junk as u64).map(|sequence| Raw { position: Position { epoch: 1, sequence }, bytes: bytes.clone() }),
    );
    one.lead(0, &mut stream);
}

/// A Redis that took a second for each entry was told of nothing but signs of life.
#[test]
fn where_each_entry_takes_longer_than_a_heartbeat_records_are_told_all_the_same() {
    let (mut stream, mut one) = (Memory::default(), One::new(1));
    let mut millis = one.lead(0, &mut stream);
    one.book.push((Issuer([1; 32]), held(1).serial), held(1));
    for _ in 0..10 {
        millis += 1500;
        one.step(millis, &mut stream);
    }
    assert!(!one.book.has_untold());
}

/// A snapshot that comes, and is never here.
struct Coming;

impl Snapshots for Coming {
    fn here(&mut self, _: &Manifest) -> Option<usize> {
        Some(0)
    }

    fn chunk(&mut self, _: &Manifest, _: usize) -> Option<Vec<u8>> {
        None
    }
}

/// No revocation was applied while gigabytes came that everything was to be compared with.
#[test]
fn who_has_other_records_than_the_writer_goes_on_following_while_a_snapshot_comes() {
    let (mut stream, mut one, mut other) = (Memory::default(), One::new(1), One::new(2));
    other.book.apply(Place::START, &[]).unwrap();
    let begun = one.lead(0, &mut stream);
    one.machine.snapshot_made(&manifest_of(one.book.place().unwrap()));
    let (issuer, mut differs) = (Issuer([1; 32]), 0);
    one.book.push((issuer, held(1).serial), held(1));
    for millis in (begun..begun + 60_000).step_by(10) {
        one.step(millis, &mut stream);
        let now = Moment { monotonic: Duration::from_millis(millis), wall: 1_800_000_000_000_000 + millis * 1000 };
        let notices = other.machine.step(now, &mut stream, &mut other.book, &mut Coming);
        differs += notices.iter().filter(|notice| matches!(notice, Notice::Read(Event::DigestDiffers(..)))).count();
        if millis == begun + 5000 {
            assert!(other.book.damage((issuer, held(1).serial), Change::new(held(1).serial, None)));
        }
        if millis == begun + 50_000 {
            one.book.push((issuer, held(2).serial), held(2));
        }
    }
    assert_eq!((differs, other.machine.reader().condition(&other.book)), (1, Condition::Reconciling), "told once");
    assert_eq!(other.book.get((issuer, held(2).serial)), held(2));
    assert_eq!((one.machine.role(), other.machine.role()), (Role::Leading, Role::Following));
}

/// One that leads and two that follow it, and when all of them have everything.
fn three(stream: &mut Memory) -> ([One; 3], u64) {
    let mut all = [1, 2, 3].map(One::new);
    all.iter_mut().for_each(|one| one.book.apply(Place::START, &[]).unwrap());
    let begun = all[0].lead(0, stream);
    for millis in (begun..begun + 3000).step_by(10) {
        all.iter_mut().for_each(|one| drop(one.step(millis, stream)));
    }
    (all, begun + 3000)
}

fn standbys(one: &mut One, stream: &mut Memory) -> Vec<(u64, u8)> {
    let there = one.machine.standbys(stream, &one.book).unwrap();
    there.into_iter().map(|(behind, server)| (behind, server.bytes()[0])).collect()
}

#[test]
fn what_a_standby_has_on_disk_counts_up_to_the_entry_that_it_names_and_for_its_own_leader_alone() {
    let mut stream = Memory::default();
    let ([mut one, mut other, mut third], mut now) = three(&mut stream);
    assert_eq!(standbys(&mut one, &mut stream), [(0, 2), (0, 3)]);
    assert_eq!(standbys(&mut other, &mut stream), [], "it does not lead");
    // A disk that is full takes nothing more, and is not said to have it.
    other.book.is_full = true;
    for millis in (now..now + 4000).step_by(10) {
        for one in [&mut one, &mut other, &mut third] {
            one.step(millis, &mut stream);
        }
    }
    assert_eq!(standbys(&mut one, &mut stream), [(0, 3), (4, 2)]);
    (now, other.book.is_full) = (now + 4000, false);
    // In a new epoch what was said in the one before is nothing, until it is said anew.
    stream.back();
    stream.entries.pop();
    one.step(now, &mut stream);
    now = one.lead(now, &mut stream);
    assert_eq!(standbys(&mut one, &mut stream), []);
    third.step(now, &mut stream);
    assert_eq!(standbys(&mut one, &mut stream), [(0, 3)]);
}

#[test]
fn who_was_named_takes_over_at_once_and_everybody_else_leaves_it_to_that_one() {
    let mut stream = Memory::default();
    let ([mut one, mut other, mut third], now) = three(&mut stream);
    one.machine.resign(Some(ServerId::from_bytes([3; 16])));
    for millis in (now..now + 100).step_by(10) {
        for one in [&mut one, &mut other, &mut third] {
            one.step(millis, &mut stream);
        }
    }
    let roles = [&one, &other, &third].map(|one| one.machine.role());
    assert_eq!(roles, [Role::Following, Role::Following, Role::Leading]);
}

#[test]
fn where_who_was_named_is_gone_another_one_takes_over_soon_after_and_who_resigned_after_a_silence() {
    let patience = One::new(1).machine.settings.takeover_after.unwrap();
    let spread = limits::TAKEOVER_JITTER + Duration::from_millis(100);
    let soon = limits::SUCCESSOR_WITHIN..limits::SUCCESSOR_WITHIN + spread;
    for (who, expected) in [(1, soon), (0, patience..patience + spread)] {
        let mut stream = Memory::default();
        let (mut all, now) = three(&mut stream);
        all[0].machine.resign(Some(ServerId::from_bytes([3; 16])));
        (0..3).for_each(|more| drop(all[0].step(now + more, &mut stream)));
        assert_eq!(all[0].machine.role(), Role::Following);
        let took = Duration::from_millis(all[who].lead(now, &mut stream) - now);
        assert!(expected.contains(&took), "{who}: {took:?}");
    }
}

#[test]
fn who_takes_over_by_hand_does_so_if_it_is_asked_to_and_after_a_restart_if_it_led_last() {
    let mut stream = Memory::default();
    let ([mut one, mut other, _], now) = three(&mut stream);
    other.machine.settings.takeover_after = None;
    for millis in (now..now + 100_000).step_by(10) {
        other.step(millis, &mut stream);
        assert_eq!(other.machine.role(), Role::Following, "after {millis} ms");
    }
    // Nor because the one that led has ended.
    one.machine.resign(None);
    (0..3).for_each(|more| drop(one.step(now + 100_000 + more, &mut stream)));
    for millis in (now + 100_000..now + 110_000).step_by(10) {
        other.step(millis, &mut stream);
        assert_eq!(other.machine.role(), Role::Following, "after {millis} ms");
    }
    other.machine.promote();
    let now = other.lead(now + 110_000, &mut stream);
    // Killed behind its last entry, it reads nothing when it is back.
    let trusted = Trusted::quick(&[1, 2].map(|name| PublicKey([name; 32])));
    let book = other.book.clone();
    let mut again = One { machine: Writer::new(other.machine.settings, trusted, &book), book };
    assert_eq!(stream.entries.last().map(|last| last.position), again.book.place().map(|place| place.position));
    let led = again.lead(now, &mut stream);
    assert!(Duration::from_millis(led - now) < limits::TAKEOVER_JITTER + Duration::from_millis(100), "{led} {now}");
    // Where another one led last it does not.
    let now = one.lead(led + 60_000, &mut stream);
    again.machine.settings.takeover_after = None;
    for millis in (now..now + 100_000).step_by(10) {
        again.step(millis, &mut stream);
    }
    assert_eq!(again.machine.role(), Role::Following);
}

/// Whoever asked for it had heard that it cannot be done; it was done when the server was back, over a leader that lived.
#[test]
fn who_is_asked_to_lead_while_nobody_is_reached_does_not_do_so_later() {
    let mut stream = Memory::default();
    let ([mut one, mut other, _], now) = three(&mut stream);
    other.machine.promote();
    stream.is_away = true;
    other.step(now, &mut stream);
    stream.is_away = false;
    for millis in (now..now + 3000).step_by(10) {
        [&mut one, &mut other].into_iter().for_each(|one| drop(one.step(millis, &mut stream)));
    }
    assert_eq!([&one, &other].map(|one| one.machine.role()), [Role::Leading, Role::Following]);
}
