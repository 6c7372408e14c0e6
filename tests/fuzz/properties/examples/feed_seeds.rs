//! Writes the seeds of the feed's targets, with the encoders of the house: `cargo run -p ostia-properties --example
//! feed_seeds`. What stands there by hand, under other names, is left alone.

use std::{convert::Infallible, fs, path::PathBuf};

use ostia_properties::feed::{cluster, key};
use precompute::{
    answers::{Entry as AnswerEntry, Stored},
    feed::{
        Body, Chain, Entry, Issuer, Manifest, Position,
        acknowledgement::Acknowledgement,
        body::{AnswerSection, Begin, Heartbeat, IssuerStatus, Section, SnapshotTold},
        snapshot::SnapshotWriter,
        store::Place,
    },
    issuer_id::IssuerId,
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::{Change, Digest, Origin, StateWord},
    source::{CrlMark, CrlMarks, CrlNumber, CrlScope, ScopeMarks},
    state_dir::ServerId,
};

const NOW: u64 = 1_800_000_000;

fn serial(bytes: &[u8]) -> Serial {
    Serial::from_magnitude(bytes).expect("not 0")
}

fn changes() -> Vec<Change> {
    let end = Some(UnixTime(NOW + 86_400));
    let good = Record { status: Status::Good, not_after: end };
    let revoked = |reason| Record { status: Status::Revoked { time: UnixTime(NOW), reason }, not_after: None };
    vec![
        Change::new(serial(&[1]), Some(good)).by(Origin::SOURCE),
        Change::new(serial(&[0xff; 20]), Some(revoked(Reason::KeyCompromise))).by(Origin::SOURCE),
        Change::new(serial(&[2, 3]), Some(revoked(Reason::CertificateHold))).by(Origin::from_bits(3)),
        Change::new(serial(&[4]), None),
    ]
}

fn issuer() -> IssuerId {
    IssuerId::new("tests", [3; 32])
}

fn answers() -> AnswerSection {
    let mut entries = Vec::new();
    for (number, status) in
        [Status::Good, Status::Revoked { time: UnixTime(NOW), reason: Reason::Superseded }].into_iter().enumerate()
    {
        let entry = AnswerEntry {
            state: StateWord::saying(Some(status)),
            this_update: UnixTime(NOW),
            next_update: UnixTime(NOW + 3600),
            refresh_at: UnixTime(NOW + 1800),
        };
        let stored = Stored { serial: serial(&[number as u8 + 1]), entry, packed: vec![0x55; 64] };
        assert!(stored.write(&mut entries));
    }
    AnswerSection { issuer: Issuer::from(&issuer()), form: [6; 32], packed_length: 64, entries }
}

fn marks() -> CrlMarks {
    let mark = |number: Option<u8>| CrlMark {
        number: number
            .map(|number| CrlNumber::from_padded(std::array::from_fn(|at| if at == 19 { number } else { 0 }))),
        this_update: UnixTime(NOW),
        digest: [8; 32],
    };
    let of = |scope, complete, delta| ScopeMarks { scope: CrlScope([scope; 32]), complete, delta };
    let scopes = [of(0, Some(mark(Some(9))), Some(mark(None))), of(4, None, Some(mark(Some(1))))];
    CrlMarks::new(scopes, Some(vec![CrlScope([4; 32])]))
}

fn status() -> IssuerStatus {
    IssuerStatus {
        id: issuer(),
        verified: Some(UnixTime(NOW)),
        crl_next_update: Some(UnixTime(NOW + 7200)),
        is_crl_alone: true,
        crl_marks: marks(),
    }
}

