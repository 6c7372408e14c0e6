//! Several CRLs of one issuer: parts, versions, deltas on deltas, bundles, other signers.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    pki::written::Radix,
    source::{CrlScope, Form},
};

const HELD: u8 = 6;
const LOST: u8 = 1;
const REMOVED: u8 = 8;

/// An issuer whose CRLs are written byte by byte.
struct Place {
    dir: tempfile::TempDir,
    state: tempfile::TempDir,
    reader: SourceReader,
    book: Arc<SharedBook>,
}

/// What is in a CRL: its extensions and its entries, each a serial number and the code of a reason.
fn draft(extensions: &[Vec<u8>], entries: &[(u8, u8)]) -> draft::Draft {
    let entries: Vec<_> = entries.iter().map(|(serial, code)| draft::entry(*serial, &[draft::reason(*code)])).collect();
    draft::Draft { entries: draft::sequence(&entries), ..draft::Draft::extensions(extensions) }
}

fn shard(name: &str) -> Vec<u8> {
    draft::distribution_point(&draft::element(0xa0, draft::element(0xa0, draft::element(0x86, name))))
}

fn users() -> Vec<u8> {
    draft::distribution_point(&[0x81, 1, 0xff])
}

fn cas() -> Vec<u8> {
    draft::distribution_point(&[0x82, 1, 0xff])
}

fn attributes() -> Vec<u8> {
    draft::distribution_point(&[0x85, 1, 0xff])
}

fn some_reasons() -> Vec<u8> {
    draft::distribution_point(&[0x83, 2, 1, 0x40])
}

impl Place {
    fn new(files: &[&str]) -> Self {
        Self::of(files, |_| ())
    }

    fn of(files: &[&str], change: impl FnOnce(&mut FollowedIssuer)) -> Self {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let book = open_book(state.path());
        let crls = files.iter().filter(|file| file.ends_with("crl")).map(|file| dir.path().join(file)).collect();
        let index = files.contains(&"index.txt").then(|| dir.path().join("index.txt"));
        let listings = index.map(ListingFile::database).into_iter().collect();
        let mut issuer = issuer("tenant", draft::issuer(), Sources { listings, crls, ..Sources::default() });
        change(&mut issuer);
        let reader = open(&book, issuer);
        Self { dir, state, reader, book }
    }

    /// The same state, with these CRLs, after a restart.
    fn with_files(self, files: &[&str]) -> Self {
        let Self { dir, state, reader, book } = self;
        let mut issuer = (*reader.issuer).clone();
        issuer.sources.crls = files.iter().map(|file| dir.path().join(file)).collect();
        drop((reader, book));
        let book = open_book(state.path());
        let reader = open(&book, issuer);
        Self { dir, state, reader, book }
    }

    fn write(&self, file: &str, extensions: &[Vec<u8>], entries: &[(u8, u8)]) {
        self.put(file, &draft(extensions, entries).der());
    }

    fn put(&self, file: &str, content: &[u8]) {
        fs::write(self.dir.path().join(file), content).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.dir.path().join(file)).unwrap();
    }

    fn pass(&mut self) -> Result<Pass, String> {
        self.reader.watch.changed();
        let pass = self.reader.pass(Accepted::default()).map_err(|error| error.to_string());
        self.reader.ledger.save().unwrap();
        pass
    }

    #[track_caller]
    fn refuses(&mut self, problem: &str) {
        let error = self.pass().expect_err(problem);
        assert!(error.contains(problem), "expected `{problem}`, found `{error}`");
    }

    /// The codes of the reasons; `None` of those that are not revoked.
    fn reasons<const N: usize>(&self, serials: [u8; N]) -> [Option<u8>; N] {
        serials.map(|serial| {
            let serial = Serial::from_magnitude(&[serial]).unwrap();
            match self.reader.ledger.state().records.get(&serial)?.status {
                Status::Revoked { reason, .. } => Some(reason.code()),
                Status::Good => None,
            }
        })
    }

    fn warnings(&self) -> Vec<String> {
        self.reader.ledger.state().health.report().warnings
    }
}

