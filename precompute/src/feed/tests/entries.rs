//! Entries and manifests: what was signed comes back, and nothing else.

use aws_lc_rs::signature::{ED25519, KeyPair as _, UnparsedPublicKey};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{
    feed::{
        Manifest, PublicKey, Refusal,
        body::octets_max,
        keys::{Purpose, SIGNATURE},
    },
    limits::feed as limits,
    pki::hex::Hex,
};

fn sample(body: Body) -> Entry {
    let position = Position { epoch: 1_795_950_000_000_000, sequence: 42 };
    Entry { position, author: ServerId::from_bytes([0x11; 16]), prev: Chain([0x22; 32]), body }
}

fn serial(number: u32) -> Serial {
    Serial::from_magnitude(&number.to_be_bytes()).unwrap()
}

fn revoked(number: u32) -> Change {
    let status = Status::Revoked { time: UnixTime(1_795_000_000), reason: Reason::KeyCompromise };
    let record = Record { status, not_after: Some(UnixTime(1_800_000_000)) };
    Change::new(serial(number), Some(record)).by(Origin::PUSHED.with(Origin::PUSH_RESTRICTS))
}

fn records() -> Entry {
    sample(Body::Records(vec![Section::new(Issuer([0x33; 32]), vec![revoked(7)])]))
}

/// The entry with these bytes before its signature, signed anew.
fn signed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &key().sign(Purpose::Entry, bytes)].concat()
}

/// One of this kind with this body.
fn with_body(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = sample(Body::Resign(None)).seal(&cluster(), &key()).bytes.to_vec();
    bytes.truncate(bytes.len() - SIGNATURE - 4);
    bytes[1 + 1 + cluster().name().len()] = kind;
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    signed(&[&bytes, body].concat())
}

fn open(bytes: &[u8]) -> Result<Entry, Refusal> {
    Entry::open(sample(Body::Fence).position, bytes, &cluster(), &trusted()).map(|opened| opened.entry)
}

proptest! {
    #[test]
    fn what_was_sealed_is_opened_and_hashed_alike(entry in any_entry()) {
        let sealed = entry.seal(&cluster(), &key());
        let opened = Entry::open(entry.position, &sealed.bytes, &cluster(), &trusted()).unwrap();
        prop_assert_eq!(&opened.entry, &entry);
        prop_assert_eq!((opened.chain, opened.octets), (sealed.chain, sealed.bytes.len()));
        prop_assert_eq!(entry.seal(&cluster(), &key()), sealed, "the same each time");
    }

    #[test]
    fn a_manifest_comes_back_whole(
        position in any_position(), chain in any::<[u8; 32]>(), author in any::<[u8; 16]>(), made in any::<u64>(),
        hashes in vec(any::<[u8; 32]>(), 1..5), last in 1..=4096u64, record_chunks in 0..=1u32,
    ) {
        let octets = (hashes.len() as u64 - 1) * 4096 + last;
        let manifest = Manifest {
            position, chain: Chain(chain), author: ServerId::from_bytes(author), made, records: octets / 33, octets,
            chunk_octets: 4096, record_chunks, chunks: hashes.into(),
        };
        let bytes = manifest.seal(&cluster(), &key());
        prop_assert_eq!(Manifest::open(&bytes, &cluster(), &trusted()), Ok(manifest));
        for cut in 0..bytes.len() {
            prop_assert!(Manifest::open(&bytes[..cut], &cluster(), &trusted()).is_err(), "cut at {}", cut);
        }
    }

    #[test]
    fn no_bytes_behind_a_good_signature_make_a_decoder_panic_or_lie(kind in any::<u8>(), body in vec(any::<u8>(), 0..200)) {
        opened_or_refused(kind, &body);
    }

    #[test]
    fn nor_do_bodies_with_some_bytes_changed(
        entry in any_entry(), changes in vec((any::<Index>(), any::<u8>()), 1..4), cut in any::<Index>(),
    ) {
        let mut body = Vec::new();
        entry.body.write(&mut body);
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        opened_or_refused(entry.body.kind(), &body);
        opened_or_refused(entry.body.kind(), &body[..cut.index(body.len() + 1)]);
    }
}

