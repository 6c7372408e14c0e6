//! Memory and descriptors of each process, looked at every second.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Processes by name; copies are of one list.
#[derive(Clone, Default)]
pub(crate) struct Processes(Arc<Mutex<BTreeMap<String, u32>>>);

/// What each process had, from one start to one end.
#[derive(Default, Debug)]
pub(crate) struct Resources {
    pub(crate) lives: BTreeMap<(String, u32), Vec<Looked>>,
}

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: u64,
}

impl Processes {
    /// These are they from now on.
    pub(crate) fn are(&self, all: Vec<(String, u32)>) {
        *self.0.lock().unwrap() = all.into_iter().collect();
    }

    /// Until `stop`.
    pub(crate) fn look(&self, stop: &AtomicBool) -> Resources {
        let mut resources = Resources::default();
        while !stop.load(Relaxed) {
            for (name, pid) in self.0.lock().unwrap().clone() {
                // Who has just been killed has neither.
                if let Some(looked) = Looked::at(pid) {
                    resources.lives.entry((name, pid)).or_default().push(looked);
                }
            }
            thread::sleep(Duration::from_secs(1));
        }
        resources
    }
}

impl Looked {
    fn at(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident_kib = line.split_whitespace().next()?.parse().ok()?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
        Some(Self { resident_kib, descriptors })
    }
}
