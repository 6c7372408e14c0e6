//! The threads that a service cannot do without: if one ends by itself, that is noticed. It does not know what they do.

use std::{error::Error, fmt};

use tokio::sync::mpsc;

/// A thread that ended without being stopped.
#[derive(Debug)]
pub struct ThreadLost(String);

impl fmt::Display for ThreadLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; the service stops so that it can be started again", self.0)
    }
}

impl Error for ThreadLost {}

/// Hears of threads that end.
#[derive(Debug)]
pub struct Threads {
    /// Receives a thread's last words, and ends when all that are waited for have gone.
    lost: mpsc::UnboundedReceiver<String>,
    /// Each thread that is waited for has a copy; `None` once the service stops.
    words: Option<mpsc::UnboundedSender<String>>,
}

impl Default for Threads {
    fn default() -> Self {
        let (words, lost) = mpsc::unbounded_channel();
        Self { lost, words: Some(words) }
    }
}

impl Threads {
    /// A thread drops this when it ends, in whatever way. The end of the service does not wait for that thread.
    pub fn last_words(&self, thread: &str) -> LastWords {
        let words = self.words.as_ref().map(mpsc::UnboundedSender::downgrade);
        LastWords { words, thread: thread.to_owned(), reason: "it panicked or returned".into() }
    }

    /// The end of the service waits until the thread has dropped this.
    pub fn running(&self) -> Running {
        Running { _words: self.words.clone() }
    }

    /// From now on threads may end.
    pub fn stop(&mut self) {
        self.words = None;
    }

    /// Returns when a thread has ended that should not.
    pub async fn lost(&mut self) -> ThreadLost {
        ThreadLost(self.lost.recv().await.unwrap_or_default())
    }

    /// The same on a thread without a runtime.
    pub fn wait_until_lost(&mut self) -> ThreadLost {
        ThreadLost(self.lost.blocking_recv().unwrap_or_default())
    }

    /// After [`Threads::stop`]: returns when every thread that is waited for has ended.
    pub async fn ended(&mut self) {
        while self.lost.recv().await.is_some() {}
    }
}

/// Held by a thread that is waited for.
#[derive(Debug)]
pub struct Running {
    _words: Option<mpsc::UnboundedSender<String>>,
}

/// Held by a thread until it ends.
#[derive(Debug)]
pub struct LastWords {
    words: Option<mpsc::WeakUnboundedSender<String>>,
    thread: String,
    /// Why it ends.
    pub reason: String,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        if let Some(words) = self.words.as_ref().and_then(mpsc::WeakUnboundedSender::upgrade) {
            let _ = words.send(format!("{} ended: {}", self.thread, self.reason));
        }
    }
}
