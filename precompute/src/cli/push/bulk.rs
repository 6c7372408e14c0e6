//! A list that goes up in parts, goes on after a pause of the service, and is told about meanwhile.
//!
//! Purpose: millions of lines from a file or a pipe, with bounded memory. Invariant: each line is sent until the service
//! says that it is dealt with, so nothing is skipped by a full disk or a restart; a line may be sent twice, and counts as
//! unchanged then. It does not know the forms of a list.

use std::{
    error::Error,
    fmt,
    fs::File,
    io::{IsTerminal as _, Read, Write as _, stderr, stdin},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::{
    super::client::{Client, ClientError, ServedIssuer, ServedProblem, pause},
    list::{Form, Reader, Unread},
};
use crate::{
    api::lines::{Line, Lines},
    limits,
};

/// How often a line is written without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// What became of a list.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Totals {
    pub(super) done: u64,
    pub(super) unchanged: u64,
    pub(super) still_held: u64,
    pub(super) refused: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, unchanged, still_held, refused } = *self;
        write!(f, "{} done, {} unchanged", HumanCount(done), HumanCount(unchanged))?;
        if still_held > 0 {
            write!(f, ", {} still on hold by a source", HumanCount(still_held))?;
        }
        write!(f, ", {} refused", HumanCount(refused))
    }
}

/// Pushes the list in `file`, or on standard input for `-`.
pub(super) fn push(
    client: &Client,
    issuer: &ServedIssuer,
    form: &Form<'_>,
    file: &Path,
) -> Result<Totals, Box<dyn Error>> {
    let is_standard = file.as_os_str() == "-";
    let fail = |error| format!("{}: cannot be read: {error}", file.display());
    let (mut input, octets): (Box<dyn Read>, _) = if is_standard {
        (Box::new(stdin().lock()), None)
    } else {
        let file = File::open(file).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let name = if is_standard { "standard input".into() } else { file.display().to_string() };
    let path = format!("/v1/issuers/{}/bulk", issuer.id);
    let mut upload = Upload {
        client,
        path,
        name,
        reader: Reader::new(form),
        part: Part::default(),
        totals: Totals::default(),
        dealt_with: 0,
        telling: Telling::begin(octets),
    };
    let (mut lines, mut ready) = (Some(Lines::default()), Vec::new());
    let mut buffer = vec![0; 64 << 10];
    while let Some(reading) = &mut lines {
        let count = input.read(&mut buffer).map_err(fail)?;
        if count == 0 {
            ready.extend(lines.take().and_then(Lines::finish));
        } else {
            reading.feed(&buffer[..count], |line| ready.push(line));
            upload.telling.read += count as u64;
        }
        for line in ready.drain(..) {
            upload.take(line)?;
        }
    }
    upload.send()?;
    upload.telling.clear();
    Ok(upload.totals)
}

/// What goes up in one request.
#[derive(Default)]
struct Part {
    text: Vec<u8>,
    /// For each line, where it ends in the text, and its number in the list.
    ends: Vec<(usize, u64)>,
}

struct Upload<'a> {
    client: &'a Client,
    path: String,
    /// What the list is called.
    name: String,
    reader: Reader<'a>,
    part: Part,
    totals: Totals,
    /// Lines of the list that are dealt with, up to this number.
    dealt_with: u64,
    telling: Telling,
}

