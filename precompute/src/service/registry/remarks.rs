//! What is seen of all servers, and what operators hear of it.
//!
//! Invariants: nothing is told of replicas that there may be too few before they had the time to register, unless there were
//! enough before; each line is logged when it is new, and once more when it is over. It does not know Redis.

use std::{collections::BTreeSet, time::Duration};

use tracing::{error, info, warn};

use crate::{
    feed::{
        redis::Fault,
        servers::{Roster, ServerRole},
    },
    limits::servers as limits,
    log::remarks::{Lasting, News},
    pki::UnixTime,
    state_dir::ServerId,
};

/// What a server sees of its cluster.
#[derive(Clone, Debug)]
pub struct View {
    server: ServerId,
    is_writer: bool,
    replicas_wanted: usize,
    roster: Roster,
    /// Why this server is not in the registry, if it is not.
    unwritten: Option<String>,
    /// Why the registry cannot be read now.
    unread: Option<String>,
    /// When this server was decommissioned, if it was.
    gone: Option<UnixTime>,
    /// The most replicas that lived at once,
    peak: usize,
    /// and whether all had the time to say that they do.
    is_settled: bool,
    told: BTreeSet<String>,
    unwritten_told: Lasting,
    few_told: Lasting,
    gone_told: Lasting,
}

impl View {
    pub(super) fn new(server: ServerId, is_writer: bool, replicas_wanted: usize) -> Self {
        Self {
            server,
            is_writer,
            replicas_wanted,
            roster: Roster::default(),
            unwritten: None,
            unread: None,
            gone: None,
            peak: 0,
            is_settled: false,
            told: BTreeSet::new(),
            unwritten_told: Lasting::default(),
            few_told: Lasting::default(),
            gone_told: Lasting::default(),
        }
    }

    /// All servers.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Whether this server is in the registry, as far as is known.
    pub fn is_registered(&self) -> bool {
        self.roster.get(self.server).is_some()
    }

    /// Whether it is a writer's.
    pub fn is_writers(&self) -> bool {
        self.is_writer
    }

    /// Below how many live replicas the writers warn.
    pub fn replicas_wanted(&self) -> usize {
        self.replicas_wanted
    }

    /// How many replicas live; `None` as long as some may not have said so yet.
    pub fn live_replicas(&self) -> Option<usize> {
        let is_known = self.is_settled || self.peak >= self.replicas_wanted;
        is_known.then(|| self.roster.live_replicas())
    }

    /// Why the registry cannot be read, if it cannot.
    pub fn unread(&self) -> Option<&str> {
        self.unread.as_deref()
    }

    fn few(&self) -> Option<usize> {
        let live = self.live_replicas()?;
        (self.is_writer && self.unread.is_none() && live < self.replicas_wanted).then_some(live)
    }

    /// What is wrong with this server, a line each.
    pub fn own_complaints(&self) -> impl Iterator<Item = &str> {
        let own = self.roster.get(self.server);
        // What it refused it says itself.
        own.into_iter().flat_map(|seen| &seen.complaints).map(String::as_str).filter(|line| !is_of_refusal(line))
    }

    /// What a writer says of others, a line each.
    fn of_others(&self) -> Vec<String> {
        if !self.is_writer {
            return Vec::new();
        }
        let others = self.roster.servers.iter().filter(|seen| seen.notice.server != self.server);
        let lines = others.flat_map(|seen| {
            let what = match seen.notice.role {
                ServerRole::Replica => "replica",
                ServerRole::Relay => "relay",
                ServerRole::Leads | ServerRole::TakesOver | ServerRole::StandsBy => "writer",
            };
            seen.complaints.iter().map(move |complaint| format!("the {what} {}: {complaint}", seen.called()))
        });
        lines.collect()
    }

