//! A feeder of real directories.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink};

use super::*;
use crate::{
    feeder::{Feed, Feeders, Spec, look, tests::until},
    pki::Serial,
    source::draft,
};

struct World {
    dir: tempfile::TempDir,
    feeders: Feeders,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("certs")).unwrap();
        Self { dir, feeders: Feeders::default() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("certs").join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.at(name), content).unwrap();
    }

    fn spec(&self) -> Spec {
        Spec::Files(FilesOfIssuer {
            source: DirectorySource {
                path: self.dir.path().join("certs/"),
                names: Radix::Hexadecimal,
                mirror: self.dir.path().join("fetched/certs"),
            },
            issuer: draft::issuer(),
            hashes: false,
        })
    }

    fn subscribe(&self) -> Arc<Feed> {
        self.feeders.subscribe(&self.spec()).unwrap()
    }

    /// Which serial numbers the mirror lists; each once.
    fn listed(&self) -> Vec<u32> {
        listed(&self.dir.path().join("fetched/certs"))
    }

    #[track_caller]
    fn becomes(&self, wanted: &[u32]) {
        until(&format!("{wanted:?}"), || self.listed() == wanted);
    }
}

fn listed(mirror: &Path) -> Vec<u32> {
    let Ok(listing) = Listing::open(mirror, Form::Mirrored) else { return Vec::new() };
    let number = |serial: &Serial| serial.magnitude().iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let mut all = BTreeSet::new();
    for line in listing {
        let line = line.unwrap();
        assert_eq!(line.record.status, Status::Good);
        assert!(all.insert(number(&line.serial)), "{} comes twice", line.serial);
    }
    all.into_iter().collect()
}

/// A certificate of `issuer` with this serial number; its signature is another's.
fn certificate(issuer: &str, number: u32) -> Vec<u8> {
    let serial = number.to_be_bytes();
    let serial = [&[0][..], &serial].concat();
    let spki = draft::sequence(&[draft::ED25519.to_vec(), draft::element(0x03, [0; 33])]);
    let tbs = draft::sequence(&[
        draft::element(0xa0, [2, 1, 2]),
        draft::element(
            0x02,
            &serial
                [serial.iter().position(|byte| *byte > 0).map_or(0, |at| at.min(4) - usize::from(serial[at] > 0x7f))..],
        ),
        draft::ED25519.to_vec(),
        draft::name(issuer),
        draft::sequence(&[draft::TODAY, b"\x17\x0d490103030405Z"]),
        draft::name("leaf"),
        spki,
    ]);
    draft::sequence(&[tbs, draft::ED25519.to_vec(), draft::element(0x03, [0; 65])])
}

fn own(number: u32) -> Vec<u8> {
    certificate("CA", number)
}

#[test]
fn a_directory_is_mirrored_with_what_is_added_replaced_and_removed() {
    let world = World::new();
    world.write("a.pem", &own(1));
    world.write("0B", b"");
    world.write("foreign.der", &certificate("Other", 3));
    let feed = world.subscribe();
    world.becomes(&[1, 11]);
    let first = fs::metadata(feed.mirror()).unwrap().ino();
    world.write("new.pem", &own(0x1234_5678));
    world.becomes(&[1, 11, 0x1234_5678]);
    assert_eq!(fs::metadata(feed.mirror()).unwrap().ino(), first, "it was appended");
    // One that is replaced by a rename, and one that is removed and comes back, are never missed.
    world.write("next", &own(1));
    fs::rename(world.at("next"), world.at("a.pem")).unwrap();
    fs::remove_file(world.at("0B")).unwrap();
    world.write("0B.txt", b"issued");
    let asked = feed.fetching().report().asked;
    until("some looks", || {
        assert_eq!(world.listed(), [1, 11, 0x1234_5678]);
        feed.fetching().report().asked > asked + 8
    });
    fs::remove_file(world.at("a.pem")).unwrap();
    world.becomes(&[11, 0x1234_5678]);
    // What a file holds in place of another certificate counts for that.
    world.write("new.pem", &own(5));
    world.becomes(&[5, 11]);
    assert_eq!(feed.fetching().report().complaint(), None);
}

