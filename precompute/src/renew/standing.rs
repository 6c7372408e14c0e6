//! Which of the certificates of one key sign. Pure.

use crate::pki::{Certificate, UnixTime};

/// A certificate, and those after it in its file.
pub type Chain = Vec<Certificate>;

/// Which of these certificates of one key sign `now`, in this order: the newest that is valid, with its predecessor before it
/// while that is valid too, or else with the next one after it that is not valid yet. If none is valid, those that are to
/// be, or else the newest that was. The newest is the one that begins last, and of those the one that ends last.
pub fn standing(mut all: Vec<Chain>, now: UnixTime) -> Vec<Chain> {
    all.retain(|chain| !chain.is_empty());
    all.sort_by_key(age);
    all.dedup_by(|one, other| one[0].der() == other[0].der());
    let count_ended = all.iter().filter(|chain| chain[0].not_after() <= now).count();
    if count_ended == all.len() {
        return all.pop().into_iter().collect();
    }
    all.retain(|chain| now < chain[0].not_after());
    let valid = all.iter().filter(|chain| chain[0].not_before() <= now).count();
    // The valid ones come first, since they begin earlier.
    let newest = valid.saturating_sub(1);
    let first = if newest + 1 < all.len() { newest } else { newest.saturating_sub(1) };
    all.into_iter().skip(first).take(2).collect()
}

/// What decides which of two is newer.
pub(super) fn age(chain: &Chain) -> (UnixTime, UnixTime) {
    chain.first().map_or((UnixTime(0), UnixTime(0)), |leaf| (leaf.not_before(), leaf.not_after()))
}
