//! What can be known of a feed without taking part in it.
//!
//! Purpose: whoever tries a configuration learns whether Redis is reached and lets it in, whether a writer is at work
//! whose key is trusted, and whether a snapshot can be had. Invariants: nothing is written, and it ends within its limit
//! whatever hangs. What was seen is judged apart from looking ([`Seen::judge`]), at a moment that is given. It does not
//! know who asks, or how the findings are shown.

use std::{
    collections::{BTreeMap, HashSet},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use super::{
    Body, Cluster, Entry, Issuer, Manifest, Position, Refusal, Trusted,
    https::Https,
    poll::Polled,
    redis::{Address, Extent, Fault, MayShare, Said, Server, Stream},
    shelf::{Answer, BaseUrl, SourceFault, reach},
    transport::Transport as _,
};
use crate::{
    issuer_id::in_a_line,
    limits::{CLOCK_SKEW_MAX, feed as limits},
    pki::UnixTime,
};

/// What was found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Findings {
    /// What is in order, a line each.
    pub facts: Vec<String>,
    /// What may not be meant.
    pub doubts: Vec<Doubt>,
}

/// Something that may not be meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doubt {
    /// The key of the configuration.
    pub about: &'static str,
    /// What is the matter, and the remedy.
    pub text: String,
}

/// What Redis has, as bytes.
#[derive(Clone, Default, Debug)]
struct Seen {
    extent: Option<Extent>,
    /// The newest entry.
    last: Option<(Position, Vec<u8>)>,
    /// Whether it came while this looked.
    lives: bool,
    /// The newest entries, in any order.
    recent: Vec<(Position, Vec<u8>)>,
    manifest: Option<Vec<u8>>,
    /// What happens when its memory is full.
    eviction: Option<String>,
    /// What ended the look.
    fault: Option<Fault>,
    /// What Sentinels say, where there are any,
    sentinels: Vec<Said>,
    /// and how many servers follow the master then.
    followers: Option<u64>,
    /// What this user may do with shared answers, if that was looked at and can be told.
    may_share: Option<MayShare>,
    /// Whether this user may say who this server is, if that can be told.
    may_register: Option<bool>,
}

/// Whose feed is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Where Redis is.
    pub redis: &'a Server,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Whose entries count.
    pub trusted: &'a Trusted,
    /// Where snapshots are fetched.
    pub sources: &'a [BaseUrl],
    /// Whom to trust there.
    pub https: &'a Https,
    /// The issuers that are configured here, each with its name for people.
    pub issuers: &'a [(Issuer, String)],
    /// Whether a writer asks, which may be the first.
    pub is_writer: bool,
    /// Whether answers are shared with other replicas.
    pub shares: bool,
}

impl Question<'_> {
    /// Looks at Redis and at the sources of snapshots. It takes no longer than [`limits::PROBE_WITHIN`] for each of the two.
    pub fn ask(&self, now: UnixTime) -> Findings {
        let address = &self.redis.address;
        if *address == Address::Polled {
            return self.ask_givers();
        }
        let Some(seen) = look(self.redis, self.cluster, self.shares) else {
            let within = limits::PROBE_WITHIN;
            let text = format!("Redis at {address} cannot be tried within {within:?}; find out what hangs there");
            return Findings { facts: Vec::new(), doubts: vec![Doubt { about: "feed.redis", text }] };
        };
        let (mut findings, manifest) = seen.judge(self, now);
        seen.compare_issuers(self, &mut findings);
        seen.judge_sharing(self, &mut findings);
        seen.judge_registering(self, &mut findings);
        self.ask_sources(manifest.as_ref(), &mut findings);
        findings
    }

    /// Whether the feed itself is given by those who give snapshots.
    fn ask_givers(&self) -> Findings {
        let mut findings = Findings { facts: Vec::new(), doubts: Vec::new() };
        let mut manifest = None;
        for source in self.sources {
            let mut polled = Polled::new(self.cluster, std::slice::from_ref(source), self.https);
            match (polled.connection(), polled.head()) {
                (Some(_), Ok(head)) => {
                    let opened = head.and_then(|head| Manifest::open(&head, self.cluster, self.trusted).ok());
                    manifest = manifest.or(opened);
                    findings.facts.push(format!("{source} gives the feed"));
                }
                _ => findings.doubts.push(Doubt {
                    about: "feed.snapshot_from",
                    text: polled.fault().map(ToString::to_string).unwrap_or_else(|| format!("{source} gives no feed")),
                }),
            }
        }
        self.ask_sources(manifest.as_ref(), &mut findings);
        findings
    }

    /// Which sources are reached, and which of them have the newest snapshot.
    fn ask_sources(&self, manifest: Option<&Manifest>, findings: &mut Findings) {
        let doubt = |text: String| Doubt { about: "feed.snapshot_from", text };
        if self.sources.is_empty() && !self.is_writer {
            findings.doubts.push(doubt(
                "is missing: a replica that begins, or was away for long, has nowhere to fetch a snapshot; name the `snapshot_listen` of writers and other replicas".into(),
            ));
        }
        let answers: Vec<_> = thread::scope(|scope| {
            let asked = self
                .sources
                .iter()
                .map(|url| (url, scope.spawn(move || reach(url, manifest, self.cluster, self.trusted, self.https))));
            let asked: Vec<_> = asked.collect();
            asked.into_iter().filter_map(|(url, answer)| Some((url, answer.join().ok()?))).collect()
        });
        let mut some_has_it = false;
        for (url, answer) in answers {
            match answer {
                Ok(()) => {
                    some_has_it = true;
                    findings.facts.push(format!("{url} has the newest snapshot"));
                }
                Err(SourceFault { answer: Answer::Unknown, .. }) => {
                    findings.facts.push(format!("{url} is reached, without the newest snapshot"));
                }
                Err(fault) => findings.doubts.push(doubt(fault.to_string())),
            }
        }
        if manifest.is_some() && !some_has_it && !self.sources.is_empty() {
            findings.doubts.push(doubt(
                "names nobody who has the newest snapshot now: who begins waits until one of them has it; is the writer's `snapshot_listen` among them?".into(),
            ));
        }
    }
}

