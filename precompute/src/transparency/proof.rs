//! A proof: what stands of one certificate under two heads, one before a time and one after it.
//!
//! Purpose: made by [`prove`](super::prove), handed out as JSON, and verified with nothing but the server's public key.
//! Invariant: whatever the bytes are, verifying ends with what was said or with the check that failed. It does not know files.
//!
//! What was said at a time follows from the later leaf: it has what was in force at the head before, and all statements since.
//! The earlier leaf has to agree with that: the later one is the same, or begins with what is in force of the earlier one and
//! has nothing else from before the earlier head. So nobody can add, before a head that was signed already, what was not said.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Content, Hash, Head, SignedHead, Statement, content, key,
    map::{Step, climb, empty, leaf},
    sha256,
};
use crate::{limits::transparency as limits, pki::Serial, state_dir::ServerId};

const VERSION: u8 = 1;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// 1.
    pub version: u8,
    /// The issuer's fingerprint.
    #[serde(with = "bytes")]
    pub issuer: [u8; 32],
    /// The tenant, whose name is part of the fingerprint, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// In hexadecimal.
    pub serial: String,
    /// The time, milliseconds since 1970.
    pub at: u64,
    /// At the last head that is not after the time.
    pub before: Side,
    /// At the next one; `None` if the time is that of the head before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Side>,
}

/// A head, and what stands of the certificate under it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    head: Fields,
    path: Vec<Node>,
    found: Found,
}

/// What stands at the end of the way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Found {
    /// The certificate's own leaf: its content.
    Content(#[serde(with = "long")] Vec<u8>),
    /// Another key's, so that it is not there.
    Other {
        /// That key,
        #[serde(with = "bytes")]
        key: Hash,
        /// and SHA-256 of its content.
        #[serde(with = "bytes")]
        content: Hash,
    },
    /// The map is empty.
    Nothing,
}

/// The fields of a head with its signature.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    cluster: String,
    server: String,
    number: u64,
    at: u64,
    leaves: u64,
    #[serde(with = "bytes")]
    root: Hash,
    #[serde(with = "bytes")]
    previous: Hash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap: Option<u64>,
    #[serde(with = "bytes")]
    signature: [u8; 64],
}

/// A head as JSON, as it is handed out.
pub fn head_json(signed: &SignedHead) -> String {
    // Plain values, in memory.
    serde_json::to_string(&Fields::of(signed)).unwrap_or_default()
}

impl Fields {
    fn of(SignedHead { head, signature }: &SignedHead) -> Self {
        let Head { cluster, server, number, at, leaves, root, previous, gap } = head.clone();
        Self { cluster, server: server.to_string(), number, at, leaves, root, previous, gap, signature: *signature }
    }

    fn head(&self) -> Option<SignedHead> {
        let Self { cluster, server, number, at, leaves, root, previous, gap, signature } = self.clone();
        let server = ServerId::read(&server)?;
        let signed = SignedHead { head: Head { cluster, server, number, at, leaves, root, previous, gap }, signature };
        // What cannot be written in the one form was never signed.
        (SignedHead::read(&signed.write()).as_ref() == Ok(&signed)).then_some(signed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    bit: u16,
    #[serde(with = "bytes")]
    sibling: Hash,
}

/// Which check failed, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

fn fault<T>(what: impl fmt::Display) -> Result<T, Fault> {
    Err(Fault(what.to_string()))
}

/// What a proof proves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Of which certificate.
    pub serial: Serial,
    /// The head before the time,
    pub before: Head,
    /// and the one after it, which may be the same.
    pub after: Head,
    /// Every statement up to the time that the leaves have.
    pub known: Vec<Statement>,
    /// What was in force then: a record and answers; nothing if the server had said nothing of it.
    pub said: Vec<Statement>,
}

impl Verdict {
    /// Whether the two heads are further apart than any server makes them while it runs with a right clock.
    pub fn is_far(&self) -> bool {
        self.after.at.saturating_sub(self.before.at) > limits::HEADS_APART_MAX.as_millis() as u64
    }

    /// Whether something may have been said that is not known here.
    pub fn is_doubtful(&self) -> bool {
        self.is_far() || self.after.gap.is_some()
    }
}

impl Side {
    /// From its parts.
    pub fn new(head: &SignedHead, path: &[Step], found: Found) -> Self {
        let path = path.iter().map(|step| Node { bit: step.bit, sibling: step.sibling }).collect();
        Self { head: Fields::of(head), path, found }
    }

