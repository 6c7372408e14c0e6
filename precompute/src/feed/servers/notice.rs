//! What a server tells of itself.
//!
//! Invariant: what is taken from Redis is signed, bounded, and fit to be shown: no text is longer than its bound or has a
//! control character. It does not know where it is kept.
//!
//! In this order: one byte, 1, the version; the public key, 32 bytes; the signature, 64 bytes; and JSON. The signature is over
//! `Ostia server notice 1`, a line feed, the cluster's name, a line feed, and the JSON. Members that a reader does not know are
//! passed over.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::{
    feed::Cluster,
    journal::{HeadKey, NOTICE_PREFIX},
    limits::servers as limits,
    pki::hex,
    state_dir::ServerId,
};

const VERSION: u8 = 1;
/// Of the key and the signature, behind the version.
const HEAD: usize = 1 + 32 + 64;

/// What a server is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerRole {
    /// A writer that leads,
    Leads,
    /// takes over,
    TakesOver,
    /// or stands by.
    StandsBy,
    /// It answers.
    Replica,
    /// It copies the feed here from another site.
    Relay,
}

impl ServerRole {
    /// In words.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Leads => "leads",
            Self::TakesOver => "takes over",
            Self::StandsBy => "stands by",
            Self::Replica => "replica",
            Self::Relay => "relay",
        }
    }
}

/// Where it is reached. Empty lists are left out.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Addresses {
    /// By relying parties,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<String>,
    /// over TLS,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<String>,
    /// by operators,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub admin: Vec<String>,
    /// for snapshots,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<String>,
    /// and by other writers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_url: Vec<String>,
}

/// A configuration that it did not take.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusedConfiguration {
    /// Its number; `None` for the server's own file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Why.
    pub reason: String,
}

/// The configuration in use.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct InUse {
    /// SHA-256 of its text, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The number of the published version that it takes its tenants from, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// What was refused since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedConfiguration>,
}

/// SHA-256 of the public keys (SubjectPublicKeyInfo) of signers in hexadecimal, by what they sign for.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Keys {
    /// `tenant/issuer`, as the configuration calls them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ocsp: BTreeMap<String, BTreeSet<String>>,
    /// `tenant/authority`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tsa: BTreeMap<String, BTreeSet<String>>,
    /// For how many more there was no room.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

const fn is_false(truth: &bool) -> bool {
    !*truth
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Keys {
    /// Those of all that fit, in the order given. `is_tsa`, `tenant/name`, and the SubjectPublicKeyInfos.
    pub fn of<'k>(all: impl IntoIterator<Item = (bool, String, Vec<&'k [u8]>)>) -> Self {
        let (mut keys, mut room) = (Self::default(), limits::NOTICE_KEYS_OCTETS_MAX);
        for (is_tsa, name, spkis) in all {
            let name = short(&name, limits::TEXT_LETTERS_MAX);
            let wanted = 6 * name.len() + 8 + spkis.len() * 67;
            if wanted > room {
                keys.left_out += 1;
                continue;
            }
            room -= wanted;
            let of_kind = if is_tsa { &mut keys.tsa } else { &mut keys.ocsp };
            let prints = spkis.into_iter().map(|spki| hex::text(&crate::feed::sha256(spki)));
            of_kind.entry(name).or_default().extend(prints);
        }
        keys
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Who it is.
    pub server: ServerId,
    /// The rest.
    pub said: Said,
}

/// It reads as one with what is said.
impl std::ops::Deref for Notice {
    type Target = Said;
    fn deref(&self) -> &Said {
        &self.said
    }
}

/// What is said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Said {
    /// For people: of the configuration, or the host's.
    pub name: String,
    /// Of the program.
    pub version: String,
    /// What it is doing.
    pub role: ServerRole,
    /// Whether this is its last word, because it was stopped.
    #[serde(default)]
    pub stopped: bool,
    /// Whether balancers are told to send nothing there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub draining: bool,
    /// A random number of this process, in hexadecimal.
    pub instance: String,
    /// How often the process has said something, from 1 on.
    pub number: u64,
    /// Its clock, microseconds since 1970.
    pub at: u64,
    /// When the process was started, seconds since 1970.
    #[serde(default)]
    pub started: u64,
    /// Where it is reached.
    #[serde(default)]
    pub addresses: Addresses,
    /// Where it is in the feed: `<epoch>-<sequence>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Of a replica: `fresh`, `lagging` or `stale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<String>,
    /// The configuration in use.
    #[serde(default)]
    pub configuration: InUse,
    /// The keys of its signers.
    #[serde(default)]
    pub keys: Keys,
}

