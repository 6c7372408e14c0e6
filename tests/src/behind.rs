//! A cluster whose replicas are behind a balancer, by the shipped configuration as it stands.
//!
//! Invariant: nothing of the shipped file is changed but addresses. It does not know what is asked.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use tempfile::TempDir;

use crate::{Cluster, ClusterPlan, Haproxy, Nginx, Status, free_port, http};

const HAPROXY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/haproxy.cfg");
const NGINX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/nginx.conf");
/// The lines of a replica that the shipped files ask for; HAProxy's needs one more.
const BEHIND: &str = "trusted_networks = [\"127.0.0.0/8\"]\ndrain_delay = \"3s\"";
const BEHIND_HAPROXY: &str = "proxy_protocol = true\n";
/// For whatever has to happen at once, on a machine that may be busy.
const SOON: Duration = Duration::from_secs(28);
/// The sections of the shipped haproxy.cfg that have each replica.
const BACKENDS: [&str; 3] = ["ocsp_fresh", "ocsp_any", "time_stamps"];

/// See the module.
#[derive(Debug)]
pub struct Behind {
    /// Who is behind it: three replicas, and their writers.
    pub cluster: Cluster,
    /// Where the balancer is asked.
    pub front: SocketAddr,
    balancer: Balancer,
    _dir: TempDir,
}

#[derive(Debug)]
enum Balancer {
    Haproxy(Haproxy),
    Nginx { _running: Nginx },
}

impl Behind {
    /// Starts all of it behind HAProxy.
    #[track_caller]
    pub fn haproxy(plan: ClusterPlan) -> Self {
        Self::start(plan, &format!("{BEHIND}\n{BEHIND_HAPROXY}"), |dir, cluster, front| {
            let mut text = fs::read_to_string(HAPROXY).unwrap().replace("bind :80", &format!("bind {front}"));
            for (number, replica) in cluster.replicas.iter().enumerate() {
                let (http, admin) = (replica.site().http, replica.site().admin.port());
                text = text.replace(&format!("REPLICA-{}:8080", number + 1), &format!("{http} port {admin}"));
            }
            Balancer::Haproxy(Haproxy::with(dir, &text))
        })
    }

    /// The same behind nginx.
    #[track_caller]
    pub fn nginx(plan: ClusterPlan) -> Self {
        Self::start(plan, BEHIND, |dir, cluster, front| {
            let mut text = fs::read_to_string(NGINX).unwrap().replace("listen 80", &format!("listen {front}"));
            for (number, replica) in cluster.replicas.iter().enumerate() {
                text = text.replace(&format!("REPLICA-{}:8080", number + 1), &replica.site().http.to_string());
            }
            Balancer::Nginx { _running: Nginx::with(dir, &text) }
        })
    }

    #[track_caller]
    fn start(plan: ClusterPlan, lines: &str, balancer: impl FnOnce(&Path, &Cluster, SocketAddr) -> Balancer) -> Self {
        let cluster = plan.set_of_replicas(lines).start();
        cluster.until_fresh(SOON);
        let (dir, front) = (tempfile::tempdir().unwrap(), free_port(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let balancer = balancer(dir.path(), &cluster, front);
        let behind = Self { cluster, front, balancer, _dir: dir };
        behind.cluster.until("the balancer answers", SOON, || behind.says("01").map(drop));
        behind
    }

    /// What the balancer gives of a certificate; `None` if it gives no answer of OCSP.
    pub fn says(&self, serial: &str) -> Option<Status> {
        let ask = self.cluster.ask(serial);
        let request = http::request("GET", &http::ocsp_target("/", &ask.request()), "");
        let reply = http::exchange(self.front, &request);
        let reply = reply.ok().filter(|reply| reply.status == 200)?;
        Some(ask.read(&reply.body).status)
    }

    /// Waits until it gives this of a certificate.
    #[track_caller]
    pub fn until_said(&self, serial: &str, status: &Status) {
        self.cluster
            .until("the balancer gives that", SOON, || (self.says(serial).as_ref() == Some(status)).then_some(()));
    }

    /// The balancer.
    #[track_caller]
    pub fn as_haproxy(&self) -> &Haproxy {
        match &self.balancer {
            Balancer::Haproxy(haproxy) => haproxy,
            Balancer::Nginx { .. } => panic!("it is nginx"),
        }
    }

    /// Whether HAProxy sends a replica requests, whatever they are; `None` while some kinds go there.
    pub fn is_in_rotation(&self, replica: usize) -> Option<bool> {
        let server = format!("replica-{}", replica + 1);
        let ups = BACKENDS.iter().filter(|backend| self.as_haproxy().is_up(backend, &server)).count();
        match ups {
            0 => Some(false),
            3 => Some(true),
            _ => None,
        }
    }

    /// Waits until the balancer sends a replica requests again, which has been away: HAProxy once it has asked, nginx after
    /// two seconds.
    #[track_caller]
    pub fn until_asked_again(&self, replica: usize) {
        match self.balancer {
            Balancer::Haproxy(_) => self.until_in_rotation(replica, true, SOON),
            Balancer::Nginx { .. } => std::thread::sleep(Duration::from_millis(2200)),
        }
    }

    /// Waits until HAProxy sends a replica every kind of request, or none.
    #[track_caller]
    pub fn until_in_rotation(&self, replica: usize, is_in: bool, limit: Duration) {
        let what = format!("replica {replica} is {} rotation", if is_in { "in" } else { "out of" });
        self.cluster.until(&what, limit, || (self.is_in_rotation(replica) == Some(is_in)).then_some(()));
    }
}
