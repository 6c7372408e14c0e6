//! The book among the threads of all issuers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::book::Book;

/// The book, which has one writer at a time.
pub(super) type SharedBook = Arc<Mutex<Book>>;

/// Taken also from one who panicked: redb has its own notion of what was committed.
pub(super) fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
