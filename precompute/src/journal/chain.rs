//! The chain of lines: pure.
//!
//! Invariant: a line is made once, and what it says of the lines before is true. Time is a parameter; randomness comes in
//! bulk. It does not know files.

use std::fmt::Write as _;

use aws_lc_rs::{digest, rand};

use super::{Identity, Kind};
use crate::{
    limits::journal as limits,
    pki::hex::{self, Hex},
};

/// What is signed before the bytes of a head.
const HEAD_PREFIX: &[u8] = b"Ostia journal head 1\n";
/// How a head goes on behind what is signed.
const SIGNATURE: &str = ",\"signature\":\"";
/// The members of a head before its signature.
const HEAD: &str = ",\"type\":\"head\"";
/// How the first line of a file goes on.
const FILE: &str = "\"type\":\"file\",";
/// Bytes of randomness drawn at a time: the salts of 256 lines.
const SALTS: usize = 4096;
const SALT: usize = 16;

/// A chain: what every line before comes to.
pub(super) type Link = [u8; 32];

/// Where a chain stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    /// The number of the last line; 0 before the first.
    pub(super) seq: u64,
    /// The chain up to it.
    pub(super) link: Link,
}

impl Position {
    /// Before the first line.
    pub(super) const BEGIN: Self = Self { seq: 0, link: [0; 32] };

    /// Behind this line.
    pub(super) fn behind(self, line: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, line.as_bytes());
        let mut both = [0; 64];
        both[..32].copy_from_slice(&self.link);
        both[32..].copy_from_slice(hash.as_ref());
        let mut link = [0; 32];
        link.copy_from_slice(digest::digest(&digest::SHA256, &both).as_ref());
        Self { seq: self.seq + 1, link }
    }
}

/// A line, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Parts<'l> {
    pub(super) server: &'l str,
    /// The chain before it.
    pub(super) before: Position,
    at: &'l str,
    salt: &'l str,
    /// Without the brace at the end.
    pub(super) members: &'l str,
}

impl<'l> Parts<'l> {
    /// `None` if it is no line of a journal. `line`: without its end.
    pub(super) fn of(line: &'l str) -> Option<Self> {
        let rest = line.strip_prefix("{\"server\":\"")?;
        let (server, rest) = rest.split_once("\",\"seq\":")?;
        let (seq, rest) = rest.split_once(",\"at\":\"")?;
        let (at, rest) = rest.split_once("\",\"salt\":\"")?;
        let (salt, rest) = rest.split_once("\",\"prev\":\"")?;
        let (link, rest) = rest.split_once("\",")?;
        let seq = seq.parse::<u64>().ok()?.checked_sub(1)?;
        let before = Position { seq, link: hex::array(link)? };
        Some(Self { server, before, at, salt, members: rest.strip_suffix('}')? })
    }

    /// The key in the first line of a file.
    pub(super) fn key(&self) -> Option<Link> {
        let (_, key) = self.members.strip_prefix(FILE)?.split_once("\"key\":\"")?;
        hex::array(key.get(..64)?)
    }

    fn is_head(&self) -> bool {
        self.members.starts_with(&HEAD[1..])
    }
}

/// What a head's signature is over, and the signature; `None` if this is no head.
pub(super) fn signed(line: &str) -> Option<(Vec<u8>, [u8; 64])> {
    let (text, signature) = line.rsplit_once(SIGNATURE)?;
    text.ends_with(HEAD).then_some(())?;
    Some(([HEAD_PREFIX, text.as_bytes()].concat(), hex::array(signature.strip_suffix("\"}")?)?))
}

/// Makes lines.
#[derive(Debug)]
pub(super) struct Chain {
    identity: Identity,
    kind: Kind,
    /// Behind the last line that was made.
    position: Position,
    salts: [u8; SALTS],
    salts_used: usize,
    /// How each line begins, up to its number.
    server: String,
    line: String,
}

