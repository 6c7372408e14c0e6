//! How a program ends, in one table for all programs.
//!
//! Invariant: a number means the same in every program. Where two programs need a status for the same kind of end, they
//! use the same one.

use std::process::ExitCode;

/// An exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// Something is wrong that may pass.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// What was looked at is not in order.
    NotInOrder = 3,
    /// An expectation was missed.
    Missed = 4,
    /// Nobody answered.
    NoAnswer = 5,
    /// The configuration is rejected: EX_CONFIG of sysexits(3).
    Rejected = 78,
}

impl Exit {
    /// Every status with its meaning.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Done, "what was asked for is done; a check found nothing wrong, with or without warnings"),
        (
            Self::Failed,
            "it failed, and may succeed when it is tried again: a source, a token, a disk or a service that does not do what it should; or a part of what was asked for was refused",
        ),
        (Self::Usage, "the command line is wrong; nothing was done"),
        (
            Self::NotInOrder,
            "what was looked at is not in order: check --strict has warnings, or ostia-loadtest got a wrong answer",
        ),
        (
            Self::Missed,
            "ostia-loadtest only: no wrong answer, but an expectation of --expect was missed, or a replica of lag did not answer revoked in time",
        ),
        (Self::NoAnswer, "ostia-loadtest only: no request was answered at all"),
        (
            Self::Rejected,
            "the configuration is rejected, or OSTIA_LOG or OSTIA_LOG_FORMAT is: it stays so until somebody changes it, so the units do not start the service again",
        ),
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means.
    pub fn meaning(self) -> &'static str {
        Self::ALL.iter().find(|(exit, _)| *exit == self).map_or("", |(_, meaning)| meaning)
    }
}

/// Statuses as a section of `--help`, in lines of at most 100 characters.
pub fn statuses_in_words(statuses: &[Exit]) -> String {
    const WIDTH: usize = 100;
    let mut text = "Exit status:".to_owned();
    for exit in statuses {
        let mut line = format!("{:>4} ", exit.code());
        for word in exit.meaning().split(' ') {
            if line.len() + 1 + word.len() > WIDTH {
                text += &format!("\n{line}");
                line = "     ".to_owned();
            }
            line += &format!(" {word}");
        }
        text += &format!("\n{line}");
    }
    text
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
