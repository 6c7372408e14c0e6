//! Which records have changed, for whoever wants to know.
//!
//! Invariant: each listener gets every change since it subscribed, by serial, or learns that there were too many to name;
//! then it has to look at all records. Listeners do not wait for each other, and none holds up the one who tells. Nothing
//! is collected while nobody listens, and never more than [`limits::CHANGES_TOLD_MAX`] for one listener. It does not know
//! what a record says.
//!
//! A change is told after the records show it. So whoever subscribes first and then looks at the records misses nothing.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::{limits, pki::Serial};

/// What has changed since the last call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Changed {
    /// Nothing.
    #[default]
    Nothing,
    /// These serials, in order, possibly with duplicates.
    These(Vec<Serial>),
    /// Too many to name.
    Many,
}

/// Called after each change, on the thread that made it: it has to be short, and must not wait.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The changes of one issuer's records.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Vec<Weak<Queue>>>);

/// Hears of changes until it is dropped. A call of its wake-up that has begun may still end after that.
#[derive(Debug)]
pub struct Listener(Arc<Queue>);

struct Queue {
    changed: Mutex<Changed>,
    wake: Wake,
}

impl Changes {
    /// Another listener, which hears of every change from now on. `wake` is called after each.
    pub fn subscribe(&self, wake: Wake) -> Listener {
        let queue = Arc::new(Queue { changed: Mutex::default(), wake });
        lock(&self.0).push(Arc::downgrade(&queue));
        Listener(queue)
    }

    /// Notes that the records show more changes than can be named.
    pub(crate) fn tell_many(&self) {
        self.tell(limits::CHANGES_TOLD_MAX + 1, std::iter::empty());
    }

    /// Notes changes that the records already show.
    pub fn tell(&self, count: usize, serials: impl Iterator<Item = Serial> + Clone) {
        if count == 0 {
            return;
        }
        let mut listening = Vec::new();
        lock(&self.0).retain(|queue| queue.upgrade().map(|queue| listening.push(queue)).is_some());
        for queue in listening {
            queue.add(count, serials.clone());
            (queue.wake)();
        }
    }
}

impl Listener {
    /// What has changed since the last call, or since it subscribed.
    pub fn take(&self) -> Changed {
        std::mem::take(&mut lock(&self.0.changed))
    }
}

impl Queue {
    fn add(&self, count: usize, serials: impl Iterator<Item = Serial>) {
        let mut changed = lock(&self.changed);
        match &mut *changed {
            Changed::Nothing if count <= limits::CHANGES_TOLD_MAX => *changed = Changed::These(serials.collect()),
            Changed::These(known) if known.len() + count <= limits::CHANGES_TOLD_MAX => known.extend(serials),
            _ => *changed = Changed::Many,
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("changed", &self.changed).finish_non_exhaustive()
    }
}

/// What it guards is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::{
            atomic::{AtomicUsize, Ordering::SeqCst},
            mpsc,
        },
    };

    use super::*;
    use crate::{
        pki::{Record, Status},
        records::{Change, Records},
    };

    fn serial(number: usize) -> Serial {
        Serial::from_magnitude(&(number as u64 + 1).to_be_bytes()).unwrap()
    }

    fn quietly() -> Wake {
        Arc::new(|| ())
    }

    #[test]
    fn whoever_listens_hears_of_every_change_or_that_there_were_many() {
        let changes = Changes::default();
        let tell = |range: std::ops::Range<usize>| changes.tell(range.len(), range.map(serial));
        tell(0..3);
        let listener = changes.subscribe(quietly());
        assert_eq!(listener.take(), Changed::Nothing, "nobody listened");
        tell(0..2);
        tell(5..6);
        assert_eq!(listener.take(), Changed::These(vec![serial(0), serial(1), serial(5)]));
        assert_eq!(listener.take(), Changed::Nothing);
        tell(0..limits::CHANGES_TOLD_MAX);
        tell(0..1);
        tell(7..9);
        assert_eq!(listener.take(), Changed::Many);
        tell(7..8);
        assert_eq!(listener.take(), Changed::These(vec![serial(7)]));
    }

    #[test]
    fn listeners_have_queues_and_wake_ups_of_their_own_until_they_are_dropped() {
        let changes = Changes::default();
        let woken: [Arc<AtomicUsize>; 2] = Default::default();
        let [one, two] = woken.clone().map(|woken| {
            changes.subscribe(Arc::new(move || {
                woken.fetch_add(1, SeqCst);
            }))
        });
        let tell = |number| changes.tell(1, [serial(number)].into_iter());
        let count = || [0, 1].map(|place: usize| woken[place].load(SeqCst));
        tell(1);
        assert_eq!(one.take(), Changed::These(vec![serial(1)]));
        tell(2);
        changes.tell(0, std::iter::empty());
        assert_eq!(count(), [2, 2]);
        assert_eq!(two.take(), Changed::These(vec![serial(1), serial(2)]), "what another takes is not lost");
        drop(one);
        tell(3);
        assert_eq!(count(), [2, 3]);
        assert_eq!(two.take(), Changed::These(vec![serial(3)]));
        drop(two);
        tell(4);
        assert_eq!((count(), changes.0.lock().unwrap().len()), ([2, 3], 0), "nothing is kept for nobody");
    }

    /// Whoever is woken may look, subscribe or end at once.
    #[test]
    fn a_wake_up_comes_after_the_change_and_outside_of_locks() {
        let changes = Arc::new(Changes::default());
        let (records, mut writer) = Records::new();
        let listener: Arc<Mutex<Option<Listener>>> = Arc::default();
        let (sender, seen) = mpsc::channel();
        let wake = {
            let (changes, listener) = (Arc::clone(&changes), Arc::clone(&listener));
            move || {
                let listener = listener.lock().unwrap().take().unwrap();
                sender.send((listener.take(), records.get(&serial(1)).is_some())).unwrap();
                drop(changes.subscribe(quietly()));
            }
        };
        *listener.lock().unwrap() = Some(changes.subscribe(Arc::new(wake)));
        writer.apply([Change::new(serial(1), Some(Record { status: Status::Good, not_after: None }))]);
        changes.tell(1, [serial(1)].into_iter());
        assert_eq!(seen.try_recv().unwrap(), (Changed::These(vec![serial(1)]), true));
    }

    /// A listener subscribes and then looks at the records, while they change.
    #[test]
    fn nothing_is_lost_between_subscribing_and_the_first_look() {
        const COUNT: usize = 3000;
        let good = Some(Record { status: Status::Good, not_after: None });
        for round in 0..20 {
            let changes = Changes::default();
            let (records, mut writer) = Records::new();
            let begun = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                let telling = scope.spawn(|| {
                    for number in 0..COUNT {
                        writer.apply([Change::new(serial(number), good)]);
                        changes.tell(1, [serial(number)].into_iter());
                        begun.fetch_add(1, SeqCst);
                    }
                });
                while begun.load(SeqCst) < round * COUNT / 20 {
                    std::thread::yield_now();
                }
                let listener = changes.subscribe(quietly());
                let mut known = HashSet::new();
                for number in 0..COUNT {
                    known.extend(records.get(&serial(number)).map(|_| serial(number)));
                }
                loop {
                    let last = telling.is_finished();
                    if let Changed::These(serials) = listener.take() {
                        known.extend(serials);
                    }
                    if last {
                        break;
                    }
                }
                assert_eq!(known.len(), COUNT);
            });
        }
    }
}
