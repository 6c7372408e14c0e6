//! What standard error is, and whether it takes colours.
//!
//! Purpose: a person at a terminal, the journal and a program that reads a pipe each get what they can use. It does not
//! know what is written.

use std::{
    env,
    ffi::OsStr,
    io::{IsTerminal as _, stderr},
};

use anstream::{AutoStream, ColorChoice};
use rustix::{fs::fstat, stdio};

/// Where standard error leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// To a person.
    Terminal,
    /// To the journal of systemd, which reads a priority such as `<4>` at the begin of each line (sd-daemon(3)).
    Journal,
    /// To a pipe or a file.
    Other,
}

/// Where standard error leads.
pub fn standard_error() -> Stream {
    if stderr().is_terminal() {
        return Stream::Terminal;
    }
    let file = fstat(stdio::stderr()).ok().map(|stat| (stat.st_dev, stat.st_ino));
    match (file, env::var_os("JOURNAL_STREAM")) {
        // The variable is inherited by programs whose standard error is another one (systemd.exec(5)).
        (Some((device, inode)), Some(variable)) if is_journal(&variable, device, inode) => Stream::Journal,
        _ => Stream::Other,
    }
}

/// The variable that chooses a form of the log.
pub const FORM_VARIABLE: &str = "OSTIA_LOG_FORMAT";

/// Whether what is written beside the log is to have priorities, as the log has.
pub(super) fn has_priorities() -> bool {
    match env::var_os(FORM_VARIABLE).filter(|form| !form.is_empty()) {
        Some(form) => form == "journal",
        None => standard_error() == Stream::Journal,
    }
}

/// Whether JOURNAL_STREAM, `device:inode`, names this file.
fn is_journal(variable: &OsStr, device: u64, inode: u64) -> bool {
    variable.to_str() == Some(&format!("{device}:{inode}"))
}

/// Whether standard error takes colours: a terminal does, but for `TERM=dumb` and NO_COLOR; CLICOLOR_FORCE makes
/// anything take them.
pub fn takes_colours() -> bool {
    AutoStream::choice(&stderr()) != ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_journal_itself_is_the_journal() {
        for (variable, wanted) in [("8:123", true), ("8:124", false), ("9:123", false), ("8", false), ("", false)] {
            assert_eq!(is_journal(OsStr::new(variable), 8, 123), wanted, "{variable}");
        }
    }
}
