//! The io_uring runtime of a serving thread.

use std::io;

use monoio::{IoUringDriver, RuntimeBuilder};

use crate::limits;

type SetFlags = fn(&mut io_uring::Builder);
/// A runtime on a ring of its own.
pub type Ring = monoio::Runtime<monoio::time::TimeDriver<IoUringDriver>>;

/// A ring with the best flags that this kernel has: completions are then handled on this thread when it
/// asks for them, without interrupting it.
pub fn build() -> io::Result<(&'static str, Ring)> {
    let with = |set: SetFlags| {
        let mut builder = io_uring::IoUring::builder();
        set(&mut builder);
        RuntimeBuilder::<IoUringDriver>::new()
            .uring_builder(builder)
            .with_entries(limits::RING_ENTRIES)
            .enable_timer()
            .build()
    };
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
        match with(set) {
            Ok(runtime) => return Ok((flags, runtime)),
            Err(error) => last = error,
        }
    }
    Err(last)
}
