//! Chunks of a snapshot.
//!
//! - What is taken, written as a snapshot of its own and read again, has the same issuers, records, hashes and answers.
//! - A chunk that is written has its length, and its hash, and is read alone.

use std::convert::Infallible;

use precompute::{
    answers::HEAD,
    feed::{
        Issuer, Refusal,
        body::IssuerStatus,
        snapshot::{Part, SnapshotWriter, Written, each_part},
    },
    limits::feed as limits,
    pki::Serial,
    records::{CertificateHash, Change},
};

use super::is_printable;

/// What a chunk has.
#[derive(PartialEq, Eq, Default, Debug)]
struct Content {
    issuers: Vec<(IssuerStatus, u64)>,
    records: Vec<(Issuer, Change)>,
    hashes: Vec<(Issuer, (Serial, CertificateHash))>,
    /// One after the other: whose, of which form, and the entry.
    answers: Vec<(Issuer, [u8; 32], Vec<u8>)>,
}

/// Reads the input as a chunk.
pub fn chunk(chunk: &[u8]) -> bool {
    let mut content = Content::default();
    let verdict = read(chunk, &mut content);
    match &verdict {
        Err(refusal) => is_printable(refusal),
        Ok(()) => {
            let held = content.issuers.len() * 62
                + content.records.len() * 33
                + content.hashes.len() * 52
                + content.answers.iter().map(|(_, _, entry)| entry.len()).sum::<usize>();
            assert!(held <= chunk.len(), "{} bytes: {content:?}", chunk.len());
            written_again(chunk, &content, limits::CHUNK_OCTETS);
            if content.answers.iter().all(|(_, _, entry)| entry.len() < 512) {
                // As short as can be.
                written_again(chunk, &content, 0);
            }
        }
    }
    verdict.is_ok()
}

fn read(chunk: &[u8], content: &mut Content) -> Result<(), Refusal> {
    each_part(chunk, |part| {
        match part {
            Part::Issuers(issuers) => content.issuers.extend(issuers),
            Part::Records(issuer, rows) => {
                let (announced, before) = (rows.len(), content.records.len());
                for change in rows {
                    content.records.push((issuer, change?));
                }
                assert_eq!(content.records.len() - before, announced);
            }
            Part::Hashes(issuer, hashes) => content.hashes.extend(hashes.into_iter().map(|hash| (issuer, hash))),
            Part::Answers(rows) => {
                let entries = rows.entries.chunks(HEAD + rows.packed_length);
                content.answers.extend(entries.map(|entry| (rows.issuer, rows.form, entry.to_vec())));
            }
        }
        Ok(())
    })
}

fn written_again(chunk: &[u8], content: &Content, chunk_octets: usize) {
    let (chunks, written) = write(chunk, content, chunk_octets);
    let mut again = Content::default();
    for (number, chunk) in chunks.iter().enumerate() {
        read(chunk, &mut again).unwrap_or_else(|refusal| panic!("chunk {number}: {refusal}: {content:?}"));
        let is_last = number + 1 == chunks.len();
        assert!(chunk.len() == written.chunk_octets as usize || is_last && chunk.len() < written.chunk_octets as usize);
        if number >= written.record_chunks as usize {
            assert!(!matches!(first_kind(chunk), 1 | 2 | 128), "records in chunk {number} of {written:?}");
        }
    }
    assert_eq!(again, *content, "written again in {} chunks", chunks.len());
    let octets: usize = chunks.iter().map(Vec::len).sum();
    assert_eq!((written.records, written.octets), (content.records.len() as u64, octets as u64));
    assert_eq!(written.hashes.len(), chunks.len());
}

/// The kind of the first section.
fn first_kind(chunk: &[u8]) -> u8 {
    chunk.get(4).copied().unwrap_or(0)
}

fn write(chunk: &[u8], content: &Content, chunk_octets: usize) -> (Vec<Vec<u8>>, Written) {
    let mut chunks = Vec::new();
    let mut writer = SnapshotWriter::with_chunks_of(chunk_octets);
    let mut done = |chunk: &[u8]| -> Result<(), Infallible> {
        chunks.push(chunk.to_vec());
        Ok(())
    };
    for (status, records) in &content.issuers {
        let Ok(()) = writer.issuer(status, *records, &mut done);
    }
    for (issuer, change) in &content.records {
        let Ok(()) = writer.record(*issuer, change, &mut done);
    }
    for (issuer, (serial, hash)) in &content.hashes {
        let Ok(()) = writer.hash(*issuer, (serial, hash), &mut done);
    }
    let again = each_part(chunk, |part| {
        if let Part::Answers(rows) = part {
            let Ok(()) = writer.answers(&rows, &mut done);
        }
        Ok(())
    });
    assert_eq!(again, Ok(()), "it can be walked again and again");
    let Ok(written) = writer.finish(&mut done);
    (chunks, written)
}