#[test]
fn half_a_certificate_counts_when_it_is_whole_and_odd_files_spoil_no_other() {
    let world = World::new();
    let whole = own(7);
    world.write("07.der", &whole[..whole.len() / 2]);
    world.write("zero", &own(0));
    world.write("08", b"-----BEGIN CERTIFICATE-----\nMIIB");
    world.write("README.md", b"# certificates");
    world.write(".0C", b"");
    world.write("big.pem", &vec![b'x'; limits::CERTIFICATE_FILE_OCTETS_MAX as usize + 1]);
    fs::create_dir(world.at("0D")).unwrap();
    symlink("nowhere", world.at("0E")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, world.at("0F"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    fs::write(world.dir.path().join("elsewhere"), own(9)).unwrap();
    symlink("../elsewhere", world.at("link")).unwrap();
    use std::os::unix::ffi::OsStringExt as _;
    fs::write(world.dir.path().join("certs").join(OsString::from_vec(b"\xff\xfe".to_vec())), own(10)).unwrap();
    let feed = world.subscribe();
    world.becomes(&[9, 10]);
    let mut file = fs::OpenOptions::new().append(true).open(world.at("07.der")).unwrap();
    file.write_all(&whole[whole.len() / 2..]).unwrap();
    world.becomes(&[7, 9, 10]);
    assert_eq!(feed.fetching().report().complaint(), None);

    // `check` and `source try` say what there is.
    let trial = look(&world.spec(), UnixTime::now()).unwrap();
    assert_eq!(listed(trial.path()), [7, 9, 10]);
    let told = trial.remarks.join("\n");
    for wanted in [
        "3 files have certificates of this CA, and 0 are named",
        "4 files cannot be read, and their certificates are not listed, such as `08`: it is damaged PEM",
        "2 files are passed over, such as `0F`: it is no regular file",
        "1 subdirectories are not looked into",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
}

#[test]
fn one_that_may_not_be_read_is_not_listed_until_it_may() {
    let world = World::new();
    world.write("a", &own(1));
    world.write("b", &own(2));
    let _feed = world.subscribe();
    world.becomes(&[1, 2]);
    // What root may not read either: a link that leads round in a circle.
    fs::remove_file(world.at("b")).unwrap();
    symlink("b", world.at("b")).unwrap();
    world.becomes(&[1]);
    let told = look(&world.spec(), UnixTime::now()).unwrap().remarks.join("\n");
    assert!(told.contains("1 files cannot be read") && told.contains("such as `b`: it cannot be looked at"), "{told}");
    fs::remove_file(world.at("b")).unwrap();
    world.write("b", &own(2));
    world.becomes(&[1, 2]);
}

#[test]
fn a_directory_that_is_away_empty_or_unreadable_changes_nothing_and_is_told() {
    let world = World::new();
    world.write("a", &own(1));
    world.write("b", &own(2));
    let feed = world.subscribe();
    world.becomes(&[1, 2]);
    let certs = world.dir.path().join("certs");
    let complaint = |told: &str| {
        until(told, || feed.fetching().report().complaint().is_some_and(|complaint| complaint.contains(told)));
        assert_eq!(world.listed(), [1, 2]);
    };
    fs::rename(&certs, world.dir.path().join("away")).unwrap();
    complaint("certs/: cannot be read: No such file or directory (os error 2); is what it is on mounted?");
    // As a mount point looks whose file system is not mounted.
    fs::create_dir(&certs).unwrap();
    complaint("has no file any more, and had some");
    fs::remove_dir(&certs).unwrap();
    fs::write(&certs, "").unwrap();
    complaint("a list in a file is named without a slash");
    fs::remove_file(&certs).unwrap();
    fs::create_dir(&certs).unwrap();
    symlink("a", world.at("a")).unwrap();
    complaint("none of its files can be read any more, such as `a`");
    // Another directory in its place counts, whoever made it.
    fs::remove_dir_all(&certs).unwrap();
    symlink("away", &certs).unwrap();
    until("it is well", || feed.fetching().report().complaint().is_none());
    assert_eq!(world.listed(), [1, 2]);
    fs::write(world.dir.path().join("away/c"), own(3)).unwrap();
    world.becomes(&[1, 2, 3]);
}

#[test]
fn a_restart_goes_on_from_the_mirror_and_adds_and_removes_what_changed_meanwhile() {
    let mut world = World::new();
    world.write("a", &own(1));
    world.write("b", &own(2));
    let feed = world.subscribe();
    world.becomes(&[1, 2]);
    until("it was taken", || feed.fetching().was_asked());
    let restart = |world: &mut World, feed: Arc<Feed>| {
        drop(feed);
        world.feeders = Feeders::default();
    };
    restart(&mut world, feed);
    let before = fs::metadata(world.dir.path().join("fetched/certs")).unwrap().ino();
    world.write("c", &own(3));
    let feed = world.subscribe();
    world.becomes(&[1, 2, 3]);
    assert_eq!(fs::metadata(feed.mirror()).unwrap().ino(), before, "it was appended");
    restart(&mut world, feed);
    fs::remove_file(world.at("a")).unwrap();
    let feed = world.subscribe();
    world.becomes(&[2, 3]);
    // Whoever removes the mirror has it made anew.
    fs::remove_file(feed.mirror()).unwrap();
    world.becomes(&[2, 3]);
    restart(&mut world, feed);
    // A file that is half written at a start has its certificate removed no sooner than any other. A machine that is too busy
    // to show that is given another chance.
    let mut feed = None;
    let was_in_time = (0..20).any(|_| {
        let begun = Instant::now();
        world.write("b", &own(2)[..9]);
        let again = world.subscribe();
        until("it is looked at", || again.fetching().report().asked > 2);
        let (listed, took) = (world.listed(), begun.elapsed());
        world.write("b", &own(2));
        if took < bounds::MISSED_FOR {
            assert_eq!(listed, [2, 3]);
            feed = Some(again);
            return true;
        }
        world.becomes(&[2, 3]);
        restart(&mut world, again);
        false
    });
    assert!(was_in_time);
    let feed = feed.unwrap();
    let asked = feed.fetching().report().asked;
    until("some looks", || feed.fetching().report().asked > asked + 6);
    assert_eq!(world.listed(), [2, 3]);
}

#[test]
fn all_files_are_looked_at_when_nothing_says_which_have_changed_and_rarely_otherwise() {
    let spec = World::new().spec();
    let Spec::Files(of) = spec else { panic!("of files") };
    let second = Duration::from_secs(1);
    let named = Changed { names: [OsString::from("a")].into(), is_lost: false };
    let lost = Changed { is_lost: true, ..Changed::default() };
    for (what, is_other, shows, changed, wanted) in [
        ("nothing has changed", false, false, Some(&Changed::default()), 160),
        ("events tell it", false, false, Some(&named), 160),
        ("events tell it, and it shows", false, true, Some(&named), 150),
        ("it shows alone", false, true, Some(&Changed::default()), 105),
        ("it shows where there are no events", false, true, None, 105),
        ("too many events", false, false, Some(&lost), 102),
        ("another directory", true, true, Some(&named), 102),
    ] {
        let mut files = Files::new(of.clone());
        files.whole = Some((100 * second, second));
        files.whole_at = 160 * second;
        files.plan(102 * second, is_other, shows, changed);
        assert_eq!(files.whole_at, wanted * second, "{what}");
    }
    let mut files = Files::new(of);
    files.whole_at = 100 * second;
    files.plan(second, false, false, None);
    assert_eq!(files.whole_at, second, "never yet");
}

/// As a CA of middling size has it; most of the files are names alone, since links to an empty one are made in no time.
#[test]
fn a_hundred_thousand_files_are_read_in_seconds_and_a_new_one_counts_within_two() {
    const COUNT: u32 = 100_000;
    // As many as all file systems allow.
    const LINKS: usize = 30_000;
    let world = World::new();
    let names: Vec<_> = (1..=COUNT).map(|number| world.at(&format!("{number:08X}"))).collect();
    for (number, names) in names.chunks(LINKS).enumerate() {
        let empty = world.dir.path().join(format!("empty{number}"));
        fs::write(&empty, b"").unwrap();
        names.iter().for_each(|name| fs::hard_link(&empty, name).unwrap());
    }
    let begun = Instant::now();
    let feed = world.subscribe();
    until("it is told how far it is", || {
        let progress = feed.fetching().report().progress;
        assert!(!feed.fetching().was_asked(), "it was not told");
        progress.is_some_and(|(looked, of)| looked > 0 && of == Some(u64::from(COUNT)))
    });
    until("all are there", || world.listed().len() == COUNT as usize);
    let mut took = vec![begun.elapsed()];
    for number in 1..4 {
        let serial = COUNT + number;
        world.write(&format!("{serial}.der"), &own(serial));
        let begun = Instant::now();
        let digits = format!("\t{serial:06x}\t");
        until("a new one", || {
            let text = fs::read_to_string(feed.mirror()).unwrap();
            text.rfind(MIRROR_CHANGES).is_some_and(|at| text[at..].contains(&digits))
        });
        took.push(begun.elapsed());
    }
    // On a machine that is busy with other tests one of several has to be that quick.
    assert!(took[1..].iter().min().unwrap() < &Duration::from_secs(2), "{took:?}");
}
