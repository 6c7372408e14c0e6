//! The io_uring runtime of a serving thread.
//!
//! Invariant: a ring that is returned has done every kind of operation that a serving thread needs. Many lists of
//! allowed system calls include some of io_uring's and not others, and old kernels lack operations. The runtime ignores
//! what a ring refuses and asks again forever, while no client is served. It does not know what a thread serves.

use std::{io, os::unix::net::UnixStream as StdStream, pin::pin, thread, time::Duration};

use io_uring::types::{SubmitArgs, Timespec};
use monoio::{
    IoUringDriver, RuntimeBuilder,
    io::{AsyncReadRent as _, AsyncWriteRentExt as _},
    net::UnixStream,
    time::{sleep, timeout},
};
use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::limits;

type SetFlags = fn(&mut io_uring::Builder);
/// A runtime on its own ring.
pub type Ring = monoio::Runtime<monoio::time::TimeDriver<IoUringDriver>>;

/// A ring with the best flags that this kernel supports: this thread handles completions when it asks for them, without
/// interrupts. The error is that of the last flags tried.
pub fn build() -> io::Result<(&'static str, Ring)> {
    let kinds: [(&str, SetFlags); 3] = [
        ("single_issuer defer_taskrun", |builder| {
            builder.setup_single_issuer().setup_defer_taskrun();
        }),
        ("coop_taskrun", |builder| {
            builder.setup_coop_taskrun();
        }),
        ("none", |_| {}),
    ];
    let mut last = io::Error::from(io::ErrorKind::Unsupported);
    for (flags, set) in kinds {
        match build_with(set) {
            Ok(runtime) => return Ok((flags, runtime)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn build_with(set: SetFlags) -> io::Result<Ring> {
    let mut builder = io_uring::IoUring::builder();
    set(&mut builder);
    enter(&builder)?;
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(builder)
        .with_entries(limits::RING_ENTRIES)
        .enable_timer()
        .build()?;
    runtime.block_on(every_operation())?;
    Ok(runtime)
}

/// Enters its own ring for no events and no time: without the runtime, which would retry forever if that is refused.
fn enter(builder: &io_uring::Builder) -> io::Result<()> {
    let ring = builder.build(1).map_err(of_call("io_uring_setup"))?;
    let now = Timespec::new();
    let entered = if ring.params().is_feature_ext_arg() {
        ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&now))
    } else {
        ring.submitter().submit()
    };
    match entered {
        Err(error) if error.raw_os_error() != Some(Errno::TIME.raw_os_error()) => Err(of_call("io_uring_enter")(error)),
        _ => Ok(()),
    }
}

fn of_call(call: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{call}: {error}"))
}

/// Runs each operation that a serving thread needs, within [`limits::RING_PATIENCE`].
async fn every_operation() -> io::Result<()> {
    let mut operations = pin!(operations());
    let done = timeout(limits::RING_PATIENCE, operations.as_mut()).await;
    let done: io::Result<()> = done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    done.map_err(|error| io::Error::new(error.kind(), format!("an operation of the ring failed: {error}")))
}

/// Waits for sockets, writes, reads, closes, waits for a time, and is woken by another thread.
async fn operations() -> io::Result<()> {
    let (one, other) = StdStream::pair()?;
    let (mut one, mut other) = (UnixStream::from_std(one)?, UnixStream::from_std(other)?);
    one.writable(false).await?;
    one.write_all(vec![0; 1]).await.0?;
    other.readable(false).await?;
    let read = other.read(vec![0; 2]).await.0?;
    // The ring closes a dropped socket, which the other end notices.
    drop(one);
    let end = other.read(vec![0; 2]).await.0?;
    sleep(Duration::from_millis(1)).await;
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().spawn(move || {
        // By then the ring waits. If it does not yet, this tries nothing, but nothing is wrong.
        thread::sleep(Duration::from_millis(1));
        let _ = sender.send(());
    })?;
    let woken = receiver.await.is_ok();
    if (read, end, woken) == (1, 0, true) { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_that_are_tried_are_done_by_a_runtime_that_has_them() {
        // Otherwise a ring would be rejected because of a fault in the trial.
        let (_, mut ring) = match build() {
            Ok(built) => built,
            // Printed if it is refused here; then the tests of the service run on epoll as well.
            Err(error) => return eprintln!("no io_uring here: {error}"),
        };
        ring.block_on(every_operation()).unwrap();
    }
}