    /// The head with a right signature, and the content.
    fn open(&self, which: &str, key: &Hash, public: &[u8; 32]) -> Result<(SignedHead, Option<Content>), Fault> {
        let Some(signed) = self.head.head() else {
            return fault(format_args!("the head {which} is none: a field of it is impossible"));
        };
        if !signed.is_by(public) {
            return fault(format_args!(
                "the signature of the head {which} is wrong: another key made it, or it was changed"
            ));
        }
        let steps: Vec<Step> = self.path.iter().map(|node| Step { bit: node.bit, sibling: node.sibling }).collect();
        let (end, content) = match &self.found {
            Found::Content(bytes) => {
                let content = Content::read(bytes);
                let content =
                    content.map_err(|refusal| Fault(format!("the content {which} cannot be read: {refusal}")))?;
                (leaf(key, &sha256(&[bytes])), Some(content))
            }
            Found::Other { key: other, .. } if other == key => {
                return fault(format_args!(
                    "the leaf {which} that is to show that the certificate is not there is its own"
                ));
            }
            Found::Other { key: other, content } => (leaf(other, content), None),
            Found::Nothing if !steps.is_empty() => return fault(format_args!("the way {which} leads to nothing")),
            Found::Nothing => (empty(), None),
        };
        if climb(key, end, &steps) != Some(signed.head.root) {
            return fault(format_args!("the way {which} does not lead to the root that was signed"));
        }
        Ok((signed, content))
    }
}

impl Proof {
    /// From its parts; `at`: milliseconds since 1970.
    pub fn new(issuer: [u8; 32], serial: &Serial, at: u64, before: Side, after: Option<Side>) -> Self {
        Self { version: VERSION, issuer, tenant: None, serial: serial.to_string(), at, before, after }
    }

    /// Whether something stands there of the certificate under one of the heads.
    pub fn is_of_something(&self) -> bool {
        let found = [Some(&self.before), self.after.as_ref()].into_iter().flatten();
        found.into_iter().any(|side| matches!(side.found, Found::Content(_)))
    }

    /// Verifies it by the server's public key.
    pub fn verify(&self, public: &[u8; 32]) -> Result<Verdict, Fault> {
        if self.version != VERSION {
            return fault(format_args!("it is a proof of version {}, and this program knows {VERSION}", self.version));
        }
        let Some(serial) = Serial::from_hex(&self.serial) else { return fault("its serial number is none") };
        let key = key(&self.issuer, &serial);
        let (before, earlier) = self.before.open("before", &key, public)?;
        let Some(after) = &self.after else {
            if before.head.at != self.at {
                return fault("the head after the time is missing");
            }
            return Ok(self.verdict(serial, &before.head, &before.head, earlier.unwrap_or_default(), None));
        };
        let (after, later) = after.open("after", &key, public)?;
        follow(&before, &after)?;
        if !(before.head.at..=after.head.at).contains(&self.at) {
            return fault("the time is not between the two heads");
        }
        let new = agree(&before.head, earlier.as_ref(), &after.head, later.as_ref())?;
        Ok(self.verdict(serial, &before.head, &after.head, earlier.unwrap_or_default(), Some((later, new))))
    }

    fn verdict(
        &self,
        serial: Serial,
        before: &Head,
        after: &Head,
        earlier: Content,
        later: Option<(Option<Content>, usize)>,
    ) -> Verdict {
        let mut known = earlier.0;
        if let Some((Some(later), new)) = later {
            known.extend_from_slice(&later.0[new..]);
        }
        let known = Content(known).until(self.at).to_vec();
        let said = content::in_force(&known, self.at);
        Verdict { serial, before: before.clone(), after: after.clone(), known, said }
    }
}

/// Whether one head follows the other.
fn follow(before: &SignedHead, after: &SignedHead) -> Result<(), Fault> {
    let (earlier, later) = (&before.head, &after.head);
    if (&earlier.cluster, earlier.server) != (&later.cluster, later.server) {
        return fault("the two heads are of different servers");
    }
    if earlier.number.checked_add(1) != Some(later.number) || later.previous != before.hash() {
        return fault("the two heads do not follow one another: there was another one between them");
    }
    Ok(())
}

/// Whether the leaves agree; the place of the first statement in the later one that is since the earlier head.
fn agree(before: &Head, earlier: Option<&Content>, after: &Head, later: Option<&Content>) -> Result<usize, Fault> {
    let Some(later) = later else {
        return match earlier {
            None => Ok(0),
            Some(_) => fault("the certificate is in the map before, and not after: nothing is ever removed from it"),
        };
    };
    if earlier == Some(later) {
        return Ok(later.0.len());
    }
    let base = earlier.map_or_else(Vec::new, |earlier| content::in_force(&earlier.0, before.at));
    if !later.0.starts_with(&base) {
        return fault("the content after does not go on where the one before ends");
    }
    let new = &later.0[base.len()..];
    if new.is_empty() || !new.iter().all(|statement| statement.at > before.at && statement.at <= after.at) {
        return fault("a statement is not from between the two heads");
    }
    Ok(base.len())
}

/// Bytes of a fixed length, in hexadecimal.
mod bytes {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::pki::hex;

    pub(super) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::text(bytes))
    }

    pub(super) fn deserialize<'d, const N: usize, D: Deserializer<'d>>(from: D) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(from)?;
        hex::array(&text).ok_or_else(|| D::Error::custom(format!("expected {} hexadecimal digits", 2 * N)))
    }
}

/// Bytes of any length.
mod long {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::pki::hex;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::text(bytes))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let pair = |pair: &[u8]| match *pair {
            [high, low] => hex::byte(high, low),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.ok_or_else(|| D::Error::custom("expected an even number of hexadecimal digits"))
    }
}
