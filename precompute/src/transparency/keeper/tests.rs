use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    limits::transparency as bounds,
    pki::{Reason, Serial, Status, UnixTime},
    transparency::{
        Proof,
        content::tests::said,
        key,
        prove::{Refused, prove},
    },
};

const ISSUER: [u8; 32] = [5; 32];

pub(in crate::transparency) fn whose(dir: &Path) -> Whose {
    let mut id = [7; 16];
    (id[6], id[8]) = (0x40, 0x80);
    Whose { cluster: "pki-1".into(), server: ServerId::from_bytes(id), key: HeadKey::for_tests(dir) }
}

fn serial(number: u8) -> Serial {
    Serial::from_magnitude(&[1, number]).unwrap()
}

const GOOD: Said = Said::Record(Some(Status::Good));

fn revoked(time: u64) -> Said {
    Said::Record(Some(Status::Revoked { time: UnixTime(time), reason: Reason::KeyCompromise }))
}

fn state(keeper: &mut Keeper, number: u8, at: u64, said: Said) -> Noted {
    keeper.note(key(&ISSUER, &serial(number)), Statement { at, said }).unwrap()
}

fn all_compared(keeper: &mut Keeper, now: u64) {
    (0..=u16::MAX).for_each(|bucket| _ = keeper.unlisted(bucket, now).unwrap());
    keeper.compared();
}

fn proof(directory: &Path, number: u8, at: u64) -> Result<Proof, Refused> {
    prove(directory, &[ISSUER], &serial(number), at).map(|mut proofs| proofs.remove(0))
}

fn proven(directory: &Path, public: &[u8; 32], number: u8, at: u64) -> Vec<Said> {
    let verdict = proof(directory, number, at).unwrap().verify(public).unwrap();
    verdict.said.into_iter().map(|statement| statement.said).collect()
}

#[test]
fn what_was_said_is_proven_at_every_time_whatever_came_and_went_between_two_heads() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, whose) = (dir.path().join("map"), whose(dir.path()));
    let public = whose.key.public();
    let mut keeper = Keeper::open(&directory, whose, 1000).unwrap();
    state(&mut keeper, 1, 1100, GOOD);
    state(&mut keeper, 2, 1200, GOOD);
    keeper.head(2000).unwrap();
    let hold = Said::Record(Some(Status::Revoked { time: UnixTime(2), reason: Reason::CertificateHold }));
    state(&mut keeper, 1, 2100, hold);
    state(&mut keeper, 1, 2300, GOOD);
    keeper.head(3000).unwrap();
    keeper.head(4000).unwrap();
    let said = |number, at| proven(&directory, &public, number, at);
    for (number, at, wanted) in [
        (1, 1000, vec![]),
        (1, 1099, vec![]),
        (1, 1100, vec![GOOD]),
        (1, 2000, vec![GOOD]),
        (1, 2099, vec![GOOD]),
        (1, 2100, vec![hold]),
        (1, 2299, vec![hold]),
        (1, 2300, vec![GOOD]),
        (1, 3500, vec![GOOD]),
        (1, 4000, vec![GOOD]),
        (2, 1199, vec![]),
        (2, 3999, vec![GOOD]),
        (3, 2500, vec![]),
    ] {
        assert_eq!(said(number, at), wanted, "{number} at {at}");
    }
    assert!(matches!(proof(&directory, 1, 999), Err(Refused::TooEarly(1000))));
    assert!(matches!(proof(&directory, 1, 4001), Err(Refused::TooLate(4000))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// A plain list of everything that was said, beside the map over time, restarts and files.
    #[test]
    fn proofs_say_what_a_plain_list_says(steps in vec((0..3u8, said(), 0..4u8), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let (directory, whose) = (dir.path().join("map"), whose(dir.path()));
        let public = whose.key.public();
        let mut keeper = Keeper::open(&directory, whose.clone(), 1000).unwrap();
        let mut model: BTreeMap<u8, Vec<Statement>> = BTreeMap::new();
        let mut at = 1000;
        for (number, said, kind) in steps {
            at += 10;
            state(&mut keeper, number, at, said);
            let list = model.entry(number).or_default();
            if !is_known(list, &[], &Statement { at, said }) {
                list.push(Statement { at, said });
            }
            if kind > 0 {
                at += 5;
                keeper.head(at).unwrap();
            }
            if kind == 3 {
                keeper = Keeper::open(&directory, whose.clone(), at).unwrap();
            }
        }
        keeper.head(at + 5).unwrap();
        for number in 0..3 {
            let list = model.get(&number).cloned().unwrap_or_default();
            for time in (1000..=at + 5).step_by(5) {
                let until = &list[..list.partition_point(|statement| statement.at <= time)];
                let wanted: Vec<Said> = in_force(until, time).into_iter().map(|statement| statement.said).collect();
                prop_assert_eq!(proven(&directory, &public, number, time), wanted, "{} at {}", number, time);
            }
        }
    }
}

#[test]
fn whatever_is_changed_in_a_proof_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, whose) = (dir.path().join("map"), whose(dir.path()));
    let public = whose.key.public();
    let mut keeper = Keeper::open(&directory, whose, 1000).unwrap();
    (1..9).for_each(|number| _ = state(&mut keeper, number, 1100, GOOD));
    keeper.head(2000).unwrap();
    state(&mut keeper, 1, 2100, revoked(2));
    keeper.head(3000).unwrap();
    for number in [1, 2, 99] {
        let proof = proof(&directory, number, 2500).unwrap();
        let json = serde_json::to_string(&proof).unwrap();
        let verdict = proof.verify(&public).unwrap();
        assert!(proof.verify(&[8; 32]).unwrap_err().to_string().contains("signature of the head before"));
        let mut refused = 0;
        for place in 0..json.len() {
            for changed in [json.as_bytes()[place] ^ 1, json.as_bytes()[place] ^ 4] {
                let mut bytes = json.clone().into_bytes();
                bytes[place] = changed;
                let Ok(read) = serde_json::from_slice::<Proof>(&bytes) else { continue };
                if read == proof {
                    continue;
                }
                match read.verify(&public) {
                    Err(_) => refused += 1,
                    // What is asked is not signed: another time between the heads, and of what is not there, another certificate.
                    Ok(other) => {
                        assert_eq!((&other.before, &other.after), (&verdict.before, &verdict.after), "{place}");
                        let same = (read.issuer, &read.serial) == (proof.issuer, &proof.serial);
                        assert!(
                            if same { read.at != proof.at } else { number == 99 && other.said.is_empty() },
                            "{place}"
                        );
                    }
                }
            }
        }
        assert!(refused > 100, "{refused}");
    }
}

