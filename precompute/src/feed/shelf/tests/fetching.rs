//! Whatever sources do, what is at hand is what the manifest says.

use std::{fs, os::unix::fs::FileExt as _};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    super::{
        id::Part,
        source::{self, Wish},
    },
    faulty::{FAULTS, Faulty, Way},
    *,
};
use crate::{feed::https::Https, limits::shelf as limits};

fn fetcher(directory: Option<&Directory>, sources: &[&Faulty]) -> Fetcher {
    let urls: Vec<_> = sources.iter().map(|source| source.url.clone()).collect();
    Fetcher::start(directory.cloned(), &urls, &Https::default()).unwrap()
}

#[test]
fn a_replica_fetches_from_a_writer_and_gives_out_to_the_next_one() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [writer, replica, next] = dirs.each_ref().map(|dir| open(dir.path()).unwrap());
    let snapshot = Snapshot::new(1, 7, 1000);
    let kept = snapshot.write(&writer).unwrap();
    let source = give_out(writer.clone());
    let mut fetching = Fetcher::start(Some(replica.clone()), &[source], &Https::default()).unwrap();
    assert_eq!(fetching.here(&snapshot.manifest), Some(0), "it never waits");
    snapshot.take_from(&mut fetching);
    until("it is whole", || replica.whole(snapshot.id()).is_some());
    // The writer has it no more.
    writer.demote(&kept);
    let peer = give_out(replica);
    let mut second = Fetcher::start(Some(next.clone()), &[peer], &Https::default()).unwrap();
    snapshot.take_from(&mut second);
    until("it is whole", || next.whole(snapshot.id()).is_some());
    assert_eq!(fs::read(dirs[2].path().join(format!("{}.snapshot", snapshot.id()))).unwrap(), snapshot.whole());
    // Without any source, what is on disk is at hand at once.
    drop(second);
    let mut alone = Fetcher::start(Some(next), &[], &Https::default()).unwrap();
    assert_eq!(alone.here(&snapshot.manifest), Some(7));
    snapshot.take_from(&mut alone);
}

#[test]
fn each_fault_of_a_source_is_told_and_the_next_one_is_asked() {
    for way in FAULTS {
        let snapshot = Snapshot::new(1, 4, 1000);
        let (bad, good) = (Faulty::start(&snapshot, &[way]), Faulty::start(&snapshot, &[Way::RightInPieces]));
        let dir = tempfile::tempdir().unwrap();
        let directory = open(dir.path()).unwrap();
        let mut fetching = fetcher(Some(&directory), &[&bad, &good]);
        snapshot.take_from(&mut fetching);
        until("it is whole", || directory.whole(snapshot.id()).is_some());
        let report = fetching.report();
        let fault = report.sources[0].1.clone().unwrap_or_else(|| panic!("{way:?} is no fault"));
        let told = match way {
            Way::Unknown => "answers 404",
            Way::Error => "answers 502 (text/html)",
            Way::Redirect => "answers 302 and names `http://127.0.0.1:1/login`, which is not followed",
            Way::Html => "answers with 22 bytes of text/html in place of 1000",
            Way::Flipped | Way::Another => "other bytes than the signed manifest says",
            Way::CutAfter(0) => "gives no answer",
            Way::CutAfter(_) => "ended after 100 of 1000 bytes",
            Way::Shorter => "answers with 999 bytes of no type in place of 1000",
            Way::Longer | Way::Endless => "answers with 1001 bytes of no type in place of 1000",
            Way::Announced => "answers with 9223372036854775807 bytes",
            Way::NoHttp | Way::CloseAtOnce => "gives no answer",
            Way::Right | Way::RightInPieces | Way::Silent | Way::Dripping => unreachable!(),
        };
        assert!(
            fault.to_string().contains(told) && fault.to_string().contains(&bad.url.to_string()),
            "{way:?}: {fault}"
        );
        assert_eq!(report.sources[1].1, None);
        assert_eq!(bad.asked(), 1, "{way:?}: it rests");
        assert_eq!(report.wanted, Some((snapshot.id(), 4, 4)));
    }
}