#[test]
fn a_hold_is_released_by_its_shard_where_all_shards_with_holds_are_there() {
    let mut place = Place::new(&["a.crl", "b.crl"]);
    let number = draft::number;
    place.write("a.crl", &[number(1), shard("a")], &[(1, HELD), (2, LOST), (3, HELD)]);
    place.write("b.crl", &[number(9), shard("b")], &[(4, HELD)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4]), [HELD, LOST, HELD, HELD].map(Some));
    // Numbers are of each shard: 2 comes after 1, and not after 9.
    place.write("a.crl", &[number(2), shard("a")], &[(2, LOST), (3, HELD)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4]), [None, Some(LOST), Some(HELD), Some(HELD)]);
    // Who of the others is in which shard is not known: one that is missing or broken releases nobody, in either.
    for content in [None, Some(b"<html>404</html>")] {
        match content {
            None => place.remove("b.crl"),
            Some(content) => place.put("b.crl", content),
        }
        place.write("a.crl", &[number(3), shard("a")], &[(2, LOST), (5, LOST)]);
        place.refuses("b.crl: ");
        assert_eq!(place.reasons([3, 4, 5]), [HELD, HELD, LOST].map(Some));
    }
    place.write("b.crl", &[number(9), shard("b")], &[(4, HELD)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([2, 3, 4]), [Some(LOST), None, Some(HELD)]);
    assert_eq!(place.warnings(), Vec::<String>::new());
    // 4 may be in the shard that is not there any more.
    let mut place = place.with_files(&["a.crl"]);
    place.write("a.crl", &[number(4), shard("a")], &[(2, LOST)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([4]), [Some(HELD)]);
    assert!(place.warnings()[0].contains("1 certificates stay on hold"), "{:?}", place.warnings());
    let mut place = place.with_files(&["a.crl", "whole.crl"]);
    place.write("whole.crl", &[number(1)], &[(2, LOST)]);
    place.pass().unwrap();
    assert_eq!((place.reasons([4]), place.warnings()), ([None], vec![]), "it is of all certificates");
}

#[test]
fn each_scope_refuses_its_own_older_crl_also_after_a_restart() {
    let files = ["a.crl", "b.crl", "delta.crl"];
    let mut place = Place::new(&files);
    let number = draft::number;
    place.write("a.crl", &[number(5), shard("a")], &[(1, HELD)]);
    place.write("b.crl", &[number(2), shard("b")], &[]);
    place.write("delta.crl", &[number(7), draft::delta(5), shard("a")], &[(2, HELD)]);
    place.pass().unwrap();
    for (file, older, newer) in [
        ("a.crl", draft(&[number(4), shard("a")], &[]), draft(&[number(5), shard("a")], &[(1, HELD)])),
        ("b.crl", draft(&[number(1), shard("b")], &[]), draft(&[number(2), shard("b")], &[])),
        (
            "delta.crl",
            draft(&[number(6), draft::delta(5), shard("a")], &[]),
            draft(&[number(7), draft::delta(5), shard("a")], &[(2, HELD)]),
        ),
    ] {
        place = place.with_files(&files);
        place.put(file, &older.der());
        place.refuses(&format!("{file}: is older than the CRL taken before"));
        assert_eq!(place.reasons([1, 2]), [HELD; 2].map(Some), "{file}");
        place.put(file, &newer.der());
        place.pass().unwrap();
    }
    let marks = place.reader.ledger.crl_marks();
    assert_eq!((marks.scopes().len(), marks.count()), (2, 3));
    assert!(!marks.holds().unwrap().contains(&CrlScope::WHOLE));
}

#[test]
fn of_several_crls_of_a_scope_the_newest_counts_and_what_older_ones_finally_revoke() {
    // A directory into which a CA writes a file for each CRL.
    let mut place = Place::new(&["1.crl", "3.crl", "2.crl"]);
    place.write("1.crl", &[draft::number(1)], &[(1, HELD), (2, LOST)]);
    place.write("2.crl", &[draft::number(2)], &[(3, HELD)]);
    place.write("3.crl", &[draft::number(3)], &[(4, HELD)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4]), [None, Some(LOST), None, Some(HELD)]);
    let warnings = place.warnings();
    assert!(warnings.len() == 2 && warnings.iter().all(|told| told.contains("3.crl has a later one")), "{warnings:?}");
    fs::copy(place.dir.path().join("3.crl"), place.dir.path().join("1.crl")).unwrap();
    place.remove("2.crl");
    let mut place = place.with_files(&["1.crl", "3.crl"]);
    place.pass().unwrap();
    let warnings = place.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("holds the same CRL as"), "{warnings:?}");
    assert_eq!(place.reasons([2, 4]), [LOST, HELD].map(Some));
}

