//! What whoever writes or follows a feed has at its rim: clocks, and where snapshots are kept and fetched.
//!
//! Invariant: a writer and a replica agree on these, so a state directory may serve either. It does not know what is
//! told.

use std::{
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tracing::warn;

use crate::{
    assemble::{AssembledFeed, SnapshotPlaces},
    feed::{
        Moment,
        shelf::{BaseUrl, Directory, ShelfError},
    },
};

/// The directory of snapshots in the state directory.
const SNAPSHOTS: &str = "snapshots";

/// Microseconds since 1970, by the clock on the wall.
pub(super) fn wall() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Now, on both clocks; `begun`: where the one begins that is never set.
pub(super) fn moment(begun: Instant) -> Moment {
    Moment { monotonic: begun.elapsed(), wall: wall() }
}

/// Opens the directory of snapshots.
pub fn open_snapshots(state_dir: &Path, feed: &AssembledFeed) -> Result<Directory, ShelfError> {
    Directory::open(&state_dir.join(SNAPSHOTS), feed.cluster.clone(), Arc::new(feed.trusted.clone()))
}

/// Where else snapshots are to be had; the configuration has only such.
pub fn snapshot_sources(places: &SnapshotPlaces) -> Vec<BaseUrl> {
    let parsed = |url: &String| url.parse().map_err(|error| warn!("no snapshots are fetched from {url}: {error}")).ok();
    places.from.iter().filter_map(parsed).collect()
}