/// What the newest entries say of issuers.
#[derive(Default)]
struct Told {
    spoken_of: HashSet<Issuer>,
    /// Those that are known by more than their fingerprint.
    named: BTreeMap<Issuer, String>,
    /// Whether every issuer of the writer is among those that are spoken of: a heartbeat names all whose records are told,
    /// and more than fit it take turns.
    is_all: bool,
}

impl Told {
    fn of(entries: &[(Position, Vec<u8>)], cluster: &Cluster, trusted: &Trusted) -> Self {
        let mut told = Self::default();
        let opened = entries.iter().filter_map(|(at, bytes)| Entry::open(*at, bytes, cluster, trusted).ok());
        // Another writer had other issuers perhaps.
        let opened: Vec<Entry> = opened.map(|opened| opened.entry).collect();
        let epoch = opened.iter().map(|entry| entry.position.epoch).max();
        for entry in opened.iter().filter(|entry| Some(entry.position.epoch) == epoch) {
            match &entry.body {
                Body::Records(sections) => told.spoken_of.extend(sections.iter().map(|section| section.issuer)),
                Body::Answers(sections) => told.spoken_of.extend(sections.iter().map(|section| section.issuer)),
                Body::IssuerStatus(all) => {
                    told.spoken_of.extend(all.iter().map(super::body::IssuerStatus::issuer));
                    told.named.extend(all.iter().map(|status| (status.issuer(), status.id.in_words())));
                }
                Body::Heartbeat(heartbeat) => {
                    told.is_all |= (1..limits::HEARTBEAT_DIGESTS_MAX).contains(&heartbeat.digests.len());
                    told.spoken_of.extend(heartbeat.digests.iter().map(|(issuer, _)| *issuer));
                }
                _ => {}
            }
        }
        told
    }
}

/// `None` if it takes too long: each answer has a limit, and a server that gives it byte by byte has many.
fn look(server: &Server, cluster: &Cluster, shares: bool) -> Option<Seen> {
    let (told, seen) = channel();
    let mut stream = Stream::new(server.clone(), cluster);
    let looks = move || {
        let mut seen = Seen::default();
        seen.fault = seen.fill(&mut stream, shares).err();
        let _ = told.send(seen);
    };
    // It ends with the program if it hangs.
    thread::Builder::new().name("feed probe".into()).spawn(looks).ok()?;
    seen.recv_timeout(limits::PROBE_WITHIN).ok()
}

impl Seen {
    fn fill(&mut self, stream: &mut Stream, shares: bool) -> Result<(), Fault> {
        self.sentinels = stream.sentinels_within(limits::SENTINELS_WITHIN);
        self.extent = stream.extent()?;
        self.eviction = stream.eviction_policy()?;
        self.followers = if self.sentinels.is_empty() { None } else { stream.followers()? };
        self.manifest = stream.manifest()?;
        self.may_share = if shares { stream.may_share()? } else { None };
        self.may_register = stream.may_register()?;
        let Some(Extent { last, .. }) = self.extent else { return Ok(()) };
        self.last = stream.entry_at(last)?.map(|entry| (last, entry));
        self.recent = stream.last_entries(limits::READ_ENTRIES_MAX)?;
        let next = stream.read(last, limits::READ_ENTRIES_MAX, limits::PROBE_LIFE)?;
        if let Some(last) = next.last() {
            self.last = Some(last.clone());
            self.lives = true;
        }
        self.recent.extend(next);
        Ok(())
    }