#[test]
fn across_scopes_the_stricter_counts() {
    let mut place = Place::new(&["index.txt", "a.crl", "b.crl", "whole.crl"]);
    place.put("index.txt", list(1..6).as_bytes());
    place.write("a.crl", &[draft::number(1), shard("a")], &[(1, HELD), (2, LOST)]);
    place.write("b.crl", &[draft::number(1), users()], &[(1, LOST), (2, HELD), (3, HELD)]);
    place.write("whole.crl", &[draft::number(1)], &[(4, LOST)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4, 5]), [Some(LOST), Some(LOST), Some(HELD), Some(LOST), None]);
    // The whole says that 3 is not on hold, and its part that it is.
    place.write("whole.crl", &[draft::number(2)], &[(4, LOST)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([3]), [Some(HELD)]);
    place.write("b.crl", &[draft::number(2), users()], &[]);
    place.pass().unwrap();
    assert_eq!((place.reasons([3]), place.pass().unwrap().counts.good), ([None], 2));
}

#[test]
fn a_crl_of_some_reasons_revokes_and_says_nothing_of_who_is_not_in_it() {
    let mut place = Place::new(&["index.txt", "some.crl", "whole.crl"]);
    place.put("index.txt", list(1..4).as_bytes());
    place.write("some.crl", &[draft::number(1), some_reasons()], &[(1, LOST)]);
    place.write("whole.crl", &[draft::number(1)], &[(2, HELD)]);
    place.pass().unwrap();
    let mut place = place.with_files(&["some.crl"]);
    place.write("some.crl", &[draft::number(2), some_reasons()], &[(3, LOST)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3]), [LOST, HELD, LOST].map(Some));
}

/// A list of what was issued says of nobody whether he is revoked.
#[test]
fn a_list_of_what_was_issued_makes_nobody_good_whom_no_crl_covers() {
    let listed = |list: &str, part: Vec<u8>, are_complete: bool| {
        let mut place = Place::of(&["part.crl"], |issuer| {
            issuer.sources.crls_are_complete = are_complete;
        });
        let path = place.dir.path().join("issued.csv");
        fs::write(&path, list).unwrap();
        place.write("part.crl", &[draft::number(1), part], &[(1, LOST)]);
        let mut issuer = (*place.reader.issuer).clone();
        issuer.sources.listings = vec![ListingFile { path, form: Form::Issued(Radix::Hexadecimal) }];
        let Place { dir, state, reader, book } = place;
        drop((reader, book));
        let book = open_book(state.path());
        let reader = open(&book, issuer);
        place = Place { dir, state, reader, book };
        (place.pass(), place.reasons([1, 2]), place.reader.ledger.look_up(&Serial::from_magnitude(&[2]).unwrap()))
    };
    let bare = "01\n02\n";
    for part in [users(), cas(), shard("a"), some_reasons(), attributes()] {
        let (outcome, reasons, second) = listed(bare, part.clone(), false);
        let error = outcome.unwrap_err();
        assert!(error.contains("a list of what was issued would make all others good that it names"), "{error}");
        assert!(second.is_none(), "it is not good");
        assert_eq!(reasons[1], None);
        let with_statuses = "serial,status\n01,good\n02,good\n";
        listed(with_statuses, part, false).0.unwrap();
    }
    let (outcome, reasons, second) = listed(bare, shard("a"), true);
    outcome.unwrap();
    assert!(reasons == [Some(LOST), None] && second.is_some_and(|found| found.status == Status::Good));
    listed(bare, attributes(), true).0.unwrap_err();
}