/// What is taken is written as the same bytes, but for the length of records and what a later version added to them.
fn opened_or_refused(kind: u8, body: &[u8]) {
    let Ok(entry) = open(&with_body(kind, body)) else { return };
    let mut again = Vec::new();
    entry.body.write(&mut again);
    let may_be_longer = matches!(entry.body, Body::Records(_) | Body::Begin(_) | Body::Other(_));
    assert!(again == body || may_be_longer && again.len() <= body.len(), "{entry:?}");
}

#[test]
fn an_entry_cut_at_any_byte_is_truncated() {
    let bytes = records().seal(&cluster(), &key()).bytes;
    for cut in 1..bytes.len() {
        assert_eq!(open(&bytes[..cut]), Err(Refusal::Truncated), "cut at {cut}");
    }
    assert_eq!(open(&[]), Err(Refusal::Absurd("it is empty, or what holds it in Redis is of another form")));
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(open(&longer), Err(Refusal::Absurd("something stands behind its end")));
}

#[test]
fn an_entry_with_any_bit_flipped_is_refused() {
    let bytes = records().seal(&cluster(), &key()).bytes;
    let mut refusals = std::collections::BTreeMap::<_, u32>::new();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refusal = open(&flipped).expect_err("refused");
        *refusals.entry(format!("{refusal:?}").split('(').next().unwrap().to_owned()).or_default() += 1;
    }
    let kinds: Vec<_> = refusals.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["Absurd", "Forged", "NotOurCluster", "Truncated", "UntrustedKey"]);
    assert!(refusals["Forged"] > 150 * 8, "{refusals:?}");
}

pub(super) fn manifest() -> Manifest {
    Manifest {
        position: Position { epoch: 1, sequence: 2 },
        chain: Chain([3; 32]),
        author: ServerId::from_bytes([4; 16]),
        made: 5,
        records: 6,
        octets: 7000,
        chunk_octets: 4096,
        record_chunks: 1,
        chunks: [[8; 32], [9; 32]].into(),
    }
}

#[test]
fn a_manifest_with_any_bit_flipped_is_refused() {
    let bytes = manifest().seal(&cluster(), &key());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Manifest::open(&flipped, &cluster(), &trusted()).is_err(), "bit {bit}");
    }
}

#[test]
fn each_fault_is_told_by_its_name() {
    let bytes = records().seal(&cluster(), &key()).bytes;
    let at = records().position;
    let other = Cluster::new("staging").unwrap();
    let opened =
        |cluster: &Cluster, trusted: &Trusted, at| Entry::open(at, &bytes, cluster, trusted).map(|opened| opened.entry);
    assert_eq!(opened(&cluster(), &trusted(), at), Ok(records()));
    assert_eq!(opened(&other, &trusted(), at), Err(Refusal::NotOurCluster(cluster())));
    let stranger = WriterKey::from_seed(&[8; 32]);
    let only_the_stranger = Trusted::of(&[stranger.public()]).unwrap();
    assert_eq!(opened(&cluster(), &only_the_stranger, at), Err(Refusal::UntrustedKey(key().id())));
    let both = Trusted::of(&[stranger.public(), key().public()]).unwrap();
    assert_eq!(opened(&cluster(), &both, at), Ok(records()));
    let moved = Refusal::Absurd("it stands at another position than it was written for");
    assert_eq!(opened(&cluster(), &trusted(), at.next()), Err(moved));
    // A manifest's signature does not make an entry, although the same key made it.
    let body = &bytes[..bytes.len() - SIGNATURE];
    let wrong = [body, &key().sign(Purpose::Manifest, body)].concat();
    assert_eq!(open(&wrong), Err(Refusal::Forged));
    for kind in [0, 9, 127] {
        assert_eq!(open(&with_body(kind, &[])), Err(Refusal::UnknownKind(kind)));
    }
    assert_eq!(open(&with_body(128, b"anything")).unwrap().body, Body::Other(128));
    let remedies = [
        (Refusal::NotOurCluster(cluster()), "it belongs to the cluster `example`; set `feed.cluster` or point"),
        (Refusal::UntrustedKey(KEY), "it is signed with the key 0102030405060708, which `feed.trusted` does not list;"),
        (
            Refusal::UnknownVersion(2),
            "a trusted writer wrote it in version 2 of the feed, and this program knows version 1; update this program",
        ),
        (Refusal::UnknownKind(9), "its kind 9 is unknown and must not be passed over; update this program"),
    ];
    for (refusal, told) in remedies {
        assert!(refusal.to_string().starts_with(told), "{refusal}");
    }
}

