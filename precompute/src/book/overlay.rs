//! Reads a redb file that another process may have open.
//!
//! Purpose: `check` looks into a book while the service runs. Invariant: the file is only read; what redb writes when
//! it opens one stays in memory. No lock is taken, so data read while the other process writes may be inconsistent.
//! redb or the seals detect that, and the caller reads again. It does not know what the file contains.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

/// The size of a piece, which is kept in memory once something is written to it.
const PIECE: u64 = 4096;

/// The file, overlaid with what was written.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// Pieces by number.
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, written: Mutex::new(Written { length, pieces: BTreeMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the file, zeros beyond its end.
    fn below(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let mut filled = 0;
        while filled < out.len() {
            match self.file.read_at(&mut out[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        let end = offset + out.len() as u64;
        if end > written.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.below(offset, out)?;
        for (number, piece) in written.pieces.range(offset / PIECE..end.div_ceil(PIECE)) {
            let start = number * PIECE;
            let (from, to) = (start.max(offset), (start + PIECE).min(end));
            out[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&piece[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.written().length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let end = offset + data.len() as u64;
        for number in offset / PIECE..end.div_ceil(PIECE) {
            let start = number * PIECE;
            let piece = match written.pieces.entry(number) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(place) => {
                    let mut piece = vec![0; PIECE as usize];
                    self.below(start, &mut piece)?;
                    place.insert(piece)
                }
            };
            let (from, to) = (start.max(offset), (start + PIECE).min(end));
            piece[(from - start) as usize..(to - start) as usize]
                .copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
        }
        written.length = written.length.max(end);
        Ok(())
    }
}
