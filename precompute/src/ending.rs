//! The end of a program, whatever its cause: the work is done or rejected, it panics, or a signal arrives.
//!
//! Invariant: before the process ends, every session with a token is closed and every PKCS#11 library finalised,
//! because some tokens keep open sessions and lock up after a few runs. The wait for a library that hangs is at most
//! [`limits::TOKENS_END_MAX`](crate::limits::TOKENS_END_MAX), and there is none after a second signal. It does not know
//! what the program does.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGXFSZ},
    flag,
    iterator::Signals,
    low_level::emulate_default_handler,
};

use crate::sign::pkcs11;

/// Whether another part of the program handles the signals, and ends it.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Held by `main` until the end; dropping it leaves the tokens.
#[derive(Debug)]
pub struct Ending(());

impl Ending {
    /// From now on tokens are left before SIGINT or SIGTERM ends the program.
    pub fn watch() -> io::Result<Self> {
        const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];
        // A file that may not grow (`ulimit -f`, LimitFSIZE=) is reported as an error instead of killing the process.
        flag::register(SIGXFSZ, Arc::default())?;
        let ends = Arc::new(AtomicBool::new(false));
        for signal in SIGNALS {
            // The second one does not wait.
            flag::register_conditional_default(signal, Arc::clone(&ends))?;
        }
        let mut signals = Signals::new(SIGNALS)?;
        let watch = move || {
            for signal in signals.forever() {
                if !TAKEN.load(SeqCst) {
                    ends.store(true, SeqCst);
                    pkcs11::end();
                    let _ = emulate_default_handler(signal);
                }
            }
        };
        thread::Builder::new().name("signals".into()).spawn(watch)?;
        Ok(Self(()))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        pkcs11::end();
    }
}

/// From now on the caller ends the program when a signal arrives.
pub fn take_signals() {
    TAKEN.store(true, SeqCst);
}
