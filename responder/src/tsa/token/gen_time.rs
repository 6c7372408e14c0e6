//! genTime: a GeneralizedTime in UTC with a fraction of a second, RFC 3161 section 2.4.2. It does not read a clock.

use precompute::{pki::UnixTime, tsp::Precision};

/// A genTime: an instant and its text.
#[derive(Clone, Copy, Debug)]
pub struct GenTime {
    unix_nanos: u64,
    octets: [u8; GenTime::OCTETS_MAX],
    length: usize,
}

impl GenTime {
    /// `YYYYMMDDhhmmss.ffffffZ`
    const OCTETS_MAX: usize = 22;

    /// The time given for an instant in nanoseconds since 1970, see [`Precision::told`]: all times of one precision
    /// have one length. Seconds of Unix time are never `:60`.
    pub fn new(nanoseconds: u64, precision: Precision) -> Self {
        let unix_nanos = precision.told(nanoseconds);
        let (seconds, fraction) = (unix_nanos / 1_000_000_000, unix_nanos % 1_000_000_000);
        let mut octets = [0; Self::OCTETS_MAX];
        octets[..15].copy_from_slice(&UnixTime(seconds).generalized());
        let digits = precision.digits();
        let mut length = 14;
        if digits > 0 {
            octets[14] = b'.';
            let mut units = fraction / precision.nanoseconds();
            for place in (15..15 + digits).rev() {
                octets[place] = b'0' + (units % 10) as u8;
                units /= 10;
            }
            length = 15 + digits;
        }
        octets[length] = b'Z';
        Self { unix_nanos, octets, length: length + 1 }
    }

    /// The instant that it states, in nanoseconds since 1970.
    pub fn unix_nanos(&self) -> u64 {
        self.unix_nanos
    }

    /// Its bytes.
    pub fn text(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fraction_has_all_its_digits_and_does_not_end_in_zero() {
        const SECOND: u64 = 1_000_000_000;
        for (fraction, precision, text) in [
            (0, Precision::Seconds, "20270115080000Z"),
            (999_999_999, Precision::Seconds, "20270115080000Z"),
            (0, Precision::Milliseconds, "20270115075959.999Z"),
            (999_999, Precision::Milliseconds, "20270115075959.999Z"),
            (1_999_999, Precision::Milliseconds, "20270115080000.001Z"),
            (100_000_000, Precision::Milliseconds, "20270115080000.099Z"),
            (120_999_999, Precision::Milliseconds, "20270115080000.119Z"),
            (121_000_000, Precision::Milliseconds, "20270115080000.121Z"),
            (0, Precision::Microseconds, "20270115075959.999999Z"),
            (10_999, Precision::Microseconds, "20270115080000.000009Z"),
            (11_000, Precision::Microseconds, "20270115080000.000011Z"),
            (999_999_999, Precision::Microseconds, "20270115080000.999999Z"),
        ] {
            let time = GenTime::new(1_800_000_000 * SECOND + fraction, precision);
            assert_eq!(std::str::from_utf8(time.text()).unwrap(), text, "{fraction} {precision:?}");
        }
    }

    proptest! {
        #[test]
        fn a_later_time_never_has_an_earlier_text(a in 1u64 << 40..1u64 << 62, step in 0..10_000_000_000u64) {
            for precision in [Precision::Seconds, Precision::Milliseconds, Precision::Microseconds] {
                let times = [a, a + step].map(|time| GenTime::new(time, precision));
                let [first, second] = times.each_ref().map(GenTime::text);
                prop_assert!(first <= second);
                prop_assert_eq!(first.len(), second.len(), "of one precision all are of one length");
                prop_assert!(precision.digits() == 0 || first[first.len() - 2] != b'0');
                let early = a - times[0].unix_nanos();
                prop_assert!(early < precision.told_early_max(), "{} ns early", early);
                // Converting a converted time again gives the same time.
                let again = GenTime::new(times[0].unix_nanos(), precision);
                prop_assert_eq!(again.text(), first);
            }
        }
    }
}
