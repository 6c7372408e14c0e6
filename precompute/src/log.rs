//! Logs: text on a terminal, text with priorities for the journal of systemd, JSON otherwise.
//!
//! `OSTIA_LOG` sets the level, and `OSTIA_LOG_FORMAT` another form. A wrong value is refused before anything is done, so
//! nobody finds out later that the log was silent. `check` needs the warnings counted and listed at the end instead of
//! among other lines: [`gather`]. It does not know what is logged.

mod lines;
pub(crate) mod remarks;

use std::{
    env,
    error::Error,
    ffi::OsString,
    fmt::{self, Debug, Display, Write as _},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    info,
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    EnvFilter, Layer, filter::FilterExt as _, filter::filter_fn, layer::Context, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use self::lines::{Form, lines};
use crate::output::{FORM_VARIABLE, Finding, Severity, Where, standard_error};

const VARIABLE: &str = "OSTIA_LOG";

/// The level by default.
const DEFAULT: &str = "info";

/// The parts of the programs that log something.
const PARTS: [&str; 2] = ["precompute", "responder"];

/// The field of an event with the place in a file.
const PLACE: &str = "place";

/// A variable of the environment whose value is not known.
#[derive(Debug)]
pub struct Refused(String);

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Refused {}

/// Sends the log to standard error. `OSTIA_LOG` chooses what is logged (`info` by default), in the syntax of tracing's
/// EnvFilter; parts that it does not name have the default level.
pub fn start() -> Result<(), Refused> {
    let (filter, form) = settings()?;
    let registry = tracing_subscriber::registry().with(filter);
    // Starting twice (in tests) leaves the first in place.
    let _ = registry.with(lines(form)).try_init();
    tell_of_another_variable();
    Ok(())
}

/// Warnings and errors are collected instead of logged, whatever `OSTIA_LOG` says. Other lines would stand among the text of the
/// command that collects them: they are told only to who has asked for them by that variable.
pub fn gather() -> Result<Warnings, Refused> {
    let (filter, form) = settings()?;
    let warnings = Warnings::default();
    let others = filter_fn(|event| *event.level() > Level::WARN);
    let _ = tracing_subscriber::registry()
        .with(is_asked_for().then(|| lines(form).with_filter(filter.and(others))))
        .with(Gather(Arc::clone(&warnings.0)).with_filter(LevelFilter::WARN))
        .try_init();
    tell_of_another_variable();
    Ok(warnings)
}

fn is_asked_for() -> bool {
    env::var_os(VARIABLE).is_some_and(|value| !value.is_empty())
}

fn settings() -> Result<(EnvFilter, Form), Refused> {
    let form = match env::var_os(FORM_VARIABLE).filter(|value| !value.is_empty()) {
        None => Form::of(standard_error()),
        Some(value) => {
            let known = value.to_str().and_then(Form::named);
            known
                .ok_or_else(|| Refused(format!("{FORM_VARIABLE}: is {}; give text, json or journal", shown(&value))))?
        }
    };
    Ok((filter(env::var_os(VARIABLE)).map_err(Refused)?, form))
}

/// A value from the environment, short and without control characters.
fn shown(value: &OsString) -> String {
    let value: String = value.to_string_lossy().chars().take(80).collect();
    format!("`{}`", value.escape_debug())
}

fn tell_of_another_variable() {
    if env::var_os("RUST_LOG").is_some() && env::var_os(VARIABLE).is_none() {
        info!("RUST_LOG is set and not looked at; {VARIABLE} chooses what is told");
    }
}

/// The meaning of the variable's `value`; or what is wrong with it.
fn filter(value: Option<OsString>) -> Result<EnvFilter, String> {
    let Some(value) = value else { return Ok(EnvFilter::new(DEFAULT)) };
    let judged = value.to_str().ok_or_else(|| "it is no UTF-8 text".to_owned()).and_then(judge);
    judged.map_err(|why| {
        format!(
            "{VARIABLE}: is {}, and {why}; give a level (off, error, warn, info, debug, trace), or levels of parts such as \
             `info,responder=debug`",
            shown(&value)
        )
    })
}

/// In the filter syntax, a word that is not a level names a part, and everything else would be silent.
fn judge(value: &str) -> Result<EnvFilter, String> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(EnvFilter::new(DEFAULT));
    }
    let mut is_said_of_all = false;
    // Commas within brackets separate fields of spans, which are left to the filter syntax.
    let parts = if value.contains(['[', '{']) { Vec::new() } else { value.split(',').map(str::trim).collect() };
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let name = part.split_once('=').map(|(name, _)| name);
        let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_:-.".contains(c));
        let is_ours = |part: &str| PARTS.iter().any(|own| part == *own || part.starts_with(&format!("{own}::")));
        match name {
            Some(name) if is_name(name) => {}
            None if part.parse::<LevelFilter>().is_ok() => is_said_of_all = true,
            None if is_ours(part) => {}
            _ => return Err(format!("`{}` is no level", part.escape_debug())),
        }
    }
    let whole = if is_said_of_all { parts.join(",") } else { format!("{DEFAULT},{value}") };
    EnvFilter::builder().parse(whole).map_err(|error| error.to_string())
}

