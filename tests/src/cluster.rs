//! A cluster of a feed: one Redis, writers and replicas, each a process with a directory and addresses of its own.
//!
//! Invariant: what is asked of the cluster is asked as an operator or a client would: by the API, by OCSP, by `/metrics`
//! and by signals. It does not know the protocol between the processes.

mod member;

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use self::member::Role;
pub use self::member::{Api, Member, Pushed};
use crate::{
    Ask, Ca, Delegate, Ended, FakeClock, KeyKind, RedisServer, Sentinels, Signer, Site, Status, Tenant, Tsa,
    TsaCertificate, openssl, programs, responder::issuer_text, run, until,
};

/// For whatever has to happen at once, on a machine that may be busy: less than the 30 s after which a reader changes
/// over to another chain.
const SOON: Duration = Duration::from_secs(28);
/// The token of the API of all writers.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// The file with the key of a writer, in its directory.
const KEY: &str = "feed.key";

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    writers: usize,
    replicas: usize,
    redis: String,
    followers: Option<usize>,
    has_users: bool,
    is_shipped: bool,
    of_all: String,
    takeover_after: &'static str,
    of_writers: String,
    of_replicas: String,
    of_tenant: Vec<String>,
    replicas_sign: bool,
    replicas_stamp: bool,
    listed: usize,
    clock: Option<FakeClock>,
}

impl Default for ClusterPlan {
    /// Two writers and three replicas, which have no key; whoever stands by takes over after two seconds and more.
    fn default() -> Self {
        Self {
            writers: 2,
            replicas: 3,
            redis: String::new(),
            followers: None,
            has_users: false,
            is_shipped: false,
            of_all: String::new(),
            takeover_after: "2s",
            of_writers: String::new(),
            of_replicas: String::new(),
            of_tenant: Vec::new(),
            replicas_sign: false,
            replicas_stamp: false,
            listed: 0,
            clock: None,
        }
    }
}

impl ClusterPlan {
    /// So many processes of both kinds.
    pub fn of(writers: usize, replicas: usize) -> Self {
        Self { writers, replicas, ..Self::default() }
    }

    /// With these lines in the configuration of Redis.
    #[must_use]
    pub fn redis(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.redis);
        self
    }

    /// With so many servers that follow Redis, and three Sentinels that say which of them all is the master.
    #[must_use]
    pub fn sentinels(mut self, followers: usize) -> Self {
        self.followers = Some(followers);
        self
    }

    /// With the shipped list of users at Redis: writers, replicas and Sentinels have one each.
    #[must_use]
    pub fn users(mut self) -> Self {
        self.has_users = true;
        self
    }

    /// With Redis, Sentinels and users as the shipped configurations have them, TLS included. Only with
    /// [`sentinels`](Self::sentinels).
    #[must_use]
    pub fn shipped(mut self) -> Self {
        (self.has_users, self.is_shipped) = (true, true);
        self
    }

    /// With a line more in `[feed]` of everybody.
    #[must_use]
    pub fn set(mut self, line: &str) -> Self {
        let _ = writeln!(self.of_all, "{line}");
        self
    }

    /// With another time after which whoever stands by takes over.
    #[must_use]
    pub fn takeover_after(mut self, time: &'static str) -> Self {
        self.takeover_after = time;
        self
    }

    /// With a line more in `[feed]` of writers.
    #[must_use]
    pub fn set_of_writers(mut self, line: &str) -> Self {
        let _ = writeln!(self.of_writers, "{line}");
        self
    }

    /// With lines more in `[http]` of replicas.
    #[must_use]
    pub fn set_of_replicas(mut self, lines: &str) -> Self {
        let _ = writeln!(self.of_replicas, "{lines}");
        self
    }

    /// With a line more of the tenant's policy, for everybody.
    #[must_use]
    pub fn policy(mut self, line: &str) -> Self {
        self.of_tenant.push(line.to_owned());
        self
    }

    /// With this clock on everybody's wall.
    #[must_use]
    pub fn clock(mut self, clock: &FakeClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// With the key of the signer at replicas as well: they sign what the feed does not carry.
    #[must_use]
    pub fn replicas_with_key(mut self) -> Self {
        self.replicas_sign = true;
        self
    }

    /// With a time-stamping authority at `/tsa` of every replica, all with one key.
    #[must_use]
    pub fn stamping(mut self) -> Self {
        self.replicas_stamp = true;
        self
    }

    /// With so many certificates in the CA's index from the beginning: [`Cluster::listed`].
    #[must_use]
    pub fn listed(mut self, count: usize) -> Self {
        self.listed = count;
        self
    }

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
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let tsa = self.replicas_stamp.then(|| Tsa::of("tsa", &ca.tsa(TsaCertificate::Proper, KeyKind::P256)));
        let listed = ca.list(self.listed);
        let dir = tempfile::tempdir().unwrap();
        let server = |lines: &str| match (self.is_shipped, self.has_users) {
            (true, _) => RedisServer::shipped(dir.path(), lines),
            (_, true) => RedisServer::with_users(lines),
            _ => RedisServer::with(lines),
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
            Sentinels::start(&redis, followers, |lines| server(&format!("{lines}{}", self.redis)), login)
        });
        let (writers, replicas) = (self.writers, self.replicas);
        let mut cluster = Cluster {
            plan: self,
            ca,
            signer,
            tsa,
            listed,
            redis,
            sentinels,
            dir,
            writers: Vec::new(),
            replicas: Vec::new(),
            issuer: "tests:ca",
        };
        // Keys first: everybody trusts all of them.
        let sites: Vec<Site> = (0..writers).map(|_| cluster.site(true, true)).collect();
        let public: String = sites.iter().map(|site| make_key(site.dir())).collect();
        fs::write(cluster.trusted(), public).unwrap();
        let snapshots: Vec<SocketAddr> = sites.iter().map(|site| crate::free_port(site.admin.ip())).collect();
        for (number, site) in sites.into_iter().enumerate() {
            cluster.configure_writer(&site, number, &snapshots);
            cluster.writers.push(Member::new(format!("writer {number}"), site, Role::Writer, Some(snapshots[number])));
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
}