#[derive(Serialize, Deserialize)]
struct Whole<S> {
    server: String,
    #[serde(flatten)]
    said: S,
}

/// A notice with the key that has signed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// What is said.
    pub notice: Notice,
    /// The public key of the server.
    pub key: [u8; 32],
}

impl Notice {
    /// Signs it for a cluster. What is too long is cut.
    pub fn seal(&self, cluster: &Cluster, key: &HeadKey) -> Vec<u8> {
        let whole = Whole { server: self.server.to_string(), said: self.said.clone().bounded() };
        // Plain values, in memory.
        let json = serde_json::to_vec(&whole).unwrap_or_default();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&key.public());
        bytes.extend_from_slice(&key.sign_notice(&[cluster.name().as_bytes(), b"\n", &json].concat()));
        bytes.extend_from_slice(&json);
        bytes
    }

    /// Reads and verifies one; the error says what is wrong with it.
    pub fn open(bytes: &[u8], cluster: &Cluster) -> Result<Signed, &'static str> {
        if bytes.len() > limits::NOTICE_OCTETS_MAX {
            return Err("it is too long");
        }
        let (head, json) = bytes.split_at_checked(HEAD).ok_or("it is cut short")?;
        if head[0] != VERSION {
            return Err("it is of another version");
        }
        let mut key = [0; 32];
        key.copy_from_slice(&head[1..33]);
        let message = [NOTICE_PREFIX, cluster.name().as_bytes(), b"\n", json].concat();
        let signature = UnparsedPublicKey::new(&ED25519, key).verify(&message, &head[33..]);
        signature.map_err(|_| "its signature is wrong")?;
        let Whole { server, said } = serde_json::from_slice::<Whole<Said>>(json).map_err(|_| "it is no notice")?;
        let server = ServerId::read(&server).ok_or("it names no server")?;
        if said.clone().bounded() != said {
            return Err("a text in it is too long or not fit to be shown");
        }
        Ok(Signed { notice: Self { server, said }, key })
    }
}

impl Said {
    /// With every text within its bound, and fit to be shown.
    fn bounded(mut self) -> Self {
        let text = |text: &mut String| *text = short(text, limits::TEXT_LETTERS_MAX);
        [&mut self.name, &mut self.version, &mut self.instance].into_iter().for_each(text);
        self.position.iter_mut().chain(&mut self.freshness).chain(&mut self.configuration.digest).for_each(text);
        let Addresses { http, tls, admin, snapshots, api_url } = &mut self.addresses;
        for all in [http, tls, admin, snapshots, api_url] {
            all.truncate(limits::ADDRESSES_MAX);
            all.iter_mut().for_each(text);
        }
        if let Some(refused) = &mut self.configuration.refused {
            refused.reason = short(&refused.reason, limits::REASON_LETTERS_MAX);
        }
        for all in [&mut self.keys.ocsp, &mut self.keys.tsa] {
            let bounded = std::mem::take(all).into_iter().map(|(name, prints)| {
                let prints = prints.iter().map(|print| short(print, limits::TEXT_LETTERS_MAX)).collect();
                (short(&name, limits::TEXT_LETTERS_MAX), prints)
            });
            *all = bounded.collect();
        }
        self
    }
}

/// As many letters of a text, with spaces in place of what is no letter to be shown.
fn short(text: &str, most: usize) -> String {
    let shown = |letter: char| if letter.is_control() || is_invisible(letter) { ' ' } else { letter };
    text.chars().take(most).map(shown).collect()
}

