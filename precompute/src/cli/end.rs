//! How a command ends: what it says, and with which status.
//!
//! Invariant: the same fault has the same status in every command of both programs ([`program::Exit`]). It does not know
//! commands.

use std::{error::Error, fmt, process::ExitCode};

use program::Exit;

use super::{check::NotStrictlyInOrder, config_file};
use crate::{config::ConfigError, log, output::complain};

/// What is wrong with the command line, where the parser of arguments cannot see it.
#[derive(Debug)]
pub struct Usage(String);

impl Usage {
    /// `text` says what is wrong and what would be right.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

/// An end of which everything is told.
#[derive(Debug)]
pub(super) struct AlreadyTold(pub(super) Exit);

impl fmt::Display for AlreadyTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.meaning())
    }
}

impl Error for AlreadyTold {}

/// Says why `program` ends, if not well; returns its exit status.
pub fn end(program: &str, outcome: &Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = outcome else { return Exit::Done.into() };
    let exit = exit(&**error);
    if error.is::<AlreadyTold>() {
        return exit.into();
    }
    complain(program, error);
    // Without it nobody sees which file is meant who looks at another one.
    if exit != Exit::Usage
        && let Some(remark) = config_file::remark()
    {
        complain(program, remark);
    }
    exit.into()
}

/// The status for an error.
///
/// After [`Exit::Rejected`] the units do not start the service again, since each start tries the PINs of tokens, and a
/// wrong one locks them. A check has another status if it only finds tokens out of reach, which do not prevent a start:
/// the unit may run the check first. The same is true for faults of the state directory or the record: a disk that is
/// mounted late or freed removes them without a change of the file, and no PIN is wrong.
pub(super) fn exit(error: &(dyn Error + 'static)) -> Exit {
    if let Some(AlreadyTold(exit)) = error.downcast_ref() {
        return *exit;
    }
    let is_rejected = error.downcast_ref::<ConfigError>().is_some_and(|error| !error.may_pass());
    if is_rejected || error.is::<log::Refused>() {
        Exit::Rejected
    } else if error.is::<NotStrictlyInOrder>() {
        Exit::NotInOrder
    } else if error.is::<Usage>() {
        Exit::Usage
    } else {
        Exit::Failed
    }
}
