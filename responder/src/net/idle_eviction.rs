//! Makes room for a new connection if the maximum is reached: ends the one that has been idle longest.
//!
//! Without this, a client that opens connections and sends nothing would keep all others out. Connections are only
//! searched when there is no room, and once for many new ones; no request comes through here. It does not know what a
//! connection serves.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use slab::Slab;

use super::deadline::{ConnectionState, Silence};
use crate::limits;

/// The connections that go next.
#[derive(Default)]
pub(super) struct IdleEviction {
    /// Those that were idle longest at the last search, with their idle time; the longest last.
    next: RefCell<Vec<(Silence, Weak<ConnectionState>)>>,
    /// The tick of that search.
    looked: Cell<u32>,
    /// The tick of a search that found none.
    in_vain: Cell<Option<u32>>,
}

impl IdleEviction {
    /// Ends a connection; false if all are busy.
    pub(super) fn make_room(&self, connections: &Slab<Rc<ConnectionState>>, tick: u32) -> bool {
        if self.end_next(tick) {
            return true;
        }
        if self.in_vain.get() == Some(tick) {
            return false;
        }
        self.look(connections, tick);
        let made = self.end_next(tick);
        self.in_vain.set((!made).then_some(tick));
        made
    }

    /// Ends the next one that is still idle.
    fn end_next(&self, tick: u32) -> bool {
        let mut next = self.next.borrow_mut();
        while let Some((noted, watched)) = next.pop() {
            // It may have gone, or have sent a request since.
            let still = Silence { ticks: noted.ticks + tick.wrapping_sub(self.looked.get()), ..noted };
            if let Some(watched) = watched.upgrade().filter(|watched| watched.silence(tick) == Some(still)) {
                watched.end.end();
                return true;
            }
        }
        false
    }

    fn look(&self, connections: &Slab<Rc<ConnectionState>>, tick: u32) {
        let silent =
            |(_, watched): (usize, &Rc<ConnectionState>)| Some((watched.silence(tick)?, Rc::downgrade(watched)));
        let mut silent: Vec<_> = connections.iter().filter_map(silent).collect();
        if silent.len() > limits::ROOM_AT_ONCE {
            let rest = silent.len() - limits::ROOM_AT_ONCE;
            silent.select_nth_unstable_by_key(rest, |(silence, _)| *silence);
            silent.drain(..rest);
            silent.shrink_to_fit();
        }
        silent.sort_unstable_by_key(|(silence, _)| *silence);
        self.next.replace(silent);
        self.looked.set(tick);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::deadline::Phase, *};

    fn connection(phase: Phase, since: u32) -> Rc<ConnectionState> {
        let watched = ConnectionState::new(since);
        watched.enter(phase, since);
        Rc::new(watched)
    }

    fn ended(connections: &Slab<Rc<ConnectionState>>) -> Vec<usize> {
        connections.iter().filter(|(_, watched)| watched.end.is_ended()).map(|(key, _)| key).collect()
    }

    #[test]
    fn who_has_been_idle_longest_goes_first_and_who_is_at_work_never() {
        let eviction = IdleEviction::default();
        let connections: Slab<_> = [
            connection(Phase::Answer, 0),
            connection(Phase::Idle, 7),
            connection(Phase::Head, 1),
            connection(Phase::Fresh, 5),
            connection(Phase::Idle, 9),
            connection(Phase::Write, 0),
            connection(Phase::Body, 9),
        ]
        .into_iter()
        .enumerate()
        .collect();
        let mut order = Vec::new();
        while eviction.make_room(&connections, 10) {
            let new: Vec<_> = ended(&connections).into_iter().filter(|key| !order.contains(key)).collect();
            assert_eq!(new.len(), 1, "one at a time");
            order.extend(new);
        }
        assert_eq!(order, [3, 1, 4, 2], "idle ones by age, then who is slow to ask; a body of this second may go on");
    }

    #[test]
    fn who_has_begun_something_since_the_look_stays() {
        let eviction = IdleEviction::default();
        let mut connections: Slab<_> = (0..4).map(|since| (since as usize, connection(Phase::Idle, since))).collect();
        assert!(eviction.make_room(&connections, 10));
        connections[1].enter(Phase::Answer, 11);
        connections[1].enter(Phase::Idle, 11);
        connections.remove(2);
        assert!(eviction.make_room(&connections, 12));
        assert_eq!(ended(&connections), [0, 3]);
        assert!(eviction.make_room(&connections, 12), "a new look");
        assert_eq!(ended(&connections), [0, 1, 3]);
        assert!(!eviction.make_room(&connections, 12));
        connections.insert(connection(Phase::Idle, 12));
        assert!(!eviction.make_room(&connections, 12), "looks in vain are bounded to one a tick");
        assert!(eviction.make_room(&connections, 13));
    }

    #[test]
    fn one_look_serves_for_many() {
        let eviction = IdleEviction::default();
        let count = 3 * limits::ROOM_AT_ONCE;
        let connections: Slab<_> = (0..count).map(|key| (key, connection(Phase::Idle, (count - key) as u32))).collect();
        for made in 1..=count {
            assert!(eviction.make_room(&connections, count as u32 + 1));
            assert_eq!(ended(&connections).first(), Some(&(count - made)), "the longest idle of those left");
        }
    }
}
