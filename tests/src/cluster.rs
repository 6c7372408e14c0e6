//! A cluster of a feed: one Redis, writers and replicas, each a process with a directory and addresses of its own; all on
//! this machine, or each on a [host](crate::Host) of its own.
//!
//! Invariant: what is asked of the cluster is asked as an operator or a client would: by the API, by OCSP, by `/metrics`
//! and by signals. It does not know the protocol between the processes.

mod member;
mod plan;
pub mod words;

use std::{
    cell::Cell,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use self::member::Role;
use self::words::SOON;
pub use self::{
    member::{Api, Member, Pushed},
    plan::ClusterPlan,
};
use crate::{
    Ask, Ca, Delegate, Ended, FakeClock, Haproxy, Hosts, KeyKind, RedisServer, Seat, Sentinels, Signer, Site, SoftHsm,
    Status, Tenant, Tsa, TsaCertificate, openssl, programs, python, responder::issuer_text, run, until,
};

/// The token of the API of all writers.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// The token with the key of the signer, where replicas have it on one.
const TOKEN_OF_REPLICAS: &str = "replicas";
/// The file with the key of a writer, in its directory.
const KEY: &str = "feed.key";
/// Where writers on hosts of their own give out snapshots,
const SNAPSHOT_PORT: u16 = 8081;
/// and where their API is reached from other hosts.
const API_PORT: u16 = 9091;

impl ClusterPlan {
    /// Starts all of it. Returns when a writer leads and every replica has the records.
    #[track_caller]
    pub fn start(self) -> Cluster {
        let mut cluster = self.set_up();
        (0..cluster.writers.len()).for_each(|number| cluster.writers[number].start());
        let leader = cluster.until_led(SOON);
        cluster.until("every writer follows", SOON, || {
            let is_there = |writer: &Member| writer.epoch() > 0.0 && writer.epoch() == cluster.writers[leader].epoch();
            cluster.writers.iter().all(is_there).then_some(())
        });
        (0..cluster.replicas.len()).for_each(|number| cluster.replicas[number].start());
        (0..cluster.replicas.len()).for_each(|number| cluster.until_filled(number));
        cluster
    }

    /// The same with nothing but Redis started.
    pub fn set_up(self) -> Cluster {
        let ca = Ca::new("Cluster CA");
        let signer = match self.renews {
            true => ca.delegate_for(Duration::from_secs(86_400)),
            false => ca.delegate(Delegate::Proper, KeyKind::P256),
        };
        let tsa = self.replicas_stamp.then(|| Tsa::of("tsa", &ca.tsa(TsaCertificate::Proper, KeyKind::P256)));
        let listed = ca.list(self.listed);
        let dir = tempfile::tempdir().unwrap();
        let hosts = self.has_hosts.then(Hosts::new);
        let valkey = self.is_valkey.then(python::valkey_server);
        let seat = |name: String| {
            let seat = hosts.as_ref().map_or_else(Seat::default, |hosts| Seat::on(hosts.host(&name)));
            seat.with_redis(valkey.clone())
        };
        let servers = Cell::new(0);
        let number = || servers.replace(servers.get() + 1);
        let server = |lines: &str| match (self.is_shipped, self.has_users) {
            (true, _) => RedisServer::shipped(dir.path(), lines),
            (_, true) => RedisServer::with_users(lines),
            _ => RedisServer::at(seat(format!("redis-{}", number())), lines),
        };
        if self.is_shipped {
            RedisServer::write_tls(dir.path());
        }
        let redis = server(&self.redis);
        let login = self.has_users.then(|| ("redis-sentinel".to_owned(), RedisServer::acl_password("SENTINEL")));
        let sentinels = self.followers.map(|followers| {
            if self.is_shipped {
                return Sentinels::shipped(dir.path(), &redis, followers);
            }
            let seats = [0, 1, 2].map(|number| seat(format!("sentinel-{number}")));
            Sentinels::start(&redis, followers, |lines| server(&format!("{lines}{}", self.redis)), seats, login)
        });
        let hsm = self.on_tokens.then(|| {
            let hsm = SoftHsm::new(&[TOKEN_OF_REPLICAS]);
            hsm.import(TOKEN_OF_REPLICAS, &signer.key, "ocsp", "01");
            hsm
        });
        let (writers, replicas) = (self.writers, self.replicas);
        let mut cluster = Cluster {
            plan: self,
            ca,
            signer,
            hsm,
            tsa,
            listed,
            redis,
            sentinels,
            dir,
            writers: Vec::new(),
            replicas: Vec::new(),
            issuer: "tests:ca",
            proxies: Vec::new(),
            hosts,
        };
        // Keys first: everybody trusts all of them.
        let sites: Vec<Site> = (0..writers).map(|_| cluster.writers_site()).collect();
        let public: String = sites.iter().map(|site| make_key(site.dir())).collect();
        fs::write(cluster.trusted(), public).unwrap();
        let seats: Vec<Seat> = (0..writers).map(|number| cluster.seat(&format!("writer-{number}"))).collect();
        let snapshots: Vec<SocketAddr> = match cluster.hosts {
            Some(_) => seats.iter().map(|seat| (seat.address(), SNAPSHOT_PORT).into()).collect(),
            None => sites.iter().map(|site| crate::free_port(site.admin.ip())).collect(),
        };
        for (number, (site, seat)) in sites.into_iter().zip(seats).enumerate() {
            cluster.configure_writer(&site, &seat, number, &snapshots);
            let name = format!("writer {number}");
            cluster.writers.push(Member::new(name, site, Role::Writer, Some(snapshots[number]), seat));
        }
        (0..replicas).for_each(|_| {
            cluster.add_replica();
        });
        cluster
    }
}

/// See the module. All of it ends when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    plan: ClusterPlan,
    /// Whose certificates it answers for.
    pub ca: Ca,
    signer: Signer,
    /// Where replicas have the key of the signer, if it is on tokens.
    pub hsm: Option<SoftHsm>,
    tsa: Option<Tsa>,
    /// The serial numbers of certificates that were in the index from the beginning.
    pub listed: Vec<String>,
    /// What the feed travels through.
    pub redis: RedisServer,
    /// Who says where that is, if anybody does.
    pub sentinels: Option<Sentinels>,
    dir: TempDir,
    /// Who keeps books.
    pub writers: Vec<Member>,
    /// Who answers.
    pub replicas: Vec<Member>,
    /// As the API names it.
    pub issuer: &'static str,
    /// What makes the API of writers reached from other hosts: it listens on loopback alone.
    proxies: Vec<Haproxy>,
    /// What joins their hosts, where each has one.
    hosts: Option<Hosts>,
}

