//! One connection: reads what there is, answers every complete request in it with one write.
//!
//! Deadlines are kept by the worker, which looks over its connections each second and cancels
//! what has been in its [`Phase`] for too long: no timer is set or cleared for a request.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use monoio::{
    buf::{IoBuf as _, SliceMut},
    io::{AsyncWriteRent as _, CancelHandle, CancelableAsyncReadRent as _, CancelableAsyncWriteRent as _, Canceller},
    net::TcpStream,
};
use precompute::pki::UnixTime;

use super::{
    head::{self, Context},
    http::{self, Rejection},
    respond::{Responded, respond},
    worker::Worker,
};
use crate::limits;

/// What a connection is waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The next request.
    Idle,
    /// The rest of a header section.
    Head,
    /// The rest of a body.
    Body,
    /// The client to read.
    Write,
    /// An answer to be signed; that has a deadline of its own.
    Answer,
    /// The client to notice that it was refused.
    Linger,
}

impl Phase {
    /// For how long.
    const fn deadline(self) -> Duration {
        match self {
            Self::Idle => limits::IDLE_DEADLINE,
            Self::Head => limits::HEAD_DEADLINE,
            Self::Body => limits::BODY_DEADLINE,
            Self::Write => limits::WRITE_DEADLINE,
            Self::Answer => Duration::MAX,
            Self::Linger => limits::LINGER_DEADLINE,
        }
    }
}

/// What the worker sees of a connection.
pub struct Watched {
    phase: Cell<Phase>,
    /// In which of the worker's ticks the phase began.
    since: Cell<u32>,
    canceller: RefCell<Option<Canceller>>,
}

impl Watched {
    /// A connection just accepted.
    pub fn new(tick: u32) -> Self {
        Self { phase: Cell::new(Phase::Idle), since: Cell::new(tick), canceller: RefCell::new(Some(Canceller::new())) }
    }

    /// Whether it has waited for too long.
    pub fn is_overdue(&self, tick: u32) -> bool {
        // A phase began some time within its tick.
        u64::from(tick.wrapping_sub(self.since.get())) > self.phase.get().deadline().as_secs()
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.phase.get() == Phase::Idle
    }

    /// Ends what the connection is waiting for, and thereby the connection.
    pub fn cancel(&self) {
        let canceller = self.canceller.borrow_mut().take();
        drop(canceller.map(Canceller::cancel));
    }

    /// `None` once cancelled.
    fn handle(&self) -> Option<CancelHandle> {
        self.canceller.borrow().as_ref().map(Canceller::handle)
    }

    /// Goes over to `phase`; staying in one does not renew its deadline.
    fn enter(&self, phase: Phase, tick: u32) {
        if self.phase.get() != phase {
            self.phase.set(phase);
            self.since.set(tick);
        }
    }
}

/// What comes after the answers so far are written.
enum Next {
    /// More octets are needed: the connection is in this phase until they come.
    Read(Phase),
    /// There are requests left in the input.
    Answer,
    /// The connection ends.
    Close,
    /// The connection ends, and the client may still be sending.
    Linger,
}

/// Serves a connection to its end.
pub async fn serve(worker: Rc<Worker>, mut stream: TcpStream, watched: Rc<Watched>) {
    // Whatever ends it, the client has gone or is to go; there is nobody to tell.
    let _ = run(&worker, &mut stream, &watched).await;
}

async fn run(worker: &Worker, stream: &mut TcpStream, watched: &Watched) -> io::Result<()> {
    let mut input = Vec::with_capacity(limits::READ_OCTETS);
    let mut output = Vec::new();
    let mut continued = false;
    loop {
        let next = answer_all(worker, watched, &mut input, &mut output, &mut continued).await;
        if !output.is_empty() {
            watched.enter(Phase::Write, worker.tick());
            output = write(stream, watched, output).await?;
            worker.counters.octets_out.fetch_add(output.len() as u64, Relaxed);
            output.clear();
            output.shrink_to(limits::READ_OCTETS);
        }
        match next {
            Next::Answer => continue,
            Next::Close => return stream.shutdown().await,
            Next::Linger => return linger(worker, stream, watched, input).await,
            Next::Read(phase) => watched.enter(phase, worker.tick()),
        }
        if input.is_empty() {
            input.shrink_to(limits::READ_OCTETS);
        }
        let before = input.len();
        input.reserve(limits::READ_OCTETS / 2);
        input = read(stream, watched, input).await?;
        if input.len() == before {
            return Ok(());
        }
    }
}

