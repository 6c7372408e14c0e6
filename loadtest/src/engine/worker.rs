//! One load thread: an epoll loop over its connections.
//!
//! Invariant: nothing in the loop blocks, takes a lock or allocates for a request (buffers grow to their size and
//! stay); every request that is taken from the pace is counted exactly once, as answered or as failed. It does not know
//! what the bytes mean.
//!
//! Times are nanoseconds since the start of the run, taken right after each read and right before each write.

use crate::engine::connection::{Connection, Owed, Phase, Progress, connect};
use crate::engine::pace::Pace;
use crate::engine::stats::{Interval, Tally};
use crate::engine::{Load, Workload};
use crate::limits::{EVENTS_AT_ONCE, READ_OCTETS, RECONNECT_FIRST, RECONNECT_LAST, SWEEP};
use crate::outcome::Kind;
use crate::problem::Problem;
use crate::time::UnixNanos;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// Handshakes that one thread has under way at once: below the accept queue of common servers (nginx: 511), so that ten
/// thousand connections open without lost SYNs.
const CONNECTING_MAX: usize = 256;
/// Length of a reported interval.
const SECOND_NS: u64 = 1_000_000_000;

/// What a thread leaves behind.
pub(super) struct Ended<W> {
    pub(super) workload: W,
    /// When its last request ended.
    pub(super) last_ns: u64,
    pub(super) cpu_ns: u64,
}

pub(super) struct Worker<'a, W: Workload> {
    load: &'a Load,
    targets: &'a [SocketAddr],
    workload: W,
    sender: Sender<Interval>,
    start: Instant,
    /// Add to nanoseconds since the start to get the machine's clock; corrected at each sweep.
    wall_offset_ns: i64,
    epoll: OwnedFd,
    connections: Vec<Connection<W::Ticket>>,
    /// Connections that can take a request, in turn.
    line: VecDeque<u32>,
    to_connect: VecDeque<u32>,
    connecting: usize,
    /// Connections, with their generation, that were answered in this batch of events.
    ready: Vec<(u32, u32)>,
    /// Requests taken from the pace and not yet ended.
    in_flight: usize,
    pace: Pace,
    timeout_ns: u64,
    tally: Box<Tally>,
    second: usize,
    next_sweep_ns: u64,
    last_ns: u64,
    received: Vec<u8>,
    chunk_buffer: Vec<u8>,
}