#[test]
fn a_proof_has_heads_that_follow_one_another_and_contents_that_do() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, whose) = (dir.path().join("map"), whose(dir.path()));
    let public = whose.key.public();
    let mut keeper = Keeper::open(&directory, whose, 1000).unwrap();
    state(&mut keeper, 1, 1100, GOOD);
    for at in [2000, 3000, 4000] {
        keeper.head(at).unwrap();
    }
    let [early, late] = [1500, 3500].map(|at| proof(&directory, 1, at).unwrap());
    let skipped = Proof { after: late.after.clone(), ..early.clone() };
    assert!(skipped.verify(&public).unwrap_err().to_string().contains("do not follow"));
    let cut = Proof { after: None, ..early.clone() };
    assert!(cut.verify(&public).unwrap_err().to_string().contains("missing"));
    let other = Proof { at: 2001, ..early };
    assert!(other.verify(&public).unwrap_err().to_string().contains("not between"));
}

/// Signed by the right key, and yet a lie: what a server would have to sign that adds to its past.
#[test]
fn what_is_added_to_the_past_is_refused_although_it_is_signed() {
    let dir = tempfile::tempdir().unwrap();
    let whose = whose(dir.path());
    let (public, number) = (whose.key.public(), serial(1));
    let side = |at: u64, previous: Option<&SignedHead>, statements: &[(u64, Said)]| {
        let content = Content(statements.iter().map(|(at, said)| Statement { at: *at, said: *said }).collect()).write();
        let mut map = Map::default();
        map.set(Leaf { key: key(&ISSUER, &number), content: sha256(&[&content]), place: 0 });
        let head = Head {
            cluster: whose.cluster.clone(),
            server: whose.server,
            number: previous.map_or(1, |head| head.head.number + 1),
            at,
            leaves: 1,
            root: map.root(),
            previous: previous.map_or([0; 32], SignedHead::hash),
            gap: None,
        };
        let head = head.sign(&whose.key);
        (crate::transparency::proof::Side::new(&head, &[], crate::transparency::proof::Found::Content(content)), head)
    };
    let (before, first) = side(2000, None, &[(1500, GOOD)]);
    let verify = |statements: &[(u64, Said)]| {
        let (after, _) = side(3000, Some(&first), statements);
        Proof::new(ISSUER, &number, 2500, before.clone(), Some(after)).verify(&public)
    };
    verify(&[(1500, GOOD)]).unwrap();
    // Two lines of heads, of which each is in order.
    let (fork, _) = side(2000, None, &[(1500, revoked(1))]);
    let (after, _) = side(3000, Some(&first), &[(1500, GOOD)]);
    let forked = Proof::new(ISSUER, &number, 2500, fork, Some(after)).verify(&public).unwrap_err().to_string();
    assert!(forked.contains("do not follow"), "{forked}");
    verify(&[(1500, GOOD), (2200, revoked(1))]).unwrap();
    for (lie, why) in [
        (&[(1500, GOOD), (1900, revoked(1))][..], "not from between"),
        (&[(1500, GOOD), (3100, revoked(1))], "not from between"),
        (&[(1400, revoked(1))], "does not go on"),
        (&[(1500, revoked(1)), (2200, GOOD)], "does not go on"),
    ] {
        let error = verify(lie).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_tail_cut_at_any_byte_is_cut_off_and_stated_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, whose) = (dir.path().join("map"), whose(dir.path()));
    let mut keeper = Keeper::open(&directory, whose.clone(), 1000).unwrap();
    keeper.compared();
    state(&mut keeper, 1, 1100, GOOD);
    let first = keeper.head(2000).unwrap().clone();
    let whole = keeper.whole;
    state(&mut keeper, 1, 2100, revoked(2));
    state(&mut keeper, 2, 2200, GOOD);
    let second = keeper.head(3000).unwrap().clone();
    let (path, end) = (keeper.segment.path.clone(), keeper.whole);
    drop(keeper);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, end);
    for length in whole..=end {
        fs::write(&path, &bytes[..length as usize]).unwrap();
        let mut again = Keeper::open(&directory, whose.clone(), 5000).unwrap();
        let last = if length == end { &second } else { &first };
        assert_eq!(again.last(), last, "{length}");
        assert_eq!(fs::metadata(&path).unwrap().len(), if length == end { end } else { whole });
        // The map was begun without everything, which the first head after a comparison still says.
        let since = last.head.gap.unwrap_or(last.head.at + 1);
        assert_eq!((again.gap(), since), (Some(since), if length == end { 3001 } else { 1000 }));
        state(&mut again, 1, 5100, revoked(2));
        again.compare();
        state(&mut again, 1, 5200, revoked(2));
        all_compared(&mut again, 5300);
        let gap = again.head(6000).unwrap().head.gap;
        assert_eq!((gap, again.gap()), (Some(since), None));
        assert_eq!(again.head(7000).unwrap().head.gap, None);
        assert_eq!(proven(&directory, &whose.key.public(), 1, 6500), [revoked(2)]);
        // Whoever was not seen is not listed any more.
        let second_is = if length == end { vec![Said::Record(None)] } else { vec![] };
        assert_eq!(proven(&directory, &whose.key.public(), 2, 6500), second_is);
    }
    for garbage in [&b"L"[..], &[0xff; 99], b"\0\0\0\0H\0\0\0\x20L"] {
        fs::write(&path, [&bytes[..], garbage].concat()).unwrap();
        assert_eq!(Keeper::open(&directory, whose.clone(), 5000).unwrap().last(), &second);
    }
}

