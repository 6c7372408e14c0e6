//! What is told of pushes that were taken: in the log, and beside the outcome.
//!
//! Purpose: who reads the log at night finds everything in one line: which certificate of whom, how it stands now, who
//! sent the push, and what the sources say against it. Invariant: no list fills the log. It does not know how a push is
//! decided.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::http::{header::USER_AGENT, request::Parts};
use tracing::info;

use super::{
    access,
    problem::{Kind, Problem},
};
use crate::{
    admin::{gate::Caller, listener::Peer},
    config::Sources,
    journal::trail::{self, Event},
    ledger::{
        Ledger, Order, Outcome, Push,
        reconcile::{Contradiction, contradicted, keeps_end},
    },
    pki::{Reason, written},
    principals::{Action, Object, Principal},
    records::Found,
};

/// Who sends a request.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    principal: Option<Arc<Principal>>,
    address: Option<SocketAddr>,
    program: Option<String>,
}

impl Sender {
    /// As the connection and the header section say.
    pub(super) fn of(head: &Parts) -> Self {
        let program = head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let principal = head.extensions.get::<Caller>().map(|caller| Arc::clone(&caller.principal));
        let address = head.extensions.get().map(|Peer(address)| *address);
        Self { principal, address, program: program.map(written::excerpt) }
    }

    /// The name of whoever is behind it.
    pub(super) fn principal(&self) -> &str {
        self.principal.as_ref().map_or("nobody", |principal| &principal.name)
    }

    /// What it may do.
    pub(super) fn may(&self, action: Action, object: Object<'_>) -> Result<(), Problem> {
        match &self.principal {
            Some(principal) => access::allow(principal, action, object),
            None => Err(Problem::new(Kind::Internal, "nobody knows who asks")),
        }
    }

    /// Adds it to what the journal is told.
    pub(super) fn tell(&self, event: Event) -> Event {
        event.text("principal", self.principal()).text("from", self)
    }
}

/// Such as 127.0.0.1:40112 `curl/8.5.0`.
impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{address}")?,
            None => f.write_str("an unknown address")?,
        }
        self.program.as_ref().map_or(Ok(()), |program| write!(f, " {program}"))
    }
}

/// Logs a push that was taken. `sources`: those of the issuer, if they are known; `key`: its idempotency key.
pub(super) fn taken(
    ledger: &Ledger,
    sources: Option<&Sources>,
    from: &Sender,
    push: &Push,
    outcome: Outcome,
    key: Option<&str>,
) {
    let (tenant, issuer, serial) = (ledger.id().tenant(), ledger.name(), push.serial);
    let found = ledger.look_up(&serial);
    let status = found.map(|found| found.status.to_string());
    let not_after = found.filter(|_| matches!(push.order, Order::Add { .. })).and_then(|found| found.not_after);
    let not_after = not_after.map(|end| end.to_string());
    let sources = found.and_then(|found| against(&found, sources?));
    let (status, not_after) = (status.as_deref(), not_after.as_deref());
    info!(
        tenant,
        issuer,
        %serial,
        status,
        not_after,
        outcome = name(outcome),
        by = "push",
        principal = from.principal(),
        %from,
        idempotency_key = key,
        sources,
        "{}",
        what(push, outcome)
    );
}

/// Tells the journal of a push, whatever became of it.
pub(super) fn keep(ledger: &Ledger, from: &Sender, push: &Push, outcome: &str, problem: Option<&str>) {
    trail::tell("push", |event| {
        let (verb, reason) = match push.order {
            Order::Add { .. } => ("add", None),
            Order::Revoke { reason, .. } => ("revoke", Some(reason.name())),
            Order::Release => ("release", None),
        };
        let event =
            event.text("tenant", ledger.id().tenant()).text("issuer", ledger.name()).text("serial", push.serial);
        let event = event.text("verb", verb).optional("reason", reason).text("outcome", outcome);
        from.tell(event.optional("problem", problem))
    });
}

/// An outcome as answers and logs name it.
pub(super) const fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Unchanged => "unchanged",
        Outcome::StillHeld => "still-held",
    }
}

const fn what(push: &Push, outcome: Outcome) -> &'static str {
    match (outcome, push.order) {
        (Outcome::Unchanged, _) => "pushed, and it was so before",
        (Outcome::StillHeld, _) => "released by the push, and on hold by a source still",
        (Outcome::Done, Order::Add { .. }) => "added",
        (Outcome::Done, Order::Revoke { reason: Reason::CertificateHold, .. }) => "put on hold",
        (Outcome::Done, Order::Revoke { .. }) => "revoked",
        (Outcome::Done, Order::Release) => "released from hold",
    }
}

