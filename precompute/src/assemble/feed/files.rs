//! What the files hold that `[feed]` names: a change there waits for the next start like one of the section itself.
//!
//! Invariant: who takes a key out of a file of trusted keys and has the configuration read again hears that it is trusted
//! still. It does not know who reads the configuration.

use std::{collections::BTreeSet, fmt};

use tracing::warn;
use zeroize::Zeroizing;

use super::AssembledFeed;
use crate::feed::{KeyId, redis::Trust};

/// What was read of them.
#[derive(Clone)]
pub struct FeedFiles {
    trusted: BTreeSet<KeyId>,
    key: Option<KeyId>,
    password: Option<Zeroizing<String>>,
    sentinel_password: Option<Zeroizing<String>>,
    tls_ca: Option<Vec<u8>>,
    https_ca: Option<Vec<u8>>,
}

impl fmt::Debug for FeedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedFiles").field("trusted", &self.trusted).field("key", &self.key).finish_non_exhaustive()
    }
}

impl FeedFiles {
    /// Those of a feed.
    pub fn of(feed: &AssembledFeed) -> Self {
        let tls_ca = feed.redis.tls.as_ref().and_then(|trust| match trust {
            Trust::System => None,
            Trust::These(pem) => Some(pem.clone()),
        });
        Self {
            trusted: feed.trusted.ids().collect(),
            key: feed.key.as_ref().map(|key| key.id()),
            password: feed.redis.login.password.clone(),
            sentinel_password: feed.redis.sentinel_login.password.clone(),
            tls_ca,
            https_ca: feed.https.cas().map(<[u8]>::to_vec),
        }
    }

    /// The keys of the configuration by which something else is read `now`.
    fn changed(&self, now: &Self) -> Vec<&'static str> {
        let is_changed = [
            ("feed.trusted", self.trusted != now.trusted),
            ("feed.key", self.key != now.key),
            ("feed.password_file", self.password != now.password),
            ("feed.sentinel_password_file", self.sentinel_password != now.sentinel_password),
            ("feed.tls_ca", self.tls_ca != now.tls_ca),
            ("feed.https_ca", self.https_ca != now.https_ca),
        ];
        is_changed.into_iter().filter(|(_, is_changed)| *is_changed).map(|(key, _)| key).collect()
    }

    /// Has the log say what has changed since the start, and returns it, a line each.
    pub fn warn_of_changes(&self, now: &Self) -> Vec<String> {
        const CHANGED: &str =
            "what the file holds that this key names is not what is in use; it takes effect at the next start";
        let changed = self.changed(now).into_iter().map(|key| {
            warn!(key, "{CHANGED}");
            format!("{key}: {CHANGED}")
        });
        changed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_holds_something_else_is_named_and_no_password_is_shown() {
        let files = |trusted: &[u8], key, [password, sentinel]: [&str; 2], [tls_ca, https_ca]: [&[u8]; 2]| FeedFiles {
            trusted: trusted.iter().map(|number| KeyId([*number; 8])).collect(),
            key: Some(KeyId([key; 8])),
            password: Some(Zeroizing::new(password.to_owned())),
            sentinel_password: Some(Zeroizing::new(sentinel.to_owned())),
            tls_ca: Some(tls_ca.to_vec()),
            https_ca: Some(https_ca.to_vec()),
        };
        let in_use = files(&[1, 2], 1, ["secret", "secret"], [b"one", b"one"]);
        for (now, changed) in [
            (files(&[2, 1], 1, ["secret", "secret"], [b"one", b"one"]), &[][..]),
            (files(&[1], 1, ["secret", "secret"], [b"one", b"one"]), &["feed.trusted"]),
            (files(&[1, 3], 1, ["secret", "secret"], [b"one", b"one"]), &["feed.trusted"]),
            (files(&[1, 2], 2, ["secret", "secret"], [b"one", b"one"]), &["feed.key"]),
            (files(&[1, 2], 1, ["another", "secret"], [b"one", b"one"]), &["feed.password_file"]),
            (files(&[1, 2], 1, ["secret", "another"], [b"one", b"one"]), &["feed.sentinel_password_file"]),
            (files(&[1, 2], 1, ["secret", "secret"], [b"two", b"one"]), &["feed.tls_ca"]),
            (files(&[1, 2], 1, ["secret", "secret"], [b"one", b"two"]), &["feed.https_ca"]),
        ] {
            assert_eq!(in_use.changed(&now), changed);
            assert!(!format!("{now:?}").contains("secret"));
        }
    }
}