impl Cluster {
    /// The key of the stream in Redis.
    pub const STREAM: &'static str = "ostia:tests:feed";
    /// That of the manifest.
    pub const HEAD: &'static str = "ostia:tests:head";

    /// The certificate of the signer as its file has it, DER.
    #[track_caller]
    pub fn signers_certificate(&self) -> Vec<u8> {
        let file = self.signer.certificate.to_str().unwrap();
        openssl(self.ca.dir(), ["x509", "-in", file, "-outform", "DER", "-out", "signer.der"]);
        fs::read(self.ca.file("signer.der")).unwrap()
    }

    /// What joins the hosts.
    #[track_caller]
    pub fn network(&self) -> &Hosts {
        self.hosts.as_ref().expect("hosts: `ClusterPlan::hosts`")
    }

    fn seat(&self, name: &str) -> Seat {
        self.hosts.as_ref().map_or_else(Seat::default, |hosts| Seat::on(hosts.host(name)))
    }

    fn writers_site(&self) -> Site {
        let renew = if self.plan.renews { renewed(&self.ca, &self.signer) } else { String::new() };
        self.site(true, &(signer(&self.signer, true) + &renew))
    }

    fn replicas_site(&self, has_key: bool) -> Site {
        let Some(hsm) = self.hsm.as_ref().filter(|_| has_key) else {
            let renew = if self.plan.renews { "\nrenew = {}" } else { "" };
            return self.site(false, &(signer(&self.signer, has_key) + renew));
        };
        let uri = hsm.shim_uri(TOKEN_OF_REPLICAS, "ocsp");
        let site = self.site(false, &format!("{}\nkey = {uri:?}", signer(&self.signer, false)));
        hsm.shim_environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value))
    }

    fn site(&self, has_sources: bool, signer: &str) -> Site {
        let sources = sources(&self.ca, has_sources);
        let tenant = Tenant::new("tests").presigned().issuer("ca", &self.ca, &sources, signer);
        let tsa = self.tsa.iter().filter(|_| !has_sources);
        let tenant = tsa.fold(tenant, Tenant::tsa);
        let site = Site::new(&[self.plan.of_tenant.iter().fold(tenant, |tenant, line| tenant.set(line))]);
        let variables = self.plan.clock.iter().flat_map(FakeClock::environment);
        variables.fold(site, |site, (name, value)| site.environment(name, value))
    }

    /// Another CA's issuer in the same tenant, as writers and replicas have it.
    pub fn another_issuer(name: &str) -> AnotherIssuer {
        let ca = Ca::new(&format!("{name} CA"));
        let of = ca.delegate(Delegate::Proper, KeyKind::P256);
        let text = |has_sources, has_key| issuer_text(name, &ca, &sources(&ca, has_sources), &signer(&of, has_key));
        let (of_writer, of_replica, of_signing_replica) = (text(true, true), text(false, false), text(false, true));
        AnotherIssuer { ca, of_writer, of_replica, of_signing_replica }
    }

    /// The file with the public keys of all writers.
    pub fn trusted(&self) -> PathBuf {
        self.dir.path().join("trusted.pem")
    }

    /// The lines by which somebody is let in at Redis, where only users of the list are.
    fn login(&self, site: &Site, who: &str) -> String {
        if !self.plan.has_users {
            return String::new();
        }
        let file = site.dir().join("redis.password");
        fs::write(&file, RedisServer::acl_password(who)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        format!("user = \"ostia-{}\"\npassword_file = {file:?}\n", who.to_lowercase())
    }

    /// `[feed]` of everybody, with snapshots from these writers: by their hosts' names, where they have hosts.
    fn feed<'a>(&self, snapshots: impl Iterator<Item = (usize, &'a SocketAddr)>) -> String {
        let url = |(number, address): (usize, &SocketAddr)| match self.hosts {
            Some(_) => format!("http://writer-{number}:{}", address.port()),
            None => format!("http://{address}"),
        };
        let from: Vec<_> = snapshots.map(url).collect();
        let redis = match &self.sentinels {
            Some(sentinels) => sentinels.lines(),
            None => format!("redis = \"{}\"", self.redis.address()),
        };
        format!(
            "[feed]\ncluster = \"tests\"\n{redis}\ntrusted = [{:?}]\nsnapshot_from = {from:?}\n{}",
            self.trusted(),
            self.plan.of_all
        )
    }

    fn configure_writer(&mut self, site: &Site, seat: &Seat, number: usize, snapshots: &[SocketAddr]) {
        let token = site.dir().join("api.token");
        fs::write(&token, TOKEN).unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let others = snapshots.iter().enumerate().filter(|(other, _)| *other != number);
        let (listen, api) = match self.hosts {
            // Of all its addresses others know one, by its name.
            Some(_) => ((Ipv4Addr::UNSPECIFIED, SNAPSHOT_PORT).into(), (seat.address(), API_PORT).into()),
            None => (snapshots[number], site.admin),
        };
        if self.hosts.is_some() {
            self.proxies.push(Haproxy::on(seat, site.dir(), &api_proxy(api, site.admin)));
        }
        let feed = format!(
            "{}{}key = {KEY:?}\napi_url = \"http://{api}\"\nsnapshot_listen = \"{listen}\"\npriority = {number}\ntakeover_after = {:?}\n{}\n",
            self.feed(others),
            self.login(site, "WRITER"),
            self.plan.takeover_after,
            self.plan.of_writers
        );
        site.edit_config(|text| text.replacen("[admin]\n", &format!("{feed}[admin]\ntoken_file = \"api.token\"\n"), 1));
    }

    /// One more replica, not started; gives its number.
    pub fn add_replica(&mut self) -> usize {
        self.add_replica_with(self.plan.replicas_sign)
    }

    /// The same, with the key of the signer or without.
    pub fn add_replica_with(&mut self, key: bool) -> usize {
        let site = self.replicas_site(key);
        let from =
            self.writers.iter().enumerate().filter_map(|(number, writer)| Some((number, writer.snapshots.as_ref()?)));
        let feed = self.feed(from) + &self.login(&site, "REPLICA");
        let of_replicas = &self.plan.of_replicas;
        site.edit_config(|text| text.replacen("[http]\n", &format!("{feed}\n[http]\n{of_replicas}"), 1));
        let number = self.replicas.len();
        let name = format!("replica-{number}");
        let seat = match (&self.hosts, self.plan.distance) {
            (Some(hosts), Some(delay)) => Seat::on(hosts.distant(&name, delay)),
            _ => self.seat(&name),
        };
        self.replicas.push(Member::new(format!("replica {number}"), site, Role::Replica, None, seat));
        number
    }

    /// An edge before these upstreams, not started: a replica without any key; gives its number. `lines`: more of `[edge]`.
    pub fn add_edge(&mut self, upstreams: &[SocketAddr], lines: &str) -> usize {
        let number = self.add_replica_with(false);
        let urls: Vec<_> = upstreams.iter().map(|address| format!("http://{address}")).collect();
        let edge = format!("[edge]\nupstreams = {urls:?}\n{lines}\n[http]\n");
        let tsa_key = self.tsa.as_ref().map(|_| "\n[tenant.tsa.signer]\n");
        self.replicas[number].site().edit_config(|text| {
            let text = text.replacen("[http]\n", &edge, 1);
            let Some(begin) = tsa_key.and_then(|section| text.find(section)) else { return text };
            let (before, signer) = text.split_at(begin);
            let without_key: Vec<_> = signer.lines().filter(|line| !line.starts_with("key = ")).collect();
            format!("{before}{}\n", without_key.join("\n"))
        });
        number
    }

    /// Who leads: of those that run and say so, the one of the latest epoch.
    pub fn leader(&self) -> Option<usize> {
        let leads = |writer: &Member| writer.feed_metric("ostia_feed_role", "role=\"leading\"") == Some(1.0);
        let epoch = |number: &usize| self.writers[*number].epoch();
        let leading = (0..self.writers.len()).filter(|number| leads(&self.writers[*number]));
        leading.max_by(|one, other| epoch(one).total_cmp(&epoch(other)))
    }

    /// Waits until somebody leads.
    #[track_caller]
    pub fn until_led(&self, limit: Duration) -> usize {
        self.until("somebody leads", limit, || self.leader())
    }

    /// Waits until somebody other than `former` leads.
    #[track_caller]
    pub fn until_led_by_another(&self, former: usize, limit: Duration) -> usize {
        self.until("somebody else leads", limit, || self.leader().filter(|leader| *leader != former))
    }

    /// Waits until a writer stands by with what was told so far.
    #[track_caller]
    pub fn until_level(&self, writer: usize, limit: Duration) {
        self.until("a standby has what was told", limit, || {
            self.writers[writer].readiness_text("")?.1.contains("feed: this writer stands by, at ").then_some(())
        });
    }

    /// Waits until a replica has records and answers.
    #[track_caller]
    pub fn until_filled(&self, replica: usize) {
        self.until("a replica is filled", SOON, || (self.replicas[replica].readiness("")? == 200).then_some(()));
    }

    /// As [`until`], and tells all logs when it takes too long.
    #[track_caller]
    pub fn until<T>(&self, what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
        struct Told<'a>(&'a Cluster);
        impl Drop for Told<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!("{}", self.0.logs());
                }
            }
        }
        let told = Told(self);
        let found = until(what, limit, look);
        drop(told);
        found
    }

    /// Pushes to a writer: `verb` is `add`, `revoke` or `release`.
    pub fn push(&self, writer: usize, verb: &str, serial: &str) -> Pushed {
        let reason = if verb == "revoke" { ",\"reason\":\"superseded\"" } else { "" };
        self.push_body(writer, verb, &format!("{{\"serial\":\"{serial}\"{reason}}}"))
    }

    /// The same with a body in JSON.
    pub fn push_body(&self, writer: usize, verb: &str, body: &str) -> Pushed {
        self.writers[writer].push(self.issuer, verb, body)
    }

    /// The APIs of all writers, for clients on threads of their own.
    pub fn apis(&self) -> Vec<Api> {
        self.writers.iter().map(|writer| writer.api(self.issuer)).collect()
    }

    /// Pushes to whoever takes it, as a client with a list of writers does; gives who that was.
    #[track_caller]
    pub fn push_until_taken(&self, verb: &str, serial: &str, limit: Duration) -> usize {
        self.until(&format!("somebody takes the push of {serial}"), limit, || {
            (0..self.writers.len()).find(|writer| self.push(*writer, verb, serial).status == 200)
        })
    }

    /// Revokes a certificate; gives who took that.
    #[track_caller]
    pub fn revoke(&self, serial: &str) -> usize {
        self.push_until_taken("revoke", serial, SOON)
    }

    /// The question about a certificate.
    pub fn ask(&self, serial: &str) -> Ask {
        let ask = Ask::serial(&self.ca, serial);
        if self.plan.clock.is_some() { ask.whenever() } else { ask }
    }

    /// What a replica says of a certificate. `None` if it does not answer.
    pub fn says(&self, replica: usize, serial: &str) -> Option<Status> {
        let member = &self.replicas[replica];
        member.is_answering().then(|| self.ask(serial).at(member.site().http, "/").status)
    }

    /// The replicas that run.
    pub fn answering(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.replicas.len()).filter(|number| self.replicas[*number].is_answering())
    }

    /// Waits until a replica says this of a certificate.
    #[track_caller]
    pub fn until_said(&self, replica: usize, serial: &str, status: &Status, limit: Duration) {
        let what = format!("replica {replica} says {status:?} of {serial}");
        self.until(&what, limit, || (self.says(replica, serial).as_ref() == Some(status)).then_some(()));
    }

    /// Waits until every replica that runs says this of a certificate.
    #[track_caller]
    pub fn until_said_everywhere(&self, serial: &str, status: &Status, limit: Duration) {
        self.answering().for_each(|replica| self.until_said(replica, serial, status, limit));
    }

    /// The same of a revocation.
    #[track_caller]
    pub fn until_revoked_everywhere(&self, serial: &str) {
        self.until_said_everywhere(serial, &Status::Revoked, SOON);
    }

    /// Every replica that runs says now that these are revoked.
    #[track_caller]
    pub fn are_revoked_now(&self, serials: &[&str]) {
        for replica in self.answering() {
            for serial in serials {
                let said = self.says(replica, serial);
                assert_eq!(said, Some(Status::Revoked), "{serial} at replica {replica}\n{}", self.logs());
            }
        }
    }

    /// Waits until every replica that runs hears its writer.
    #[track_caller]
    pub fn until_fresh(&self, limit: Duration) {
        for replica in self.answering() {
            let what = format!("replica {replica} hears a writer");
            self.until(&what, limit, || (self.replicas[replica].readiness("?fresh=1")? == 200).then_some(()));
        }
    }

    /// `ostia-loadtest lag` with pushes to all writers, asked of all replicas.
    pub fn lag(&self, arguments: &[&str]) -> Ended {
        let joined = |urls: Vec<String>| urls.join(",");
        let urls = joined(self.replicas.iter().map(|replica| format!("http://{}/", replica.site().http)).collect());
        let push = joined(self.writers.iter().map(|writer| format!("http://{}", writer.site().admin)).collect());
        let mut command = std::process::Command::new(&programs().loadtest);
        command.args(["lag", "--replicas", "--urls", &urls, "--push", &push, "--push-issuer", self.issuer]);
        command.arg("--issuer").arg(self.ca.certificate());
        command.arg("--token").arg(self.writers[0].site().dir().join("api.token")).args(arguments);
        run(&mut command)
    }

    /// All that everybody has logged.
    pub fn logs(&self) -> String {
        let members = self.writers.iter().chain(&self.replicas);
        members.map(|member| format!("== {}\n{}\n", member.name, member.log())).collect()
    }
}

