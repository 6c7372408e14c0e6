//! The thread that asks Redis for shared answers, one errand after the other. It waits for Redis as long as that takes, and
//! decides nothing.

use std::{
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use crate::feed::redis::{Fault, Offer, Stream, Wanted};

/// Something to ask Redis for.
#[derive(Debug)]
pub(super) enum Errand {
    /// See whether it answers in time.
    Try,
    /// Get values.
    Ask(Vec<Wanted>),
    /// Put values.
    Put(Vec<Offer>),
}

/// What became of an errand.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It answered, after so long.
    Tried(Duration),
    /// The values in order.
    Got(Vec<Option<Vec<u8>>>),
    /// They are there.
    Put,
    /// It did not do that.
    Failed(Fault),
}

/// Does errands as they come, and tells what became of each; ends when there are no more, or nobody hears it.
pub(super) fn run(mut stream: Stream, errands: &Receiver<Errand>, tell: impl Fn(Outcome) -> bool) {
    for errand in errands {
        let outcome = match errand {
            Errand::Try => trial(&mut stream).map(Outcome::Tried),
            Errand::Ask(wanted) => stream.shared(&wanted).map(Outcome::Got),
            Errand::Put(offers) => stream.share(&offers).map(|()| Outcome::Put),
        };
        if !tell(outcome.unwrap_or_else(Outcome::Failed)) {
            return;
        }
    }
}

/// How long it takes to answer once there is a connection.
fn trial(stream: &mut Stream) -> Result<Duration, Fault> {
    stream.try_sharing()?;
    let begun = Instant::now();
    stream.try_sharing()?;
    Ok(begun.elapsed())
}
