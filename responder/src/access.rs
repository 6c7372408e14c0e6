//! A sample of the requests, line by line in the log.
//!
//! Invariant: a serving thread never waits for a line: if the writer does not take a line at once, it is dropped and
//! counted. Which requests are sampled depends only on their number. It does not know the form of a line; the log does.

use std::{
    cell::Cell,
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    time::Duration,
};

use precompute::pki::Serial;
use tracing::info;

use crate::{limits, metrics::RequestResult, site::Issuer, tsa::counters::Outcome, upstream::forwarded::Forwarded};

/// The content of a line about one request.
#[derive(Debug)]
pub struct Line {
    /// The client's address.
    pub client: IpAddr,
    /// The tenant.
    pub tenant: Arc<str>,
    /// The subject of the request.
    pub about: About,
    /// An index in [`crate::metrics::METHODS`], or none of them.
    pub method: Option<usize>,
    /// The beginning of the path that was asked for, at most [`limits::ACCESS_PATH_OCTETS_MAX`] bytes.
    pub path: Box<str>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// Bytes of the response with its header section.
    pub octets: usize,
    /// The time from its header section to its response.
    pub took: Duration,
}

/// The beginning of a path, for a line.
pub fn path(path: &[u8]) -> Box<str> {
    String::from_utf8_lossy(&path[..path.len().min(limits::ACCESS_PATH_OCTETS_MAX)]).into()
}

/// The subject of a request, and its outcome.
#[derive(Debug)]
pub enum About {
    /// A request about certificates.
    Certificates {
        /// The issuer, if the request named one of the tenant's.
        issuer: Option<Arc<Issuer>>,
        /// The same where another responder answers for it.
        forwarded: Option<Arc<Forwarded>>,
        /// The serial, if it was about one certificate.
        serial: Option<Serial>,
        /// The outcome.
        result: RequestResult,
    },
    /// A request for a time-stamp, or for something else at its path.
    TimeStamp {
        /// The authority.
        tsa: Box<str>,
        /// The outcome.
        outcome: Outcome,
    },
}

/// Selects every n-th request of one worker.
#[derive(Debug)]
pub struct Sampler {
    /// The n; 0 for none.
    every: u32,
    left: Cell<u32>,
    lines: SyncSender<Line>,
}

impl Sampler {
    /// Selects one of `every` requests; none for 0. It skips `first` requests at the beginning, so that workers take
    /// turns.
    pub fn new(every: u32, first: u32, lines: SyncSender<Line>) -> Self {
        Self { every, left: Cell::new(first % every.max(1)), lines }
    }

    /// Whether any request is logged.
    pub fn is_on(&self) -> bool {
        self.every > 0
    }

    /// Whether this request is logged.
    #[inline]
    pub fn draws(&self) -> bool {
        if self.every == 0 {
            return false;
        }
        let left = self.left.get();
        self.left.set(if left == 0 { self.every - 1 } else { left - 1 });
        left == 0
    }

    /// False if the line was dropped.
    pub fn tell(&self, line: Line) -> bool {
        self.lines.try_send(line).is_ok()
    }
}

/// The channel from the workers to the writer of lines.
pub fn channel() -> (SyncSender<Line>, Receiver<Line>) {
    mpsc::sync_channel(limits::ACCESS_LINES_WAITING_MAX)
}

/// Writes lines to the log until all senders are gone.
pub fn write(lines: &Receiver<Line>) {
    for Line { client, tenant, about, method, path, status, octets, took } in lines {
        let seconds = took.as_secs_f64();
        let method = method.and_then(|place| crate::metrics::METHODS.get(place)).copied().unwrap_or("other");
        match about {
            About::Certificates { issuer, forwarded, serial, result } => {
                let of_other = forwarded.as_ref().map_or("", |issuer| issuer.name());
                let issuer = issuer.as_ref().map_or(of_other, |issuer| issuer.name.as_str());
                let serial = serial.map(|serial| serial.to_string()).unwrap_or_default();
                let result = result.label();
                info!(target: "access", %client, %tenant, issuer, serial, method, path, status, result, octets, seconds, "request");
            }
            About::TimeStamp { tsa, outcome } => {
                let (tsa, result) = (&*tsa, outcome.label());
                info!(target: "access", %client, %tenant, tsa, method, path, status, result, octets, seconds, "request");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let client = IpAddr::from([127, 0, 0, 1]);
        let about = About::Certificates { issuer: None, forwarded: None, serial: None, result: RequestResult::Page };
        let (path, status, took) = (path(b"/a"), Some(200), Duration::ZERO);
        Line { client, tenant: "a".into(), about, method: Some(0), path, status, octets: 1, took }
    }

    #[test]
    fn one_of_so_many_requests_is_drawn() {
        for (every, first, expected) in [
            (0, 0, [false; 6]),
            (1, 0, [true; 6]),
            (3, 0, [true, false, false, true, false, false]),
            (3, 1, [false, true, false, false, true, false]),
            (3, 5, [false, false, true, false, false, true]),
        ] {
            let sampler = Sampler::new(every, first, channel().0);
            assert_eq!([(); 6].map(|()| sampler.draws()), expected, "{every} {first}");
        }
    }

    #[test]
    fn a_writer_that_does_not_keep_up_costs_lines_and_no_time() {
        let (lines, waiting) = channel();
        let sampler = Sampler::new(1, 0, lines);
        let told = (0..limits::ACCESS_LINES_WAITING_MAX + 5).filter(|_| sampler.tell(line())).count();
        assert_eq!(told, limits::ACCESS_LINES_WAITING_MAX);
        drop(sampler);
        assert_eq!(waiting.into_iter().count(), told);
    }
}