/// Garbage that began with a `j` was told as version 106, and an operator went to look for an update.
#[test]
fn only_what_a_trusted_key_signed_counts_as_of_a_later_version() {
    // In front every version is alike; what follows is whatever it likes to be.
    let later = |sealed: &[u8], alike: usize, purpose: Purpose, key: &WriterKey| {
        let mut bytes = [&[2], &sealed[1..alike], b"something that is not known yet"].concat();
        let signature = key.sign(purpose, &bytes);
        bytes.extend_from_slice(&signature);
        bytes
    };
    let (name, entry) = (cluster().name().len(), records().seal(&cluster(), &key()).bytes);
    let of_entry = later(&entry, 2 + name + 1 + 16 + 16 + 8 + 32, Purpose::Entry, &key());
    let of_manifest = later(&manifest().seal(&cluster(), &key()), 2 + name + 16 + 8, Purpose::Manifest, &key());
    let open_manifest = |bytes: &[u8]| Manifest::open(bytes, &cluster(), &trusted()).map(|_| ());
    for (opened, bytes) in [(open(&of_entry).map(|_| ()), &of_entry), (open_manifest(&of_manifest), &of_manifest)] {
        assert_eq!(opened, Err(Refusal::UnknownVersion(2)));
        assert!(opened.unwrap_err().is_of_later_version());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let refusals = [open(&flipped).map(|_| ()), open_manifest(&flipped)];
            assert!(refusals.iter().all(|refusal| !refusal.as_ref().unwrap_err().is_of_later_version()), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(!open(&bytes[..cut]).unwrap_err().is_of_later_version(), "cut at {cut}");
        }
    }
    let at_another_place = Entry::open(records().position.next(), &of_entry, &cluster(), &trusted()).unwrap_err();
    assert_eq!(at_another_place, Refusal::Absurd("it stands at another position than it was written for"));
    let stranger = later(&entry, 2 + name + 1 + 16 + 16 + 8 + 32, Purpose::Entry, &WriterKey::from_seed(&[8; 32]));
    assert_eq!(open(&stranger), Err(Refusal::Forged), "the key that it names did not sign it");
    let endless = [&of_entry[..], &vec![0; limits::LATER_OCTETS_MAX]].concat();
    assert_eq!(open(&endless), Err(Refusal::Absurd("it is too long for any version")));
    let told = "another program wrote it, or it is damaged";
    for garbage in [&b"junk"[..], b"nonsense", b"<html><body>Log in</body></html>", b"<!DOCTYPE html>"] {
        assert_eq!(open(garbage), Err(Refusal::Absurd(told)));
        assert_eq!(open_manifest(garbage), Err(Refusal::Absurd(told)));
    }
}

const KEY: crate::feed::KeyId = crate::feed::KeyId([1, 2, 3, 4, 5, 6, 7, 8]);

