use super::*;

fn serial(number: u8) -> Serial {
    Serial::from_magnitude(&[number]).unwrap()
}

fn seconds(tenths: u64) -> Duration {
    Duration::from_millis(100 * tenths)
}

/// A directory of files whose stamps are numbers, and a clock in tenths of a second.
#[derive(Default)]
struct World {
    catalogue: Catalogue,
    now: u64,
}

impl World {
    fn see(&mut self, name: &str, stamp: i64, said: Said) {
        self.see_aged(name, stamp, Some(Duration::from_secs(3600)), said);
    }

    fn see_aged(&mut self, name: &str, stamp: i64, age: Option<Duration>, said: Said) {
        let stamp = Stamp { file: FileStamp::default(), changed: (stamp, 0) };
        self.catalogue.note(name.into(), Seen::Here(stamp, age, said), seconds(self.now));
    }

    fn gone(&mut self, name: &str) {
        self.catalogue.note(name.into(), Seen::Gone, seconds(self.now));
    }

    /// At `now`: which serial numbers are listed.
    fn at(&mut self, now: u64) -> Vec<u8> {
        self.now = now;
        self.catalogue.settle(seconds(now));
        let mut listed: Vec<_> = self
            .catalogue
            .listed
            .iter()
            .filter(|(_, held)| held.files > 0)
            .map(|(serial, _)| serial.magnitude()[0])
            .collect();
        listed.sort_unstable();
        listed
    }
}

fn holds(numbers: &[u8]) -> Said {
    Said::Certificates(numbers.iter().map(|number| issued(*number, 100)).collect(), 0)
}

fn issued(number: u8, end: u64) -> Issued {
    Issued { serial: serial(number), of: Known { end: UnixTime(end), sha256: None } }
}

/// The same with a hash.
fn hashed(number: u8, hash: u8) -> Issued {
    Issued { serial: serial(number), of: Known { end: UnixTime(100), sha256: Some([hash; 32].into()) } }
}

fn broken() -> Said {
    Said::Broken("is half".to_owned())
}

#[test]
fn a_whole_certificate_counts_at_once_and_a_name_when_its_file_is_still() {
    let mut world = World::default();
    world.see_aged("a", 1, Some(Duration::ZERO), holds(&[1]));
    world.see_aged("2", 1, Some(Duration::ZERO), Said::Name(serial(2)));
    world.see("3", 1, Said::Name(serial(3)));
    // A clock that was set back says nothing of its age.
    world.see_aged("4", 1, None, Said::Name(serial(4)));
    assert_eq!(world.at(0), [1, 3]);
    assert_eq!(world.at(9), [1, 3]);
    assert_eq!(world.at(10), [1, 2, 3, 4]);
    // A look at the same file does not begin anew, and another content does.
    world.see_aged("5", 1, Some(Duration::ZERO), Said::Name(serial(5)));
    world.at(15);
    world.see_aged("5", 1, Some(seconds(5)), Said::Name(serial(5)));
    assert_eq!(world.at(20), [1, 2, 3, 4, 5]);
    world.see_aged("6", 1, Some(Duration::ZERO), Said::Name(serial(6)));
    world.at(25);
    world.see_aged("6", 2, Some(Duration::ZERO), broken());
    assert_eq!(world.at(40), [1, 2, 3, 4, 5], "somebody writes a certificate into it");
    world.see_aged("6", 3, Some(Duration::ZERO), holds(&[7]));
    assert_eq!(world.at(40), [1, 2, 3, 4, 5, 7]);
}

#[test]
fn who_is_missed_for_a_while_goes_and_who_comes_back_meanwhile_stays() {
    let mut world = World::default();
    world.see("a", 1, holds(&[1]));
    world.see("b", 1, holds(&[2]));
    world.see("c", 1, holds(&[3]));
    world.gone("a");
    world.see("b", 2, broken());
    world.see("c", 2, Said::Other("is a text".to_owned()));
    assert_eq!(world.at(19), [1, 2, 3]);
    world.see("b", 2, broken());
    world.gone("c");
    assert_eq!(world.at(20), [3], "each by its own time");
    assert_eq!(world.at(39), Vec::<u8>::new());
    world.see("a", 3, holds(&[1]));
    world.gone("a");
    world.at(50);
    world.see("a", 4, holds(&[1]));
    assert_eq!(world.at(100), [1], "it was replaced");
    // What a whole certificate says in place of another counts at once.
    world.see("a", 5, holds(&[9]));
    assert_eq!(world.at(100), [9]);
    world.see("a", 6, Said::Certificates(Vec::new(), 1));
    assert_eq!(world.at(100), Vec::<u8>::new());
    assert_eq!((world.catalogue.count(Kind::Foreign), world.catalogue.count(Kind::Own)), (1, 0));
}

