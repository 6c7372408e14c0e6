//! A clock of its own, and notices as they lie in their places.

use super::{super::notice::tests::notice, *};

const KEY: [u8; 32] = [7; 32];
const SECOND: u64 = 1_000_000;

/// So many seconds after the first look.
fn at(seconds: u64) -> Moment {
    Moment { monotonic: Duration::from_secs(1000 + seconds), wall: 1_800_000_000 * SECOND + seconds * SECOND }
}

fn said(number: u8, seconds: u64) -> Signed {
    let mut notice = notice(number, ServerRole::Replica);
    notice.said.at = at(seconds).wall;
    notice.said.number = seconds + 1;
    Signed { notice, key: KEY }
}

fn complaints(watch: &Watch, seconds: u64) -> Vec<String> {
    let roster = watch.roster(&Gone::default(), at(seconds));
    roster.servers.iter().flat_map(|seen| seen.complaints.clone()).collect()
}

fn states(watch: &Watch, gone: &Gone, seconds: u64) -> Vec<(u8, &'static str)> {
    let roster = watch.roster(gone, at(seconds));
    roster.servers.iter().map(|seen| (seen.notice.server.bytes()[0], seen.state())).collect()
}

#[test]
fn who_says_nothing_for_long_is_silent_and_forgotten_after_days() {
    let mut watch = Watch::default();
    let mut stopped = said(3, 0);
    stopped.notice.said.stopped = true;
    let places = [Some(said(1, 0)), None, Some(said(2, 0)), Some(stopped)];
    watch.look(&places, at(0));
    let none = Gone::default();
    assert_eq!(states(&watch, &none, 0), [(1, "live"), (2, "live"), (3, "stopped")]);
    assert_eq!(watch.roster(&none, at(0)).live_replicas(), 2);
    let silent = limits::SILENT_AFTER.as_secs() + 1;
    watch.look(&[Some(said(1, silent - 9)), None, Some(said(2, 0))], at(silent));
    assert_eq!(states(&watch, &none, silent), [(1, "live"), (2, "silent")], "one that was stopped leaves at once");
    assert_eq!(watch.roster(&none, at(silent)).live_replicas(), 1);
    // Whoever is looked at for the first time is as old as its clock says.
    let mut other = Watch::default();
    other.look(&[Some(said(1, silent - 9)), Some(said(2, 0))], at(silent));
    assert_eq!(states(&other, &none, silent), [(1, "live"), (2, "silent")]);
    let days = limits::FORGOTTEN_AFTER.as_secs() + 1;
    watch.look(&[Some(said(1, days)), Some(said(2, 0))], at(days));
    assert_eq!(states(&watch, &none, days), [(1, "live")]);
}

#[test]
fn a_notice_that_is_lost_with_redis_counts_until_it_is_missed() {
    let mut watch = Watch::default();
    watch.look(&[Some(said(1, 0))], at(0));
    watch.look(&[None], at(60));
    assert_eq!(states(&watch, &Gone::default(), 60), [(1, "live")]);
    let silent = limits::SILENT_AFTER.as_secs() + 1;
    watch.look(&[None], at(silent));
    assert_eq!(states(&watch, &Gone::default(), silent), []);
}

#[test]
fn who_was_decommissioned_is_listed_only_if_it_lives_and_is_never_counted() {
    let (mut watch, mut gone) = (Watch::default(), Gone::default());
    gone.add(said(1, 0).notice.server, UnixTime(1_799_999_999));
    let mut stopped = said(1, 0);
    stopped.notice.said.stopped = true;
    watch.look(&[Some(stopped), Some(said(2, 0))], at(0));
    assert_eq!(states(&watch, &gone, 0), [(2, "live")]);
    watch.look(&[Some(said(1, 9)), Some(said(2, 9))], at(10));
    let roster = watch.roster(&gone, at(10));
    assert_eq!((roster.servers.len(), roster.live_replicas()), (2, 1));
    let told = &roster.get(said(1, 0).notice.server).unwrap().complaints;
    assert!(told[0].contains("decommissioned at") && told[0].contains("runs again"), "{told:?}");
}

#[test]
fn clocks_that_are_apart_are_told_by_who_watches_and_a_late_notice_is_not_that() {
    let mut watch = Watch::default();
    watch.look(&[Some(said(1, 0)), Some(said(2, 0)), Some(said(3, 0))], at(5));
    // Said at any moment since the last look, by a right clock; an hour ahead; an hour behind.
    watch.look(&[Some(said(1, 10)), Some(said(2, 3650)), Some(said(3, 1))], at(65));
    assert_eq!(complaints(&watch, 65).len(), 1, "a minute may have passed");
    let mut behind = said(3, 0);
    behind.notice.said.at -= 3600 * SECOND;
    watch.look(&[Some(said(1, 69)), Some(said(2, 3670)), Some(behind)], at(70));
    let told = complaints(&watch, 70);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("1 h ahead of") && told[1].contains("1 h behind"), "{told:?}");
    assert_eq!(states(&watch, &Gone::default(), 70).iter().filter(|(_, state)| *state == "live").count(), 3);
}

#[test]
fn two_processes_with_one_identity_are_told_and_a_restart_is_not_one() {
    let mut watch = Watch::default();
    let by = |instance: &str, seconds| {
        let mut signed = said(1, seconds);
        signed.notice.said.instance = instance.into();
        [Some(signed)]
    };
    watch.look(&by("a", 0), at(0));
    watch.look(&by("b", 5), at(5));
    assert_eq!(complaints(&watch, 5), [""; 0], "it was killed and started again");
    watch.look(&by("a", 10), at(10));
    assert!(complaints(&watch, 10)[0].contains("two processes have this identity"));
    let over = 10 + limits::TWIN_TOLD.as_secs();
    watch.look(&by("a", over), at(over));
    assert_eq!(complaints(&watch, over), [""; 0], "the other one was stopped");
    let mut foreign = by("a", over + 5);
    foreign[0].as_mut().unwrap().key = [8; 32];
    watch.look(&foreign, at(over + 5));
    assert!(complaints(&watch, over + 5)[0].contains("another key than before"));
}
