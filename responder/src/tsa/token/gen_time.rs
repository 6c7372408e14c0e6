//! genTime: a GeneralizedTime in UTC with a fraction of a second, RFC 3161 section 2.4.2.

use precompute::{pki::UnixTime, tsp::Precision};

/// The text of a genTime.
#[derive(Clone, Copy, Debug)]
pub struct GenTime {
    octets: [u8; GenTime::OCTETS_MAX],
    length: usize,
}

impl GenTime {
    /// `YYYYMMDDhhmmss.ffffffZ`
    const OCTETS_MAX: usize = 22;

    /// Of nanoseconds since 1970, cut off to `precision`. A fraction has no zeros at its end, and none at all leaves no dot
    /// (DER). Seconds of Unix time never are `:60`.
    pub fn new(nanoseconds: u64, precision: Precision) -> Self {
        let (seconds, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
        let unit = precision.nanoseconds();
        let mut micros = (fraction - fraction % unit) / 1000;
        let mut octets = [0; Self::OCTETS_MAX];
        octets[..15].copy_from_slice(&UnixTime(seconds).generalized());
        let mut length = 14;
        if micros > 0 {
            let mut digits = 6;
            while micros.is_multiple_of(10) {
                micros /= 10;
                digits -= 1;
            }
            octets[14] = b'.';
            for place in (15..15 + digits).rev() {
                octets[place] = b'0' + (micros % 10) as u8;
                micros /= 10;
            }
            length = 15 + digits;
        }
        octets[length] = b'Z';
        Self { octets, length: length + 1 }
    }

    /// Its octets.
    pub fn text(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fraction_has_no_zeros_at_its_end_and_no_bare_dot() {
        const SECOND: u64 = 1_000_000_000;
        for (fraction, precision, text) in [
            (0, Precision::Milliseconds, "20270115080000Z"),
            (999_999_999, Precision::Seconds, "20270115080000Z"),
            (100_000_000, Precision::Milliseconds, "20270115080000.1Z"),
            (120_000_000, Precision::Milliseconds, "20270115080000.12Z"),
            (1_999_999, Precision::Milliseconds, "20270115080000.001Z"),
            (999_999, Precision::Milliseconds, "20270115080000Z"),
            (10_000, Precision::Microseconds, "20270115080000.00001Z"),
            (999_999_999, Precision::Microseconds, "20270115080000.999999Z"),
        ] {
            let time = GenTime::new(1_800_000_000 * SECOND + fraction, precision);
            assert_eq!(std::str::from_utf8(time.text()).unwrap(), text, "{fraction} {precision:?}");
        }
    }

    proptest! {
        #[test]
        fn a_later_time_never_has_an_earlier_text(a in 0..1u64 << 62, step in 0..10_000_000_000u64) {
            for precision in [Precision::Seconds, Precision::Milliseconds, Precision::Microseconds] {
                // Digits behind the dot compare as text once the Z is gone.
                let text = |time: u64| {
                    let text = GenTime::new(time, precision).text().to_vec();
                    text[..text.len() - 1].to_vec()
                };
                prop_assert!(text(a) <= text(a + step));
                let (last, dot) = (text(a).pop(), text(a).contains(&b'.'));
                prop_assert!(!dot || last != Some(b'0') && last != Some(b'.'));
            }
        }
    }
}