#[test]
fn a_serial_in_several_files_stays_as_long_as_one_of_them_has_it() {
    let mut world = World::default();
    world.see("a", 1, holds(&[1, 2]));
    world.see("b", 1, Said::Name(serial(1)));
    assert_eq!(world.catalogue.news(), News { fresh: vec![issued(1, 100), issued(2, 100)], lost: false });
    world.catalogue.gave_fresh();
    world.gone("a");
    assert_eq!(world.at(30), [1]);
    assert_eq!(world.catalogue.news(), News { fresh: Vec::new(), lost: true });
    assert_eq!(world.catalogue.give_all(), [issued(1, 100)]);
    assert_eq!(world.catalogue.news(), News { fresh: Vec::new(), lost: false });
    // Of two ends that are known the later one.
    world.see("d", 1, Said::Certificates(vec![issued(1, 90)], 0));
    assert!(world.catalogue.news().fresh.is_empty());
    world.see("e", 1, Said::Certificates(vec![issued(1, 110)], 0));
    assert_eq!(world.catalogue.news().fresh, [issued(1, 110)]);
}

#[test]
fn what_was_given_before_a_restart_is_neither_given_again_nor_lost_without_a_word() {
    let mut world = World::default();
    world.catalogue.recall(issued(1, 100));
    world.catalogue.recall(issued(2, 100));
    world.see("a", 1, holds(&[1]));
    world.see("c", 1, holds(&[3]));
    assert!(world.catalogue.has_given() && !world.catalogue.is_empty());
    assert_eq!(world.catalogue.news(), News { fresh: vec![issued(3, 100)], lost: true });
    world.catalogue.gave_fresh();
    assert_eq!(world.catalogue.news(), News { fresh: Vec::new(), lost: true }, "still lost");
    world.catalogue.forget_given();
    assert_eq!(world.catalogue.news().fresh.len(), 2);
    assert!(!world.catalogue.has_given() && !world.catalogue.news().lost);
}

#[test]
fn a_hash_that_was_not_given_or_is_another_now_is_given_and_a_name_takes_none_away() {
    let mut world = World::default();
    world.catalogue.recall(issued(1, 100));
    world.catalogue.recall(hashed(2, 2));
    world.see("1", 1, Said::Name(serial(1)));
    world.see("a", 1, Said::Certificates(vec![hashed(1, 1), hashed(2, 2)], 0));
    assert_eq!(world.catalogue.news(), News { fresh: vec![hashed(1, 1)], lost: false });
    world.catalogue.gave_fresh();
    world.see("2", 1, Said::Name(serial(2)));
    assert_eq!(world.catalogue.news(), News { fresh: Vec::new(), lost: false });
    world.see("a", 2, Said::Certificates(vec![hashed(1, 1), hashed(2, 3)], 0));
    assert_eq!(world.catalogue.news(), News { fresh: vec![hashed(2, 3)], lost: false });
    assert_eq!(world.catalogue.give_all(), [hashed(1, 1), hashed(2, 3)]);
}

#[test]
fn a_look_at_all_files_misses_those_that_are_not_there_and_reads_none_twice() {
    let mut world = World::default();
    let stamp = |number| Stamp { file: FileStamp::default(), changed: (number, 0) };
    for name in ["a", "b", "c"] {
        world.see(name, 1, holds(&[1]));
    }
    world.catalogue.begin_round();
    assert!(world.catalogue.is_as_known(OsStr::new("a"), &stamp(1), seconds(0)));
    assert!(!world.catalogue.is_as_known(OsStr::new("b"), &stamp(2), seconds(0)));
    world.see("b", 2, holds(&[1]));
    assert!(!world.catalogue.is_as_known(OsStr::new("d"), &stamp(1), seconds(0)));
    assert_eq!(world.catalogue.missed(), ["c"]);
}

#[test]
fn files_that_may_change_soon_are_looked_at_again_and_less_and_less_often() {
    let mut world = World::default();
    world.see("whole", 1, holds(&[1]));
    assert!(world.catalogue.due(seconds(0)).is_empty() && !world.catalogue.is_waiting());
    world.see_aged("fresh", 1, Some(Duration::ZERO), holds(&[2]));
    assert_eq!(world.catalogue.due(seconds(1)), ["fresh"]);
    world.now = 1;
    world.see("fresh", 1, holds(&[2]));
    assert!(world.catalogue.due(seconds(100)).is_empty());
    world.see("half", 1, broken());
    let mut looks = 0;
    for now in 1..2000 {
        world.now = now;
        if !world.catalogue.due(seconds(now)).is_empty() {
            looks += 1;
            world.see("half", 1, broken());
        }
    }
    assert!((5..60).contains(&looks), "{looks}");
    assert!(!world.catalogue.is_waiting());
}
