//! Work of which one part is done ahead of the other, by a thread of its own.
//!
//! Invariant: what is made is taken in its order, at most so much is made ahead, and nothing is made any more once the taker
//! has had enough. Where no thread can be had it only takes longer. It does not know what is made.

use std::{
    panic::resume_unwind,
    sync::mpsc::sync_channel,
    thread::{self, Builder},
};

/// Runs `make`, which gives one thing after the other until it is told `false`, on a thread with this name, and `take` here,
/// which says whether it wants more. `most`: how many may wait. Returns what `make` returns.
pub fn ahead<T: Send, R: Send>(
    name: &str,
    most: usize,
    make: impl Fn(&mut dyn FnMut(T) -> bool) -> R + Sync,
    mut take: impl FnMut(T) -> bool,
) -> R {
    thread::scope(|scope| {
        let (give, made) = sync_channel(most);
        let make = &make;
        match Builder::new().name(name.into()).spawn_scoped(scope, move || make(&mut |thing| give.send(thing).is_ok()))
        {
            Ok(making) => {
                let _has_all = made.iter().all(&mut take);
                drop(made);
                making.join().unwrap_or_else(|panic| resume_unwind(panic))
            }
            Err(_) => make(&mut take),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    #[test]
    fn what_is_made_comes_in_order_and_no_more_is_made_than_is_wanted() {
        let made = AtomicU32::new(0);
        let make = |give: &mut dyn FnMut(u32) -> bool| {
            (0..1000).all(|number| {
                made.fetch_add(1, Relaxed);
                give(number)
            })
        };
        let mut taken = Vec::new();
        assert!(ahead("all", 4, make, |number| {
            taken.push(number);
            true
        }));
        assert_eq!(taken, (0..1000).collect::<Vec<_>>());
        made.store(0, Relaxed);
        assert!(!ahead("some", 4, make, |number| number < 10));
        assert!((11..=17).contains(&made.load(Relaxed)), "{made:?}");
    }
}
