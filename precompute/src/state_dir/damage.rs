//! Distinguishes a useless file from one that is out of reach.
//!
//! redb checks only part of what it reads: some damage is an error, some a panic, in any call. Both end here, and
//! neither ends the process. The caller names the file; a backtrace would only mislead, and is not printed. It does not
//! know which file it is.

use std::{
    cell::Cell,
    io,
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::Once,
};

/// Why a step on the database failed.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The file is out of reach.
    Error(redb::Error),
    /// The file is useless; why.
    Damaged(String),
}

impl From<Broken> for redb::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Error(error) => error,
            Broken::Damaged(damage) => Self::Corrupted(damage),
        }
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a step on the database. A panic means damage. Afterwards nothing of the database is used again: the caller
/// closes it.
pub(crate) fn guarded<T>(step: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Broken> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let was_quiet = QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(step));
    QUIET.set(was_quiet);
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if is_damage(&error) => Err(Broken::Damaged(error.to_string())),
        Ok(Err(error)) => Err(Broken::Error(error)),
        Err(_) => Err(Broken::Damaged("what it holds makes no sense".into())),
    }
}

fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::PreviousIo => false,
        redb::Error::Io(error) => matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
        _ => true,
    }
}