/// Letters that turn the direction of what stands around them, or are not seen.
const fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::feed::servers) fn notice(number: u8, role: ServerRole) -> Notice {
        let mut id = [number; 16];
        (id[6], id[8]) = (0x40, 0x80);
        Notice {
            server: ServerId::from_bytes(id),
            said: Said {
                name: format!("host-{number}"),
                version: "0.2.0".into(),
                role,
                stopped: false,
                draining: false,
                instance: format!("{number:016x}"),
                number: 1,
                at: 1_800_000_000_000_000,
                started: 1_800_000_000,
                addresses: Addresses::default(),
                position: Some("7-9".into()),
                freshness: None,
                configuration: InUse::default(),
                keys: Keys::default(),
            },
        }
    }

    fn cluster() -> Cluster {
        Cluster::new("pki-1").unwrap()
    }

    #[test]
    fn a_notice_comes_back_as_it_was_told_and_for_its_cluster_alone() {
        let dir = tempfile::tempdir().unwrap();
        let key = HeadKey::for_tests(dir.path());
        let mut told = notice(3, ServerRole::Replica);
        told.said.addresses.http = vec!["127.0.0.1:80".into()];
        told.said.keys =
            Keys::of([(false, "t/ca".into(), vec![&b"spki"[..]]), (true, "t/tsa".into(), vec![&b"x"[..]])]);
        told.said.configuration.refused = Some(RefusedConfiguration { version: Some(4), reason: "line 3: no".into() });
        let bytes = told.seal(&cluster(), &key);
        let signed = Notice::open(&bytes, &cluster()).unwrap();
        assert_eq!((&signed.notice, signed.key), (&told, key.public()));
        assert_eq!(Notice::open(&bytes, &Cluster::new("pki-2").unwrap()), Err("its signature is wrong"));
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            Notice::open(&changed, &cluster()).unwrap_err();
            Notice::open(&bytes[..place], &cluster()).unwrap_err();
        }
    }

    #[test]
    fn the_largest_notice_fits_and_has_nothing_that_is_not_to_be_shown() {
        let dir = tempfile::tempdir().unwrap();
        let key = HeadKey::for_tests(dir.path());
        let mut told = notice(3, ServerRole::Leads);
        let long = "a\u{202e}\"\n".repeat(9000);
        let said = &mut told.said;
        (said.name, said.version, said.position) = (long.clone(), long.clone(), Some(long.clone()));
        let many = vec![long.clone(); 99];
        said.addresses = Addresses {
            http: many.clone(),
            tls: many.clone(),
            admin: many.clone(),
            snapshots: many.clone(),
            api_url: many,
        };
        said.configuration.refused = Some(RefusedConfiguration { version: None, reason: long });
        let names = (0..999).map(|number| (false, format!("{number}\"").repeat(200), vec![&b"a"[..], b"b", b"c"]));
        said.keys = Keys::of(names);
        assert!(said.keys.left_out > 0 && !said.keys.ocsp.is_empty());
        let bytes = told.seal(&cluster(), &key);
        assert!(bytes.len() <= limits::NOTICE_OCTETS_MAX, "{}", bytes.len());
        let taken = Notice::open(&bytes, &cluster()).unwrap().notice;
        assert!(!serde_json::to_string(&taken.said).unwrap().contains(['\u{202e}', '\n']));
        assert_eq!(taken.name.chars().count(), limits::TEXT_LETTERS_MAX);
    }

    #[test]
    fn what_is_signed_and_not_fit_to_be_shown_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let key = HeadKey::for_tests(dir.path());
        let told = notice(3, ServerRole::Replica);
        let sealed = told.seal(&cluster(), &key);
        let text = String::from_utf8(sealed[HEAD..].to_vec()).unwrap();
        let by = |json: &str| {
            let message = [cluster().name().as_bytes(), b"\n", json.as_bytes()].concat();
            let bytes = [&[VERSION][..], &key.public(), &key.sign_notice(&message), json.as_bytes()].concat();
            Notice::open(&bytes, &cluster())
        };
        assert!(by(&text).is_ok() && by(&text.replacen('{', "{\"of_a_later_version\":[1],", 1)).is_ok());
        by(&text.replace("host-3", "host\\u001b[2J")).unwrap_err();
        by(&text.replace("host-3", &"h".repeat(999))).unwrap_err();
        by(&text.replace("03030303-0303-4003", "03030303-0303-5003")).unwrap_err();
        by("{}").unwrap_err();
        by(&"[".repeat(9999)).unwrap_err();
    }
}
