//! Several listings of one issuer: which certificates exist they say together, and the stricter word counts.

use super::*;

const ISSUED: Form = Form::Issued(Radix::Hexadecimal);

/// Files by name, with what they have.
struct World(Follow);

impl World {
    fn new(files: &[(&str, Form, &str)]) -> Self {
        let world = Self(Follow::of(&files.iter().map(|(name, form, _)| (*name, *form)).collect::<Vec<_>>()));
        files.iter().for_each(|(name, _, text)| world.write(name, text));
        world
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.dir.path().join(name), text).unwrap();
    }

    /// A pass over files that nobody writes.
    fn pass(&mut self) -> Comparison {
        let comparison = self.0.compare(true);
        self.0.writer.reserve(comparison.changes.len());
        self.0.writer.apply(comparison.changes.iter().copied().map(Change::from));
        comparison
    }

    /// Of serials from 1 on: good, revoked or not listed.
    fn said(&self, count: u32) -> Vec<Option<bool>> {
        (1..=count).map(|number| self.0.is_revoked(number)).collect()
    }
}

const GOOD: Option<bool> = Some(false);
const REVOKED: Option<bool> = Some(true);

fn held(serial: u32) -> String {
    format!("R\t350101000000Z\t250101000000Z,certificateHold\t{serial:04X}\tunknown\t/CN={serial}\n")
}

#[test]
fn certificates_are_those_of_all_listings_and_the_stricter_word_counts() {
    let files = [
        ("a.txt", Form::Database, good(1) + &good(2) + &revoked(3)),
        ("b.txt", Form::Database, good(3) + &revoked(2) + &good(4)),
        ("c.txt", ISSUED, "0004\n0005\n0001\n".to_owned()),
    ];
    let files = files.each_ref().map(|(name, form, text)| (*name, *form, text.as_str()));
    let mut expected = None;
    // In any order.
    for turn in 0..3 {
        let mut turned = files;
        turned.rotate_left(turn);
        let mut world = World::new(&turned);
        let first = world.pass();
        assert!(first.faults.is_empty(), "{:?}", first.faults);
        assert_eq!(world.said(6), [GOOD, REVOKED, REVOKED, GOOD, GOOD, None], "{turn}");
        let second = world.pass();
        assert_eq!((second.changes.len(), first.listed, second.listed), (0, 5, 5), "nothing has changed");
        assert_eq!(*expected.get_or_insert(first.changes.len()), first.changes.len());
    }
}

#[test]
fn a_hold_of_one_listing_is_not_released_by_another_and_ends_with_the_last() {
    let mut world = World::new(&[("a.txt", Form::Database, &good(1)), ("b.txt", Form::Database, &held(1))]);
    world.pass();
    assert_eq!(world.said(1), [REVOKED]);
    assert!(world.pass().changes.is_empty(), "good in the first, held in the second");
    world.write("b.txt", &good(1));
    world.pass();
    assert_eq!(world.said(1), [GOOD]);
    world.write("a.txt", &held(1));
    world.pass();
    assert_eq!(world.said(1), [REVOKED]);
    assert!(world.pass().changes.is_empty(), "held in the first, good in the second");
}

#[test]
fn what_one_listing_loses_is_there_as_long_as_another_has_it() {
    let mut world = World::new(&[("a.txt", Form::Database, &list(1..30)), ("b.txt", ISSUED, "0001\n0002\n")]);
    world.pass();
    world.write("a.txt", &list(3..30));
    assert!(world.pass().changes.is_empty());
    assert_eq!(world.said(2), [GOOD, GOOD]);
    world.write("b.txt", "0002\n");
    world.pass();
    assert_eq!(world.said(2), [None, GOOD]);
}

/// What is refused may have revoked what another one adds.
#[test]
fn while_one_listing_is_refused_the_others_only_revoke_and_so_do_its_readable_lines() {
    let (a, b) = (list(1..20), list(1..10));
    let mut world = World::new(&[("a.txt", Form::Database, &a), ("b.txt", Form::Database, &b)]);
    world.pass();
    world.write("b.txt", &(list(3..10) + &revoked(2) + "broken\n"));
    world.write("a.txt", &(list(2..20) + &revoked(1) + &good(30)));
    let refused = world.pass();
    assert_eq!(refused.faults.len(), 1, "{:?}", refused.faults);
    assert!(refused.faults[0].path.ends_with("b.txt"));
    assert_eq!(world.said(2), [REVOKED, REVOKED]);
    assert_eq!((world.0.is_revoked(30), world.0.is_revoked(19)), (None, GOOD), "neither added nor removed");
    world.write("b.txt", &(list(3..10) + &revoked(2)));
    assert!(world.pass().faults.is_empty());
    assert_eq!(world.0.is_revoked(30), GOOD);
}

#[test]
fn a_serial_twice_in_one_database_is_refused_and_in_two_it_is_not() {
    let mut world = World::new(&[("a.txt", Form::Database, &good(1)), ("b.txt", Form::Database, &good(1))]);
    assert!(world.pass().faults.is_empty());
    for (first, second) in [(good(1), revoked(1)), (good(2), good(2))] {
        world.write("b.txt", &(first + &second));
        let faults = world.pass().faults;
        assert!(faults[0].problem.contains("a second time"), "{faults:?}");
    }
    // In a list that people write, the stricter of the two counts.
    let mut world = World::new(&[("c.txt", ISSUED, "serial,status\n0001,good\n0001,revoked\n0002,good\n0002,good\n")]);
    assert!(world.pass().faults.is_empty());
    assert_eq!(world.said(2), [REVOKED, GOOD]);
    assert!(world.pass().changes.is_empty());
}

#[test]
fn a_list_without_a_newline_at_its_end_is_whole_once_nobody_writes_it() {
    let mut world = World::new(&[("c.txt", ISSUED, "0001\n00")]);
    let busy = world.0.compare(false);
    assert!(busy.faults.is_empty() && busy.held_back && busy.changes.len() == 1, "{busy:?}");
    world.write("c.txt", "0001\n0002");
    let still = world.pass();
    assert!(still.faults.is_empty() && !still.held_back, "{still:?}");
    assert_eq!(world.said(2), [GOOD, GOOD]);
    // A database has it always.
    let mut world = World::new(&[("a.txt", Form::Database, good(1).trim_end())]);
    assert!(world.pass().faults[0].problem.contains("half-written"));
}

#[test]
fn a_listing_of_another_ca_has_no_effect_where_it_is_the_only_one() {
    let mut world =
        World::new(&[("c.txt", ISSUED, &(1..40).map(|number| format!("{number:04X}\n")).collect::<String>())]);
    world.pass();
    world.write("c.txt", "0100\n0101\n");
    let refused = world.pass();
    assert!(refused.shrunk && refused.faults[0].problem.contains("another CA's"), "{:?}", refused.faults);
    assert_eq!((world.said(1), world.0.is_revoked(0x100)), (vec![GOOD], None));
}

#[test]
fn lines_appended_to_a_list_are_compared_alone() {
    let mut world = World::new(&[("c.txt", ISSUED, "serial,status\n0001,good\n")]);
    assert!(!world.0.pass().is_of_appended);
    let text = "serial,status\n0001,good\n0002,revoked\n";
    fs::write(world.0.dir.path().join("c.txt"), text).unwrap();
    let appended = world.0.pass();
    assert!(appended.is_of_appended && appended.faults.is_empty(), "{appended:?}");
    assert_eq!((world.said(2), appended.listed), (vec![GOOD, REVOKED], 2), "the heading is known");
}