#[test]
fn a_source_that_says_nothing_or_goes_on_for_ever_is_left_in_time() {
    let snapshot = Snapshot::new(1, 2, 1000);
    let [silence, whole] = [200, 600].map(Duration::from_millis);
    let agent = source::agent_within(&Https::default(), false, silence, whole);
    let wish = Wish { id: snapshot.id(), part: Part::Chunk(0), octets: 1000, is_exact: true, is_hurried: false };
    for (way, most) in [(Way::Silent, silence), (Way::Dripping, whole)] {
        let source = Faulty::start(&snapshot, &[way]);
        let begin = Instant::now();
        let fault = source::get(&agent, &source.url, &wish).unwrap_err();
        assert!(matches!(fault.answer, Answer::TooSlow { octets } if octets < 1000), "{way:?}: {fault}");
        // By default it would be 10 s and a minute.
        assert!((most..Duration::from_secs(8)).contains(&begin.elapsed()), "{way:?}: {:?}", begin.elapsed());
    }
}

/// A source that gave a byte now and then had a minute for a chunk, while the next one had it at once.
#[test]
fn a_source_that_hangs_is_left_soon_while_there_is_another() {
    let snapshot = Snapshot::new(1, 2, 1000);
    let (silent, good) = (Faulty::start(&snapshot, &[Way::Silent]), Faulty::start(&snapshot, &[Way::Right]));
    let mut fetching = fetcher(None, &[&silent, &good]);
    let begin = Instant::now();
    snapshot.take_from(&mut fetching);
    let hurried = limits::HURRIED_SILENCE_MAX;
    assert!((hurried..limits::SILENCE_MAX).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    assert_eq!((silent.asked(), good.asked()), (1, 2));
}

/// Where the system has no CAs that is told as a fault, which it is only for whoever needs them.
#[test]
fn the_cas_are_read_when_the_first_source_over_tls_is_asked() {
    let snapshot = Snapshot::new(1, 2, 1000);
    let (good, no_tls) = (Faulty::start(&snapshot, &[Way::Right]), Faulty::start(&snapshot, &[Way::Right]));
    let https = Https::default();
    let mut fetching = Fetcher::start(None, std::slice::from_ref(&good.url), &https).unwrap();
    snapshot.take_from(&mut fetching);
    assert!(!https.were_read());
    let url = no_tls.url.to_string().replace("http:", "https:").parse().unwrap();
    fetching.set_sources(&[url]);
    let another = Snapshot::new(2, 2, 1000);
    until("it is asked over TLS", || {
        let _ = fetching.here(&another.manifest);
        https.were_read()
    });
}

#[test]
fn nobody_has_it_until_somebody_does() {
    let snapshot = Snapshot::new(1, 4, 1000);
    let lacking = Faulty::start(&snapshot, &[Way::Unknown, Way::Right]);
    let mut fetching = fetcher(None, &[&lacking]);
    assert_eq!(fetching.here(&snapshot.manifest), Some(0));
    until("nobody has it", || fetching.here(&snapshot.manifest).is_none());
    snapshot.take_from(&mut fetching);
    // Nor is it known to be anywhere without sources.
    let mut alone = fetcher(None, &[]);
    until("nobody has it", || alone.here(&snapshot.manifest).is_none());
    let good = Faulty::start(&snapshot, &[Way::Right]);
    alone.set_sources(std::slice::from_ref(&good.url));
    snapshot.take_from(&mut alone);
}

#[test]
fn without_a_disk_a_few_chunks_are_held_and_they_can_be_had_again() {
    let snapshot = Snapshot::new(1, 12, 1000);
    let good = Faulty::start(&snapshot, &[Way::Right]);
    let mut fetching = fetcher(None, &[&good]);
    until("all is promised", || fetching.here(&snapshot.manifest) == Some(12));
    std::thread::sleep(Duration::from_millis(50));
    let ahead = crate::limits::shelf::AHEAD;
    assert_eq!(good.paths(), (0..ahead).map(|number| number.to_string()).collect::<Vec<_>>());
    snapshot.take_from(&mut fetching);
    assert_eq!(good.asked(), 12);
    snapshot.take_from(&mut fetching);
    assert_eq!(good.asked(), 24);
    assert_eq!(fetching.chunk(&snapshot.manifest, 12), None);
}

/// Who took answers went on asking for its chunk when everything was compared anew from the first chunk on: each had
/// what the other had fetched thrown away, without a pause, for two minutes.
#[test]
fn a_thread_whose_chunk_is_not_wanted_any_more_takes_nothing_from_another() {
    let snapshot = Snapshot::new(1, 12, 1000);
    let good = Faulty::start(&snapshot, &[Way::Right]);
    let mut fetching = fetcher(None, &[&good]);
    until("all is promised", || fetching.here(&snapshot.manifest) == Some(12));
    let chunks = fetching.chunks();
    assert_eq!(chunks.chunk(&snapshot.manifest, 9, || false), None);
    // It is no longer wanted while it is waited for.
    let asked = std::cell::Cell::new(0);
    let once = || asked.replace(asked.get() + 1) == 0;
    assert_eq!(chunks.chunk(&snapshot.manifest, 11, once), None);
    assert_eq!(asked.get(), 2);
    snapshot.take_from(&mut fetching);
    // One that is wanted comes from wherever: a disk that was full in the middle leaves it far from what is in memory.
    let before = good.paths().len();
    assert_eq!(chunks.chunk(&snapshot.manifest, 3, || true).as_ref(), Some(&snapshot.chunks[3]));
    assert_eq!(chunks.chunk(&snapshot.manifest, 9, || false), None);
    until("what follows is fetched", || good.paths().len() >= before + 1 + limits::AHEAD);
    assert_eq!(good.paths()[before..], ["3", "4", "5", "6", "7"]);
}

/// The thread that follows waits for chunks where there is no disk, and who ends it does not have the fetcher.
#[test]
fn who_waits_for_a_chunk_gets_none_at_once_when_fetching_is_ended_elsewhere() {
    let snapshot = Snapshot::new(1, 12, 1000);
    let ways = [&[Way::Right; limits::AHEAD][..], &[Way::Silent]].concat();
    let halting = Faulty::start(&snapshot, &ways);
    let mut fetching = fetcher(None, &[&halting]);
    until("all is promised", || fetching.here(&snapshot.manifest) == Some(12));
    let chunks = fetching.chunks();
    (0..limits::AHEAD).for_each(|number| assert!(fetching.chunk(&snapshot.manifest, number).is_some()));
    until("it hangs", || halting.asked() == limits::AHEAD + 1);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| fetching.chunk(&snapshot.manifest, limits::AHEAD));
        std::thread::sleep(Duration::from_millis(200));
        chunks.end();
        assert_eq!(waits.join().unwrap(), None);
    });
    // What hangs does so for 10 s.
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
}

