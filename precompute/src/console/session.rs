//! Who is signed in.
//!
//! Purpose: from the secret in a cookie to whoever has signed in, for as long as that holds. Invariants: a session ends
//! after its lifetime, whatever happens, and earlier where nobody asks for a page; secrets are kept hashed, so that a core
//! dump signs nobody in; and their number is bounded, for each principal and in all. Pure but for randomness: the time is a
//! parameter. It does not know cookies, or how somebody has proved who it is.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest,
    error::Unspecified,
    rand::{SecureRandom as _, SystemRandom},
};

use crate::pki::hex;

/// 256 random bits, as 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    /// A new one.
    pub(super) fn new() -> Result<Self, Unspecified> {
        let mut octets = [0; 32];
        SystemRandom::new().fill(&mut octets)?;
        Ok(Self(hex::text(&octets)))
    }

    /// For a cookie or a form.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether it is this one, in the same time for every other of its length.
    pub(super) fn is(&self, given: &str) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), given.as_bytes()).is_ok()
    }
}

/// A secret is not shown.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

type Hash = [u8; 32];

fn hash(secret: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

/// How many sessions there may be, and how long they last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of one principal.
    pub(super) of_one: usize,
    /// In all.
    pub(super) all: usize,
    /// From the sign-in on.
    pub(super) lifetime: Duration,
    /// Since the last page that somebody asked for.
    pub(super) idle: Duration,
}

/// One of them; `W`: who has signed in.
#[derive(Debug)]
struct Session<W> {
    who: W,
    name: String,
    form: Secret,
    begun: Instant,
    used: Instant,
}

/// Who a request is from.
#[derive(Clone, Debug)]
pub(super) struct SignedIn<W> {
    pub(super) who: W,
    /// What its forms carry, so that no other page can send them.
    pub(super) form: Secret,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sessions<W> {
    bounds: Bounds,
    open: HashMap<Hash, Session<W>>,
}

impl<W: Clone> Sessions<W> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, open: HashMap::new() }
    }

    /// Begins a session of the principal with this name. Returns the secret for its cookie.
    pub(super) fn begin(&mut self, name: &str, who: W, now: Instant) -> Result<Secret, Unspecified> {
        let (secret, form) = (Secret::new()?, Secret::new()?);
        self.remove_ended(now);
        let is_own = |session: &Session<W>| session.name == name;
        if self.open.values().filter(|session| is_own(session)).count() >= self.bounds.of_one {
            self.remove_idlest(is_own);
        }
        if self.open.len() >= self.bounds.all {
            self.remove_idlest(|_| true);
        }
        let session = Session { who, name: name.to_owned(), form, begun: now, used: now };
        self.open.insert(hash(secret.text()), session);
        Ok(secret)
    }

    /// The session with this secret, if it has not ended. `is_asked`: a person has asked for a page, which keeps it open;
    /// one that refreshes itself does not.
    pub(super) fn find(&mut self, secret: &str, is_asked: bool, now: Instant) -> Option<SignedIn<W>> {
        let key = hash(secret);
        let session = self.open.get_mut(&key)?;
        if self.bounds.is_over(session, now) {
            self.open.remove(&key);
            return None;
        }
        if is_asked {
            session.used = now;
        }
        Some(SignedIn { who: session.who.clone(), form: session.form.clone() })
    }

    /// Ends the session with this secret.
    pub(super) fn end(&mut self, secret: &str) {
        self.open.remove(&hash(secret));
    }

    fn remove_ended(&mut self, now: Instant) {
        let bounds = self.bounds;
        self.open.retain(|_, session| !bounds.is_over(session, now));
    }

    fn remove_idlest(&mut self, which: impl Fn(&Session<W>) -> bool) {
        let idlest = self.open.iter().filter(|(_, session)| which(session)).min_by_key(|(_, session)| session.used);
        if let Some(key) = idlest.map(|(key, _)| *key) {
            self.open.remove(&key);
        }
    }
}

impl Bounds {
    fn is_over<W>(&self, session: &Session<W>, now: Instant) -> bool {
        now.duration_since(session.begun) >= self.lifetime || now.duration_since(session.used) >= self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const BOUNDS: Bounds =
        Bounds { of_one: 2, all: 3, lifetime: MINUTE.saturating_mul(60), idle: MINUTE.saturating_mul(10) };

    #[test]
    fn a_session_ends_after_its_lifetime_and_when_nobody_asks_for_a_page() {
        let begin = Instant::now();
        let mut sessions = Sessions::new(BOUNDS);
        let secret = sessions.begin("ann", 1, begin).unwrap();
        assert_eq!(sessions.find(secret.text(), true, begin).unwrap().who, 1);
        assert!(sessions.find("", true, begin).is_none() && sessions.find(&secret.text()[1..], true, begin).is_none());
        // A page that refreshes itself does not count.
        for minute in 1..10 {
            assert!(sessions.find(secret.text(), false, begin + minute * MINUTE).is_some());
        }
        assert!(sessions.find(secret.text(), false, begin + 10 * MINUTE).is_none());
        assert!(sessions.find(secret.text(), true, begin).is_none(), "it is gone, and not merely hidden");

        let secret = sessions.begin("ann", 1, begin).unwrap();
        for minute in 1..60 {
            assert!(sessions.find(secret.text(), true, begin + minute * MINUTE).is_some(), "{minute}");
        }
        assert!(sessions.find(secret.text(), true, begin + 60 * MINUTE).is_none());
    }

    #[test]
    fn each_has_secrets_of_its_own_and_signing_out_ends_one() {
        let now = Instant::now();
        let mut sessions = Sessions::new(BOUNDS);
        let [one, two] = [(); 2].map(|()| sessions.begin("ann", 1, now).unwrap());
        let forms = [&one, &two].map(|secret| sessions.find(secret.text(), true, now).unwrap().form);
        assert!(one.text().len() == 64 && one != two && forms[0] != forms[1] && forms[0] != one);
        assert!(forms[0].is(forms[0].text()) && !forms[0].is(forms[1].text()) && !forms[0].is(""));
        sessions.end(one.text());
        assert!(sessions.find(one.text(), true, now).is_none() && sessions.find(two.text(), true, now).is_some());
        // Whoever reads memory, or a log of it, finds no secret.
        let shown = format!("{sessions:?}");
        assert!(!shown.contains(two.text()) && !shown.contains(forms[1].text()), "{shown}");
    }

    #[test]
    fn one_principal_takes_no_place_of_another() {
        let begin = Instant::now();
        let mut sessions = Sessions::new(BOUNDS);
        let of_bob = sessions.begin("bob", 0, begin).unwrap();
        let of_ann: Vec<_> =
            (1..9).map(|second| sessions.begin("ann", second, begin + Duration::from_secs(second)).unwrap()).collect();
        let now = begin + MINUTE;
        assert!(sessions.find(of_bob.text(), true, now).is_some());
        let left = of_ann.iter().filter_map(|secret| sessions.find(secret.text(), true, now)).map(|found| found.who);
        assert_eq!(left.collect::<Vec<_>>(), [7, 8], "her own last ones");
        // In all there are three.
        for name in ["cid", "dan", "eve"] {
            sessions.begin(name, 0, now).unwrap();
            assert_eq!(sessions.open.len(), 3);
        }
        // Those that have ended make room first.
        let later = now + 20 * MINUTE;
        sessions.begin("fay", 0, later).unwrap();
        assert_eq!(sessions.open.len(), 1);
    }
}
