//! Bodies that are sent from memory which many responses share.
//!
//! Invariant: nothing of a body is copied here, and however slowly a client reads, it holds no more than one piece of it.
//! A client that reads gets all of it, whatever that takes; one that stands still is cut off.

use std::{future::poll_fn, io, sync::atomic::Ordering::Relaxed, task::Poll};

use bytes::{Buf as _, Bytes};

use super::{Carrier, Session};
use crate::{
    limits,
    net::{deadline::Phase, service::Service},
};

impl<S: Service> Session<'_, S> {
    /// Writes a body piece by piece. The client has [`crate::net::deadline::Deadlines::write`] for each.
    pub(super) async fn write_shared<C: Carrier>(&mut self, stream: &mut C, mut body: Bytes) -> io::Result<()> {
        while !body.is_empty() {
            self.watched.get_on(Phase::Write, self.worker.tick.get());
            let piece = Bytes::slice(&body, ..body.len().min(limits::PIECE_OCTETS));
            let (result, _) = stream.write(piece).await;
            let written = result?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            body.advance(written);
            self.worker.counters.octets_out.fetch_add(written as u64, Relaxed);
            if self.worker.on_epoll {
                // A write that needs no wait would let nobody else have a turn.
                let_others().await;
            }
        }
        Ok(())
    }
}

/// Lets the thread's other tasks have their turn.
async fn let_others() {
    let mut is_second = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_second, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