    /// Whether this user may read and write the keys of shared answers.
    fn judge_sharing(&self, question: &Question<'_>, findings: &mut Findings) {
        let Some(may_share) = &self.may_share else { return };
        let (keys, server) = (format!("ostia:{}:a:*", question.cluster), question.redis);
        let user = server.login.user.as_deref().unwrap_or("default");
        let lacks = match may_share {
            MayShare::Both => {
                findings.facts.push(format!("answers of keys on tokens are shared with other replicas (`{keys}`)"));
                return;
            }
            MayShare::ReadOnly => "not write",
            MayShare::Neither => "not read",
        };
        findings.doubts.push(Doubt {
            about: "feed.shared_answers",
            text: format!(
                "the user `{user}` of Redis at {} may {lacks} `{keys}`, so that each replica signs with its token what another one has signed: let it (`ACL SETUSER {user} %R~ostia:* %W~ostia:*:a:* +getrange +set`, and the same in its list of users), or set `shared_answers = false`",
                server.address
            ),
        });
    }

    /// Whether this user may put this server into the list of servers.
    fn judge_registering(&self, question: &Question<'_>, findings: &mut Findings) {
        if self.may_register != Some(false) {
            return;
        }
        let (cluster, server) = (question.cluster, question.redis);
        let user = server.login.user.as_deref().unwrap_or("default");
        findings.doubts.push(Doubt {
            about: "feed.user",
            text: format!(
                "the user `{user}` of Redis at {} may not write `ostia:{cluster}:s:*`, so that this server is not in the list of servers, and the writers count it as missing: let it (`ACL SETUSER {user} %RW~ostia:*:s:* +get +getrange +set`, and the same in its list of users)",
                server.address
            ),
        });
    }

    /// Whether the writer at work and this configuration have the same issuers.
    fn compare_issuers(&self, question: &Question<'_>, findings: &mut Findings) {
        let Question { cluster, trusted, issuers, is_writer, .. } = question;
        let told = Told::of(&self.recent, cluster, trusted);
        let is_here = |issuer: &Issuer| issuers.iter().any(|(here, _)| here == issuer);
        let strangers = told.named.iter().filter(|(issuer, _)| !is_here(issuer));
        let strangers: Vec<&str> = strangers.map(|(_, name)| &**name).collect();
        if !strangers.is_empty() {
            let text = format!("the writer has issuers that are not configured here: {}", in_a_line(strangers));
            if *is_writer {
                findings.doubts.push(Doubt {
                    about: "issuer",
                    text: format!("{text}; if this writer took over, nobody would be told of them any more: add them"),
                });
            } else {
                findings.facts.push(format!("{text}; nobody is answered for them here"));
            }
        }
        let missing = issuers.iter().filter(|(issuer, _)| !told.spoken_of.contains(issuer));
        let missing: Vec<&str> = missing.map(|(_, name)| &**name).collect();
        if told.is_all && !missing.is_empty() && !is_writer {
            findings.doubts.push(Doubt {
                about: "issuer",
                text: format!(
                    "the writer at work tells nothing of {}, and certificates of an issuer that it never told of get `tryLater`: it has to be in the writer's configuration, with the same CA in a tenant of the same name",
                    in_a_line(missing)
                ),
            });
        }
    }

