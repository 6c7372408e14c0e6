//! Buffers that the connections of one worker share.
//!
//! A connection has an output buffer only while it answers, so that ten thousand idle ones hold none. It does not know
//! what is in a buffer.

use std::cell::RefCell;

/// Unused buffers for one purpose.
#[derive(Debug)]
pub struct Buffers {
    free: RefCell<Vec<Vec<u8>>>,
    count_max: usize,
    octets_max: usize,
}

impl Buffers {
    /// Keeps at most `count_max` buffers, each of at most `octets_max` bytes.
    pub const fn new(count_max: usize, octets_max: usize) -> Self {
        Self { free: RefCell::new(Vec::new()), count_max, octets_max }
    }

    /// An empty buffer.
    pub fn take(&self) -> Vec<u8> {
        self.free.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back; frees it if it is too large or one too many.
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if free.len() < self.count_max && (1..=self.octets_max).contains(&buffer.capacity()) {
            buffer.clear();
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_their_memory_is_bounded() {
        let buffers = Buffers::new(3, 1000);
        let mut used = buffers.take();
        used.extend_from_slice(b"an answer");
        let place = used.as_ptr();
        buffers.give(used);
        let again = buffers.take();
        assert!(again.is_empty() && again.as_ptr() == place, "the same one");
        buffers.give(Vec::with_capacity(1001));
        assert_eq!(buffers.take().capacity(), 0, "a large one is freed");
        for _ in 0..10 {
            buffers.give(Vec::with_capacity(1));
        }
        assert_eq!(buffers.free.borrow().len(), 3);
    }
}