#[test]
fn a_file_that_was_changed_or_is_anothers_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, own) = (dir.path().join("map"), whose(dir.path()));
    let mut keeper = Keeper::open(&directory, own.clone(), 1000).unwrap();
    state(&mut keeper, 1, 1100, GOOD);
    keeper.head(2000).unwrap();
    let path = keeper.segment.path.clone();
    drop(keeper);
    let refused = |whose: Whose| Keeper::open(&directory, whose, 3000).unwrap_err().to_string();
    let other = tempfile::tempdir().unwrap();
    let strange = Whose { key: HeadKey::for_tests(other.path()), ..own.clone() };
    assert!(refused(strange).contains("another key"));
    let elsewhere = Whose { server: ServerId::from_bytes([0x48; 16]), ..own.clone() };
    assert!(refused(elsewhere).contains("a directory of its own"));
    let mut bytes = fs::read(&path).unwrap();
    // The one statement: good becomes not listed.
    let at = bytes.windows(8).position(|eight| eight == 1100u64.to_be_bytes()).unwrap() + 8;
    assert_eq!(bytes[at], 1);
    bytes[at] = 0;
    fs::write(&path, &bytes).unwrap();
    assert!(refused(own.clone()).contains("changed it"));
    assert!(proof(&directory, 1, 1500).unwrap_err().to_string().contains("changed it"));
    fs::write(&path, b"something else").unwrap();
    assert!(refused(own).contains("no file of heads"));
}

