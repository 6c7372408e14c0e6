//! The records as others were told them last.
//!
//! Purpose: whoever takes these, and follows what is told from the place on, has what the others have. Invariant: of a
//! record with a row in the outbox, or a debt, it is the value that was told last; of every other one its present value;
//! all of one commit, with the place, and all under its seal: a record that was damaged on the disk goes to nobody. It
//! does not know what a snapshot is.

use redb::{Range, ReadTransaction};

use super::{
    BookReader, Place,
    codec::{decode_value, range},
    layout::{DEBTS, KEY, OUTBOX, VALUE},
    loading::{Entry, beside, number_of, records},
    outbox, place,
};
use crate::{issuer_id::IssuerId, pki::Serial, records::Change, state_dir::StateError};

impl BookReader {
    /// The place in the feed that the records are from; `None` if there is none.
    pub fn place(&self) -> Result<Option<Place>, StateError> {
        self.run(|| place::read(&self.read, self.made.identity))
    }

    /// Calls `each` with every record of `issuer` as it was told last, in order of serial, until it returns false. Returns
    /// whether it came to the end. After an error, discard everything it was called with.
    pub fn each_told(&self, issuer: &IssuerId, mut each: impl FnMut(Change) -> bool) -> Result<bool, StateError> {
        self.run(|| {
            let Some(number) = number_of(&self.read, issuer)? else { return Ok(true) };
            let mut untold = Untold::open(&self.read, number)?;
            let mut fault = None;
            let walked = records(&self.read, number, |present| {
                untold.tell_up_to(present, &mut each).unwrap_or_else(|error| {
                    fault = Some(error);
                    false
                })
            })?;
            if let Some(error) = fault {
                return Err(error);
            }
            let Some(seal) = walked else { return Ok(false) };
            let is_whole = untold.tell_rest(&mut each)?;
            if is_whole {
                beside(&self.read, self.made, issuer, number, seal)?;
            }
            Ok(is_whole)
        })
    }
}

/// What was told last of the records of an issuer that say something else now, in order of serial.
struct Untold<'a> {
    rows: Formers<'a>,
    debts: Formers<'a>,
}

/// Reads what was told last of a row.
type ReadFormer = fn(&[u8]) -> Result<Option<&[u8; VALUE]>, redb::Error>;

/// Those of one table; a record is in one of them at most.
struct Formers<'a> {
    entries: Range<'a, &'static [u8; KEY], &'static [u8]>,
    read: ReadFormer,
    next: Option<Change>,
}

impl Formers<'_> {
    fn advance(&mut self) -> Result<(), redb::Error> {
        self.next = None;
        let Some(entry) = self.entries.next() else { return Ok(()) };
        let (key, row) = entry?;
        // A serial of 0 is nobody's, and breaks the seal.
        let Some(serial) = Serial::from_magnitude(&key.value()[4..]) else { return Ok(()) };
        let former = (self.read)(row.value())?.map(decode_value);
        let told = Change::new(serial, former.map(|(record, _)| record));
        self.next = Some(former.map_or(told, |(_, origin)| told.by(origin)));
        Ok(())
    }
}

impl<'a> Untold<'a> {
    fn open(read: &ReadTransaction, issuer: u32) -> Result<Self, redb::Error> {
        let (first, last) = range(issuer);
        let of = |table, read_row| -> Result<Formers<'a>, redb::Error> {
            let entries = read.open_table(table)?.range::<&[u8; KEY]>(&first..=&last)?;
            let mut formers = Formers { entries, read: read_row, next: None };
            formers.advance()?;
            Ok(formers)
        };
        Ok(Self { rows: of(OUTBOX, outbox::former_of_row)?, debts: of(DEBTS, outbox::former)? })
    }

    /// The next one, up to this serial.
    fn take(&mut self, up_to: Option<Serial>) -> Result<Option<Change>, redb::Error> {
        let serial = |formers: &Formers<'_>| formers.next.map(|next| next.serial);
        let first = match (serial(&self.rows), serial(&self.debts)) {
            (None, None) => return Ok(None),
            (Some(row), Some(debt)) if debt < row => &mut self.debts,
            (None, Some(_)) => &mut self.debts,
            _ => &mut self.rows,
        };
        let next = first.next.filter(|next| up_to.is_none_or(|up_to| next.serial <= up_to));
        if next.is_some() {
            first.advance()?;
        }
        Ok(next)
    }

    /// Gives what was told of the records before this one, and of it. False if no more is wanted.
    fn tell_up_to(
        &mut self,
        (serial, record, origin): Entry,
        each: &mut impl FnMut(Change) -> bool,
    ) -> Result<bool, redb::Error> {
        while let Some(told) = self.take(Some(serial))? {
            let goes_on = told.record.is_none() || each(told);
            if !goes_on || told.serial == serial {
                return Ok(goes_on);
            }
        }
        Ok(each(Change::new(serial, Some(record)).by(origin)))
    }

    /// The same behind the last record.
    fn tell_rest(&mut self, each: &mut impl FnMut(Change) -> bool) -> Result<bool, redb::Error> {
        while let Some(told) = self.take(None)? {
            if told.record.is_some() && !each(told) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