/// Answers every complete request of `input` into `output`, as far as the bounds allow.
async fn answer_all(
    worker: &Worker,
    watched: &Watched,
    input: &mut Vec<u8>,
    output: &mut Vec<u8>,
    continued: &mut bool,
) -> Next {
    let mut at = 0;
    let mut answered = 0;
    let ended = loop {
        if at == input.len() {
            break Ok(Next::Read(Phase::Idle));
        }
        if answered == limits::PIPELINE_MAX || output.len() > limits::WRITE_OCTETS_MAX {
            break Ok(Next::Answer);
        }
        let head = match http::head(&input[at..]) {
            Ok(Some(head)) => head,
            Ok(None) => break Ok(Next::Read(Phase::Head)),
            Err(rejection) => break Err(rejection),
        };
        let (body, length) = match http::body(&input[at + head.length..], head.framing) {
            Ok(Some(body)) => body,
            Ok(None) => {
                if head.expects_continue && !std::mem::replace(continued, true) {
                    output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                break Ok(Next::Read(Phase::Body));
            }
            Err(rejection) => break Err(rejection),
        };
        watched.enter(Phase::Answer, worker.tick());
        let keep_alive = head.keep_alive && !worker.is_draining();
        if respond(worker, &head, &body, keep_alive, output).await == Responded::OutputFirst {
            break Ok(Next::Answer);
        }
        at += head.length + length;
        answered += 1;
        *continued = false;
        if !keep_alive {
            break Ok(Next::Close);
        }
    };
    let next = match ended {
        Ok(next) => next,
        Err(Rejection::VersionNotSupported) if http::mend_request_line(&mut input[at..]) => Next::Answer,
        Err(rejection) => refuse(worker, output, rejection),
    };
    input.drain(..at);
    next
}

fn refuse(worker: &Worker, output: &mut Vec<u8>, rejection: Rejection) -> Next {
    worker.counters.http_refused.fetch_add(1, Relaxed);
    head::rejection(
        output,
        rejection,
        &Context { date: worker.date(UnixTime::now()), keep_alive: false, http_1_0: false, head_only: false },
    );
    Next::Linger
}

/// Reads once, behind what is in `input` already.
async fn read(stream: &mut TcpStream, watched: &Watched, input: Vec<u8>) -> io::Result<Vec<u8>> {
    let handle = watched.handle().ok_or(io::ErrorKind::TimedOut)?;
    let (start, end) = (input.len(), input.capacity());
    let (result, slice) = stream.cancelable_read(SliceMut::new(input, start, end), handle).await;
    result.map(|_| slice.into_inner())
}

/// Writes all of `output`, which comes back.
async fn write(stream: &mut TcpStream, watched: &Watched, mut output: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut written = 0;
    while written < output.len() {
        let handle = watched.handle().ok_or(io::ErrorKind::TimedOut)?;
        let (result, slice) = stream.cancelable_write(output.slice(written..), handle).await;
        output = slice.into_inner();
        match result? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => written += count,
        }
    }
    Ok(output)
}

/// Lets the client read its refusal: octets that nobody took would otherwise turn the end of the
/// connection into a reset, which throws the response away.
async fn linger(worker: &Worker, stream: &mut TcpStream, watched: &Watched, mut input: Vec<u8>) -> io::Result<()> {
    watched.enter(Phase::Linger, worker.tick());
    stream.shutdown().await?;
    let mut dropped = 0;
    while dropped < limits::LINGER_OCTETS_MAX {
        input.clear();
        input.reserve(limits::READ_OCTETS);
        input = read(stream, watched, input).await?;
        if input.is_empty() {
            break;
        }
        dropped += input.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_counts_from_the_first_tick_of_a_phase() {
        let watched = Watched::new(100);
        watched.enter(Phase::Head, 101);
        watched.enter(Phase::Head, 109);
        assert!(!watched.is_overdue(111), "10 s may have begun late in tick 101");
        assert!(watched.is_overdue(112), "octets that drip in renew nothing");
        watched.enter(Phase::Answer, 112);
        watched.enter(Phase::Head, 112);
        assert!(!watched.is_overdue(120), "another request's head");
        watched.enter(Phase::Answer, 120);
        assert!(!watched.is_overdue(u32::MAX));
    }
}