/// What the issuer's sources say against a record that was pushed.
fn against(found: &Found, sources: &Sources) -> Option<&'static str> {
    if sources.is_pushes_alone() {
        return None;
    }
    match contradicted(found.origin, sources.list())? {
        Contradiction::PushLists => Some("do not list it yet"),
        _ if !found.origin.is_listed() => Some("do not list it"),
        _ => Some("call it good still"),
    }
}

/// Whether a push of a list is named in the log: a revocation, a hold or a release, and something new.
pub(super) fn is_news(push: &Push, outcome: Outcome) -> bool {
    outcome == Outcome::Done && !matches!(push.order, Order::Add { .. })
}

/// What a client is to know beside the outcome.
pub(super) fn note(push: &Push) -> Option<String> {
    let Order::Add { not_after: Some(end) } = push.order else { return None };
    (!keeps_end(end)).then(|| {
        format!(
            "its end of validity, {end}, is later than can be kept and counts as unknown: it never counts as expired"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::{super::testing::Issuers, *};
    use crate::pki::{Serial, UnixTime};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `act` runs.
    fn logged(act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, act);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    const ADD: Order = Order::Add { not_after: Some(UnixTime(4_000_000_000)) };

    fn revoke(reason: Reason) -> Order {
        Order::Revoke { time: Some(UnixTime(1_700_000_000)), reason, even_unlisted: true }
    }

    /// There were two lines, and the one that named the sender's request had neither reason nor time.
    #[test]
    fn a_push_is_one_line_with_serial_issuer_status_sender_and_what_the_sources_say_against_it() {
        let issuers = Issuers::of(&[("t", 1, "Root")]);
        let ledger = issuers.first();
        issuers.list_by_source("0C");
        let index = Sources::of_index("index.txt");
        let principal = Some(Arc::new(Principal::administrator("deploy")));
        let from = Sender { principal, address: "127.0.0.1:4711".parse().ok(), program: Some("`curl/8`".into()) };
        let hold = revoke(Reason::CertificateHold);
        let since = "2023-11-14T22:13:20Z";
        for (serial, order, outcome, words) in [
            ("0A", ADD, Outcome::Done, &["added", "sources=\"do not list it yet\"", "not_after=\"2096-10-02"][..]),
            ("0A", ADD, Outcome::Unchanged, &["it was so before", "outcome=\"unchanged\""]),
            ("0A", hold, Outcome::Done, &["put on hold", "certificateHold", "sources=\"do not list it\""]),
            ("0A", Order::Release, Outcome::Done, &["released from hold"]),
            ("0C", revoke(Reason::KeyCompromise), Outcome::Done, &["revoked", "keyCompromise", since, "good still"]),
        ] {
            let push = Push::new(Serial::from_hex(serial).unwrap(), order);
            let line = logged(|| {
                let outcomes = ledger.push(&[push], None, UnixTime(1_800_000_000)).unwrap();
                assert_eq!(outcomes, [Ok(outcome)]);
                taken(&ledger, Some(&index), &from, &push, outcome, Some("k1"));
            });
            assert_eq!(line.lines().count(), 1, "{line}");
            let always = [
                "tenant=\"t\"",
                "issuer=\"Root\"",
                "by=\"push\"",
                "principal=\"deploy\" from=127.0.0.1:4711 `curl/8`",
                "\"k1\"",
            ];
            for word in always.iter().chain(words) {
                assert!(line.contains(word), "no {word}: {line}");
            }
            assert!(line.contains(&format!("serial={serial}")), "{line}");
        }
        let push = Push::new(Serial::from_hex("0D").unwrap(), ADD);
        ledger.push(&[push], None, UnixTime(1_800_000_000)).unwrap().remove(0).unwrap();
        for sources in [None, Some(&Sources::default())] {
            let line = logged(|| taken(&ledger, sources, &from, &push, Outcome::Done, None));
            assert!(!line.contains("sources=") && !line.contains("idempotency_key"), "{line}");
        }
    }

    #[test]
    fn an_end_of_validity_that_cannot_be_kept_is_told() {
        let push = |order| Push::new(Serial::from_hex("0A").unwrap(), order);
        let far = push(Order::Add { not_after: Some(UnixTime(u64::from(u32::MAX))) });
        assert!(note(&far).unwrap().contains("2106-02-07T06:28:15Z"));
        for order in [ADD, Order::Add { not_after: None }, Order::Release] {
            assert_eq!(note(&push(order)), None);
        }
        // It stays what was pushed, and does not count as expired.
        let issuers = Issuers::of(&[("t", 1, "Root")]);
        let pushed = |push| issuers.first().push(&[push], None, UnixTime(1_800_000_000)).unwrap().remove(0);
        assert_eq!([pushed(far), pushed(far)], [Ok(Outcome::Done), Ok(Outcome::Unchanged)]);
        assert_eq!(issuers.first().look_up(&far.serial).unwrap().not_after, None);
    }
}