    /// For readiness, a line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(why) = &self.unwritten {
            lines.push(format!("warning: feed: this server is not in the list of servers: {why}"));
        }
        if let Some(at) = self.gone {
            lines.push(format!("degraded: feed: {}", decommissioned(at)));
        }
        lines.extend(
            self.own_complaints()
                .filter(|line| self.gone.is_none() || !line.contains("decommissioned"))
                .map(|line| format!("degraded: feed: of this server the others say: {line}")),
        );
        if let Some(live) = self.few() {
            lines.push(format!("warning: feed: {}", self.too_few(live)));
        }
        lines.extend(self.of_others().into_iter().map(|line| format!("warning: feed: {line}")));
        lines
    }

    fn too_few(&self, live: usize) -> String {
        format!(
            "{live} replicas live, and {} are wanted (`feed.replicas_wanted`): start more, or see `ostia-precompute server list`; replicas of an earlier version, and those whose user of Redis may not register, are not counted",
            self.replicas_wanted
        )
    }

    pub(super) fn may_write(&self) -> bool {
        self.unwritten.is_none()
    }

    pub(super) fn cannot_write(&mut self, why: Option<String>) {
        self.unwritten = why;
    }

    pub(super) fn see(&mut self, roster: Roster, gone: Option<UnixTime>, now: Duration) {
        self.peak = self.peak.max(roster.live_replicas());
        self.is_settled |= now > limits::SILENT_AFTER;
        (self.roster, self.gone) = (roster, gone);
    }

    /// Tells the log what is new.
    pub(super) fn looked(&mut self, fault: Option<&Fault>, now: Duration) {
        self.unread = fault.map(ToString::to_string);
        if let Some(News::Begins) = self.unwritten_told.news(self.unwritten.is_some(), now) {
            warn!(
                "this server is not in the list of servers, and everything else goes on: {}",
                self.unwritten.as_deref().unwrap_or_default()
            );
        }
        let few = self.few();
        match self.few_told.news(few.is_some(), now) {
            Some(News::Begins | News::Lasts(_)) => warn!("{}", self.too_few(few.unwrap_or_default())),
            Some(News::Over(_)) if self.unread.is_none() => info!("enough replicas live again"),
            _ => {}
        }
        if let Some((News::Begins | News::Lasts(_), at)) = self.gone_told.news(self.gone.is_some(), now).zip(self.gone)
        {
            error!("{}", decommissioned(at));
        }
        let own = self.own_complaints().map(|line| format!("of this server the others say: {line}"));
        let lines: BTreeSet<String> = own.chain(self.of_others()).collect();
        lines.difference(&self.told).for_each(|line| warn!("{line}"));
        self.told.difference(&lines).for_each(|line| info!("no longer so: {line}"));
        self.told = lines;
    }
}

fn is_of_refusal(line: &str) -> bool {
    line.starts_with("it refused ")
}

fn decommissioned(at: UnixTime) -> String {
    format!(
        "this server was decommissioned at {at}, and is not counted by the others; stop it, or give it a new identity (`ostia-precompute server adopt` with its configuration, while it is stopped)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::servers::{Gone, Watch, tests::replicas};

    #[test]
    fn too_few_replicas_are_told_once_they_had_the_time_to_come_or_were_there() {
        let few = |counts: &[(u64, usize)], wanted: usize| {
            let mut view = View::new(ServerId::from_bytes([9; 16]), true, wanted);
            for (seconds, count) in counts {
                let (now, places) = replicas(*seconds, *count);
                let mut watch = Watch::default();
                watch.look(&places, now);
                view.see(watch.roster(&Gone::default(), now), None, Duration::from_secs(*seconds));
                view.looked(None, Duration::from_secs(*seconds));
            }
            let told = view.remarks();
            (told.len(), view.live_replicas())
        };
        let settled = limits::SILENT_AFTER.as_secs() + 1;
        for (counts, wanted, expected) in [
            (&[(0, 0)][..], 2, (0, None)),
            (&[(0, 0), (settled, 1)], 2, (1, Some(1))),
            (&[(0, 0), (5, 2)], 2, (0, Some(2))),
            (&[(0, 2), (5, 1)], 2, (1, Some(1))),
            (&[(0, 1), (settled, 1)], 1, (0, Some(1))),
            (&[(0, 1), (5, 0)], 1, (1, Some(0))),
            (&[(settled, 0)], 0, (0, Some(0))),
        ] {
            assert_eq!(few(counts, wanted), expected, "{counts:?} {wanted}");
        }
    }
}