fn bodies() -> Vec<(&'static str, Body)> {
    let section = Section::new(Issuer::from(&issuer()), changes());
    let hashed = Section { hashes: vec![[7; 32]; section.changes.len()], ..section.clone() };
    let begin = Begin { continues: vec![Chain([1; 32]), Chain([2; 32])], again: vec![section.clone()] };
    let digests = vec![(Issuer::from(&issuer()), Digest::from_bytes([7; 16]))];
    let told = SnapshotTold { position: Position { epoch: NOW, sequence: 3 }, chain: Chain([1; 32]), octets: 1000 };
    vec![
        ("fence", Body::Fence),
        ("begin", Body::Begin(begin)),
        (
            "heartbeat",
            Body::Heartbeat(Heartbeat { time: NOW * 1_000_000, address: "https://writer:9090".to_owned(), digests }),
        ),
        ("records", Body::Records(vec![section])),
        ("records-with-hashes", Body::Records(vec![hashed])),
        ("answers", Body::Answers(vec![answers()])),
        ("issuer-status", Body::IssuerStatus(vec![status()])),
        ("snapshot", Body::Snapshot(told)),
        ("resign", Body::Resign(None)),
        ("resign-to", Body::Resign(Some(ServerId::from_bytes([9; 16])))),
        ("later-kind", Body::Other(200)),
    ]
}

fn write(target: &str, name: &str, octets: &[u8]) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join(name), octets).expect("a seed");
}

fn behind(form: u8, octets: &[u8]) -> Vec<u8> {
    [&[form], octets].concat()
}

fn entries() {
    // Before the kind, and between kind and body.
    let (kind, head) = (2 + cluster().name().len(), 16 + 16 + 8 + 32 + 4);
    for (sequence, (name, body)) in bodies().into_iter().enumerate() {
        let position = Position { epoch: NOW * 1_000_000, sequence: sequence as u64 };
        let entry = Entry { position, author: ServerId::from_bytes([5; 16]), prev: Chain([9; 32]), body };
        let sealed = entry.seal(cluster(), key()).bytes;
        let mut body = vec![b'b', sealed[kind]];
        body.extend_from_slice(&sealed[kind + 1 + head..sealed.len() - 64]);
        write("feed_entry", &format!("taken-body-{name}"), &body);
        match name {
            "records" => {
                write("feed_entry", "taken-entry-records", &behind(b'e', &sealed));
                let mut forged = behind(b'e', &sealed);
                *forged.last_mut().expect("bytes") ^= 1;
                write("feed_entry", "refused-forged", &forged);
                write("feed_entry", "taken-unsigned-records", &behind(b'u', &sealed[..sealed.len() - 64]));
                let mut version = behind(b'u', &sealed[..sealed.len() - 64]);
                version[1] = 2;
                write("feed_entry", "refused-version", &version);
                // The serial number of the first record, behind kind, sections, issuer, width and count.
                let mut zero = body.clone();
                let first = 2 + 4 + 32 + 2 + 4;
                zero[first..first + 20].fill(0);
                write("feed_entry", "refused-serial-0", &zero);
                let mut many = body.clone();
                many[2..6].fill(0xff);
                write("feed_entry", "refused-many-sections", &many);
                write("feed_entry", "refused-more-behind", &[&body[..], &[0]].concat());
            }
            "answers" => {
                let mut length = body.clone();
                length[2 + 4 + 64 + 1] = 63;
                write("feed_entry", "refused-odd-signature", &length);
            }
            "later-kind" => write("feed_entry", "refused-later-kind-below-128", &[b'b', 100]),
            _ => {}
        }
    }
    // Records of a later version, with two bytes more each.
    let Some((_, Body::Records(sections))) = bodies().into_iter().find(|(name, _)| *name == "records") else { return };
    let Section { issuer, changes, .. } = &sections[0];
    let mut wide = vec![b'b', 4, 0, 0, 0, 1];
    wide.extend_from_slice(&issuer.0);
    wide.extend_from_slice(&[0, 35, 0, 0, 0, 1]);
    wide.extend_from_slice(changes[0].serial.padded());
    wide.extend_from_slice(&StateWord::saying(Some(Status::Good)).word().to_be_bytes());
    wide.extend_from_slice(&[0x70, 0, 0, 0, 0, 0xaa, 0xbb]);
    write("feed_entry", "taken-body-wider-records", &wide);
}