/// RFC 5280 section 5.2.3: complete and delta CRLs of one number say the same.
#[test]
fn a_delta_of_the_complete_crls_own_number_revokes_and_releases_nobody() {
    let mut place = Place::new(&["whole.crl", "delta.crl"]);
    place.write("whole.crl", &[draft::number(11)], &[(1, HELD)]);
    place.write("delta.crl", &[draft::number(11), draft::delta(11)], &[(1, REMOVED), (2, LOST)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2]), [Some(HELD), Some(LOST)]);
    place.write("delta.crl", &[draft::number(12), draft::delta(11)], &[(1, REMOVED), (2, LOST)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2]), [None, Some(LOST)]);
}

#[test]
fn unlisted_serials_are_good_only_where_the_parts_make_up_the_whole() {
    let vouching = |files: &[&str]| Place::of(files, |issuer| issuer.unlisted_good = true);
    let mut place = vouching(&["users.crl"]);
    place.write("users.crl", &[draft::number(1), users()], &[(1, LOST)]);
    place.refuses("covers only a part of the certificates (issuingDistributionPoint onlyContainsUserCerts)");
    assert_eq!(place.reasons([1]), [Some(LOST)]);
    let mut place = place.with_files(&["users.crl", "cas.crl"]);
    place.write("cas.crl", &[draft::number(1), cas()], &[(2, LOST)]);
    place.pass().unwrap();
    for part in [shard("a"), some_reasons()] {
        let mut place = vouching(&["users.crl", "part.crl"]);
        place.write("users.crl", &[draft::number(1), users()], &[]);
        place.write("part.crl", &[draft::number(1), part.clone()], &[]);
        place.refuses("covers only a part of the certificates");
        let mut place = place.with_files(&["users.crl", "part.crl", "whole.crl"]);
        // A fault of one is not blamed on the others.
        place.put("whole.crl", b"half of it");
        let error = place.pass().unwrap_err();
        assert!(error.contains("whole.crl") && !error.contains("covers only a part"), "{error}");
        place.write("whole.crl", &[draft::number(1)], &[]);
        place.pass().unwrap();
    }
    // One of attribute certificates is about none of them, whatever the operator says of the CRLs.
    for are_complete in [false, true] {
        let mut place = Place::of(&["attributes.crl"], |issuer| {
            (issuer.unlisted_good, issuer.sources.crls_are_complete) = (true, are_complete);
        });
        place.write("attributes.crl", &[draft::number(1), attributes()], &[(1, LOST)]);
        place.refuses("covers no certificate but attribute certificates");
        let mut place = place.with_files(&["attributes.crl", "whole.crl"]);
        place.write("whole.crl", &[draft::number(1)], &[(2, LOST)]);
        place.pass().unwrap();
        assert_eq!(place.reasons([1, 2]), [None, Some(LOST)]);
        // Nor may it take the place of one that was taken.
        place.write("whole.crl", &[draft::number(2), attributes()], &[]);
        place.refuses("covers no certificate but attribute certificates");
    }
    // Or where the operator says that they do.
    let mut place = Place::of(&["a.crl"], |issuer| {
        (issuer.unlisted_good, issuer.sources.crls_are_complete) = (true, true);
    });
    place.write("a.crl", &[draft::number(1), shard("a")], &[(1, LOST)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2]), [Some(LOST), None]);
}

