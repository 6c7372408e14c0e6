//! The installation, and everybody who asks it.
//!
//! Invariant: clients work until they are told to end, on threads of their own, and nobody who works on the installation
//! waits for them.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ostia_tests::{Behind, ClusterPlan};

use crate::{
    SOON,
    figures::Figures,
    load::{Load, Loaded},
    pushes::{Acknowledged, Pushes},
    resources::{Processes, Resources},
    stamps::{Stamped, Stamps},
    watch::{Watch, Watched},
};

/// What a run is to be like; see the variables in `main`.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// At least so long.
    pub(crate) length: Duration,
    /// OCSP requests a second.
    pub(crate) rate: u32,
    pub(crate) seed: u64,
    /// To whom something happens at random, as [`Who`](crate::faults::Who) has it in small letters; empty for everybody.
    pub(crate) who: String,
}

impl Wanted {
    /// As the environment says.
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str, default: u64| match env::var(name) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is no number")),
            Err(_) => default,
        };
        Self {
            length: Duration::from_secs(number("OSTIA_ENDURANCE", 0)),
            rate: number("OSTIA_RATE", 300) as u32,
            seed: number("OSTIA_SEED", 1),
            who: env::var("OSTIA_WHO").unwrap_or_default(),
        }
    }
}

/// See the module.
pub(crate) struct Installation {
    pub(crate) behind: Behind,
    /// Its processes by their names, as they are now.
    pub(crate) processes: Processes,
    pub(crate) pushes: Pushes,
    pub(crate) watch: Watch,
    rate: u32,
    stop: Arc<AtomicBool>,
    at_work: AtWork,
}

struct AtWork {
    load: JoinHandle<Loaded>,
    stamps: JoinHandle<Stamped>,
    pushes: JoinHandle<Acknowledged>,
    watch: JoinHandle<Watched>,
    resources: JoinHandle<Resources>,
}

impl Installation {
    /// Starts all of it by the shipped configurations, and load on it; certificates enough for what is pushed in so long a time.
    pub(crate) fn start(wanted: &Wanted) -> Self {
        let certificates = 4000 + 2 * (wanted.length.as_secs() * u64::from(Pushes::A_SECOND)) as usize;
        let plan = ClusterPlan::of(2, 3).shipped().sentinels(2).stamping().listed(certificates).takeover_after("6s");
        // Without a key a replica says tryLater from when it knows of a revocation until it has the answer.
        let plan = plan.replicas_with_key();
        let behind = Behind::haproxy(plan);
        for replica in 0..3 {
            behind.until_in_rotation(replica, true, SOON);
        }
        let processes = Processes::default();
        let stop = Arc::new(AtomicBool::new(false));
        let pushes = Pushes::of(&behind.cluster);
        let watch = Watch::of(&behind, &pushes);
        let load = Load::of(&behind, wanted.rate);
        let stamps = Stamps::of(&behind);
        let at_work = {
            let (one, two, three, four, five) = (stop.clone(), stop.clone(), stop.clone(), stop.clone(), stop.clone());
            let (pushes, watch, processes) = (pushes.clone(), watch.clone(), processes.clone());
            AtWork {
                load: thread::spawn(move || load.run(&one)),
                stamps: thread::spawn(move || stamps.run(&two)),
                pushes: thread::spawn(move || pushes.run(&three)),
                watch: thread::spawn(move || watch.run(&four)),
                resources: thread::spawn(move || processes.look(&five)),
            }
        };
        let installation = Self { behind, processes, pushes, watch, rate: wanted.rate, stop, at_work };
        installation.note_processes();
        installation.settle();
        installation
    }

    /// Says who is who among the processes, after one was started.
    pub(crate) fn note_processes(&self) {
        let cluster = &self.behind.cluster;
        let mut all = vec![("haproxy".to_owned(), self.behind.as_haproxy().pid())];
        let members = cluster.writers.iter().map(|member| ("writer", member));
        let members = members.chain(cluster.replicas.iter().map(|member| ("replica", member)));
        let mut numbers = std::collections::BTreeMap::new();
        for (kind, member) in members {
            let number = numbers.entry(kind).or_insert(0);
            all.push((format!("{kind} {number}"), member.process().pid()));
            *number += 1;
        }
        let sentinels = cluster.sentinels.as_ref().expect("Sentinels");
        let servers = std::iter::once(&cluster.redis).chain(&sentinels.followers);
        all.extend(servers.enumerate().map(|(number, server)| (format!("redis {number}"), server.pid())));
        let watching = sentinels.all.iter().enumerate();
        all.extend(watching.map(|(number, server)| (format!("sentinel {number}"), server.pid())));
        self.processes.are(all);
    }

    /// Waits until everybody is well: every replica gets requests and hears a writer, and pushes are taken and show everywhere.
    #[track_caller]
    pub(crate) fn settle(&self) {
        let cluster = &self.behind.cluster;
        (0..3).for_each(|replica| self.behind.until_in_rotation(replica, true, SOON));
        cluster.until_fresh(SOON);
        self.watch.expect_all();
        let count = self.pushes.acknowledged();
        cluster.until("pushes are taken", SOON, || (self.pushes.acknowledged() > count + 1).then_some(()));
        cluster.until("what was pushed shows everywhere", SOON, || (self.watch.shown() > count).then_some(()));
    }

    /// Ends the load, and gives what came of it. The installation stays.
    pub(crate) fn end(self) -> (Behind, Figures) {
        // Load in slices ends by itself.
        self.stop.store(true, Relaxed);
        let AtWork { load, stamps, pushes, watch, resources } = self.at_work;
        let figures = Figures {
            rate: self.rate,
            load: load.join().unwrap(),
            stamps: stamps.join().unwrap(),
            pushes: pushes.join().unwrap(),
            watched: watch.join().unwrap(),
            resources: resources.join().unwrap(),
            events: Vec::new(),
        };
        (self.behind, figures)
    }
}