#[test]
fn absurd_lengths_and_values_are_refused_before_memory_is_taken() {
    let section = |width: u16, count: u32, row: &[u8]| {
        let mut body = vec![0, 0, 0, 1];
        body.extend_from_slice(&[0x33; 32]);
        body.extend_from_slice(&width.to_be_bytes());
        body.extend_from_slice(&count.to_be_bytes());
        body.extend_from_slice(row);
        body
    };
    let row = |serial: u8, word: u64, origin: u8| {
        let mut row = vec![0; 33];
        row[19] = serial;
        row[20..28].copy_from_slice(&word.to_be_bytes());
        row[32] = origin;
        row
    };
    let good = StateWord::saying(Some(Status::Good)).word();
    let table: &[(&str, u8, Vec<u8>, &str)] = &[
        ("sections", 4, vec![0xff; 4], "it has too many sections"),
        ("width", 4, section(32, 1, &row(1, good, 0)), "its records have an impossible length"),
        ("wide", 4, section(257, 0, &[]), "its records have an impossible length"),
        ("records", 4, section(33, 257, &[]), "it has too many records"),
        ("zero", 4, section(33, 1, &row(0, good, 0)), "a serial number is 0"),
        ("nothing said", 4, section(33, 1, &row(1, 0, 0)), "a record has an impossible state"),
        ("a counter", 4, section(33, 1, &row(1, good | 1 << 8, 0)), "a record has an impossible state"),
        ("reason 7", 4, section(33, 1, &row(1, 2 | 7 << 4, 0)), "a record has an impossible state"),
        ("good with a time", 4, section(33, 1, &row(1, good | 1 << 32, 0)), "a record has an impossible state"),
        ("origin", 4, section(33, 1, &row(1, good, 16)), "a record has an impossible origin"),
        ("a removal's", 4, section(33, 1, &row(1, 3, 1)), "a record has an impossible origin"),
        ("digests", 3, [&[0; 10][..], &[0xff; 4]].concat(), "it has too many digests"),
        ("chains", 2, vec![0xff; 4], "it continues from too many entries"),
        ("address", 3, [&[0; 8][..], &[0, 1, 7]].concat(), "its address is no URL"),
        ("issuers", 6, vec![0xff; 4], "it has too many issuers"),
        ("more", 1, vec![0], "something stands behind its end"),
    ];
    for (name, kind, body, told) in table {
        assert_eq!(open(&with_body(*kind, body)), Err(Refusal::Absurd(told)), "{name}");
    }
    assert_eq!(open(&with_body(4, &section(33, 2, &row(1, good, 0)))), Err(Refusal::Truncated));
    let too_long = vec![0; octets_max(4) + 1];
    assert_eq!(open(&with_body(4, &too_long)), Err(Refusal::Absurd("its body is too long")));
    assert_eq!(Cluster::new(&"c".repeat(limits::CLUSTER_OCTETS_MAX + 1)), None);
    for name in ["", "a b", "a:b", "ä"] {
        assert_eq!(Cluster::new(name), None, "{name}");
    }
    assert!(Trusted::of(&[key().public(); limits::TRUSTED_KEYS_MAX + 1]).is_none());
}

#[test]
fn what_a_later_version_adds_to_a_record_is_passed_over() {
    let mut body = Vec::new();
    records().body.write(&mut body);
    // 40 bytes a record.
    body[4 + 32..4 + 34].copy_from_slice(&40u16.to_be_bytes());
    body.extend_from_slice(b"in 2027");
    assert_eq!(open(&with_body(4, &body)), Ok(records()));
}

/// Two records of one issuer, of which the second comes without a hash.
fn hashed() -> Entry {
    let hashes = vec![[0x44; 32], [0; 32]];
    sample(Body::Records(vec![Section { issuer: Issuer([0x33; 32]), changes: vec![revoked(7), revoked(8)], hashes }]))
}