impl Upload<'_> {
    fn take(&mut self, line: Line) -> Result<(), Box<dyn Error>> {
        let Line { number, content } = line;
        let read = match content {
            Some(content) => self.reader.read(&content),
            None => Err(Unread::Line(format!("the line is longer than {} bytes", limits::API_LINE_OCTETS_MAX))),
        };
        match read {
            Ok(Some(text)) => {
                self.part.text.extend_from_slice(text.as_bytes());
                self.part.text.push(b'\n');
                self.part.ends.push((self.part.text.len(), number));
            }
            Ok(None) => {}
            Err(Unread::Line(problem)) => self.refuse(number, &problem),
            // The first line: nothing has gone up.
            Err(Unread::List(problem)) => {
                self.telling.clear();
                return Err(format!("{}:{number}: {problem}", self.name).into());
            }
        }
        if self.part.ends.len() >= limits::CLIENT_UPLOAD_LINES || self.part.text.len() >= limits::CLIENT_UPLOAD_OCTETS {
            self.send()?;
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, problem: &str) {
        self.totals.refused += 1;
        let Self { name, .. } = self;
        self.telling.aside(|| {
            let _ = writeln!(stderr(), "{name}:{line}: {problem}");
        });
    }

    /// Sends the part until all of it is dealt with.
    fn send(&mut self) -> Result<(), Box<dyn Error>> {
        let (mut from, mut attempt, mut progressed) = (0, 0, Instant::now());
        while from < self.part.ends.len() {
            let begin = from.checked_sub(1).map_or(0, |last| self.part.ends[last].0);
            let fault = match self.client.upload(&self.path, &self.part.text[begin..]) {
                Ok(answer) => {
                    let (count, problem) = self.note(&answer, from)?;
                    if count > 0 {
                        (from, attempt, progressed) = (from + count, 0, Instant::now());
                    }
                    match problem {
                        None => continue,
                        Some(problem) if problem.may_pass() => problem.detail,
                        Some(problem) => return Err(self.stopped(&problem.detail)),
                    }
                }
                Err(ClientError::Refused(problem)) if !problem.may_pass() => return Err(self.stopped(&problem.detail)),
                Err(ClientError::Odd(text)) => return Err(self.stopped(&text)),
                Err(error) => error.to_string(),
            };
            if progressed.elapsed() > limits::CLIENT_RETRY_MAX {
                return Err(self.stopped(&fault));
            }
            let wait = pause(attempt);
            attempt += 1;
            self.telling.aside(|| tracing::warn!(seconds = wait.as_secs_f32(), "waiting to go on: {fault}"));
            sleep(wait);
        }
        self.part = Part::default();
        self.telling.tell(&self.totals);
        Ok(())
    }

    /// Notes an answer to the lines from `from` on. Returns how many are dealt with, and why the others are not.
    fn note(
        &mut self,
        answer: &[serde_json::Value],
        from: usize,
    ) -> Result<(usize, Option<ServedProblem>), Box<dyn Error>> {
        let last = answer.last().filter(|last| last["total"].is_object());
        let Some(last) = last else {
            // The service ended amid the answer: what is dealt with is not known.
            let detail = "the answer of the service ended early".into();
            return Ok((
                0,
                Some(ServedProblem {
                    kind: Some(crate::api::problem::Kind::NotDurable),
                    detail,
                    member: None,
                    answered: Vec::new(),
                }),
            ));
        };
        for line in answer.iter().filter(|line| line["problem"].is_object() && line["line"].is_u64()) {
            let place = from + (line["line"].as_u64().unwrap_or(1) as usize).saturating_sub(1);
            let number = self.part.ends.get(place).map_or(0, |(_, number)| *number);
            self.refuse(number, &ServedProblem::of(&line["problem"]).detail);
        }
        let total = |name: &str| last["total"][name].as_u64().unwrap_or_default();
        self.totals.done += total("done");
        self.totals.unchanged += total("unchanged");
        self.totals.still_held += total("still_held");
        let count = (total("lines") as usize).min(self.part.ends.len() - from);
        if count > 0 {
            self.dealt_with = self.part.ends[from + count - 1].1;
        }
        let problem = last.get("problem").map(ServedProblem::of);
        if count == 0 && problem.is_none() {
            return Err(self.stopped("the service dealt with no line, and did not say why"));
        }
        Ok((count, problem))
    }

    fn stopped(&mut self, why: &str) -> Box<dyn Error> {
        self.telling.clear();
        format!(
            "{}: stopped behind line {} ({}): {why}; the same command goes on, and counts as unchanged what is done",
            self.name, self.dealt_with, self.totals
        )
        .into()
    }
}

/// Tells how far the list is: by a bar on a terminal, by lines elsewhere.
struct Telling {
    bar: Option<ProgressBar>,
    read: u64,
    told: Instant,
}

impl Telling {
    fn begin(octets: Option<u64>) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let (bar, template) = match octets {
                Some(octets) => (ProgressBar::new(octets), "{bar:40} {percent:>3} %  {msg}"),
                None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
            };
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, read: 0, told: Instant::now() }
    }

    fn tell(&mut self, totals: &Totals) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.read);
            bar.set_message(totals.to_string());
        } else if self.told.elapsed() >= LINE_INTERVAL {
            self.told = Instant::now();
            tracing::info!("{totals}");
        }
    }

    /// Writes something else while there is a bar.
    fn aside(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn clear(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}
