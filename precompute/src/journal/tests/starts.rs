//! What a start finds in the place of its journal.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::audit::{self, Report};

fn record(identity: &Identity, options: Options, numbers: std::ops::Range<u32>) -> JournalStatus {
    let (journal, recorders) = start(identity, KIND, options, 1).unwrap();
    numbers.for_each(|number| assert!(recorders[0].record(Numbered("a", number))));
    journal.finish()
}

fn verified(dir: &Path) -> Report {
    let (groups, _) = audit::find(&[dir.to_owned()]).unwrap();
    assert_eq!(groups.len(), 1, "{groups:?}");
    audit::verify(&groups[0].files, Some(identity(1).key.public())).unwrap()
}

#[test]
fn a_last_line_of_another_server_is_refused_with_both_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    record(&identity(2), Options::new(path.clone()), 0..3);
    let before = fs::read(&path).unwrap();
    let (ours, theirs) = (identity(1), identity(2).server.to_string());
    let refused = start::<Numbered>(&ours, KIND, Options::new(path.clone()), 1).unwrap_err().to_string();
    let wanted = [path.to_str().unwrap(), &theirs, &ours.server.to_string(), "move this one"];
    assert!(wanted.iter().all(|wanted| refused.contains(wanted)), "{refused}");
    assert_eq!(found::doubt(&path, Some(ours.server), None, &[]), Some((refused, true)));
    assert_eq!(fs::read(&path).unwrap(), before);
    record(&identity(2), Options::new(path.clone()), 3..4);
    // Its own past, as somebody has said, is ended and kept.
    let adopted = Identity { former: vec![identity(2).server], ..ours };
    assert_eq!(found::doubt(&path, Some(adopted.server), None, &adopted.former), None);
    assert_eq!(record(&adopted, Options::new(path.clone()), 0..2).problem, None);
    assert!(lines(&path).iter().any(|line| line["type"] == "adopted" && line["former"] == *theirs));
    let (groups, _) = audit::find(&[dir.path().to_owned()]).unwrap();
    assert_eq!(groups.len(), 2);
    assert!(groups.iter().all(|group| audit::verify(&group.files, None).unwrap().is_in_order()));
}

#[test]
fn a_file_that_was_changed_is_told_and_left_and_the_chain_goes_on_in_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ours) = (dir.path().join("record"), identity(1));
    let options = Options::new(path.clone());
    let look = || found::doubt(&path, Some(ours.server), Some(ours.key.public()), &[]);
    record(&ours, options.clone(), 0..3);
    assert_eq!(look(), None);
    let text = fs::read_to_string(&path).unwrap();
    // The last head, and where a line of the last second was removed.
    let unsigned = text.lines().take(4).map(|line| format!("{line}\n")).collect::<String>();
    let at = text.rfind("\"signature\":\"").unwrap() + 20;
    let digit = if &text[at..=at] == "0" { "1" } else { "0" };
    let forged = format!("{}{digit}{}", &text[..at], &text[at + 1..]);
    let gap: String =
        unsigned.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| format!("{line}\n")).collect();
    for (number, tampered) in [forged, gap, text.replacen("\"number\":2", "\"number\":8", 1)].into_iter().enumerate() {
        let _ = fs::remove_dir_all(dir.path());
        fs::create_dir(dir.path()).unwrap();
        fs::write(&path, &tampered).unwrap();
        let told = look();
        if number == 2 {
            // Before the last head: nothing but `audit verify` reads so far.
            assert_eq!(told, None);
            assert!(!verified(dir.path()).is_in_order());
            continue;
        }
        let (told, is_refused) = told.unwrap();
        assert!(told.contains("changed") && told.contains(path.to_str().unwrap()) && !is_refused, "{told}");
        let status = record(&ours, options.clone(), 3..5);
        assert!(status.problem.as_ref().is_some_and(|problem| problem.contains("changed")), "{status:?}");
        assert_eq!(numbers(&lines(&path), "a"), [3, 4]);
        assert!(lines(&path).iter().any(|line| line["type"] == "fault"));
        let kept: Vec<_> = files(dir.path()).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        assert!(kept.contains(&tampered), "what was there is left as it was");
        let report = verified(dir.path());
        assert!(
            !report.is_in_order() && report.faults_all == 1,
            "the fault is where it was made, and not behind it: {report}"
        );
        // The next start finds nothing.
        assert_eq!((look(), record(&ours, options.clone(), 5..6).problem), (None, None));
    }
}