impl Chain {
    pub(super) fn new(identity: Identity, kind: Kind, position: Position) -> Self {
        let server = format!("{{\"server\":\"{}\",\"seq\":", identity.server);
        Self { identity, kind, position, salts: [0; SALTS], salts_used: SALTS, server, line: String::new() }
    }

    /// Appends a line with these members. One that would be too long is made one that says so.
    pub(super) fn push(&mut self, lines: &mut String, at: &str, members: &str) {
        let mut digits = [0; 2 * SALT];
        let salt = self.salt(&mut digits);
        if members.len() > limits::LINE_OCTETS_MAX - 1024 {
            let members = format!("\"type\":\"lost\",\"count\":1,\"octets\":{}", members.len());
            return self.line(lines, at, salt, &members);
        }
        self.line(lines, at, salt, members);
    }

    /// The digits of the next salt.
    fn salt<'d>(&mut self, digits: &'d mut [u8; 2 * SALT]) -> &'d str {
        if self.salts_used == SALTS {
            // Where the system has no random numbers, nothing can be signed either.
            let _ = rand::fill(&mut self.salts);
            self.salts_used = 0;
        }
        let salt = &self.salts[self.salts_used..][..SALT];
        self.salts_used += SALT;
        std::str::from_utf8(hex::write(salt, digits)).unwrap_or_default()
    }

    /// The parts one by one: `fmt` would take four times as long as the hashes.
    fn begin(&mut self, at: &str, salt: &str) {
        self.line.clear();
        self.line.push_str(&self.server);
        // Writing to a String never fails.
        let _ = write!(self.line, "{}", self.position.seq + 1);
        for (name, value) in [(",\"at\":\"", at), ("\",\"salt\":\"", salt)] {
            self.line.push_str(name);
            self.line.push_str(value);
        }
        self.line.push_str("\",\"prev\":\"");
        push_hex(&mut self.line, &self.position.link);
        self.line.push('"');
    }

    fn finish(&mut self, lines: &mut String) {
        self.line.push('}');
        self.position = self.position.behind(&self.line);
        lines.push_str(&self.line);
        lines.push('\n');
    }

    fn line(&mut self, lines: &mut String, at: &str, salt: &str, members: &str) {
        self.begin(at, salt);
        self.line.push(',');
        self.line.push_str(members);
        self.finish(lines);
    }

    /// Appends a head.
    pub(super) fn push_head(&mut self, lines: &mut String, at: &str) {
        let mut digits = [0; 2 * SALT];
        let salt = self.salt(&mut digits);
        self.begin(at, salt);
        self.line.push_str(HEAD);
        let signature = self.identity.key.sign(&[HEAD_PREFIX, self.line.as_bytes()].concat());
        let _ = write!(self.line, "{SIGNATURE}{}\"", Hex(&signature));
        self.finish(lines);
    }

    /// Appends the first line of a file.
    pub(super) fn push_first(&mut self, lines: &mut String, at: &str) {
        let (key, version) = (self.identity.key.public(), env!("CARGO_PKG_VERSION"));
        let members =
            format!(r#"{FILE}"journal":"{}","format":1,"key":"{}","software":"{version}""#, self.kind.name, Hex(&key));
        self.push(lines, at, &members);
    }

    /// The first line of another file, and behind it what was not written to the former: `rest`, whole lines of this chain,
    /// the latest of it. Heads among them are left out, because their signatures fit no more.
    pub(super) fn begin_file(&mut self, rest: &str, at: &str) -> String {
        if let Some(first) = rest.lines().next().and_then(Parts::of) {
            self.position = first.before;
        }
        let mut lines = String::new();
        self.push_first(&mut lines, at);
        for parts in rest.lines().filter_map(Parts::of).filter(|parts| !parts.is_head()) {
            self.line(&mut lines, parts.at, parts.salt, parts.members);
        }
        lines
    }
}

/// Appends the digits of 32 bytes.
fn push_hex(text: &mut String, bytes: &Link) {
    let mut digits = [0; 64];
    text.push_str(std::str::from_utf8(hex::write(bytes, &mut digits)).unwrap_or_default());
}
