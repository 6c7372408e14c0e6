//! The thread: says who this server is, and looks at the others.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::warn;

use super::{
    Shared,
    list::List,
    voice::{Facts, Own, Voice},
};
use crate::{
    feed::{
        Cluster,
        redis::{Cause, Fault, Stream},
        servers::{Gone, Notice, Signed, Watch, place},
    },
    journal::Identity,
    limits::servers as limits,
    service::rim,
};

pub(super) struct Work {
    shared: Arc<Shared>,
    identity: Identity,
    own: Own,
    voice: Voice,
    stream: Stream,
    watch: Watch,
    gone: Gone,
    list: List,
    begun: Instant,
}

impl Work {
    pub(super) fn new(shared: Arc<Shared>, identity: Identity, own: Own) -> Self {
        let membership = &shared.membership;
        let list = List::of(&membership.state_dir, membership.cluster.clone());
        let gone = membership.key.as_ref().map(|_| list.read(&membership.trusted)).unwrap_or_default();
        Self {
            voice: Voice::new(identity.server, membership.name.clone()),
            stream: membership.stream(),
            watch: Watch::default(),
            gone,
            list,
            begun: Instant::now(),
            identity,
            own,
            shared,
        }
    }

    pub(super) fn run(mut self) {
        let interval = match self.shared.membership.key {
            Some(_) => limits::LOOK_INTERVAL_OF_WRITERS,
            None => limits::LOOK_INTERVAL_OF_REPLICAS,
        };
        loop {
            let looked = self.look();
            self.shared.view().looked(looked.as_ref().err(), self.begun.elapsed());
            if self.wait(interval) {
                // Where Redis was away a moment ago, nobody waits for it.
                if looked.is_ok() {
                    let _ = self.say((self.own.facts)(), true);
                }
                return;
            }
        }
    }

    /// Until it is time for the next look, or this server does something else than the others have heard. Whether it ends.
    fn wait(&self, interval: Duration) -> bool {
        let until = Instant::now() + interval;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let todo = self.shared.wait(left.min(limits::STATE_LOOK_INTERVAL));
            let now = Instant::now();
            if todo.ends || todo.looks || now >= until || self.voice.has_turned((self.own.state)(), now) {
                return todo.ends;
            }
        }
    }

    fn look(&mut self) -> Result<(), Fault> {
        let facts = (self.own.facts)();
        if self.voice.is_due(&facts, Instant::now()) {
            self.say(facts, false)?;
        }
        let (places, refused) = opened(&mut self.stream, &self.shared.membership.cluster)?;
        let is_there = places.iter().flatten().any(|signed| self.voice.is_mine(&signed.notice));
        if !is_there && self.shared.view().may_write() {
            // Redis was emptied, or another server took the place at the same moment.
            self.voice.unsaid();
        }
        self.look_at_gone()?;
        let now = rim::moment(self.begun);
        self.watch.look(&places, now);
        let mut roster = self.watch.roster(&self.gone, now);
        roster.refused = refused;
        self.shared.view().see(roster, self.gone.since(self.identity.server), now.monotonic);
        Ok(())
    }

    /// Says who this server is. Where this user may not, everything else goes on.
    fn say(&mut self, facts: Facts, stopped: bool) -> Result<(), Fault> {
        let cluster = &self.shared.membership.cluster;
        let places = opened(&mut self.stream, cluster)?.0;
        let Some(number) = place(self.identity.server, &places) else {
            self.shared.view().cannot_write(Some("every place for a server is taken; decommission those that are gone (`ostia-precompute server list`), or find out who writes there".into()));
            return Ok(());
        };
        let (notice, lasts) = self.voice.next(facts, stopped, Instant::now());
        let sealed = notice.seal(cluster, &self.identity.key);
        match self.stream.put_place(number, &sealed, lasts) {
            Err(Fault { cause: Cause::Refused, message }) => {
                // Once somebody has let this user, the next look finds it.
                self.voice.unsaid();
                self.shared.view().cannot_write(Some(refused(self.stream.server().login.user.as_deref(), &message)));
                Ok(())
            }
            put => {
                if put.is_err() {
                    self.voice.unsaid();
                } else {
                    self.shared.view().cannot_write(None);
                }
                put
            }
        }
    }

    /// Writers keep the list, and put it back where Redis has lost it.
    fn look_at_gone(&mut self) -> Result<(), Fault> {
        let membership = &self.shared.membership;
        let found = self.stream.gone()?;
        let found = Gone::open(&found, &membership.cluster, &membership.trusted).unwrap_or_default();
        let has_grown = self.gone.merge(&found);
        let Some(key) = &membership.key else { return Ok(()) };
        if has_grown && let Err(problem) = self.list.write(&self.gone.seal(&membership.cluster, key)) {
            warn!("which servers were decommissioned is not kept on this disk: {problem}");
        }
        if self.gone.is_within(&found) {
            return Ok(());
        }
        self.stream.set_gone(&self.gone.seal(&membership.cluster, key))
    }
}

/// What is to be added where this user may not write.
fn refused(user: Option<&str>, message: &str) -> String {
    let user = user.unwrap_or("default");
    format!(
        "{message}; let it register (`ACL SETUSER {user} %RW~ostia:*:s:* +get +getrange +set`, and the same in its list of users)"
    )
}

/// The places with what is in them, and how many of them hold something else than a notice.
pub(super) fn opened(stream: &mut Stream, cluster: &Cluster) -> Result<(Vec<Option<Signed>>, usize), Fault> {
    let places = stream.places()?;
    let mut refused = 0;
    let opened = places.iter().map(|bytes| {
        if bytes.is_empty() {
            return None;
        }
        let signed = Notice::open(bytes, cluster).ok();
        refused += usize::from(signed.is_none());
        signed
    });
    Ok((opened.collect(), refused))
}
