//! What the charts are drawn from: samples of a few meters, the last hour of them.
//!
//! Purpose: keeps samples in a ring, and makes a curve of them. Invariants: it never grows beyond its bound; a counter that
//! begins again, because a part of the service was replaced, makes a gap and no peak; what was not measured is a gap as well.
//! Pure: the time is a parameter. It does not know what is measured.

use std::{collections::VecDeque, time::Duration};

use crate::pki::UnixTime;

/// What the values of a meter are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// They count up; what is shown is how many there were in a second.
    Counter,
    /// They are as they are.
    Level,
}

/// Values of all meters at one time, in the meters' order.
#[derive(Clone, Debug)]
struct Sample {
    at: UnixTime,
    values: Box<[f64]>,
}

/// The last samples.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    most: usize,
    /// What is longer apart than this has a gap in between.
    apart_max: Duration,
    samples: VecDeque<Sample>,
}

/// A curve: points at equal distances, the last one at the end of the time that is shown. `None` is a gap.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Curve {
    /// The time from the first point to the last.
    pub(super) span: Duration,
    pub(super) points: Vec<Option<f64>>,
}

impl Ring {
    /// A ring of at most so many samples, which are to come at this interval.
    pub(super) fn new(most: usize, interval: Duration) -> Self {
        Self { most, apart_max: 3 * interval, samples: VecDeque::with_capacity(most) }
    }

    /// Takes a sample. A clock that was set back begins anew.
    pub(super) fn take(&mut self, at: UnixTime, values: Box<[f64]>) {
        if self.samples.back().is_some_and(|last| last.at >= at || last.values.len() != values.len()) {
            self.samples.clear();
        }
        while self.samples.len() >= self.most {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at, values });
    }

    /// The curve of a meter over the last `span` before `now`, in `points` points: the mean of what falls to each.
    pub(super) fn curve(&self, meter: usize, kind: Kind, span: Duration, points: usize, now: UnixTime) -> Curve {
        let mut sums = vec![(0.0, 0_u32); points];
        let begin = now.before(span);
        for (at, value) in self.values(meter, kind) {
            if at <= begin || at > now || span.is_zero() {
                continue;
            }
            let place = (at.since(begin).as_secs_f64() / span.as_secs_f64() * points as f64).ceil() as usize;
            if let Some((sum, count)) = sums.get_mut(place.saturating_sub(1)) {
                (*sum, *count) = (*sum + value, *count + 1);
            }
        }
        let points = sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / f64::from(count))).collect();
        Curve { span, points }
    }

    /// The mean over the last `span`; `None` where nothing was measured.
    pub(super) fn mean(&self, meter: usize, kind: Kind, span: Duration, now: UnixTime) -> Option<f64> {
        self.curve(meter, kind, span, 1, now).points[0]
    }

    /// The values of a meter with their times: of a counter, how many a second there were since the sample before.
    fn values(&self, meter: usize, kind: Kind) -> impl Iterator<Item = (UnixTime, f64)> {
        let of = move |sample: &Sample| sample.values.get(meter).copied().filter(|value| value.is_finite());
        let levels = self.samples.iter().filter_map(move |sample| Some((sample.at, of(sample)?)));
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        let rates = pairs.filter_map(move |(before, sample)| {
            let (apart, grown) = (sample.at.since(before.at), of(sample)? - of(before)?);
            let counts = !apart.is_zero() && apart <= self.apart_max && grown >= 0.0;
            counts.then(|| (sample.at, grown / apart.as_secs_f64()))
        });
        let (levels, rates) = match kind {
            Kind::Level => (Some(levels), None),
            Kind::Counter => (None, Some(rates)),
        };
        levels.into_iter().flatten().chain(rates.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(5);

    fn ring(samples: &[(u64, f64)]) -> Ring {
        let mut ring = Ring::new(720, STEP);
        for (at, value) in samples {
            ring.take(UnixTime(*at), Box::new([*value]));
        }
        ring
    }

    fn points(ring: &Ring, kind: Kind, span: u64, points: usize, now: u64) -> Vec<Option<f64>> {
        ring.curve(0, kind, Duration::from_secs(span), points, UnixTime(now)).points
    }

    #[test]
    fn counters_become_rates_with_gaps_where_they_begin_again_or_nothing_was_measured() {
        let ring = ring(&[(100, 10.0), (105, 20.0), (110, 20.0), (115, 3.0), (120, 8.0), (160, 500.0), (165, 505.0)]);
        // From 100 on, in steps of five seconds.
        let rates = points(&ring, Kind::Counter, 65, 13, 165);
        let [mut expected, gap] = [vec![Some(2.0), Some(0.0), None, Some(1.0)], vec![None; 8]];
        expected.extend(gap);
        expected.push(Some(1.0));
        assert_eq!(rates, expected);
        let levels = points(&ring, Kind::Level, 10, 2, 110);
        assert_eq!(levels, [Some(20.0), Some(20.0)]);
        assert_eq!(ring.mean(0, Kind::Counter, Duration::from_secs(10), UnixTime(110)), Some(1.0));
        assert_eq!(ring.mean(0, Kind::Counter, Duration::from_secs(10), UnixTime(400)), None);
        assert_eq!(points(&ring, Kind::Level, 0, 2, 110), [None, None]);
        // A meter that is not there, and a value that is none.
        assert_eq!(ring.curve(7, Kind::Level, STEP, 1, UnixTime(110)).points, [None]);
        assert_eq!(points(&super::tests::ring(&[(5, f64::NAN)]), Kind::Level, 10, 1, 10), [None]);
    }

    #[test]
    fn it_keeps_as_many_as_it_may_and_begins_anew_when_the_clock_was_set_back() {
        let mut ring = Ring::new(3, STEP);
        for at in 0..100 {
            ring.take(UnixTime(at), Box::new([at as f64]));
        }
        assert_eq!(ring.samples.iter().map(|sample| sample.at.0).collect::<Vec<_>>(), [97, 98, 99]);
        ring.take(UnixTime(50), Box::new([1.0]));
        assert_eq!(ring.samples.len(), 1);
        // So it does when a program has other meters.
        ring.take(UnixTime(51), Box::new([1.0, 2.0]));
        assert_eq!(ring.samples.len(), 1);
    }

    #[test]
    fn several_samples_that_fall_to_one_point_are_averaged() {
        let ring = ring(&[(100, 1.0), (105, 2.0), (110, 3.0), (115, 4.0), (120, 9.0)]);
        assert_eq!(points(&ring, Kind::Level, 20, 2, 120), [Some(2.5), Some(6.5)]);
    }
}