#[test]
fn a_delta_that_was_found_and_does_not_fit_or_is_gone_releases_nobody() {
    let mut place = Place::of(&["ca.crl"], |issuer| {
        let mirror = issuer.sources.crls[0].clone();
        let (url, delta) = ("http://a/ca.crl".parse().unwrap(), Some(mirror.with_file_name("found")));
        issuer.sources.fetched = vec![crate::config::Fetched { url, mirror, tls_ca: None, every: None, delta }];
    });
    let (number, delta) = (draft::number, draft::delta);
    place.write("ca.crl", &[number(7)], &[(1, LOST)]);
    place.write("found", &[number(16), delta(7)], &[(3, HELD)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 3]), [Some(LOST), Some(HELD)]);
    // A cache still gives the complete CRL of before. What the delta says against certificates counts, holds as well.
    place.write("found", &[number(33), delta(32)], &[(2, LOST), (4, HELD)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4]), [LOST, LOST, HELD, HELD].map(Some));
    place.remove("found");
    place.pass().unwrap();
    assert_eq!(place.reasons([3, 4]), [HELD; 2].map(Some), "no older CRL takes back what the delta has said");
    place.write("ca.crl", &[number(34)], &[(1, LOST), (2, LOST), (4, HELD)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4]), [Some(LOST), Some(LOST), None, Some(HELD)]);
}

#[test]
fn deltas_on_deltas_are_applied_in_their_order_and_none_without_its_complete_crl() {
    let (number, delta) = (draft::number, draft::delta);
    let files = ["c.crl", "b.crl", "a.crl", "ca.crl"];
    let mut place = Place::new(&files);
    place.write("ca.crl", &[number(10)], &[(1, HELD), (2, HELD)]);
    place.write("a.crl", &[number(11), delta(10)], &[(1, REMOVED), (3, HELD)]);
    place.write("b.crl", &[number(12), delta(11)], &[(3, REMOVED), (4, HELD)]);
    place.write("c.crl", &[number(13), delta(12)], &[(4, LOST)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4]), [None, Some(HELD), None, Some(LOST)]);
    // One in between is missing.
    let mut place = place.with_files(&["c.crl", "a.crl", "ca.crl"]);
    place.refuses("c.crl: holds changes since CRL 0x0C, and the complete CRL is the older 0x0B");
    // One of all changes since the complete CRL makes those before it superfluous.
    let mut place = place.with_files(&["d.crl", "a.crl", "ca.crl"]);
    place.write("d.crl", &[number(14), delta(10)], &[(2, REMOVED), (5, HELD)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4, 5]), [Some(HELD), None, None, Some(LOST), Some(HELD)]);
    assert!(place.warnings()[0].contains("a.crl: is the CRL of"), "{:?}", place.warnings());
    // Of another scope there is no complete CRL.
    let mut place = place.with_files(&["d.crl", "other.crl", "ca.crl"]);
    place.write("other.crl", &[number(15), delta(10), users()], &[(2, LOST), (5, REMOVED)]);
    place.refuses("other.crl: is a delta CRL, and no complete CRL of the same scope");
    assert_eq!(place.reasons([2, 5]), [Some(LOST), Some(HELD)], "what it revokes is revoked");
}

#[test]
fn a_bundle_of_several_cas_and_a_crl_of_attribute_certificates_are_read_for_what_they_say_here() {
    let mut place = Place::new(&["bundle.crl", "attributes.crl"]);
    let foreign = draft::Draft { issuer: draft::name("Other"), seed: 8, ..draft(&[draft::number(1)], &[(1, LOST)]) };
    let parts = [draft(&[draft::number(1), users()], &[(2, LOST)]), draft(&[draft::number(1), cas()], &[(3, HELD)])];
    let pem = |draft: &draft::Draft| draft::pem(&draft.der());
    place.put("bundle.crl", (pem(&parts[0]) + &pem(&foreign) + &pem(&parts[1])).as_bytes());
    place.write("attributes.crl", &[draft::number(1), draft::distribution_point(&[0x85, 1, 0xff])], &[(4, LOST)]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4]), [None, Some(LOST), Some(HELD), None]);
    let warnings = place.warnings();
    assert!(warnings[0].contains("bundle.crl: CRL 2 of 3: was issued by `CN=Other`"), "{warnings:?}");
    assert!(
        warnings[1].contains("attributes.crl: issuingDistributionPoint has onlyContainsAttributeCerts"),
        "{warnings:?}"
    );
    // Alone it is probably the wrong file.
    place.put("bundle.crl", &foreign.der());
    place.refuses("bundle.crl: was issued by `CN=Other`, not by `CN=CA`");
}

