//! What a snapshot says beside records, noted as it is read.
//!
//! Invariant: what is noted is of the snapshot whose first chunk was read last. Whoever reads takes it once everything was
//! compared with that. It does not know records or answers.

use crate::feed::{
    Manifest,
    body::IssuerStatus,
    shelf::Fetcher,
    snapshot::{Part, each_part},
    store::Snapshots,
};

/// What chunks say beside records.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// The condition of issuers' sources.
    pub(super) issuers: Vec<IssuerStatus>,
    /// The last chunk with records: answers may begin in it.
    pub(super) last: Option<Vec<u8>>,
}

/// Snapshots, of which what they say beside records is noted.
pub(super) struct Noting<'a> {
    pub(super) fetcher: &'a mut Fetcher,
    pub(super) noted: &'a mut Noted,
}

impl Snapshots for Noting<'_> {
    fn here(&mut self, manifest: &Manifest) -> Option<usize> {
        self.fetcher.here(manifest)
    }

    fn chunk(&mut self, manifest: &Manifest, number: usize) -> Option<Vec<u8>> {
        let chunk = self.fetcher.chunk(manifest, number)?;
        if number == 0 {
            *self.noted = Noted::default();
        }
        let issuers = &mut self.noted.issuers;
        // A chunk that cannot be read is the reader's to find.
        let _ = each_part(&chunk, |part| {
            if let Part::Issuers(all) = part {
                issuers.extend(all.into_iter().map(|(status, _)| status));
            }
            Ok(())
        });
        if number + 1 == manifest.record_chunks as usize {
            self.noted.last = Some(chunk.clone());
        }
        Some(chunk)
    }
}
