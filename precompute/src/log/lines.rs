//! The forms of a line of the log.
//!
//! Invariant: an entry of the journal has its priority in each of its lines, so that `journalctl -p err` finds what is
//! wrong. It does not know what is logged.

use std::{fmt, io::stderr};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer, layer},
    registry::LookupSpan,
};

use super::Told;
use crate::output::{Stream, for_journal, takes_colours};

/// A form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// For people.
    Text,
    /// An object a line, for programs.
    Json,
    /// For the journal, which knows the time itself.
    Journal,
}

impl Form {
    /// What suits standard error.
    pub(super) fn of(stream: Stream) -> Self {
        match stream {
            Stream::Terminal => Self::Text,
            Stream::Journal => Self::Journal,
            Stream::Other => Self::Json,
        }
    }

    /// By its name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "json" => Self::Json,
            "journal" => Self::Journal,
            _ => return None,
        })
    }
}

/// Writes the log to standard error.
pub(super) fn lines<S: Subscriber + for<'s> LookupSpan<'s>>(form: Form) -> Box<dyn Layer<S> + Send + Sync> {
    let layer = layer().with_writer(stderr).with_target(false);
    match form {
        Form::Text => layer.with_ansi(takes_colours()).boxed(),
        Form::Json => layer.json().flatten_event(true).with_ansi(false).boxed(),
        Form::Journal => layer.with_ansi(false).event_format(Journal).boxed(),
    }
}

/// An entry of the journal.
struct Journal;

/// The priority of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writeln!(writer, "{}", for_journal(priority(*event.metadata().level()), &Told::of(event).line()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worse_level_has_a_lower_priority() {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        assert!(levels.is_sorted_by_key(|level| priority(*level)), "{levels:?}");
    }
}