/// Half fetched as a killed process leaves it: so many bytes of it, of which some may be wrong.
fn left_over(dir: &Path, snapshot: &Snapshot, octets: usize, wrong: Option<usize>) {
    let mut bytes = snapshot.whole()[..octets].to_vec();
    if let Some(at) = wrong {
        bytes[at] ^= 1;
    }
    fs::write(dir.join(format!("{}.partial", snapshot.id())), bytes).unwrap();
}

#[test]
fn what_a_killed_process_had_is_not_fetched_again_wherever_it_was_cut() {
    let snapshot = Snapshot::new(1, 4, 1000);
    let length = snapshot.whole().len();
    for octets in [0, 1, 999, 1000, 1001, 1999, 2000, 2001, 3000, 3001, length - 1, length] {
        let dir = tempfile::tempdir().unwrap();
        left_over(dir.path(), &snapshot, octets, None);
        let directory = open(dir.path()).unwrap();
        let good = Faulty::start(&snapshot, &[Way::Right]);
        let mut fetching = fetcher(Some(&directory), &[&good]);
        snapshot.take_from(&mut fetching);
        until("it is whole", || directory.whole(snapshot.id()).is_some());
        let had = if octets == length { 4 } else { octets / 1000 };
        let mut wanted: Vec<_> = (had..4).map(|number| number.to_string()).collect();
        wanted.push("manifest".to_owned());
        assert_eq!(good.paths(), wanted, "{octets} bytes were there");
    }
}