impl<'a, W: Workload> Worker<'a, W> {
    pub(super) fn new(
        load: &'a Load,
        targets: &'a [SocketAddr],
        number: usize,
        threads: usize,
        workload: W,
        sender: Sender<Interval>,
        start: Instant,
    ) -> Result<Self, Problem> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|e| Problem::new(format!("epoll: {e}; raise the limit on open files (ulimit -n)")))?;
        // Connection c of the run belongs to thread c mod threads and to target c mod targets, so that every target
        // gets its share from every thread that has enough connections.
        let connections: Vec<_> = (0..load.connections)
            .filter(|c| c % threads == number)
            .map(|c| Connection::new((c / threads + c) % targets.len(), load.pipeline))
            .collect();
        Ok(Self {
            load,
            targets,
            workload,
            sender,
            start,
            wall_offset_ns: 0,
            epoll,
            line: VecDeque::with_capacity(connections.len()),
            to_connect: VecDeque::with_capacity(connections.len()),
            connections,
            connecting: 0,
            ready: Vec::with_capacity(EVENTS_AT_ONCE),
            in_flight: 0,
            pace: Pace::new(load, number, threads),
            timeout_ns: load.timeout.as_nanos() as u64,
            tally: Box::new(Tally::new()),
            second: 0,
            next_sweep_ns: 0,
            last_ns: 0,
            received: vec![0; READ_OCTETS],
            chunk_buffer: Vec::new(),
        })
    }

    pub(super) fn run(mut self) -> Result<Ended<W>, Problem> {
        if self.pace.is_open_loop() {
            // Without this the kernel may wake us 50 µs late, on purpose, to save power. A refusal only costs
            // precision.
            let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        }
        for i in 0..self.connections.len() {
            self.next_life(i, 0);
        }
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        // Ends: once the pace is over nothing is begun, and the sweep fails what is in flight after its time-out.
        loop {
            let now = self.now_ns();
            self.report_seconds(now);
            if now >= self.next_sweep_ns {
                self.sweep(now);
            }
            if self.pace.is_over(now) && self.in_flight == 0 {
                break;
            }
            self.dispatch(now);
            self.connect_queued(now);
            self.wait(&mut events, now)?;
            for event in events.drain(..) {
                let data = event.data;
                self.on_event(data.u64(), event.flags);
            }
            self.send_ready();
        }
        self.charge_unsent();
        let second = self.second;
        let tally = self.tally;
        // The receiver outlives the workers; if it does not, nobody is left to tell.
        let _ = self.sender.send(Interval { second, tally });
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let cpu_ns = cpu.tv_sec as u64 * SECOND_NS + cpu.tv_nsec as u64;
        Ok(Ended { workload: self.workload, last_ns: self.last_ns, cpu_ns })
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn wait(&mut self, events: &mut Vec<epoll::Event>, now: u64) -> Result<(), Problem> {
        let mut until = self.next_sweep_ns;
        // In the open loop a request that is due while nobody can take it is not waited for: an event frees a
        // connection.
        if self.pace.is_open_loop() && !self.line.is_empty() {
            until = until.min(self.pace.due_ns().unwrap_or(until));
        }
        let ns = until.saturating_sub(now);
        let timeout = Timespec { tv_sec: (ns / SECOND_NS) as i64, tv_nsec: (ns % SECOND_NS) as _ };
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(Problem::new(format!("epoll_pwait2: {e}; Linux 5.11 or later is needed"))),
        }
    }

    fn on_event(&mut self, data: u64, flags: epoll::EventFlags) {
        let (i, generation) = ((data >> 32) as usize, data as u32);
        if self.connections[i].generation != generation {
            return; // its connection was closed earlier in this batch
        }
        if let Phase::Connecting { .. } = self.connections[i].phase {
            let Some(stream) = &self.connections[i].stream else { return };
            match stream.take_error() {
                Ok(None) if flags.contains(epoll::EventFlags::OUT) => self.opened(i),
                Ok(None) if !flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) => return,
                _ => return self.connect_failed(i),
            }
        } else if flags.contains(epoll::EventFlags::OUT) && !self.flush(i) {
            return;
        }
        let ended = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if self.connections[i].generation == generation && flags.intersects(epoll::EventFlags::IN | ended) {
            self.read(i, flags.intersects(ended));
        }
    }

    // ---- Sending

    /// Gives due requests to connections that can take one (open loop, and one request a connection).
    fn dispatch(&mut self, now: u64) {
        while let Some(&i) = self.line.front() {
            let i = i as usize;
            if !self.can_take(i) {
                self.connections[i].in_line = false;
                self.line.pop_front();
                continue;
            }
            let Some(intended) = self.pace.take(now) else { break };
            self.connections[i].in_line = false;
            self.line.pop_front();
            self.assign(i, intended, now);
            if self.connections[i].phase == Phase::Open {
                self.flush(i);
            }
            self.stand_in_line(i);
        }
    }

    fn can_take(&self, i: usize) -> bool {
        let connection = &self.connections[i];
        if self.load.one_request_per_connection {
            connection.phase == Phase::Closed && connection.load() == 0
        } else {
            connection.phase == Phase::Open && connection.load() < self.load.pipeline
        }
    }

    fn stand_in_line(&mut self, i: usize) {
        if !self.connections[i].in_line && self.can_take(i) {
            self.connections[i].in_line = true;
            self.line.push_back(i as u32);
        }
    }

    /// Puts a request on a connection: into its output if it is open, else for when it is.
    fn assign(&mut self, i: usize, intended_ns: u64, now: u64) {
        let connection = &mut self.connections[i];
        let ticket = self.workload.next(connection.target, UnixNanos(self.wall_offset_ns + now as i64));
        let owed = Owed { ticket, intended_ns, sent_ns: now };
        self.tally.asked += 1;
        self.in_flight += 1;
        if connection.phase == Phase::Open {
            self.workload.write(&owed.ticket, connection.target, &mut connection.out);
            connection.owed.push_back(owed);
        } else {
            connection.pending.push_back(owed);
            if connection.phase == Phase::Closed {
                connection.phase = Phase::Queued;
                self.to_connect.push_back(i as u32);
            }
        }
    }

    /// Lets the connections that were answered in this batch of events ask again. All reading comes before all writing,
    /// so that a server on the same machine is not woken for each single request of a batch.
    fn send_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for (i, generation) in ready.drain(..) {
            if self.connections[i as usize].generation == generation {
                self.refill(i as usize, self.now_ns());
            }
        }
        self.ready = ready;
    }

    /// Fills an open keep-alive connection up, in the closed loop; else says that it can be given more. False if the
    /// connection is gone.
    fn refill(&mut self, i: usize, now: u64) -> bool {
        if self.pace.is_open_loop() || self.load.one_request_per_connection {
            self.stand_in_line(i);
        } else {
            while self.connections[i].load() < self.load.pipeline {
                let Some(intended) = self.pace.take(now) else { break };
                self.assign(i, intended, now);
            }
        }
        !self.retire(i, now) && self.flush(i)
    }

    /// Closes a connection that will not be needed again: an idle one would keep a server that serves one connection at
    /// a time from answering the others.
    fn retire(&mut self, i: usize, now: u64) -> bool {
        let connection = &mut self.connections[i];
        let idle = connection.phase == Phase::Open && connection.load() == 0 && self.pace.is_over(now);
        if idle {
            connection.drop_stream();
        }
        idle
    }

    /// Writes what is to be written; false if the connection is gone.
    fn flush(&mut self, i: usize) -> bool {
        let connection = &mut self.connections[i];
        let Some(stream) = connection.stream.as_mut() else { return false };
        while connection.written < connection.out.len() {
            match stream.write(&connection.out[connection.written..]) {
                Ok(n) if n > 0 => connection.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => {
                    self.fail(i, Kind::Reset, Kind::Reset);
                    return false;
                }
            }
        }
        connection.out.clear();
        connection.written = 0;
        true
    }

    // ---- Receiving

    fn read(&mut self, i: usize, ending: bool) {
        let generation = self.connections[i].generation;
        while self.connections[i].generation == generation {
            let Some(stream) = self.connections[i].stream.as_mut() else { return };
            let n = match stream.read(&mut self.received) {
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.fail(i, Kind::Reset, Kind::Reset),
            };
            let now = self.now_ns();
            self.take_responses(i, n, ending, now);
            // A short read has emptied the socket (epoll(7)); only a peer that is closing has one more thing to say.
            if n < self.received.len() && !ending {
                return;
            }
        }
    }

    /// Judges the responses in the `n` bytes just received (0: the peer has closed) and goes on from there. `ending`:
    /// the peer will close, so nothing more is sent.
    fn take_responses(&mut self, i: usize, n: usize, ending: bool, now: u64) {
        let connection = &mut self.connections[i];
        let target = connection.target;
        let wall = UnixNanos(self.wall_offset_ns + now as i64);
        let open_loop = self.pace.is_open_loop();
        let (tally, workload) = (&mut self.tally, &mut self.workload);
        let mut delivered = 0;
        let result =
            connection.receive(&self.received[..n], n == 0, &mut self.chunk_buffer, &mut |owed, status, body| {
                delivered += 1;
                tally.answered += 1;
                tally.octets += body.len() as u64;
                tally.latency.record(now.saturating_sub(owed.intended_ns));
                if open_loop {
                    tally.service.record(now.saturating_sub(owed.sent_ns));
                }
                if status != 200 {
                    *tally.http_statuses.entry(status).or_default() += 1;
                }
                match workload.judge(&owed.ticket, target, status, body, wall) {
                    Ok(said) => tally.said[said as usize] += 1,
                    Err(kind) => tally.failed(kind, 1),
                }
            });
        if delivered > 0 {
            self.in_flight -= delivered;
            self.last_ns = now;
            connection.failures = 0;
        }
        match result {
            Err(_) => self.fail(i, Kind::Malformed, Kind::Reset),
            Ok(Progress::LastResponse) => self.close_cleanly(i, now),
            Ok(Progress::Continue) if n == 0 && connection.owed.is_empty() => self.close_cleanly(i, now),
            Ok(Progress::Continue) if n == 0 => self.fail(i, Kind::Reset, Kind::Reset),
            Ok(Progress::Continue) if delivered > 0 && self.load.one_request_per_connection => {
                self.close_cleanly(i, now)
            }
            Ok(Progress::Continue) => {
                if delivered > 0 && !ending {
                    self.ready.push((i as u32, self.connections[i].generation));
                }
            }
        }
    }

    // ---- Connecting and closing

    /// What a connection without a socket does next.
    fn next_life(&mut self, i: usize, now: u64) {
        let wanted = if self.load.one_request_per_connection {
            !self.connections[i].pending.is_empty()
        } else {
            !self.pace.is_over(now) || !self.connections[i].pending.is_empty()
        };
        let connection = &mut self.connections[i];
        if connection.failures > 0 {
            let doublings = connection.failures.min(10) - 1;
            let delay = (RECONNECT_FIRST * 2u32.pow(doublings)).min(RECONNECT_LAST);
            connection.phase = Phase::BackingOff { until_ns: now + delay.as_nanos() as u64 };
        } else if wanted {
            connection.phase = Phase::Queued;
            self.to_connect.push_back(i as u32);
        } else {
            connection.phase = Phase::Closed;
            self.stand_in_line(i);
        }
    }

    fn connect_queued(&mut self, now: u64) {
        while self.connecting < CONNECTING_MAX {
            let Some(i) = self.to_connect.pop_front() else { return };
            let i = i as usize;
            if self.connections[i].phase != Phase::Queued {
                continue;
            }
            // No more connections than there are requests for them: one that is opened and closed without a request is
            // noise in the measurement, and hangs `openssl ocsp -port`, which reads on at its end for ever. Whoever
            // connects now takes what is left, and comes back here if it fails.
            if self.connections[i].pending.is_empty() && self.pace.left() <= self.connecting as u64 {
                self.connections[i].phase = Phase::Closed;
                continue;
            }
            self.connecting += 1;
            self.tally.connects += 1;
            self.connections[i].phase = Phase::Connecting { since_ns: now };
            match connect(self.targets[self.connections[i].target]).and_then(|stream| {
                let data = epoll::EventData::new_u64((i as u64) << 32 | u64::from(self.connections[i].generation));
                let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
                epoll::add(&self.epoll, &stream, data, both | epoll::EventFlags::RDHUP | epoll::EventFlags::ET)?;
                Ok(stream)
            }) {
                Ok(stream) => self.connections[i].stream = Some(stream),
                Err(_) => self.connect_failed(i),
            }
        }
    }

    fn opened(&mut self, i: usize) {
        let now = self.now_ns();
        self.connecting -= 1;
        let connection = &mut self.connections[i];
        connection.phase = Phase::Open;
        // Taken back by the first answer: a peer that accepts and then hangs up is not connected to in a tight loop.
        connection.failures += 1;
        while let Some(owed) = connection.pending.pop_front() {
            self.workload.write(&owed.ticket, connection.target, &mut connection.out);
            connection.owed.push_back(owed);
        }
        self.refill(i, now);
    }

    fn connect_failed(&mut self, i: usize) {
        self.connections[i].failures += 1;
        if self.connections[i].load() == 0 {
            self.tally.failed(Kind::Connect, 1);
        }
        self.fail(i, Kind::Connect, Kind::Connect);
    }

    /// The peer ends the connection where it may: what it still owes is asked again elsewhere, at its old times.
    fn close_cleanly(&mut self, i: usize, now: u64) {
        let connection = &mut self.connections[i];
        while let Some(owed) = connection.owed.pop_back() {
            connection.pending.push_front(owed);
        }
        connection.drop_stream();
        self.next_life(i, now);
    }

    /// The connection is lost: the request at its head fails for `first`, the others for `rest`.
    fn fail(&mut self, i: usize, first: Kind, rest: Kind) {
        let now = self.now_ns();
        let connection = &mut self.connections[i];
        if let Phase::Connecting { .. } = connection.phase {
            self.connecting -= 1;
        }
        let mut kind = first;
        if connection.load() == 0 && first == Kind::Malformed {
            self.tally.failed(first, 1); // an answer that nobody asked for
        }
        while let Some(owed) = connection.owed.pop_front().or_else(|| connection.pending.pop_front()) {
            self.tally.failed(kind, 1);
            if kind == Kind::Timeout {
                // Its latency is at least this; leaving it out would flatter the percentiles.
                self.tally.latency.record(now.saturating_sub(owed.intended_ns));
            }
            kind = rest;
            self.in_flight -= 1;
            self.last_ns = now;
        }
        connection.drop_stream();
        self.next_life(i, now);
    }

    // ---- Now and then

    fn sweep(&mut self, now: u64) {
        self.next_sweep_ns = now + SWEEP.as_nanos() as u64;
        self.wall_offset_ns = UnixNanos::now().0 - self.now_ns() as i64;
        for i in 0..self.connections.len() {
            let connection = &mut self.connections[i];
            let oldest = connection.owed.front().or(connection.pending.front()).map(|o| o.sent_ns);
            if oldest.is_some_and(|sent| now.saturating_sub(sent) > self.timeout_ns) {
                connection.failures += 1;
                self.fail(i, Kind::Timeout, Kind::Timeout);
                continue;
            }
            match connection.phase {
                Phase::Connecting { since_ns } if now.saturating_sub(since_ns) > self.timeout_ns => {
                    self.connect_failed(i)
                }
                Phase::BackingOff { until_ns } if until_ns <= now => {
                    let failures = std::mem::take(&mut connection.failures);
                    self.next_life(i, now);
                    self.connections[i].failures = failures;
                }
                Phase::Open => {
                    self.retire(i, now);
                }
                _ => {}
            }
        }
    }

    fn report_seconds(&mut self, now: u64) {
        while now >= (self.second as u64 + 1) * SECOND_NS {
            let tally = std::mem::replace(&mut self.tally, Box::new(Tally::new()));
            let _ = self.sender.send(Interval { second: self.second, tally });
            self.second += 1;
        }
    }

    /// Requests of the open loop that were due and never begun: late by at least what is recorded here.
    fn charge_unsent(&mut self) {
        let now = self.now_ns();
        while let Some(due) = self.pace.take_unsent() {
            self.tally.unsent += 1;
            self.tally.latency.record(now.saturating_sub(due));
        }
    }
}
