//! The Date field, RFC 9110 section 6.6.1, written once a second. It does not read a clock.

use std::cell::Cell;

use precompute::pki::UnixTime;

/// An IMF-fixdate.
pub type Date = [u8; 29];

/// The last date that was written, reused within the same second.
#[derive(Debug)]
pub struct Dates(Cell<(UnixTime, Date)>);

impl Default for Dates {
    fn default() -> Self {
        Self(Cell::new((UnixTime(0), UnixTime(0).imf_fixdate())))
    }
}

impl Dates {
    /// The date for this second.
    pub fn at(&self, now: UnixTime) -> Date {
        let (second, date) = self.0.get();
        if second == now {
            return date;
        }
        let date = now.imf_fixdate();
        self.0.set((now, date));
        date
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own_date() {
        let dates = Dates::default();
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
        ] {
            assert_eq!(dates.at(UnixTime(second)), text.as_bytes());
        }
    }
}
