//! Writes a file, in pieces.
//!
//! Invariant: whatever stops it, what was written does not read as a whole file. Memory is bounded by a frame. It does not
//! know where the bytes go.

use std::io;

use super::{
    framing::{Check, END, FAILED, HASHES, HEAD, Head, ISSUER, ISSUER_END, MAGIC, RECORDS, SUCCESSION, VERSION},
    rows::{self, HASH_ROW, ROW},
};
use crate::{
    book::Held,
    issuer_id::IssuerId,
    limits,
    pki::{Record, Serial},
    records::{CertificateHash, Origin},
};

/// Takes pieces of a file.
pub(super) type Out<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// See the module.
pub(super) struct Writer<'a> {
    out: &'a mut Out<'a>,
    check: Check,
    rows: Vec<u8>,
    of_issuer: u64,
    records: u64,
    octets: u64,
}

impl<'a> Writer<'a> {
    /// Begins a file.
    pub(super) fn begin(head: &Head, out: &'a mut Out<'a>) -> io::Result<Self> {
        let rows = Vec::with_capacity(limits::BACKUP_ROWS * ROW);
        let mut this = Self { out, check: Check::new(), rows, of_issuer: 0, records: 0, octets: 0 };
        this.put(&[&MAGIC[..], &VERSION.to_be_bytes()].concat())?;
        this.frame(HEAD, &serde_json::to_vec(head)?)?;
        Ok(this)
    }

    /// Records of this issuer follow.
    pub(super) fn issuer(&mut self, id: &IssuerId) -> io::Result<()> {
        self.of_issuer = 0;
        self.frame(ISSUER, &[&id.ca()[..], id.tenant().as_bytes()].concat())
    }

    /// The next record, in order of serial.
    pub(super) fn record(&mut self, serial: &Serial, record: &Record, origin: Origin) -> io::Result<()> {
        rows::put(&mut self.rows, serial, record, origin);
        self.of_issuer += 1;
        if self.rows.len() >= limits::BACKUP_ROWS * ROW { self.flush(RECORDS) } else { Ok(()) }
    }

    /// That was the last record of the issuer.
    pub(super) fn end_of_issuer(&mut self, held: &Held) -> io::Result<()> {
        self.flush(RECORDS)?;
        let mut bytes = self.of_issuer.to_be_bytes().to_vec();
        bytes.extend_from_slice(&held.verified.map_or(0, |time| time.0).to_be_bytes());
        rows::put_marks(&mut bytes, &held.crl_marks);
        self.records += self.of_issuer;
        self.frame(ISSUER_END, &bytes)
    }

    /// The hash of a certificate of the issuer that has ended, in order of serial.
    pub(super) fn hash(&mut self, serial: &Serial, hash: &CertificateHash) -> io::Result<()> {
        rows::put_hash(&mut self.rows, serial, hash);
        if self.rows.len() >= limits::BACKUP_ROWS * HASH_ROW { self.flush(HASHES) } else { Ok(()) }
    }

    /// That was the last of them.
    pub(super) fn end_of_hashes(&mut self) -> io::Result<()> {
        self.flush(HASHES)
    }

    /// Two issuers by their numbers in this file.
    pub(super) fn succession(&mut self, former: u32, successor: u32) -> io::Result<()> {
        self.frame(SUCCESSION, &[former.to_be_bytes(), successor.to_be_bytes()].concat())
    }

    /// Ends the file; gives the numbers of records and of bytes.
    pub(super) fn end(mut self) -> io::Result<(u64, u64)> {
        self.frame(END, &self.records.to_be_bytes())?;
        Ok((self.records, self.octets))
    }

    /// Says why it does not go on.
    pub(super) fn fail(mut self, why: &str) -> io::Result<()> {
        let told: String = why.chars().take(limits::BACKUP_TEXT_CHARS_MAX).collect();
        self.frame(FAILED, told.as_bytes())
    }

    fn flush(&mut self, kind: u8) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.rows);
        let written = self.frame(kind, &rows);
        rows.clear();
        self.rows = rows;
        written
    }

    fn frame(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(5 + content.len());
        bytes.push(kind);
        bytes.extend_from_slice(&(content.len() as u32).to_be_bytes());
        bytes.extend_from_slice(content);
        self.put(&bytes)?;
        let hash = self.check.hash();
        self.put(&hash)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check.add(bytes);
        self.octets += bytes.len() as u64;
        (self.out)(bytes)
    }
}