#[test]
fn hashes_come_back_and_an_entry_with_them_cut_at_any_byte_is_truncated() {
    let bytes = hashed().seal(&cluster(), &key()).bytes;
    assert_eq!(open(&bytes), Ok(hashed()));
    for cut in 1..bytes.len() {
        assert_eq!(open(&bytes[..cut]), Err(Refusal::Truncated), "cut at {cut}");
    }
    let mut body = Vec::new();
    hashed().body.write(&mut body);
    // With every signature in order.
    for cut in 0..body.len() {
        assert!(open(&with_body(4, &body[..cut])).is_err(), "cut at {cut}");
    }
    let Body::Records(sections) = hashed().body else { unreachable!() };
    assert_eq!(sections[0].told_hashes().collect::<Vec<_>>(), [(serial(7), [0x44; 32])]);
}

/// A program that knows no hashes reads 33 bytes of each record and goes on behind as many as the section says.
#[test]
fn records_with_hashes_begin_with_what_they_are_without_for_programs_that_know_none() {
    let body_of = |entry: Entry| {
        let mut body = Vec::new();
        entry.body.write(&mut body);
        body
    };
    let Body::Records(mut sections) = hashed().body else { unreachable!() };
    sections[0].hashes.clear();
    let (with, without) = (body_of(hashed()), body_of(sample(Body::Records(sections))));
    let width = |body: &[u8]| usize::from(u16::from_be_bytes([body[36], body[37]]));
    assert_eq!((width(&with), width(&without)), (65, 33));
    assert!(width(&with) <= 256, "what the first version takes");
    assert_eq!((&with[..36], &with[38..42]), (&without[..36], &without[38..42]));
    let rows: Vec<u8> = with[42..].chunks(65).flat_map(|row| &row[..33]).copied().collect();
    assert_eq!(rows, without[42..]);
}

#[test]
fn the_bytes_of_an_entry_are_these() {
    let sealed = records().seal(&cluster(), &key());
    let signed = &sealed.bytes[..sealed.bytes.len() - SIGNATURE];
    let head = "01076578616d706c65040006616831c8cc00000000000000002a";
    let author_key_prev = format!("{}{}{}", "11".repeat(16), key().id(), "22".repeat(32));
    let body = format!(
        "0000004b00000001{}00210000000100000000000000000000000000000000000000076afd86c0000000126b49d20003",
        "33".repeat(32)
    );
    assert_eq!(Hex(signed).to_string(), format!("{head}{author_key_prev}{body}"));
    // Another reader of the same bytes: the prefix, then all of them.
    let message = [b"Ostia feed entry\0", signed].concat();
    let public = UnparsedPublicKey::new(&ED25519, key().public().0);
    public.verify(&message, &sealed.bytes[signed.len()..]).unwrap();
}

#[test]
fn a_key_is_read_from_pkcs8_and_never_shown() {
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let key = WriterKey::from_pkcs8(pair.to_pkcs8().unwrap().as_ref()).unwrap();
    assert_eq!(key.public().0, pair.public_key().as_ref());
    assert_eq!(format!("{key:?}"), format!("WriterKey {{ id: {:?}, .. }}", key.id()));
    assert!(WriterKey::from_pkcs8(b"no key").is_none());
    let entry = records();
    let trusted = Trusted::of(&[PublicKey(key.public().0)]).unwrap();
    let sealed = entry.seal(&cluster(), &key);
    assert_eq!(Entry::open(entry.position, &sealed.bytes, &cluster(), &trusted).unwrap().entry, entry);
}

#[test]
fn the_hashes_that_simulations_use_for_signatures_are_refused_when_anything_is_changed() {
    let (key, entry) = (WriterKey::quick(1), records());
    let bytes = entry.seal(&cluster(), &key).bytes.to_vec();
    let opened = |bytes: &[u8], key: &WriterKey| {
        Entry::open(entry.position, bytes, &cluster(), &Trusted::quick(&[key.public()])).map(|opened| opened.entry)
    };
    assert_eq!(opened(&bytes, &key), Ok(records()));
    assert_eq!(opened(&bytes, &WriterKey::quick(2)), Err(Refusal::UntrustedKey(key.id())));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(opened(&flipped, &key).is_err(), "bit {bit}");
    }
}
