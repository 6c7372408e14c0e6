//! Metrics of the process as every exporter of Prometheus names them (`process_*`), and of the program.
//!
//! Invariant: what the kernel does not say is absent, never 0. It does not know what the process does.

use std::{fmt, fs, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use super::{Part, encode::Labels};
use crate::pki::UnixTime;

/// Which build this is: `ostia_build_info`.
pub fn build() -> Part {
    Box::new(|encoder| {
        let help = "Which version of the program this is; the value is 1";
        let labels: Labels = [("version", program::VERSION), ("commit", program::COMMIT), ("day", program::DAY)]
            .map(|(name, value)| (name, value.to_owned()))
            .to_vec();
        encoder.encode_descriptor("build", help, None, MetricType::Info)?.encode_info(&labels)
    })
}

/// A gauge of the process, and how it is read.
type Gauge = (&'static str, &'static str, fn() -> Option<u64>);

const GAUGES: [Gauge; 6] = [
    ("process_start_time_seconds", "When the process was started, Unix time", start_time),
    ("process_resident_memory_bytes", "Memory that the process has in use", || memory(1)),
    ("process_virtual_memory_bytes", "Addresses that the process has taken", || memory(0)),
    ("process_open_fds", "File descriptors that are open", open_fds),
    ("process_max_fds", "How many file descriptors may be open", || getrlimit(Resource::Nofile).current),
    ("process_threads", "Threads of the process", || field(THREADS)?.parse().ok()),
];

/// The process itself.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time that processors have spent in the process";
        let spent = seconds(ClockId::ProcessCPUTime).as_secs_f64();
        let mut cpu = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
        cpu.encode_counter::<NoLabelSet, _, u64>(&spent, None)?;
        for (name, help, read) in GAUGES {
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            read().map_or(Ok(()), |value| gauge.encode_gauge(&value))?;
        }
        Ok(())
    }
}

fn seconds(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// Fields of `/proc/self/stat` behind the name of the program, which may have blanks (proc(5)): `state` is the first.
const THREADS: usize = 17;
const START_TIME: usize = 19;

fn field(place: usize) -> Option<String> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(place).map(str::to_owned)
}

/// The kernel tells it in ticks since the machine was started, which is not in reach where only processes are shown
/// (`ProcSubset=pid`); so it is counted back from now.
fn start_time() -> Option<u64> {
    let ticks: u64 = field(START_TIME)?.parse().ok()?;
    let after_boot = ticks.checked_div(clock_ticks_per_second())?;
    let age = seconds(ClockId::Boottime).as_secs().saturating_sub(after_boot);
    UnixTime::now().0.checked_sub(age)
}

/// A number of `/proc/self/statm`, in bytes.
fn memory(place: usize) -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    pages.split_ascii_whitespace().nth(place)?.parse::<u64>().ok()?.checked_mul(page_size() as u64)
}

/// Linux says it by the directory's size from 6.2 on; earlier, each is counted, which takes a while for a million.
fn open_fds() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY).ok()?.len() {
        0 => Some(fs::read_dir(DIRECTORY).ok()?.count() as u64),
        told => Some(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_everything_of_this_process() {
        let read: Vec<_> = GAUGES.iter().map(|(name, _, read)| (*name, read())).collect();
        assert!(read.iter().all(|(_, value)| value.is_some_and(|value| value > 0)), "{read:?}");
        let (started, now) = (start_time().unwrap(), UnixTime::now().0);
        assert!(started <= now && now - started < 86_400, "{started} {now}");
        assert!(seconds(ClockId::ProcessCPUTime) > Duration::ZERO);
        let (before, file) = (open_fds().unwrap(), fs::File::open("/dev/null").unwrap());
        assert!(open_fds().unwrap() >= before.min(4), "{file:?}");
    }
}