#[test]
fn a_file_that_has_grown_is_followed_by_another_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, whose) = (dir.path().join("map"), whose(dir.path()));
    let public = whose.key.public();
    let mut keeper = Keeper::open(&directory, whose.clone(), 1000).unwrap();
    state(&mut keeper, 1, 1100, GOOD);
    state(&mut keeper, 2, 1100, GOOD);
    keeper.head(2000).unwrap();
    keeper.tidy(0).unwrap();
    assert_eq!(Segment::all(&directory).unwrap().len(), 1, "it is small");
    keeper.beginning = 1;
    keeper.whole += bounds::GROWN_OCTETS;
    keeper.file.set_len(keeper.whole).unwrap();
    keeper.tidy(0).unwrap();
    state(&mut keeper, 1, 2100, revoked(2));
    keeper.head(3000).unwrap();
    keeper.head(4000).unwrap();
    let all = Segment::all(&directory).unwrap();
    assert_eq!(all.iter().map(|one| (one.number, one.at)).collect::<Vec<_>>(), [(1, 1000), (2, 2000)]);
    let said = |at| proven(&directory, &public, 1, at);
    for (at, wanted) in
        [(1050, vec![]), (1999, vec![GOOD]), (2000, vec![GOOD]), (2050, vec![GOOD]), (2500, vec![revoked(2)])]
    {
        assert_eq!(said(at), wanted, "{at}");
    }
    assert_eq!(proven(&directory, &public, 2, 3500), [GOOD], "what did not change is there as well");
    // The first one's last head is of 2000.
    keeper.tidy(2000).unwrap();
    assert_eq!(Segment::all(&directory).unwrap().len(), 2);
    keeper.tidy(2001).unwrap();
    assert!(matches!(proof(&directory, 1, 1999), Err(Refused::TooEarly(2000))));
    keeper.tidy(u64::MAX).unwrap();
    assert_eq!(said(3500), [revoked(2)], "the newest stays");
    let again = Keeper::open(&directory, whose, 5000).unwrap();
    assert_eq!(again.last(), keeper.last());
}

#[test]
fn bounds_have_a_head_made_and_lose_nothing_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, whose) = (dir.path().join("map"), whose(dir.path()));
    let mut keeper = Keeper::open(&directory, whose, 900).unwrap();
    keeper.compared();
    keeper.head(1000).unwrap();
    let flip = |number: u64| if number.is_multiple_of(2) { GOOD } else { revoked(number) };
    let most = bounds::KEY_STATEMENTS_MAX as u64;
    for number in 0..most {
        let wanted = if number + 1 == most { Noted::Full } else { Noted::Taken };
        assert_eq!(state(&mut keeper, 1, 1001 + number, flip(number)), wanted);
    }
    assert_eq!(state(&mut keeper, 1, 1001 + most, flip(most)), Noted::Lost);
    assert_eq!(state(&mut keeper, 1, 1001 + most, flip(most - 1)), Noted::Taken, "it is in force");
    keeper.lost(1001 + most);
    assert_eq!(keeper.head(3000).unwrap().head.gap, Some(1001 + most));
    assert_eq!(keeper.head(4000).unwrap().head.gap, Some(1001 + most), "until everything was compared");
    keeper.compare();
    state(&mut keeper, 1, 4100, flip(most));
    all_compared(&mut keeper, 4200);
    assert_eq!(keeper.head(5000).unwrap().head.gap, Some(1001 + most));
    assert_eq!(keeper.head(6000).unwrap().head.gap, None);
}

