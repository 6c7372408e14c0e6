//! Serial numbers of time-stamp tokens: unique, without coordination.
//!
//! Invariant: no serial number occurs twice, across threads, processes, replicas, crashes, restarts and steps of the
//! clock. Nothing is kept on disk and nothing is shared, so there is nothing to lose. It does not know tokens, or other
//! sources of numbers.
//!
//! A serial number has 160 bits:
//!
//! ```text
//! 01 │ fresh: 64 bits │ position: 94 bits, masked by a function of fresh
//! ```
//!
//! *fresh* comes from the operating system for this number alone. *position* counts up by one from a start that was
//! drawn when these [`Serials`] were made. The first two bits make a DER INTEGER that is positive, minimal and always
//! of 20 bytes.
//!
//! **In one [`Serials`]** equality is impossible: it would need equal *fresh*, therefore equal masks, therefore equal
//! positions, and those repeat after 2⁹⁴ numbers. That holds whatever *fresh* is.
//!
//! **For two [`Serials`]**, wherever and whenever each was made, draw one number from each. *fresh* of the one is
//! independent of the other's, and so is its start: the numbers are equal with probability 2⁻⁶⁴ · 2⁻⁹⁴ = 2⁻¹⁵⁸. T
//! numbers drawn under one name have fewer than T²/2 pairs, so a number is ever used twice with probability below T² ·
//! 2⁻¹⁵⁹. For T = 2⁶⁰, 36 million a second for a thousand years, that is 2⁻³⁹; how they are spread over threads,
//! replicas and restarts does not matter. No clock takes part in this, so stepping one changes nothing.
//!
//! **For two copies of one [`Serials`]**, after a fork, or a machine snapshot that is resumed twice, numbers at the
//! same position are equal with probability 2⁻⁶⁴, since *fresh* is drawn after the copy was made: for 2⁴⁰ numbers from
//! each, 2⁻²⁴. The kernel draws differently in both if the hypervisor reports the copy (vmgenid, Linux 5.18). In case
//! it does not, the clock's nanoseconds are added: the sum of a uniform value and an independent one is uniform.
//!
//! **What a number reveals**: nothing about how many were drawn between two of them. The mask is a pseudo-random
//! function (std's SipHash under a key of these [`Serials`]). A plain bijection of the position, as by AES, would need
//! a block of 94 bits and hide no more. If the function were broken, numbers would still be unique.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::rand::{GetRandomFlags, getrandom};

/// Bytes of every serial number: 160 bits, which RFC 3161 section 2.4.2 asks clients to take.
pub const OCTETS: usize = 20;

const POSITION_BITS: u32 = 94;
const POSITIONS: u128 = 1 << POSITION_BITS;
const _: () = assert!(2 + u64::BITS + POSITION_BITS == 8 * OCTETS as u32);

/// The content bytes of a DER INTEGER.
pub type SerialNumber = [u8; OCTETS];

/// Where serial numbers come from; one for each thread that needs some, or several.
///
/// There is no way to copy one:
///
/// ```compile_fail
/// let serials = responder::tsa::serial::Serials::new().unwrap();
/// let copy = serials.clone();
/// ```
#[derive(Debug)]
pub struct Serials {
    /// Below [`POSITIONS`].
    position: u128,
    mask: RandomState,
}

impl Serials {
    /// Draws the start. Waits until the operating system has gathered randomness, once after boot.
    pub fn new() -> io::Result<Self> {
        let mut start = [0; 16];
        fill(&mut start)?;
        Ok(Self { position: u128::from_ne_bytes(start) % POSITIONS, mask: RandomState::new() })
    }

    /// The next number. Fails only if the operating system now refuses the randomness that it gave to [`Self::new`].
    #[inline]
    pub fn next_serial(&mut self) -> io::Result<SerialNumber> {
        let mut drawn = [0; 8];
        fill(&mut drawn)?;
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        Ok(self.number(u64::from_ne_bytes(drawn).wrapping_add(self.mask.hash_one(clock))))
    }