impl Cluster {
    /// The key of the stream in Redis.
    pub const STREAM: &'static str = "ostia:tests:feed";
    /// That of the manifest.
    pub const HEAD: &'static str = "ostia:tests:head";

    fn site(&self, has_sources: bool, has_key: bool) -> Site {
        let (sources, signer) = (sources(&self.ca, has_sources), signer(&self.signer, has_key));
        let tenant = Tenant::new("tests").presigned().issuer("ca", &self.ca, &sources, &signer);
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

    /// `[feed]` of everybody.
    fn feed(&self, snapshots: &[SocketAddr]) -> String {
        let from: Vec<_> = snapshots.iter().map(|address| format!("http://{address}")).collect();
        let redis = match &self.sentinels {
            Some(sentinels) => sentinels.lines(),
            None => format!("redis = \"127.0.0.1:{}\"", self.redis.port()),
        };
        format!(
            "[feed]\ncluster = \"tests\"\n{redis}\ntrusted = [{:?}]\nsnapshot_from = {from:?}\n{}",
            self.trusted(),
            self.plan.of_all
        )
    }

    fn configure_writer(&self, site: &Site, number: usize, snapshots: &[SocketAddr]) {
        let token = site.dir().join("api.token");
        fs::write(&token, TOKEN).unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let mut others = snapshots.to_vec();
        let own = others.remove(number);
        let feed = format!(
            "{}{}key = {KEY:?}\napi_url = \"http://{}\"\nsnapshot_listen = \"{own}\"\npriority = {number}\ntakeover_after = {:?}\n{}\n",
            self.feed(&others),
            self.login(site, "WRITER"),
            site.admin,
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
        let site = self.site(false, key);
        let from: Vec<SocketAddr> = self.writers.iter().filter_map(|writer| writer.snapshots).collect();
        let feed = self.feed(&from) + &self.login(&site, "REPLICA");
        let of_replicas = &self.plan.of_replicas;
        site.edit_config(|text| text.replacen("[http]\n", &format!("{feed}\n[http]\n{of_replicas}"), 1));
        let number = self.replicas.len();
        self.replicas.push(Member::new(format!("replica {number}"), site, Role::Replica, None));
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

fn sources(ca: &Ca, are_there: bool) -> String {
    if are_there { format!("index = {:?}", ca.index()) } else { String::new() }
}

fn signer(signer: &Signer, has_key: bool) -> String {
    if has_key { signer.lines() } else { format!("certificate = {:?}", signer.certificate) }
}

/// Makes the key of a writer with openssl, in its directory; gives the public one in PEM.
fn make_key(dir: &Path) -> String {
    openssl(dir, ["genpkey", "-algorithm", "ed25519", "-out", KEY]);
    fs::set_permissions(dir.join(KEY), fs::Permissions::from_mode(0o600)).unwrap();
    openssl(dir, ["pkey", "-in", KEY, "-pubout"])
}