/// Warnings and errors since [`gather`].
#[derive(Clone, Default, Debug)]
pub struct Warnings(Arc<Mutex<Vec<Finding>>>);

impl Warnings {
    /// Removes and returns them, in order, without duplicates.
    pub fn take(&self) -> Vec<Finding> {
        mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Gather(Arc<Mutex<Vec<Finding>>>);

impl<S: Subscriber> Layer<S> for Gather {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let told = Told::of(event).finding();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains(&told) {
            all.push(told);
        }
    }
}

/// An event as one line.
#[derive(Default)]
struct Told {
    place: String,
    message: String,
    fields: String,
    tenant: Option<String>,
    issuer: Option<String>,
}

impl Told {
    fn of(event: &Event<'_>) -> Self {
        let mut told = Self::default();
        event.record(&mut told);
        told
    }

    fn line(&self) -> String {
        let Self { place, message, fields, .. } = self;
        let colon = if place.is_empty() { "" } else { ": " };
        let fields = if fields.is_empty() { String::new() } else { format!(" ({fields})") };
        format!("{place}{colon}{message}{fields}")
    }

    /// A warning, or an error of what is only looked at.
    fn finding(self) -> Finding {
        let line = self.line();
        let Self { place, message, tenant, issuer, .. } = self;
        Finding::new(Severity::Warning, Where { tenant, issuer, ..Where::parse(&place) }, &message, line)
    }
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            PLACE => write!(self.place, "{value:?}"),
            name => {
                match name {
                    "tenant" => self.tenant = Some(format!("{value:?}")),
                    "issuer" => self.issuer = Some(format!("{value:?}")),
                    _ => {}
                }
                let comma = if self.fields.is_empty() { "" } else { ", " };
                write!(self.fields, "{comma}{name}={value:?}")
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use tracing::warn;

    use super::*;

    #[test]
    fn a_filter_that_is_wrong_is_refused_with_what_is_possible() {
        for (value, why) in [
            (&b"verbos"[..], "`verbos` is no level"),
            (b"info,verbos", "`verbos` is no level"),
            (b"debug;responder=trace", "`debug;responder=trace` is no level"),
            (b"responders", "`responders` is no level"),
            (b"responder=loud", "parsing level filter"),
            (b"de\xffbug", "no UTF-8"),
            (b"\x1b[2J", "is `\\u{1b}[2J`"),
        ] {
            let problem = filter(Some(OsString::from_vec(value.to_vec()))).unwrap_err();
            assert!(problem.contains(why) && problem.contains("off, error, warn, info, debug, trace"), "{problem}");
            assert!(!problem.contains('\x1b'), "{problem:?}");
        }
    }

    #[test]
    fn a_filter_says_of_parts_what_it_says_and_of_the_rest_what_is_usual() {
        for (value, hint) in [
            (None, LevelFilter::INFO),
            (Some(""), LevelFilter::INFO),
            (Some("  "), LevelFilter::INFO),
            (Some("off"), LevelFilter::OFF),
            (Some("OFF"), LevelFilter::OFF),
            (Some("warn"), LevelFilter::WARN),
            (Some(" Debug "), LevelFilter::DEBUG),
            (Some("warn,responder=error"), LevelFilter::WARN),
            (Some("off,responder=error"), LevelFilter::ERROR),
            (Some("responder=warn"), LevelFilter::INFO),
            (Some("misspelt=debug"), LevelFilter::DEBUG),
            (Some("precompute::engine"), LevelFilter::TRACE),
        ] {
            let filter = filter(value.map(OsString::from)).unwrap();
            assert_eq!(filter.max_level_hint(), Some(hint), "{value:?}");
        }
    }

    #[test]
    fn what_is_gathered_is_a_line_each_with_its_place_and_its_fields() {
        let warnings = Warnings::default();
        let layer = Gather(Arc::clone(&warnings.0)).with_filter(LevelFilter::WARN);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            info!("is none");
            warn!(place = "ostia.toml:7: validity", "outlives the signer");
            warn!(issuer = "a", left = 3, "ends {}", "soon");
            warn!(issuer = "a", left = 3, "ends {}", "soon");
            tracing::error!(file = %"b", "is lost");
        });
        let expected =
            ["ostia.toml:7: validity: outlives the signer", "ends soon (issuer=a, left=3)", "is lost (file=b)"];
        let lines: Vec<_> = warnings.take().iter().map(ToString::to_string).collect();
        assert_eq!(lines, expected);
        assert!(warnings.take().is_empty());
    }
}