    /// The next number with this value for *fresh*.
    fn number(&mut self, fresh: u64) -> SerialNumber {
        let mask = u128::from(self.mask.hash_one((fresh, 0_u8))) << 64 | u128::from(self.mask.hash_one((fresh, 1_u8)));
        let masked = self.position.wrapping_add(mask) % POSITIONS;
        self.position = (self.position + 1) % POSITIONS;
        // The first 32 bits and the other 128: 01, 30 bits of fresh; 34 bits of fresh, 94 of the position.
        let first = 0x4000_0000 | (fresh >> 34) as u32;
        let rest = u128::from(fresh) << POSITION_BITS | masked;
        let mut number = [0; OCTETS];
        number[..4].copy_from_slice(&first.to_be_bytes());
        number[4..].copy_from_slice(&rest.to_be_bytes());
        number
    }
}

/// From the operating system each time: state within the process would be copied along with it.
#[inline]
fn fill(room: &mut [u8]) -> io::Result<()> {
    loop {
        match getrandom(&mut *room, GetRandomFlags::empty()) {
            // Requests of up to 256 bytes are answered completely.
            Ok(count) if count == room.len() => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use der::{Decode as _, Encode as _, asn1::Int};
    use proptest::prelude::*;

    use super::*;

    fn parts(number: SerialNumber) -> (u64, u128) {
        let first = u32::from_be_bytes(number[..4].try_into().unwrap());
        let rest = u128::from_be_bytes(number[4..].try_into().unwrap());
        (u64::from(first & 0x3FFF_FFFF) << 34 | (rest >> POSITION_BITS) as u64, rest % POSITIONS)
    }

    proptest! {
        #[test]
        fn every_serial_is_a_positive_minimal_integer_of_20_octets(fresh: u64, position in 0..POSITIONS) {
            let mut serials = Serials { position, mask: RandomState::new() };
            let number = serials.number(fresh);
            prop_assert!((0x40..0x80).contains(&number[0]), "{number:x?}");
            let der = [&[0x02, OCTETS as u8][..], &number].concat();
            prop_assert_eq!(Int::from_der(&der).unwrap().to_der().unwrap(), der, "as another encoder writes it");
            prop_assert_eq!(parts(number).0, fresh, "all of fresh is in it");
            prop_assert_eq!(serials.position, (position + 1) % POSITIONS);
        }

        #[test]
        fn fresh_and_position_are_found_again_in_the_serial(fresh: u64, position in 0..POSITIONS) {
            let mut serials = Serials { position, mask: RandomState::new() };
            let zero = Serials { position: 0, mask: serials.mask.clone() }.number(fresh);
            let (_, masked) = parts(serials.number(fresh));
            prop_assert_eq!((masked + POSITIONS - parts(zero).1) % POSITIONS, position, "no two give the same number");
        }
    }

    #[test]
    fn no_serial_comes_twice_even_if_the_system_always_draws_the_same() {
        let mut serials = Serials { position: POSITIONS - 5000, mask: RandomState::new() };
        let numbers: HashSet<_> = (0..10_000).map(|_| serials.number(7)).collect();
        assert_eq!(numbers.len(), 10_000);
        assert_eq!(serials.position, 5000, "past the last position comes the first");
    }

    #[test]
    fn a_copy_of_the_process_goes_on_with_other_serials() {
        let mut here = Serials::new().unwrap();
        let mut copy = Serials { position: here.position, mask: here.mask.clone() };
        for _ in 0..1000 {
            assert_ne!(here.next_serial().unwrap(), copy.next_serial().unwrap());
        }
    }

    #[test]
    fn starts_differ() {
        let starts: HashSet<_> = (0..1000).map(|_| Serials::new().unwrap().position).collect();
        assert_eq!(starts.len(), 1000);
    }

    #[test]
    fn serials_do_not_tell_how_many_came_between() {
        let mut serials = Serials::new().unwrap();
        let numbers: Vec<_> = (0..1000).map(|_| serials.next_serial().unwrap()).collect();
        let rising = numbers.windows(2).filter(|pair| parts(pair[0]).1 < parts(pair[1]).1).count();
        // If positions were visible, all numbers but one would rise. 500 ± 5 standard deviations (15.8, less for
        // neighbours).
        assert!((420..580).contains(&rising), "{rising} of 999 rise");
        let near = numbers.windows(2).filter(|pair| parts(pair[0]).1.abs_diff(parts(pair[1]).1) < 1 << 60).count();
        assert_eq!(near, 0, "neighbours are not near each other");
    }
}