#[test]
fn a_file_that_another_key_has_signed_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ours) = (dir.path().join("record"), identity(1));
    let stranger = Identity { server: ours.server, ..identity(2) };
    record(&stranger, Options::new(path.clone()), 0..3);
    let status = record(&ours, Options::new(path), 3..5);
    assert!(status.problem.as_ref().is_some_and(|problem| problem.contains("signed with the key")), "{status:?}");
    assert!(!verified(dir.path()).is_in_order());
}

#[test]
fn a_record_of_an_earlier_version_is_renamed_and_anything_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ours) = (dir.path().join("record"), identity(1));
    let former = "{\"type\":\"token\",\"time\":\"2026-11-21T16:10:31.123Z\"}\n{\"type\":\"tok";
    fs::write(&path, former).unwrap();
    let status = record(&ours, Options::new(path.clone()), 0..3);
    assert_eq!(status.problem, None);
    let files = files(dir.path());
    assert_eq!((files.len(), numbers(&lines(&path), "a").len()), (2, 3));
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), former, "as it was");
    assert!(verified(dir.path()).is_in_order());
    for strange in ["127.0.0.1 localhost\n", "x", "{\"other\":1}\n"] {
        let path = dir.path().join("strange");
        fs::write(&path, strange).unwrap();
        let refused = start::<Numbered>(&ours, KIND, Options::new(path.clone()), 1).unwrap_err().to_string();
        assert!(refused.contains("no journal"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), strange);
    }
}

#[test]
fn where_the_file_was_renamed_while_nothing_ran_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ours) = (dir.path().join("record"), identity(1));
    for round in 0..4 {
        record(&ours, Options::new(path.clone()), round..round + 1);
        fs::rename(&path, dir.path().join(format!("record.{round}"))).unwrap();
    }
    let report = verified(dir.path());
    assert!(report.is_in_order() && report.files.len() == 4, "{report}");
    assert_eq!(report.numbers, Some((1, 12)));
}

#[test]
fn the_key_is_made_once_for_its_owner_alone_and_a_damaged_one_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let server = ServerId::from_bytes([9; 16]);
    assert!(HeadKey::open(dir.path()).unwrap().is_none());
    let made = Identity::of(server, dir.path()).unwrap();
    let path = dir.path().join(KEY_FILE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(Identity::of(server, dir.path()).unwrap().key.public(), made.key.public());
    assert!(!format!("{made:?}").contains("PRIVATE"));
    fs::write(&path, "damaged").unwrap();
    let refused = Identity::of(server, dir.path()).unwrap_err().to_string();
    assert!(refused.contains("journal.key") && !refused.contains("damaged"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "damaged");
}

/// A line that waits for room is made anew behind the first line of the next file.
#[test]
fn what_a_full_disk_did_not_take_goes_on_in_the_next_file_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let (journal, recorders) = begin_full(&path, 1);
    (0..300).for_each(|number| assert!(recorders[0].record(Numbered("a", number))));
    until("it is told", || journal.status().problem.is_some());
    journal.reopen();
    until("it is written", || journal.status().written >= 300);
    assert_eq!(journal.finish().problem, None);
    assert_eq!(numbers(&lines(&path), "a"), (0..300).collect::<Vec<_>>());
    assert!(verified(dir.path()).is_in_order());
}