#[test]
fn of_another_signers_crl_the_hold_is_ended_by_that_signer_alone() {
    const UNTIL_2049: &[u8] = b"\x17\x0d490103030405Z";
    let delegate =
        draft::issued("Signs CRLs", 9, ("CA", 7), &[draft::TODAY, UNTIL_2049], &[draft::key_usage(draft::CRL_SIGN)]);
    let mut place = Place::of(&["ca.crl", "indirect.crl"], |issuer| issuer.crl_issuers = vec![delegate]);
    let indirect = |number, entries: &[(u8, u8, &str)]| {
        let entry = |(serial, code, issuer): &(u8, u8, &str)| {
            draft::entry(*serial, &[draft::reason(*code), draft::entry_of(issuer)])
        };
        let entries: Vec<_> = entries.iter().map(entry).collect();
        draft::Draft {
            issuer: draft::name("Signs CRLs"),
            seed: 9,
            entries: draft::sequence(&entries),
            ..draft(&[draft::number(number), draft::distribution_point(&[0x84, 1, 0xff])], &[])
        }
    };
    place.write("ca.crl", &[draft::number(5)], &[(1, HELD)]);
    place.put("indirect.crl", &indirect(1, &[(2, HELD, "CA"), (3, LOST, "Other"), (4, LOST, "CA")]).der());
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4]), [Some(HELD), Some(HELD), None, Some(LOST)]);
    // Not in the CA's own CRL: it never was.
    let mut place = place.with_files(&["ca.crl"]);
    place.write("ca.crl", &[draft::number(6)], &[]);
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2]), [HELD; 2].map(Some), "nobody knows who has listed which");
    let mut place = place.with_files(&["ca.crl", "indirect.crl"]);
    place.put("indirect.crl", &indirect(2, &[(3, LOST, "Other")]).der());
    place.pass().unwrap();
    assert_eq!(place.reasons([1, 2, 3, 4]), [None, None, None, Some(LOST)]);
}

/// What the CRLs of three shards say of certificates 1 to 3, which are in the shards of their numbers: codes of reasons.
type Said = [[Option<u8>; 3]; 3];

fn any_said() -> impl Strategy<Value = Said> {
    let one = prop::sample::select(vec![None, None, Some(HELD), Some(LOST)]);
    prop::array::uniform3(prop::array::uniform3(one))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_files_and_what_came_before_change_nothing(
        history in vec((any_said(), any::<bool>()), 1..4),
    ) {
        let files = ["1.crl", "2.crl", "3.crl"];
        let (mut one, mut other) = (Place::new(&files), Place::new(&["3.crl", "1.crl", "2.crl"]));
        let mut lost: BTreeMap<u8, u8> = BTreeMap::new();
        for (time, (said, is_missing)) in history.iter().enumerate() {
            for (of, entries) in said.iter().enumerate() {
                let entries: Vec<_> =
                    entries.iter().zip(1u8..).filter_map(|(code, serial)| Some((serial, (*code)?))).collect();
                for place in [&one, &other] {
                    place.write(files[of], &[draft::number(time as u8 + 1), shard(files[of])], &entries);
                }
                lost.extend(entries.iter().filter(|(_, code)| *code == LOST).copied());
            }
            if *is_missing {
                // A pass without one of them releases nobody, and revokes.
                let before = one.reasons([1, 2, 3]);
                one.remove("2.crl");
                prop_assert!(one.pass().is_err());
                for (before, now) in before.into_iter().zip(one.reasons([1, 2, 3])) {
                    prop_assert!(before.is_none() || now.is_some(), "{before:?} {now:?}");
                }
                fs::copy(other.dir.path().join("2.crl"), one.dir.path().join("2.crl")).unwrap();
            }
            one.pass().unwrap();
        }
        other.pass().unwrap();
        let (last, _) = history.last().unwrap();
        for serial in 1..=3u8 {
            let said = last.iter().filter_map(|shard| shard[usize::from(serial) - 1]);
            let expected = if lost.contains_key(&serial) { Some(LOST) } else { said.max_by_key(|code| *code == LOST) };
            prop_assert_eq!(one.reasons([serial]), [expected], "{} {:?}", serial, &history);
            if !lost.contains_key(&serial) || last.iter().any(|shard| shard[usize::from(serial) - 1] == Some(LOST)) {
                prop_assert_eq!(other.reasons([serial]), [expected]);
            }
        }
    }
}

