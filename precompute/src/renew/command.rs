//! Runs a command within bounds: of time, of what it may say, and of what it gets to see.
//!
//! Invariants: no shell parts or expands anything; the environment has `PATH` and what the caller gives, and nothing of this
//! process's; the command and what it has started in its process group have ended when this returns. It does not know what
//! the command is for.

use std::{
    ffi::OsString,
    fmt,
    io::{self, ErrorKind, Read, Write},
    os::{fd::AsFd, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::{Pid, Signal, kill_process_group},
};

use crate::{limits::renew as limits, output::may_be_secret};

/// Where the programs that a script calls are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run.
pub(super) struct Order<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: &'a [OsString],
    pub(super) environment: &'a [(&'a str, OsString)],
    pub(super) input: &'a [u8],
    pub(super) deadline: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What it wrote, if it ended well.
    pub(super) output: Result<Vec<u8>, Fault>,
    /// The beginning of its standard error, for the log.
    pub(super) words: String,
}

/// Why there is no output. The texts complete "the command …".
#[derive(Debug)]
pub(super) enum Fault {
    NotRun(io::Error),
    Hung(Duration),
    /// It was ended because this process ends.
    Stopped,
    TooMuch,
    Failed(ExitStatus),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun(error) => write!(f, "cannot be run: {error}"),
            Self::Hung(deadline) => {
                write!(f, "did not end within {} s and was killed; `deadline` bounds it", deadline.as_secs())
            }
            Self::Stopped => f.write_str("was ended with the service"),
            Self::TooMuch => write!(f, "wrote more than {} bytes and was killed", limits::OUTPUT_OCTETS_MAX),
            Self::Failed(status) => write!(f, "failed ({status})"),
        }
    }
}

/// Runs it on this thread; `stop` is asked again and again whether to end it.
pub(super) fn run(order: &Order<'_>, stop: &dyn Fn() -> bool) -> Outcome {
    match start(order) {
        Ok(child) => Running::new(child, order).until_the_end(stop),
        Err(error) => Outcome { output: Err(Fault::NotRun(error)), words: String::new() },
    }
}

fn start(order: &Order<'_>) -> io::Result<Child> {
    let mut command = Command::new(order.program);
    command
        .args(order.arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(order.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A signal from a terminal does not reach it, and whatever it starts can be ended with it.
    command.process_group(0).spawn()
}

struct Running<'o> {
    child: Child,
    order: &'o Order<'o>,
    input: Option<(std::process::ChildStdin, &'o [u8])>,
    output: Pipe<std::process::ChildStdout>,
    words: Pipe<std::process::ChildStderr>,
    began: Instant,
}

/// One end of a pipe that is read while the other end is open.
struct Pipe<R> {
    end: Option<R>,
    read: Vec<u8>,
    most: usize,
    is_too_much: bool,
}

impl<R: Read + AsFd> Pipe<R> {
    fn new(end: Option<R>, most: usize) -> Self {
        Self { end: end.filter(does_not_block), read: Vec::new(), most, is_too_much: false }
    }

    fn read(&mut self) {
        let mut part = [0; 4096];
        while let Some(end) = &mut self.end {
            match end.read(&mut part) {
                Ok(0) => self.end = None,
                Ok(count) => {
                    let room = self.most.saturating_sub(self.read.len());
                    self.read.extend_from_slice(&part[..count.min(room)]);
                    self.is_too_much |= count > room;
                    if self.is_too_much {
                        // The rest waits for the next look, so that an endless one cannot hold this thread.
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.end = None,
            }
        }
    }
}

/// Whether the end of a pipe was made so.
fn does_not_block(end: &impl AsFd) -> bool {
    fcntl_getfl(end).and_then(|flags| fcntl_setfl(end, flags | OFlags::NONBLOCK)).is_ok()
}

impl<'o> Running<'o> {
    fn new(mut child: Child, order: &'o Order<'o>) -> Self {
        let input = child.stdin.take().filter(does_not_block).map(|end| (end, order.input));
        let output = Pipe::new(child.stdout.take(), limits::OUTPUT_OCTETS_MAX);
        let words = Pipe::new(child.stderr.take(), limits::WORDS_OCTETS_MAX);
        Self { child, order, input, output, words, began: Instant::now() }
    }

    fn until_the_end(mut self, stop: &dyn Fn() -> bool) -> Outcome {
        let ended = loop {
            self.exchange();
            if self.output.is_too_much {
                break Err(Fault::TooMuch);
            }
            match self.child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) => {}
                Err(error) => break Err(Fault::NotRun(error)),
            }
            if stop() {
                break Err(Fault::Stopped);
            }
            if self.began.elapsed() >= self.order.deadline {
                break Err(Fault::Hung(self.order.deadline));
            }
        };
        let output = match ended {
            Ok(status) => {
                self.read_the_rest();
                match () {
                    () if self.output.is_too_much => Err(Fault::TooMuch),
                    () if status.success() => Ok(std::mem::take(&mut self.output.read)),
                    () => Err(Fault::Failed(status)),
                }
            }
            Err(fault) => {
                self.end();
                Err(fault)
            }
        };
        Outcome { output, words: words(&self.words.read) }
    }

    /// Writes and reads what is there, or waits a moment for it.
    fn exchange(&mut self) {
        let mut waited: Vec<PollFd<'_>> = Vec::with_capacity(3);
        if let Some((end, _)) = &self.input {
            waited.push(PollFd::new(end, PollFlags::OUT));
        }
        waited.extend(self.output.end.iter().map(|end| PollFd::new(end, PollFlags::IN)));
        waited.extend(self.words.end.iter().map(|end| PollFd::new(end, PollFlags::IN)));
        let look = Timespec::try_from(limits::COMMAND_LOOK).ok();
        let is_ready = poll(&mut waited, look.as_ref()).unwrap_or(0) > 0;
        if !is_ready {
            return;
        }
        self.write();
        self.output.read();
        self.words.read();
        // What it says beyond the bound is dropped.
        self.words.is_too_much = false;
    }

    /// The end of the input is told by closing it. A command that does not read it is none of this function's.
    fn write(&mut self) {
        let Some((end, rest)) = &mut self.input else { return };
        while !rest.is_empty() {
            match end.write(rest) {
                Ok(count) => *rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.input = None;
    }

    /// After its end: what is still in the pipes. Processes that it left behind are ended with it.
    fn read_the_rest(&mut self) {
        self.input = None;
        let end = Instant::now() + limits::OUTPUT_END_WAIT;
        while (self.output.end.is_some() || self.words.end.is_some())
            && Instant::now() < end
            && !self.output.is_too_much
        {
            self.exchange();
        }
        if self.output.end.is_some() || self.words.end.is_some() {
            self.signal(Signal::KILL);
        }
    }

    /// Ends it and what it has started: asked first, and then not asked.
    fn end(&mut self) {
        self.signal(Signal::TERM);
        let end = Instant::now() + limits::COMMAND_END_WAIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(limits::COMMAND_LOOK);
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

/// What a command said, on one line, without what may be a secret.
fn words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    if may_be_secret(&text) {
        return "(a text that may be a secret)".into();
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let shown = lines.map(|line| line.escape_debug().to_string()).collect::<Vec<_>>().join(" | ");
    let mut letters = shown.chars();
    let mut begin: String = letters.by_ref().take(limits::WORDS_LETTERS_MAX).collect();
    begin.extend(letters.next().map(|_| '…'));
    begin
}