#[test]
fn a_head_that_fails_is_made_later_with_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, whose) = (dir.path().join("map"), whose(dir.path()));
    let public = whose.key.public();
    let mut keeper = Keeper::open(&directory, whose.clone(), 1000).unwrap();
    state(&mut keeper, 1, 1100, GOOD);
    keeper.head(2000).unwrap();
    state(&mut keeper, 1, 2100, revoked(2));
    state(&mut keeper, 2, 2200, GOOD);
    // A disk that takes nothing: the file is open for reading alone.
    let written = std::mem::replace(&mut keeper.file, File::open(&keeper.segment.path).unwrap());
    for at in [3000, 4000] {
        let error = keeper.head(at).unwrap_err().to_string();
        assert!(error.contains("no head can be written") && error.contains("make room"), "{error}");
    }
    state(&mut keeper, 2, 4100, revoked(4));
    keeper.file = written;
    assert_eq!(keeper.head(5000).unwrap().head.number, 3);
    let said = |number, at| proven(&directory, &public, number, at);
    assert_eq!((said(1, 2050), said(1, 4500)), (vec![GOOD], vec![revoked(2)]));
    assert_eq!((said(2, 4000), said(2, 4500)), (vec![GOOD], vec![revoked(4)]));
    assert_eq!(Keeper::open(&directory, whose, 6000).unwrap().last(), keeper.last());
    // Moved away, it is not written to any more.
    fs::rename(&keeper.segment.path, dir.path().join("elsewhere")).unwrap();
    assert!(!keeper.is_in_place() && keeper.head(6000).unwrap_err().to_string().contains("moved away"));
}

#[test]
fn a_map_that_is_begun_has_a_gap_until_everything_was_compared() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, whose) = (dir.path().join("map"), whose(dir.path()));
    let public = whose.key.public();
    let mut keeper = Keeper::open(&directory, whose, 1000).unwrap();
    keeper.head(2000).unwrap();
    let verdict = proof(&directory, 1, 1500).unwrap().verify(&public).unwrap();
    assert_eq!((verdict.said.len(), verdict.after.gap, verdict.is_doubtful()), (0, Some(1000), true));
    keeper.compare();
    state(&mut keeper, 1, 2100, revoked(2));
    all_compared(&mut keeper, 2200);
    assert_eq!(keeper.head(3000).unwrap().head.gap, Some(1000));
    assert_eq!(keeper.head(4000).unwrap().head.gap, None);
    assert!(!proof(&directory, 1, 3500).unwrap().verify(&public).unwrap().is_doubtful());
    // No server makes two heads so far apart.
    keeper.head(4001 + bounds::HEADS_APART_MAX.as_millis() as u64).unwrap();
    let verdict = proof(&directory, 1, 4500).unwrap().verify(&public).unwrap();
    assert!(verdict.is_far() && verdict.is_doubtful());
}

/// All behind it was cut off at the next start, and another line of heads was signed.
#[test]
fn a_file_that_was_changed_before_its_last_head_is_neither_cut_nor_proven_from() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, whose) = (dir.path().join("map"), whose(dir.path()));
    let mut keeper = Keeper::open(&directory, whose.clone(), 1000).unwrap();
    let mut ends = Vec::new();
    for at in [2000, 3000, 4000] {
        state(&mut keeper, 1, at - 100, if at == 3000 { revoked(2) } else { GOOD });
        keeper.head(at).unwrap();
        ends.push(keeper.whole as usize);
    }
    let path = keeper.segment.path.clone();
    drop(keeper);
    let bytes = fs::read(&path).unwrap();
    for at in ends[0]..ends[1] {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        fs::write(&path, &changed).unwrap();
        let opened = Keeper::open(&directory, whose.clone(), 5000).map(|keeper| keeper.last().head.number);
        assert!(opened.is_err() || opened.as_ref().is_ok_and(|number| *number == 4), "{at}: {opened:?}");
        assert!(fs::read(&path).unwrap() == changed, "{at}: nothing is cut off");
        match proof(&directory, 1, 3500) {
            Err(Refused::File(_)) => {}
            Ok(proof) => _ = proof.verify(&whose.key.public()).unwrap_err(),
            Err(other) => panic!("{at}: {other}"),
        }
    }
}