    /// The findings, and the manifest of the newest snapshot if it counts.
    fn judge(&self, question: &Question<'_>, now: UnixTime) -> (Findings, Option<Manifest>) {
        let mut findings = Findings::default();
        let Question { redis, cluster, trusted, is_writer, .. } = question;
        let address = &redis.address;
        let Findings { facts, doubts } = &mut findings;
        judge_sentinels(&self.sentinels, self.followers, facts, doubts);
        let mut doubt = |about, text: String| doubts.push(Doubt { about, text });
        if let Some(fault) = &self.fault {
            doubt("feed.redis", format!("{fault}; a start goes on and tries again"));
        }
        if let Some(text) = self.eviction.as_deref().and_then(|policy| redis.doubt_of_eviction(policy)) {
            doubt("feed.redis", text);
        }
        if self.fault.is_none() && self.extent.is_none() {
            let text = format!("Redis at {address} is reached, and has no feed `{cluster}` yet");
            if *is_writer {
                facts.push(text);
            } else {
                doubt(
                    "feed.redis",
                    format!(
                        "{text}: there is nothing to serve until a writer has begun (`ostia-precompute run`); is it the right server, and `cluster` the writer's?"
                    ),
                );
            }
        }
        if let Some((position, bytes)) = &self.last {
            match Entry::open(*position, bytes, cluster, trusted) {
                Ok(opened) => {
                    let began = UnixTime(position.epoch / 1_000_000);
                    facts.push(format!(
                        "Redis at {address} has the feed `{cluster}`: last entry {position}, its epoch began at {began}"
                    ));
                    if let (true, Body::Heartbeat(heartbeat)) = (self.lives, &opened.entry.body) {
                        let apart = (heartbeat.time / 1_000_000).abs_diff(now.0);
                        if apart > CLOCK_SKEW_MAX.as_secs() {
                            doubt(
                                "feed.redis",
                                format!(
                                    "the writer's clock and this machine's are {apart} s apart: nothing counts as fresh; set both right"
                                ),
                            );
                        }
                    }
                }
                Err(refusal) => {
                    doubt(
                        about(&refusal),
                        format!(
                            "the last entry of the feed `{cluster}` at {address} ({position}) is refused: {refusal}"
                        ),
                    );
                }
            }
            let silent = format!("no writer is at work: nothing came within {:?}", limits::PROBE_LIFE);
            match (self.lives, is_writer) {
                (true, _) => facts.push("a writer is at work".into()),
                (false, _) if self.fault.is_some() => {}
                (false, true) => facts.push(silent),
                (false, false) => {
                    doubt("feed.redis", format!("{silent}; start `ostia-precompute run`, or find out why it is silent"))
                }
            }
        }
        let manifest = match self.manifest.as_deref().map(|bytes| Manifest::open(bytes, cluster, trusted)) {
            Some(Ok(manifest)) => {
                let made = UnixTime(manifest.made / 1_000_000);
                let age = in_words(now.since(made));
                facts.push(format!("the newest snapshot has {} records and is {age} old", manifest.records));
                Some(manifest)
            }
            Some(Err(refusal)) => {
                doubt(
                    about(&refusal),
                    format!("the manifest of the newest snapshot at {address} is refused: {refusal}"),
                );
                None
            }
            None if self.last.is_some() && self.fault.is_none() => {
                facts.push("there is no snapshot yet".into());
                None
            }
            None => None,
        };
        (findings, manifest)
    }
}

/// What is to be said of Sentinels.
fn judge_sentinels(sentinels: &[Said], followers: Option<u64>, facts: &mut Vec<String>, doubts: &mut Vec<Doubt>) {
    let mut doubt = |text: String| doubts.push(Doubt { about: "feed.sentinels", text });
    for Said { sentinel, named, fault } in sentinels {
        match (named, fault) {
            (Some(named), None) => facts.push(format!(
                "the Sentinel at {sentinel} names {} as master, and knows {} that follow and {} Sentinels",
                named.address, named.followers, named.sentinels
            )),
            (_, Some(fault)) => doubt(fault.clone()),
            (None, None) => doubt(format!("the Sentinel at {sentinel} does not answer")),
        }
    }
    let named = || sentinels.iter().filter_map(|said| Some((&said.sentinel, said.named.as_ref()?)));
    let Some((_, newest)) = named().max_by_key(|(_, named)| named.config_epoch) else { return };
    let master = &newest.address;
    if let Some((sentinel, former)) = named().find(|(_, named)| named.address != *master) {
        doubt(format!(
            "the Sentinel at {sentinel} names {} and others {master}: it was cut off, or watches another master of the same name",
            former.address
        ));
    }
    if is_loopback(master) && named().any(|(sentinel, _)| !is_loopback(sentinel)) {
        doubt(format!(
            "the master is named by {master}, which is each machine's own address: `sentinel monitor` has to name it by an address that every machine reaches"
        ));
    }
    if newest.sentinels < 3 {
        doubt(format!(
            "only {} of them watch the master: once one is away no majority is left to name another; three on three machines are the least",
            newest.sentinels
        ));
    }
    let known = || named().map(|(sentinel, named)| (sentinel, named.followers));
    let most = known().map(|(_, known)| known).max();
    if followers == Some(0) || most == Some(0) {
        doubt("no server follows the master now: nobody can take its place".into());
        return;
    }
    let follow = most.max(followers).unwrap_or_default();
    for (sentinel, known) in known().filter(|(_, known)| *known < follow) {
        doubt(format!(
            "the Sentinel at {sentinel} knows {known} of the {follow} servers that follow the master, so it may not find another one when that is lost; it asks every ten seconds, and if it stays so, see whether it may run INFO there"
        ));
    }
}

fn is_loopback(address: &Address) -> bool {
    let Address::Tcp { host, .. } = address else { return false };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Which key is to be looked at where this is refused.
const fn about(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UntrustedKey(_) => "feed.trusted",
        Refusal::NotOurCluster(_) => "feed.cluster",
        _ => "feed.redis",
    }
}

/// An age for people.
fn in_words(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
