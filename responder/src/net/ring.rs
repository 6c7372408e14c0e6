//! The io_uring runtime of a serving thread.
//!
//! Invariant: a ring that is given out has done every kind of operation that a serving thread asks of it. Many lists of
//! allowed system calls name some of io_uring's and not the others, and old kernels lack operations: the runtime passes
//! over what a ring refuses and asks again without end, while nobody is served.

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
/// A runtime on a ring of its own.
pub type Ring = monoio::Runtime<monoio::time::TimeDriver<IoUringDriver>>;

/// A ring with the best flags that this kernel has: completions are then handled on this thread when it
/// asks for them, without interrupting it. The error is that of the last flags.
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

/// Waits on a ring of its own for nothing and no time: without the runtime, which would ask again where it is refused.
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

/// Does what a serving thread has its ring do, within [`limits::RING_PATIENCE`].
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
    // A socket that is dropped is closed by the ring, which the other end sees.
    drop(one);
    let end = other.read(vec![0; 2]).await.0?;
    sleep(Duration::from_millis(1)).await;
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().spawn(move || {
        // By then the ring waits; if it does not yet, nothing is tried, and nothing is wrong.
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
        // Otherwise a ring would be thrown away for what is wrong with the trial.
        let (_, mut ring) = match build() {
            Ok(built) => built,
            // Told where it is refused here; then the tests of the service run on epoll as well.
            Err(error) => return eprintln!("no io_uring here: {error}"),
        };
        ring.block_on(every_operation()).unwrap();
    }
}
