//! The form of a log line: for a person, for a program, or for the journal.
//!
//! Purpose: the journal has time and unit already, and takes the level from `<N>` before a line, sd-daemon(3). It does not
//! know what is logged.

use std::{
    env, fmt,
    io::{IsTerminal as _, stderr},
};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer, layer},
    registry::LookupSpan,
};

use super::Told;
use crate::output::is_journal;

/// Chooses the form.
pub(super) const VARIABLE: &str = "OSTIA_LOG_FORMAT";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// With times; in colour on a terminal.
    Text,
    /// An object a line.
    Json,
    /// Text with the level before it, and without a time.
    Journal,
}

impl Form {
    /// `chosen`: the variable's value. The problem is that of a value that names no form.
    fn of(chosen: Option<&str>, is_terminal: bool, is_journal: bool) -> (Self, Option<String>) {
        let usual = match (is_journal, is_terminal) {
            (true, _) => Self::Journal,
            (false, true) => Self::Text,
            (false, false) => Self::Json,
        };
        match chosen.map(str::trim) {
            None | Some("") => (usual, None),
            Some("json") => (Self::Json, None),
            Some("text") => (if is_journal { Self::Journal } else { Self::Text }, None),
            Some(other) => {
                let problem = format!("is `{}`; it may be `text` or `json`", other.escape_debug());
                (usual, Some(problem))
            }
        }
    }
}

/// What writes lines to standard error, and what is wrong with the variable.
pub(super) fn lines<S>() -> (Box<dyn Layer<S> + Send + Sync>, Option<String>)
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let chosen = env::var_os(VARIABLE).map(|value| value.to_string_lossy().into_owned());
    let is_terminal = stderr().is_terminal();
    let (form, problem) = Form::of(chosen.as_deref(), is_terminal, is_journal());
    let lines = layer().with_writer(stderr).with_target(false);
    let lines = match form {
        Form::Text => lines.with_ansi(is_terminal).boxed(),
        Form::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
        Form::Journal => lines.with_ansi(false).event_format(Journal).boxed(),
    };
    (lines, problem)
}

struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut told = Told::default();
        event.record(&mut told);
        let mut lines = String::new();
        write_lines(&mut lines, priority(*event.metadata().level()), &told.line())?;
        writer.write_str(&lines)
    }
}

/// Every line has its level, or those behind the first would have another one.
fn write_lines(out: &mut impl fmt::Write, priority: u8, text: &str) -> fmt::Result {
    text.lines().try_for_each(|line| writeln!(out, "<{priority}>{line}"))
}

/// As of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_decides_on_the_form_unless_somebody_chose_one() {
        for (chosen, is_terminal, is_journal, wanted) in [
            (None, true, false, Form::Text),
            (None, false, false, Form::Json),
            (None, false, true, Form::Journal),
            (Some(""), false, true, Form::Journal),
            (Some("json"), true, true, Form::Json),
            (Some(" text "), false, false, Form::Text),
            (Some("text"), false, true, Form::Journal),
        ] {
            assert_eq!(Form::of(chosen, is_terminal, is_journal), (wanted, None), "{chosen:?}");
        }
        let (form, problem) = Form::of(Some("xml"), false, false);
        assert_eq!((form, problem.unwrap().as_str()), (Form::Json, "is `xml`; it may be `text` or `json`"));
    }

    #[test]
    fn each_line_for_the_journal_has_its_level() {
        let mut lines = String::new();
        write_lines(&mut lines, priority(Level::WARN), "a.toml: two problems\n  one\n  two").unwrap();
        assert_eq!(lines, "<4>a.toml: two problems\n<4>  one\n<4>  two\n");
    }
}