#[test]
fn a_fetcher_that_ends_in_the_middle_is_gone_at_once_and_the_next_one_goes_on() {
    let snapshot = Snapshot::new(1, 6, 1000);
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let halting = Faulty::start(&snapshot, &[Way::Right, Way::Right, Way::Right, Way::Silent]);
    let mut fetching = fetcher(Some(&directory), &[&halting]);
    until("three chunks have come", || fetching.here(&snapshot.manifest) == Some(3));
    until("it hangs at the fourth", || halting.asked() == 4);
    assert_eq!(fetching.chunk(&snapshot.manifest, 3), None, "not at hand");
    let begin = Instant::now();
    drop(fetching);
    // What hangs does so for 10 s.
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    drop(directory);
    let directory = open(dir.path()).unwrap();
    let good = Faulty::start(&snapshot, &[Way::Right]);
    let mut fetching = fetcher(Some(&directory), &[&good]);
    snapshot.take_from(&mut fetching);
    until("it is whole", || directory.whole(snapshot.id()).is_some());
    assert_eq!(good.paths(), ["3", "4", "5", "manifest"]);
}

#[test]
fn what_hangs_for_one_snapshot_does_not_hold_up_the_next_and_its_half_is_removed() {
    let (old, new) = (Snapshot::new(1, 3, 1000), Snapshot::new(2, 3, 1000));
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let source = Faulty::start(&old, &[Way::Right, Way::Silent]);
    let mut fetching = fetcher(Some(&directory), &[&source]);
    until("one chunk has come", || fetching.here(&old.manifest) == Some(1));
    until("it hangs", || source.asked() == 2);
    let begin = Instant::now();
    let good = Faulty::start(&new, &[Way::Right]);
    fetching.set_sources(std::slice::from_ref(&good.url));
    new.take_from(&mut fetching);
    // What hangs does so for 10 s.
    assert!(begin.elapsed() < Duration::from_secs(7), "{:?}", begin.elapsed());
    until("it is whole", || directory.whole(new.id()).is_some());
    assert_eq!(names(dir.path()), ["manifest", "snapshot"].map(|ending| format!("{}.{ending}", new.id())));
}

#[test]
fn a_chunk_that_is_changed_on_disk_is_fetched_again() {
    let snapshot = Snapshot::new(1, 4, 1000);
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let good = Faulty::start(&snapshot, &[Way::Right]);
    let mut fetching = fetcher(Some(&directory), &[&good]);
    snapshot.take_from(&mut fetching);
    until("it is whole", || directory.whole(snapshot.id()).is_some());
    let path = dir.path().join(format!("{}.snapshot", snapshot.id()));
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"wrong", 2100).unwrap();
    assert_eq!(fetching.chunk(&snapshot.manifest, 1).as_ref(), Some(&snapshot.chunks[1]));
    assert_eq!(fetching.chunk(&snapshot.manifest, 2), None);
    snapshot.take_from(&mut fetching);
    until("it is whole again", || directory.whole(snapshot.id()).is_some());
    assert_eq!(good.paths(), ["0", "1", "2", "3", "manifest", "2"]);
}

#[test]
fn a_snapshot_for_which_the_disk_has_no_room_comes_through_memory() {
    let Some(dir) = super::directory::limited() else {
        let name = "feed::shelf::tests::fetching::a_snapshot_for_which_the_disk_has_no_room_comes_through_memory";
        return super::directory::alone_with_small_files(name);
    };
    let directory = open(&dir).unwrap();
    let snapshot = Snapshot::new(1, 12, 1000);
    let good = Faulty::start(&snapshot, &[Way::Right]);
    let mut fetching = fetcher(Some(&directory), &[&good]);
    snapshot.take_from(&mut fetching);
    let fault = fetching.report().disk.unwrap();
    assert_eq!(fault.cause, Cause::Full);
    assert!(directory.whole(snapshot.id()).is_none());
    // A smaller one has room, and what was half there is gone.
    let small = Snapshot::new(2, 5, 1000);
    let good = Faulty::start(&small, &[Way::Right]);
    fetching.set_sources(std::slice::from_ref(&good.url));
    small.take_from(&mut fetching);
    until("it is whole", || directory.whole(small.id()).is_some());
    assert_eq!(fetching.report().disk, None);
    assert_eq!(names(&dir).len(), 2);
}