fn manifests() {
    let manifest = |octets: u64, chunks: u8, record_chunks| Manifest {
        position: Position { epoch: NOW * 1_000_000, sequence: 4 },
        chain: Chain([9; 32]),
        author: ServerId::from_bytes([5; 16]),
        made: NOW * 1_000_000,
        records: 30,
        octets,
        chunk_octets: 1000,
        record_chunks,
        chunks: (0..chunks).map(|chunk| [chunk; 32]).collect(),
    };
    let name = |name: &str, form: u8, manifest: &Manifest| {
        let sealed = manifest.seal(cluster(), key());
        let end = if form == b'u' { sealed.len() - 64 } else { sealed.len() };
        write("feed_manifest", name, &behind(form, &sealed[..end]));
    };
    let place = Place { position: Position { epoch: NOW * 1_000_000, sequence: 4 }, chain: Chain([9; 32]) };
    let said = Acknowledgement { server: ServerId::from_bytes([5; 16]), place }.seal(cluster(), key());
    write("feed_manifest", "taken-acknowledgement", &behind(b'a', &said));
    write("feed_manifest", "taken-unsigned-acknowledgement", &behind(b'v', &said[..said.len() - 64]));
    write("feed_manifest", "refused-acknowledgement-longer", &behind(b'v', &said));
    name("taken-three-chunks", b'm', &manifest(2500, 3, 2));
    name("taken-unsigned", b'u', &manifest(2500, 3, 2));
    name("taken-one-chunk", b'u', &manifest(1000, 1, 1));
    name("refused-a-chunk-lacks", b'u', &manifest(2500, 2, 2));
    name("refused-no-chunk", b'u', &manifest(0, 0, 0));
    name("refused-more-chunks-of-records", b'u', &manifest(2500, 3, 4));
    name("refused-records", b'u', &Manifest { records: 76, ..manifest(2500, 3, 2) });
    name("refused-chunk-of-nothing", b'u', &Manifest { chunk_octets: 0, ..manifest(2500, 3, 2) });
}

fn chunks() {
    let snapshot = |answers: &[AnswerSection], is_hashed: bool| {
        let mut chunks = Vec::new();
        let mut done = |chunk: &[u8]| -> Result<(), Infallible> {
            chunks.push(chunk.to_vec());
            Ok(())
        };
        let mut writer = SnapshotWriter::default();
        let Ok(()) = writer.issuer(&status(), 4, &mut done);
        for change in changes() {
            let Ok(()) = writer.record(Issuer::from(&issuer()), &change, &mut done);
        }
        if is_hashed {
            for change in changes() {
                let Ok(()) = writer.hash(Issuer::from(&issuer()), (&change.serial, &[7; 32]), &mut done);
            }
        }
        let Ok(_) = writer.finish(&mut done);
        [&chunks[0][..], &raw_answers(answers)].concat()
    };
    let whole = snapshot(&[answers()], false);
    write("feed_chunk", "taken-records-and-answers", &whole);
    write("feed_chunk", "taken-records", &snapshot(&[], false));
    write("feed_chunk", "taken-hashes", &snapshot(&[], true));
    write("feed_chunk", "taken-answers", &[&b"OSC1"[..], &raw_answers(&[answers()])].concat());
    write("feed_chunk", "taken-empty", b"OSC1");
    write("feed_chunk", "taken-filled-up", &[&whole[..], &[0; 40]].concat());
    write("feed_chunk", "taken-later-kind", &[&whole[..], &[200, 0, 0, 0, 3, 1, 2, 3]].concat());
    write("feed_chunk", "refused-filled-with-something", &[&whole[..], &[0, 0, 1]].concat());
    write("feed_chunk", "refused-kind-below-128", &[&whole[..], &[100, 0, 0, 0, 0]].concat());
    write("feed_chunk", "refused-long-section", &[&whole[..], &[2, 0xff, 0xff, 0xff, 0xff]].concat());
    write("feed_chunk", "refused-other-magic", b"OSC2");
}

/// A section of a chunk, by the table in the documentation of snapshots.
fn raw_answers(sections: &[AnswerSection]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for AnswerSection { issuer, form, packed_length, entries } in sections {
        let count = (entries.len() / (precompute::answers::HEAD + packed_length)) as u32;
        bytes.push(3);
        bytes.extend_from_slice(&((32 + 32 + 2 + 4 + entries.len()) as u32).to_be_bytes());
        bytes.extend_from_slice(&issuer.0);
        bytes.extend_from_slice(form);
        bytes.extend_from_slice(&(*packed_length as u16).to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(entries);
    }
    bytes
}

fn main() {
    entries();
    manifests();
    chunks();
}