/// What [`Cluster::another_issuer`] makes.
#[derive(Debug)]
pub struct AnotherIssuer {
    /// Whose certificates it is asked of.
    pub ca: Ca,
    /// To be added to the end of a writer's configuration.
    pub of_writer: String,
    /// The same of a replica without the key of its signer,
    pub of_replica: String,
    /// and of one with it.
    pub of_signing_replica: String,
}

impl AnotherIssuer {
    /// What a responder says of one of its certificates.
    pub fn says(&self, member: &Member, serial: &str) -> Status {
        Ask::serial(&self.ca, serial).at(member.site().http, "/").status
    }
}

/// What makes an API, which listens on loopback alone, reached at this address of its host.
fn api_proxy(at: SocketAddr, api: SocketAddr) -> String {
    format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nlisten api\n  bind {at}\n  http-request set-header Host localhost\n  server api {api}\n"
    )
}

fn sources(ca: &Ca, are_there: bool) -> String {
    if are_there { format!("index = {:?}", ca.index()) } else { String::new() }
}

fn signer(signer: &Signer, has_key: bool) -> String {
    if has_key { signer.lines() } else { format!("certificate = {:?}", signer.certificate) }
}

/// A line of a signer: its certificate is renewed by a script that puts the new one into the file, too.
fn renewed(ca: &Ca, signer: &Signer) -> String {
    let (command, dir, file) = (ca.file("get-cert"), ca.dir(), &signer.certificate);
    let issue = "openssl ca -config openssl.cnf -batch -notext -in /dev/stdin -extensions ocsp_signer -out next.pem";
    let text =
        format!("#!/bin/sh\nset -e\ncd {dir:?}\n{issue}\ncp next.pem other.pem\nmv other.pem {file:?}\ncat next.pem\n");
    fs::write(&command, text).unwrap();
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
    format!("\nrenew = {{ command = [{command:?}], before = \"30d\" }}")
}

/// Makes the key of a writer with openssl, in its directory; gives the public one in PEM.
fn make_key(dir: &Path) -> String {
    openssl(dir, ["genpkey", "-algorithm", "ed25519", "-out", KEY]);
    fs::set_permissions(dir.join(KEY), fs::Permissions::from_mode(0o600)).unwrap();
    openssl(dir, ["pkey", "-in", KEY, "-pubout"])
}
