//! The kernel as a source: adjtimex(2), read and never set.
//!
//! The program that disciplines the clock (chronyd, ntpd, ptp4l with phc2sys) tells the kernel how wrong it may be, and
//! the kernel adds 500 ppm of the time passed since. After 16 s of error, or when the clock is set, the kernel says
//! that it is not synchronised. systemd-timesyncd reports an error of 0 at each of its measurements, so with it only
//! the error added since is known. This module does not know which program it is.

use std::io;

use rtime_clock::adjtime::{Timex, adjtimex};

use super::{Discipline, Leap};

// <linux/timex.h>
const TIME_INS: i32 = 1;
const TIME_DEL: i32 = 2;
const TIME_OOP: i32 = 3;
const TIME_ERROR: i32 = 5;
const STA_UNSYNC: i32 = 0x0040;
const STA_CLOCKERR: i32 = 0x1000;
const STA_NANO: i32 = 0x2000;

/// Asks the kernel.
pub(super) fn read() -> io::Result<Discipline> {
    let mut timex = Timex::new(); // modes = 0: nothing is set
    let state = adjtimex(&mut timex).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!(
                "adjtimex: {error}; if a sandbox refuses it, allow it: in a systemd unit SystemCallFilter=adjtimex clock_adjtime after all others and no ProtectClock="
            ),
        )
    })?;
    let told = Told {
        state,
        status: timex.0.status,
        offset: timex.0.offset,
        max_error_us: timex.0.maxerror,
        estimated_error_us: timex.0.esterror,
    };
    Ok(told.discipline())
}

/// The fields that matter.
#[derive(Clone, Copy, Debug)]
struct Told {
    state: i32,
    status: i32,
    /// What the kernel's own loop still has to correct; nanoseconds or microseconds.
    offset: i64,
    max_error_us: i64,
    estimated_error_us: i64,
}

impl Told {
    fn discipline(self) -> Discipline {
        let unit = if self.status & STA_NANO != 0 { 1 } else { 1000 };
        let error_us = self.max_error_us.unsigned_abs().max(self.estimated_error_us.unsigned_abs());
        Discipline {
            synchronised: self.state != TIME_ERROR && self.status & (STA_UNSYNC | STA_CLOCKERR) == 0,
            // It is added to a clock that is behind by that amount.
            offset: self.offset.saturating_mul(unit).saturating_neg(),
            uncertainty: error_us.saturating_mul(1000),
            leap: match self.state {
                TIME_INS | TIME_DEL => Leap::Announced,
                TIME_OOP => Leap::Now,
                _ => Leap::None,
            },
            measurement: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_mean_what_timex_h_says() {
        let told = |state, status, offset, max_error_us, estimated_error_us| {
            Told { state, status, offset, max_error_us, estimated_error_us }.discipline()
        };
        let good =
            |offset, uncertainty, leap| Discipline { synchronised: true, offset, uncertainty, leap, measurement: None };
        for (discipline, expected) in [
            (told(0, 0x2001, -1500, 2000, 10), good(1500, 2_000_000, Leap::None)),
            (told(0, 0x0001, 3, 2000, 10), good(-3000, 2_000_000, Leap::None)),
            (told(0, 0x2000, 0, 5, 10), good(0, 10_000, Leap::None)),
            (told(1, 0x2010, 0, 1, 1), good(0, 1000, Leap::Announced)),
            (told(2, 0x2020, 0, 1, 1), good(0, 1000, Leap::Announced)),
            (told(3, 0x2010, 0, 1, 1), good(0, 1000, Leap::Now)),
            (told(4, 0x2010, 0, 1, 1), good(0, 1000, Leap::None)),
        ] {
            assert_eq!(discipline, expected);
        }
        for (state, status) in [(5, 0x40), (5, 0), (0, 0x40), (0, 0x1000), (5, 0x2004)] {
            assert!(!told(state, status, 0, 1, 1).synchronised, "{state} {status:#x}");
        }
        assert_eq!(told(0, 0, i64::MIN, i64::MIN, 0).uncertainty, u64::MAX, "nonsense is not trusted");
    }

    #[test]
    fn this_kernel_answers() {
        // Whether it is synchronised depends on the machine. A synchronised kernel reports an error below 16 s; another
        // one has reached that, or was set.
        let discipline = read().unwrap();
        if discipline.synchronised {
            assert!(discipline.uncertainty < 16_000_000_000, "{discipline:?}");
        }
        let again = read().unwrap();
        assert_eq!((discipline.synchronised, discipline.leap), (again.synchronised, again.leap));
    }
}
