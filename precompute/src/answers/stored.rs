//! An answer as bytes: in a store, and on its way to others.
//!
//! Invariant: what is read is what was written; a state says what the record says, without the counter of a process. It
//! does not know files, or how the bytes travel. An entry's length follows from its form, so none is written.

use super::Entry;
use crate::{
    pki::{Serial, UnixTime},
    records::StateWord,
};

/// Bytes of an entry before its signature: serial, what the record says, three times.
pub const HEAD: usize = Serial::MAX_OCTETS + 8 + 3 * 4;

/// An answer as it is stored. Its state says what the record says, without the counter of this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The serial of the certificate.
    pub serial: Serial,
    /// What is kept with it, beside the signature.
    pub entry: Entry,
    /// The signature.
    pub packed: Vec<u8>,
}

impl Stored {
    /// Adds its bytes. One with times after 2106 is left out, and false is returned; the table does not accept it either.
    pub fn write(&self, entries: &mut Vec<u8>) -> bool {
        let Entry { state, this_update, next_update, refresh_at } = self.entry;
        let mut times = [0; 12];
        for (time, place) in [this_update, next_update, refresh_at].into_iter().zip(times.chunks_exact_mut(4)) {
            let Ok(seconds) = u32::try_from(time.0) else { return false };
            place.copy_from_slice(&seconds.to_be_bytes());
        }
        entries.extend_from_slice(self.serial.padded());
        entries.extend_from_slice(&state.said().to_be_bytes());
        entries.extend_from_slice(&times);
        entries.extend_from_slice(&self.packed);
        true
    }
}

/// Calls `each` with the entries; `packed_length`: the length of the form's signatures.
pub fn each_entry<'e>(entries: &'e [u8], packed_length: usize, mut each: impl FnMut(Serial, Entry, &'e [u8])) {
    for entry in entries.chunks_exact(HEAD + packed_length) {
        let (head, packed) = entry.split_at(HEAD);
        let (serial, rest) = head.split_at(Serial::MAX_OCTETS);
        let (said, times) = rest.split_at(8);
        let time = |place: usize| {
            let octets = std::array::from_fn(|at| times[4 * place + at]);
            UnixTime(u64::from(u32::from_be_bytes(octets)))
        };
        let state = StateWord::from_word(u64::from_be_bytes(std::array::from_fn(|at| said[at])));
        let entry = Entry { state, this_update: time(0), next_update: time(1), refresh_at: time(2) };
        if let Some(serial) = Serial::from_magnitude(serial) {
            each(serial, entry, packed);
        }
    }
}