/// The published CRLs by suffix, as (cRLNumber of the file that was put there).
fn published(place: &Place) -> Vec<(String, Vec<u8>)> {
    let crls = place.reader.ledger.state().publication.crls();
    let mut crls: Vec<_> = crls.iter().map(|crl| (crl.suffix.clone(), crl.document.octets.to_vec())).collect();
    crls.sort();
    crls
}

fn publishing(files: &[&str]) -> Place {
    Place::of(files, |issuer| issuer.publishes_crls = true)
}

#[test]
fn what_is_published_is_what_was_accepted_in_der_and_nothing_older() {
    let mut place = publishing(&["ca.crl"]);
    let number = draft::number;
    let ders = [1, 2, 3].map(|n| draft(&[number(n)], &[(n, LOST)]).der());
    assert_eq!(published(&place), [], "nothing was read");
    place.put("ca.crl", draft::pem(&ders[1]).as_bytes());
    place.pass().unwrap();
    assert_eq!(published(&place), [(String::new(), ders[1].clone())]);
    for refused in [&ders[0][..], b"<html>", &ders[2][..ders[2].len() - 1]] {
        place.put("ca.crl", refused);
        place.pass().unwrap_err();
        assert_eq!(published(&place), [(String::new(), ders[1].clone())], "the last good one stays");
    }
    place.put("ca.crl", &ders[2]);
    place.pass().unwrap();
    assert_eq!(published(&place), [(String::new(), ders[2].clone())]);
}

#[test]
fn deltas_and_shards_have_names_of_their_own_and_the_newest_of_two_counts() {
    let mut place = publishing(&["ca.crl", "old.crl", "d.crl", "7.crl"]);
    let number = draft::number;
    let whole = draft(&[number(5)], &[(1, LOST)]).der();
    let delta = draft(&[number(6), draft::delta(5)], &[(2, LOST)]).der();
    let seven = draft(&[number(1), shard("http://crl.example/7.crl")], &[(3, LOST)]).der();
    place.put("ca.crl", &whole);
    place.write("old.crl", &[number(4)], &[]);
    place.put("d.crl", &delta);
    place.put("7.crl", &seven);
    place.pass().unwrap();
    let of = |whole: &[u8], delta: &[u8]| {
        [("", whole), ("+", delta), ("~7", &seven[..])].map(|(suffix, der)| (suffix.to_owned(), der.to_vec()))
    };
    assert_eq!(published(&place), of(&whole, &delta));
    // The CA has published a complete CRL, and no delta to it yet.
    let next = draft(&[number(7)], &[(1, LOST), (2, LOST)]).der();
    place.put("ca.crl", &next);
    place.pass().unwrap();
    assert_eq!(published(&place), of(&next, &delta), "those who have CRL 5 need it");
    // A delta to a complete CRL that is not here.
    place.write("d.crl", &[number(9), draft::delta(8)], &[]);
    place.pass().unwrap_err();
    assert_eq!(published(&place), of(&next, &delta));
}