#[test]
fn a_manifest_that_is_not_signed_is_not_kept_and_the_chunks_are_at_hand_all_the_same() {
    let snapshot = Snapshot::new(1, 2, 1000);
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let bad = Faulty::start(&snapshot, &[Way::Right, Way::Right, Way::Flipped]);
    let mut fetching = fetcher(Some(&directory), &[&bad]);
    snapshot.take_from(&mut fetching);
    until("its manifest was refused", || fetching.report().sources[0].1.is_some());
    assert!(fetching.report().sources[0].1.clone().unwrap().is_wrong());
    assert_eq!(fetching.here(&snapshot.manifest), Some(2));
    assert!(directory.whole(snapshot.id()).is_none());
}

fn any_way() -> impl Strategy<Value = Way> {
    prop_oneof![1 => Just(Way::Right), 3 => select(&FAULTS[..]), 1 => (0..1000usize).prop_map(Way::CutAfter)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_sources_do_what_is_given_out_has_the_hash_of_the_manifest(
        ways in vec(vec(any_way(), 1..6), 1..4),
        on_disk: bool,
        left in proptest::option::of((0..4000usize, any::<proptest::sample::Index>())),
        order in vec(0..5usize, 1..10),
    ) {
        let snapshot = Snapshot::new(1, 5, 1000);
        let dir = tempfile::tempdir().unwrap();
        if let Some((octets, wrong)) = left {
            left_over(dir.path(), &snapshot, octets, (octets > 0).then(|| wrong.index(octets)));
        }
        let directory = on_disk.then(|| open(dir.path()).unwrap());
        let mut sources: Vec<_> = ways.iter().map(|ways| Faulty::start(&snapshot, ways)).collect();
        sources.push(Faulty::start(&snapshot, &[Way::Right]));
        let sources: Vec<_> = sources.iter().collect();
        let mut fetching = fetcher(directory.as_ref(), &sources);
        for number in order {
            let here = fetching.here(&snapshot.manifest);
            prop_assert!(here.is_none_or(|here| here <= 5));
            if here.is_some_and(|here| here > number) {
                let chunk = fetching.chunk(&snapshot.manifest, number);
                prop_assert!(chunk.is_some_and(|chunk| chunk == snapshot.chunks[number]));
            }
        }
        snapshot.take_from(&mut fetching);
    }
}

#[test]
fn only_a_base_url_is_one() {
    for (text, told) in [
        ("http://a.example:8090", None),
        ("http://a.example:8090/", None),
        ("http://[::1]:8090/behind/a/proxy/", None),
        ("https://a.example", None),
        ("a.example:8090", Some("does not begin with `http://`")),
        ("ftp://a.example/", Some("does not begin with `http://`")),
        ("http://", Some("is no URL")),
        ("http:///x", Some("is no URL")),
        ("http://u:p@a.example/", Some("user name")),
        ("http://a.example/?x=1", Some("behind its path")),
        ("http://a.example/#x", Some("behind its path")),
        ("/snapshot", Some("does not begin with `http://`")),
        ("", Some("is no URL")),
    ] {
        match (text.parse::<BaseUrl>(), told) {
            (Ok(url), None) => assert_eq!(url.to_string(), text.trim_end_matches('/')),
            (Err(error), Some(told)) => {
                let error = error.to_string();
                assert!(error.contains(told) && error.contains("snapshot_listen"), "{error}");
            }
            (outcome, _) => panic!("{text}: {outcome:?}"),
        }
    }
}
