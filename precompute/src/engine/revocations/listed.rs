//! The certificates that CRLs list, 26 bytes each: there may be ten million.
//!
//! Invariant: after [`List::close`] each serial is there once, in order, with the strictest status that was added. It does
//! not know CRLs.

use crate::{
    ledger::reconcile::{HOLD, stricter, strictness},
    pki::{Reason, Serial, Status, UnixTime},
};

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Listed {
    serial: Serial,
    /// Seconds, which fit: a CRL's are clamped to 32 bits.
    time: [u8; 4],
    reason: Reason,
    taken: bool,
}

const _: () = assert!(size_of::<Listed>() == 26);

impl Listed {
    /// `None` for what is not revoked.
    fn new(serial: Serial, status: Status) -> Option<Self> {
        let Status::Revoked { time, reason } = status else { return None };
        let time = u32::try_from(time.0).unwrap_or(u32::MAX).to_be_bytes();
        Some(Self { serial, time, reason, taken: false })
    }

    fn status(&self) -> Status {
        Status::Revoked { time: UnixTime(u32::from_be_bytes(self.time).into()), reason: self.reason }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct List(Vec<Listed>);

impl List {
    /// How many were added.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes room for as many more.
    pub(super) fn reserve(&mut self, count: usize) {
        self.0.reserve_exact(count);
    }

    /// Adds those that are revoked.
    pub(super) fn extend(&mut self, entries: impl IntoIterator<Item = (Serial, Status)>) {
        self.0.extend(entries.into_iter().filter_map(|(serial, status)| Listed::new(serial, status)));
    }

    /// Keeps of those behind the first `start` what is to be kept.
    pub(super) fn retain_from(&mut self, start: usize, is_kept: impl Fn(&Serial, Status) -> bool) {
        let mut at = 0;
        self.0.retain(|listed| {
            at += 1;
            at <= start || is_kept(&listed.serial, listed.status())
        });
    }

    /// Whether one of those behind the first `start` is on hold.
    pub(super) fn has_hold_from(&self, start: usize) -> bool {
        self.0[start..].iter().any(|listed| strictness(listed.status()) == HOLD)
    }

    /// Sorts them, and keeps of several for one serial the strictest.
    pub(super) fn close(&mut self) {
        // Most CAs write them in order. A stable sort would take half as much memory again.
        if !self.0.is_sorted_by_key(|listed| (listed.serial, listed.time, listed.reason)) {
            // Of two that are equally strict the earlier counts.
            self.0.sort_unstable_by_key(|listed| (listed.serial, listed.time, listed.reason));
        }
        self.0.dedup_by(|later, kept| {
            let same = later.serial == kept.serial;
            if same && let Some(stricter) = Listed::new(kept.serial, stricter(kept.status(), later.status())) {
                *kept = stricter;
            }
            same
        });
    }

    /// The status of one, which is then taken.
    pub(super) fn take(&mut self, serial: &Serial) -> Option<Status> {
        let at = self.0.binary_search_by_key(serial, |listed| listed.serial).ok()?;
        self.0[at].taken = true;
        Some(self.0[at].status())
    }

    /// Resets to the state where none was taken.
    pub(super) fn take_none(&mut self) {
        self.0.iter_mut().for_each(|listed| listed.taken = false);
    }

    /// Takes those out that were not taken, the last first. Memory is given back meanwhile: what is made of ten million
    /// takes twice as much.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Serial, Status)> + '_ {
        const GIVEN_BACK: usize = 1 << 16;
        std::iter::from_fn(move || {
            loop {
                let listed = self.0.pop()?;
                if self.0.len().is_multiple_of(GIVEN_BACK) {
                    self.0.shrink_to_fit();
                }
                if !listed.taken {
                    return Some((listed.serial, listed.status()));
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn any_entry() -> impl Strategy<Value = (Serial, Status)> {
        let serial = (1..6u8).prop_map(|serial| Serial::from_magnitude(&[serial]).unwrap());
        let reason = prop::sample::select(vec![Reason::CertificateHold, Reason::KeyCompromise, Reason::Superseded]);
        let time = prop_oneof![0..4u64, Just(u64::from(u32::MAX))].prop_map(UnixTime);
        let status = (time, reason).prop_map(|(time, reason)| Status::Revoked { time, reason });
        (serial, prop_oneof![4 => status, 1 => Just(Status::Good)])
    }

    proptest! {
        #[test]
        fn each_serial_is_there_once_with_the_strictest_whatever_the_order(
            entries in vec(any_entry(), 0..20),
            asked in vec(1..8u8, 0..4),
            start in 0..10usize,
        ) {
            let close = |entries: &[(Serial, Status)]| {
                let mut list = List::default();
                list.extend(entries.iter().copied());
                list.close();
                list
            };
            let (mut list, reversed) = (close(&entries), entries.iter().rev().copied().collect::<Vec<_>>());
            let drained = |mut list: List| {
                let mut all: Vec<_> = list.drain().collect();
                all.reverse();
                all
            };
            let all = drained(close(&entries));
            prop_assert!(all.is_sorted_by(|first, second| first.0 < second.0));
            prop_assert_eq!(&all, &drained(close(&reversed)));
            for (serial, status) in &entries {
                let kept = all.iter().find(|(kept, _)| kept == serial).map(|(_, kept)| *kept);
                prop_assert_eq!(kept.is_none() && *status != Status::Good, false);
                prop_assert!(kept.is_none_or(|kept| strictness(kept) >= strictness(*status)));
                prop_assert!(kept.is_none_or(|kept| entries.contains(&(*serial, kept))));
            }
            let remaining = |list: &List| -> Vec<_> {
                let left = list.0.iter().filter(|listed| !listed.taken);
                left.map(|listed| (listed.serial, listed.status())).collect()
            };
            let mut left = all.clone();
            for serial in asked.iter().map(|serial| Serial::from_magnitude(&[*serial]).unwrap()) {
                let expected = all.iter().find(|(kept, _)| *kept == serial).map(|(_, kept)| *kept);
                prop_assert_eq!(list.take(&serial), expected);
                left.retain(|(kept, _)| *kept != serial);
            }
            prop_assert_eq!(remaining(&list), left);
            list.take_none();
            prop_assert_eq!(remaining(&list), all.clone());
            list.retain_from(start, |_, status| strictness(status) != HOLD);
            let kept = all.iter().enumerate().filter(|(at, (_, status))| *at < start || strictness(*status) != HOLD);
            prop_assert_eq!(remaining(&list), kept.map(|(_, entry)| *entry).collect::<Vec<_>>());
            prop_assert_eq!(list.has_hold_from(start.min(list.len())), false);
            if let Some((serial, _)) = all.first() {
                list.take(serial);
                let left = remaining(&list);
                prop_assert_eq!(drained(list), left);
            }
        }
    }
}
