//! What a writer that stands by lacks before it can take over, for the log and for whoever asks about readiness.
//!
//! Invariant: a standby that cannot be filled says so for as long as that lasts, since it is no reserve for the one that
//! leads. Being filled is no trouble. It is pure, and does not know how a writer is filled.

use std::time::Duration;

use crate::{
    feed::{reader::Condition, shelf, store::Place},
    limits::feed as limits,
    log::remarks::{Lasting, News},
};

/// What is lacking.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    since: Option<Duration>,
    what: Option<String>,
    told: Lasting,
}

impl Lacking {
    /// What there is to say `now` of a standby in this condition, with what it has, and the snapshot that it wants;
    /// `None` of a writer that does not stand by.
    pub(super) fn look(
        &mut self,
        standby: Option<(Condition, Option<Place>, shelf::Report)>,
        now: Duration,
    ) -> Option<News> {
        let in_trouble = standby.filter(|(.., snapshot)| snapshot.is_in_trouble());
        let lacks = in_trouble.and_then(|(condition, place, snapshot)| {
            let what = match (condition, place) {
                (Condition::Empty, _) => format!(
                    "this writer has no records of the feed yet, and takes over {} times later than one that has them",
                    limits::TAKEOVER_EMPTY_FACTOR
                ),
                (Condition::Reconciling, Some(place)) => format!("this writer lacks what was told after {place}"),
                _ => return None,
            };
            snapshot.progress().map(|progress| format!("{what}: {progress}"))
        });
        self.since = lacks.as_ref().map(|_| self.since.unwrap_or(now));
        self.what =
            lacks.filter(|_| self.since.is_some_and(|since| now.saturating_sub(since) >= limits::FILLED_WITHIN));
        self.told.news(self.what.is_some(), now)
    }

    /// What is lacking, and why it does not come; `None` for the first seconds.
    pub(super) fn what(&self) -> Option<&str> {
        self.what.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::shelf::SourceFault;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_standby_that_cannot_be_filled_says_so_until_it_is() {
        let id = "17-4-00112233445566778899aabbccddeeff".parse().unwrap();
        let fetched = |here, sources: &[(&str, Option<SourceFault>)]| {
            let source = |(url, fault): &(&str, Option<SourceFault>)| (url.parse().unwrap(), fault.clone());
            shelf::Report { wanted: Some((id, here, 3)), sources: sources.iter().map(source).collect(), disk: None }
        };
        let (nowhere, healthy) = (fetched(0, &[]), fetched(1, &[("http://10.0.0.1:8081", None)]));
        let empty = |snapshot: &shelf::Report| Some((Condition::Empty, None, snapshot.clone()));
        let placed = |condition| Some((condition, Some(Place::START), nowhere.clone()));
        let mut lacking = Lacking::default();
        assert_eq!(lacking.look(empty(&healthy), at(0)), None);
        assert_eq!(lacking.look(empty(&healthy), at(60)), None, "it is being filled");
        assert_eq!(lacking.look(empty(&nowhere), at(61)), None, "for a moment");
        assert_eq!(lacking.what(), None);
        assert_eq!(lacking.look(empty(&nowhere), at(66)), Some(News::Begins));
        let what = lacking.what().unwrap().to_owned();
        assert!(what.contains("takes over 10 times later") && what.contains("0 of 3 chunks"), "{what}");
        assert!(what.contains("`snapshot_from` is empty"), "{what}");
        assert_eq!(lacking.look(empty(&nowhere), at(67)), None);
        assert_eq!(lacking.look(empty(&fetched(3, &[])), at(68)), Some(News::Over(at(2))));
        // Once it leads, or follows, nothing is lacking.
        for standby in [None, placed(Condition::Following)] {
            assert_eq!(lacking.look(standby.clone(), at(70)), None);
            assert_eq!(lacking.look(standby, at(90)), None);
        }
        assert_eq!(lacking.look(placed(Condition::Reconciling), at(91)), None);
        assert_eq!(lacking.look(placed(Condition::Reconciling), at(97)), Some(News::Begins));
        assert!(lacking.what().unwrap().contains("lacks what was told after"));
    }
}
