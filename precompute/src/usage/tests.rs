//! Counts across restarts, days and months, in a real directory.

use super::*;

/// 2026-11-29T12:00:00Z.
const NOON: UnixTime = UnixTime(1_795_953_600);
const DAY: u64 = 86_400;

fn account(client: &str) -> Account {
    Account { tenant: "acme".into(), tsa: "tsa".into(), client: Some(client.into()) }
}

fn grant(counter: &Arc<Counter>, times: usize) {
    (0..times).for_each(|_| counter.begin(None, None).unwrap().granted());
}

fn granted(dir: &Path, name: &str) -> Vec<u64> {
    month(dir, name).unwrap().map(|month| month.used.iter().map(|used| used.granted).collect()).unwrap_or_default()
}

#[test]
fn what_was_counted_goes_on_after_a_restart_and_each_month_has_its_own() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(month_of(NOON), "2026-11");
    let usage = Usage::open(dir.path(), "s", NOON).unwrap();
    let [one, two] = ["one", "two"].map(|client| usage.counter(account(client)));
    usage.save(NOON).unwrap();
    assert_eq!(month(dir.path(), "2026-11").unwrap(), None, "there is nothing to be said");
    grant(&one, 3);
    two.refused();
    drop(two.begin(None, None).unwrap());
    usage.save(NOON).unwrap();
    let saved = month(dir.path(), "2026-11").unwrap().unwrap();
    let of = |client, granted, over_quota| Used { account: account(client), granted, over_quota };
    assert_eq!((saved.server.as_str(), &saved.used[..]), ("s", &[of("one", 3, 0), of("two", 0, 1)][..]));
    // Killed before it is saved.
    grant(&one, 5);
    let usage = Usage::open(dir.path(), "s", NOON).unwrap();
    let one = usage.counter(account("one"));
    grant(&one, 4);
    usage.save(UnixTime(NOON.0 + DAY)).unwrap();
    assert_eq!(granted(dir.path(), "2026-11"), [7, 0]);
    grant(&one, 2);
    usage.save(UnixTime(NOON.0 + 2 * DAY)).unwrap();
    assert_eq!(granted(dir.path(), "2026-11"), [9, 0]);
    grant(&one, 1);
    // The clock was set back: the month goes on.
    usage.save(NOON).unwrap();
    assert_eq!((granted(dir.path(), "2026-11"), granted(dir.path(), "2026-12")), (vec![9, 0], vec![1]));
    fs::write(dir.path().join("usage/2026-11.json"), "{").unwrap();
    assert!(Usage::open(dir.path(), "s", NOON).unwrap_err().to_string().contains("2026-11.json"));
}

#[test]
fn no_more_are_begun_than_a_day_and_a_month_have_whatever_is_saved_or_fails() {
    let dir = tempfile::tempdir().unwrap();
    let usage = Usage::open(dir.path(), "s", NOON).unwrap();
    let one = usage.counter(account("one"));
    let begin = || one.begin(Some(3), Some(5));
    let (first, second) = (begin().unwrap(), begin().unwrap());
    let third = begin().unwrap();
    assert_eq!(begin().unwrap_err(), UsedUp::Day);
    drop(third);
    first.granted();
    second.granted();
    usage.save(NOON).unwrap();
    begin().unwrap().granted();
    assert_eq!(begin().unwrap_err(), UsedUp::Day);
    usage.save(NOON).unwrap();
    let usage = Usage::open(dir.path(), "s", UnixTime(NOON.0 + 600)).unwrap();
    let one = usage.counter(account("one"));
    assert_eq!(one.begin(Some(3), Some(5)).unwrap_err(), UsedUp::Day, "a restart on the same day");
    let usage = Usage::open(dir.path(), "s", UnixTime(NOON.0 + DAY)).unwrap();
    let one = usage.counter(account("one"));
    (0..2).for_each(|_| one.begin(Some(3), Some(5)).unwrap().granted());
    assert_eq!(one.begin(Some(3), Some(5)).unwrap_err(), UsedUp::Month);
    // December begins.
    usage.save(UnixTime(NOON.0 + 2 * DAY)).unwrap();
    one.begin(Some(3), Some(5)).unwrap().granted();
}

#[test]
fn threads_that_count_while_it_is_saved_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let usage = Usage::open(dir.path(), "s", NOON).unwrap();
    let one = usage.counter(account("one"));
    let made = std::thread::scope(|scope| {
        let count = || (0..2000).filter_map(|_| one.begin(None, Some(5000)).ok()).map(Begun::granted).count();
        let threads = [(); 4].map(|()| scope.spawn(count));
        while threads.iter().any(|thread| !thread.is_finished()) {
            usage.save(NOON).unwrap();
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    usage.save(NOON).unwrap();
    assert_eq!(granted(dir.path(), "2026-11"), [made as u64]);
    assert!((4000..=5000).contains(&made), "{made}");
}

#[test]
fn a_month_has_its_form_and_no_other() {
    for (text, is) in [("2026-11", true), ("2026-13", false), ("2026-00", false), ("26-11", false), ("../x", false)] {
        assert_eq!(is_month(text), is, "{text}");
    }
}
