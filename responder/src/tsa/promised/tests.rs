//! Restarts, changed promises and damaged notes.

use std::fs;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn name(number: u8) -> Name {
    Name::of(&[number])
}

/// In a directory of its own, and after such a time lowered what is past.
struct Life {
    promised: Promised,
    begin: Instant,
}

impl Life {
    fn begin(dir: &Path) -> Self {
        Self { promised: Promised::open(dir), begin: Instant::now() }
    }

    fn promise(&self, promises: &[(u8, Duration)], after: Duration) {
        let promises: Vec<_> = promises.iter().map(|(number, accuracy)| (name(*number), *accuracy)).collect();
        self.promised.promise(&promises, self.begin + after).unwrap();
    }

    fn settle(&self, after: Duration) {
        self.promised.settle(self.begin + after).unwrap();
    }

    fn former(&self, number: u8) -> Duration {
        self.promised.former(&name(number))
    }
}

#[test]
fn a_restart_knows_the_largest_accuracy_of_tokens_that_may_still_be_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let most = *limits::CLOCK_ACCURACY_RANGE.end();
    let life = Life::begin(dir.path());
    assert_eq!(life.former(1), most, "nothing is known");
    life.promise(&[(1, SECOND)], Duration::ZERO);
    // Killed before what was unknown is past, it is as unknown as before.
    assert_eq!(Life::begin(dir.path()).former(1), most);
    life.settle(most);
    assert_eq!(Life::begin(dir.path()).former(1), most);
    life.settle(most + SECOND * 60);
    assert_eq!(Life::begin(dir.path()).former(1), SECOND);
    // More is noted at once, less when it is past.
    let life = Life::begin(dir.path());
    life.promise(&[(1, 5 * SECOND)], Duration::ZERO);
    assert_eq!(Life::begin(dir.path()).former(1), 5 * SECOND);
    life.promise(&[(1, SECOND / 10)], 100 * SECOND);
    life.settle(103 * SECOND);
    assert_eq!(Life::begin(dir.path()).former(1), 5 * SECOND);
    // Promised once more, it is no later for that.
    life.promise(&[(1, SECOND / 10)], 104 * SECOND);
    life.settle(101 * SECOND + 5 * SECOND + limits::MISS_DEADLINE);
    assert_eq!(Life::begin(dir.path()).former(1), SECOND / 10);
}

#[test]
fn of_a_name_that_promises_no_order_any_more_nothing_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path());
    life.promise(&[(1, SECOND), (2, 2 * SECOND)], Duration::ZERO);
    life.settle(200 * SECOND);
    life.promise(&[(2, 2 * SECOND)], 200 * SECOND);
    let next = Life::begin(dir.path());
    assert_eq!((next.former(1), next.former(2)), (*limits::CLOCK_ACCURACY_RANGE.end(), 2 * SECOND));
}

#[test]
fn nothing_is_written_where_nobody_promises_an_order() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path());
    life.promise(&[], Duration::ZERO);
    life.settle(200 * SECOND);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_note_is_never_waited_for_and_replaced() {
    for kind in ["fifo", "link", "long"] {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join(FILE);
        match kind {
            "fifo" => rustix::fs::mkfifoat(rustix::fs::CWD, &note, rustix::fs::Mode::RUSR).unwrap(),
            "link" => std::os::unix::fs::symlink("/dev/zero", &note).unwrap(),
            _ => fs::write(&note, "#\n".repeat(1 << 20)).unwrap(),
        }
        let life = Life::begin(dir.path());
        assert_eq!(life.former(1), *limits::CLOCK_ACCURACY_RANGE.end(), "{kind}");
        life.promise(&[(1, SECOND)], Duration::ZERO);
        assert!(fs::symlink_metadata(&note).unwrap().is_file(), "{kind}");
    }
}

#[test]
fn a_damaged_note_is_none_and_one_that_cannot_be_written_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let good = format!("1000000 {}\n", name(1).0);
    for (text, is_known) in [
        (good.clone(), true),
        (format!("# what\n{good}"), true),
        (good[..good.len() - 1].to_owned(), false),
        (good[..30].to_owned(), false),
        (good.replacen("1000000", "", 1), false),
        (good.replacen("1000000", "999", 1), false),
        (good.replacen("1000000", "60000001", 1), false),
        (good.replacen("1000000 ", "1000000  ", 1), false),
        (good.to_uppercase(), false),
        (format!("{good}\n"), false),
        ("\0".repeat(100), false),
        (String::new(), false),
    ] {
        fs::write(&path, &text).unwrap();
        let expected = if is_known { SECOND } else { *limits::CLOCK_ACCURACY_RANGE.end() };
        assert_eq!(Life::begin(dir.path()).former(1), expected, "{text:?}");
    }
    let promised = Promised::open(&dir.path().join("none"));
    let problem = promised.promise(&[(name(1), SECOND)], Instant::now()).unwrap_err().to_string();
    assert!(problem.contains("none/ordering") && problem.contains("state_dir"), "{problem}");
    assert_eq!(promised.former(&name(1)), *limits::CLOCK_ACCURACY_RANGE.end(), "it is not taken for noted");
}

proptest! {
    // Each step is synchronised with the disk.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Lives of random length with random promises: whoever starts knows of an accuracy no less than any that tokens
    /// which are still ahead were made under.
    #[test]
    fn what_is_known_is_never_less_than_what_tokens_may_be_ahead_by(
        steps in proptest::collection::vec((0..90_000_u64, 1..60_000_u64, any::<bool>()), 1..30),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let epoch = Instant::now();
        let mut promised = Promised::open(dir.path());
        let mut now = epoch;
        // The latest genTime of any token, at worst.
        let mut ahead_until = now;
        for (millis, accuracy, restarts) in steps {
            if restarts {
                promised = Promised::open(dir.path());
            }
            let accuracy = Duration::from_millis(accuracy);
            prop_assert!(promised.former(&name(1)) >= ahead_until.saturating_duration_since(now));
            promised.promise(&[(name(1), accuracy)], now).unwrap();
            now += Duration::from_millis(millis);
            promised.settle(now).unwrap();
            ahead_until = ahead_until.max(now + accuracy);
        }
    }
}

/// A FIFO with the name of the partial file must not make a start wait for a reader.
#[test]
fn what_stands_in_the_way_of_a_note_is_replaced_or_found_by_a_look() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["ordering", "ordering.new"] {
        Promised::check(dir.path()).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at(name), rustix::fs::Mode::RWXU).unwrap();
        Promised::check(dir.path()).unwrap();
        let life = Life::begin(dir.path());
        life.promise(&[(1, SECOND)], Duration::ZERO);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{name}");
        fs::remove_file(at("ordering")).unwrap();

        fs::create_dir(at(name)).unwrap();
        let told = Promised::check(dir.path()).unwrap_err().to_string();
        assert!(told.contains(at(name).to_str().unwrap()) && told.contains("no directory by the name"), "{told}");
        let life = Life::begin(dir.path());
        life.promised.promise(&[(self::name(1), SECOND)], life.begin).unwrap_err();
        assert!(Promised::check(dir.path()).is_err(), "nothing is removed");
        fs::remove_dir(at(name)).unwrap();
        let _ = fs::remove_file(at("ordering.new"));
    }
}
