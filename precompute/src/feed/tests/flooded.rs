//! A reader before somebody who gives forged entries without an end.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    feed::{
        KeyId, Manifest, Moment, Reader, Sealed,
        reader::Event,
        store::{Fault, Place, Snapshots, Store, Walk},
        transport::{Appended, Gone, Info, Raw, Transport, UnderKey},
    },
    limits::feed as limits,
};

/// Gives as many forged entries as are asked for, always new ones.
struct Flood {
    head: Option<Arc<[u8]>>,
    given: usize,
}

impl Transport for Flood {
    fn connection(&mut self) -> Option<u64> {
        Some(1)
    }

    fn append(&mut self, _: &Sealed, _: bool) -> Appended {
        Appended::Gone
    }

    fn read_after(&mut self, after: Position, most: usize) -> Result<Vec<Raw>, Gone> {
        self.given += most;
        assert!(self.given < 100_000, "one step reads on and on");
        let position = |number| Position { epoch: after.epoch.max(1), sequence: after.sequence + number };
        Ok((1..=most as u64).map(|number| Raw { position: position(number), bytes: [7; 20].into() }).collect())
    }

    fn info(&mut self) -> Result<Option<Info>, Gone> {
        Ok(Some(Info { last: Position { epoch: u64::MAX, sequence: 1 }, length: 1 }))
    }

    fn head(&mut self) -> Result<Option<Arc<[u8]>>, Gone> {
        Ok(self.head.clone())
    }

    fn set_head(&mut self, _: &[u8]) -> Result<(), Gone> {
        Err(Gone)
    }

    fn acknowledge(&mut self, _: KeyId, _: &[u8]) -> Result<(), Gone> {
        Err(Gone)
    }

    fn acknowledgements(&mut self, _: &[KeyId]) -> Result<Vec<UnderKey>, Gone> {
        Err(Gone)
    }

    fn trim(&mut self, _: Position) -> Result<(), Gone> {
        Err(Gone)
    }

    fn unlink(&mut self) -> Result<(), Gone> {
        Err(Gone)
    }
}

/// A store that nothing may change, and that has any snapshot.
struct Untouched(Option<Place>);

impl Store for Untouched {
    fn place(&self) -> Option<Place> {
        self.0
    }

    fn apply(&mut self, place: Place, _: &[Section]) -> Result<(), Fault> {
        panic!("it was changed, as of {place}");
    }

    fn reconcile(&mut self, place: Place, _: Walk<'_>) -> Result<(), Fault> {
        panic!("it was changed, as of {place}");
    }

    fn digest(&self, _: Issuer) -> Option<Digest> {
        None
    }
}

impl Snapshots for Untouched {
    fn here(&mut self, manifest: &Manifest) -> Option<usize> {
        Some(manifest.chunks.len())
    }

    fn chunk(&mut self, _: &Manifest, _: usize) -> Option<Vec<u8>> {
        None
    }
}

#[test]
fn whoever_gives_forged_entries_without_an_end_keeps_no_reader_and_fills_no_memory() {
    let head = super::entries::manifest().seal(&cluster(), &key());
    let place = Place { position: Position { epoch: 1, sequence: 2 }, chain: Chain([3; 32]) };
    // One that follows, and one that reads what came after a snapshot.
    for (place, head) in [(Some(place), None), (None, Some(head))] {
        let mut flood = Flood { head: head.map(Arc::from), given: 0 };
        let (mut reader, mut store) = (Reader::new(cluster(), trusted()), Untouched(place));
        for second in 1..=5 {
            let now = Moment { monotonic: Duration::from_secs(second), wall: second * 1_000_000 };
            let events = reader.step(now, &mut flood, &mut store, &mut Untouched(None));
            assert!(events.iter().all(|event| matches!(event, Event::Refused(..))), "{events:?}");
            assert!((1..=2 * limits::REFUSED_AT_ONCE_MAX).contains(&events.len()), "{}", events.len());
        }
    }
}
