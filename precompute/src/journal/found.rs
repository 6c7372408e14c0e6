//! What a start finds: where the chain goes on, and whether what is there may be relied on.
//!
//! Invariant: a look changes nothing. Lines of another server are an error; whatever else is wrong makes a new file, told
//! loudly. It does not look behind the last head: that is what `audit verify` is for.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use tracing::{info, warn};

use super::{
    Identity,
    chain::{Parts, Position, signed},
    file::{Appended, directory},
    members::Text,
};
use crate::{
    limits::journal as limits,
    pki::{FileError, hex::Hex, open_regular},
    state_dir::ServerId,
};

/// How a file begins that has this format, and one of a version before it.
const OURS: &[u8] = b"{\"server\":\"";
const FORMER: &[u8] = b"{\"type\":\"";
/// Bytes of the end of a file that are looked at first.
const TAIL_FIRST: u64 = 256 << 10;

/// Where the chain goes on.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) position: Position,
    /// To how many bytes the file is cut.
    pub(super) cut: Option<u64>,
    /// Whether the file is renamed, and another one begun.
    pub(super) is_over: bool,
    /// Members of lines about it.
    pub(super) notes: Vec<String>,
    /// What is wrong with the file that was there.
    pub(super) problem: Option<String>,
}

/// What a file holds.
#[derive(PartialEq, Eq, Debug)]
enum Content {
    /// No whole line; `Some` of what is cut off.
    Nothing(Option<Torn>),
    /// Lines of a version that chained none.
    Former,
    /// Something else.
    Strange,
    Lines(Tail),
}

/// Bytes that are no whole line, and where they begin.
#[derive(PartialEq, Eq, Debug)]
struct Torn {
    from: u64,
    octets: u64,
    text: String,
}

/// The end of a journal.
#[derive(PartialEq, Eq, Debug)]
struct Tail {
    /// The server of the last line.
    server: String,
    /// Behind the last line.
    position: Position,
    torn: Option<Torn>,
    /// The key in the first line of the file.
    key: Option<[u8; 32]>,
    fault: Option<String>,
}

impl Found {
    /// An empty file.
    #[cfg(test)]
    pub(super) fn nothing() -> Self {
        Self { position: Position::BEGIN, cut: None, is_over: false, notes: Vec::new(), problem: None }
    }

    /// Looks at the open file, and if it is empty at those beside it.
    pub(super) fn of(file: &Appended, identity: &Identity) -> Result<Self, FileError> {
        let (path, title) = (file.path(), file.kind().title);
        let content = content(file.file()).map_err(|error| cannot_be_read(path, &error))?;
        let mut found = Self { position: Position::BEGIN, cut: None, is_over: false, notes: Vec::new(), problem: None };
        let torn = match content {
            Content::Strange => return Err(strange(path)),
            Content::Nothing(torn) => {
                found.position = of_siblings(path, identity.server);
                torn
            }
            Content::Former => {
                info!(file = %path.display(), "{title} has lines of an earlier version, without chains: the file is renamed, and a new one begun");
                found.is_over = true;
                found.position = of_siblings(path, identity.server);
                None
            }
            Content::Lines(tail) if identity.former.iter().any(|former| former.to_string() == tail.server) => {
                let former = tail.server;
                info!(file = %path.display(), former, "{title} has lines of the identity before this one: the file is renamed, and a new one begun");
                found.is_over = true;
                found.position = of_siblings(path, identity.server);
                found.notes.push(format!(r#""type":"adopted","former":"{former}""#));
                None
            }
            Content::Lines(tail) if tail.server != identity.server.to_string() => {
                return Err(foreign(path, &tail.server, Some(identity.server)));
            }
            Content::Lines(tail) => {
                found.position = tail.position;
                found.problem = fault_of(tail.fault, tail.key, Some(identity.key.public()));
                found.is_over = found.problem.is_some();
                tail.torn.filter(|_| !found.is_over)
            }
        };
        if let Some(problem) = &found.problem {
            found.notes.push(format!(r#""type":"fault","problem":{}"#, Text(problem)));
        }
        if let Some(torn) = torn {
            let Torn { from, octets, text } = torn;
            warn!(file = %path.display(), octets, "{title}: an incomplete line at the end is cut off, as after a crash; a line says so");
            found.cut = Some(from);
            found.notes.push(format!(r#""type":"torn","octets":{octets},"text":{}"#, Text(&text)));
        }
        Ok(found)
    }
}

/// See [`super::doubt`].
pub(super) fn doubt(
    path: &Path,
    server: Option<ServerId>,
    key: Option<[u8; 32]>,
    former: &[ServerId],
) -> Option<(String, bool)> {
    let file = match open_regular(path) {
        Ok(file) => file,
        // What keeps it from being opened is told by a check of the file.
        Err(_) => return None,
    };
    match content(&file) {
        Err(error) => Some((cannot_be_read(path, &error).to_string(), true)),
        Ok(Content::Nothing(_) | Content::Former) => None,
        Ok(Content::Lines(tail)) if former.iter().any(|former| former.to_string() == tail.server) => None,
        Ok(Content::Strange) => Some((strange(path).to_string(), true)),
        Ok(Content::Lines(tail)) if server.is_none_or(|server| server.to_string() != tail.server) => {
            Some((foreign(path, &tail.server, server).to_string(), true))
        }
        Ok(Content::Lines(tail)) => {
            let problem = fault_of(tail.fault, tail.key, key)?;
            Some((format!("{}: {problem}; a start renames the file and goes on in a new one", path.display()), false))
        }
    }
}

fn fault_of(fault: Option<String>, there: Option<[u8; 32]>, ours: Option<[u8; 32]>) -> Option<String> {
    let of_key = || {
        let there = there?;
        (ours != Some(there)).then(|| {
            let ours = ours.map_or("none".into(), |ours| Hex(&ours).to_string());
            format!("its heads are signed with the key {}, and that of this state directory is {ours}", Hex(&there))
        })
    };
    fault.or_else(of_key)
}

fn cannot_be_read(path: &Path, error: &io::Error) -> FileError {
    FileError::new(path, format_args!("cannot be read: {error}; give it to the user that runs this program"))
}

fn strange(path: &Path) -> FileError {
    FileError::new(path, "holds something that is no journal; name another file, or move this one away")
}

fn foreign(path: &Path, theirs: &str, ours: Option<ServerId>) -> FileError {
    let ours = ours.map_or("this server, which has no identity yet".into(), |ours| format!("this server, {ours}"));
    FileError::new(
        path,
        format_args!(
            "its last line is of the server {theirs}, and not of {ours}: two servers' files were swapped, or it was copied; put back the right one, or move this one and those beside it away, and a new one is begun"
        ),
    )
}

/// Behind the newest line of this server in the files beside it whose names begin with its own.
fn of_siblings(path: &Path, server: ServerId) -> Position {
    let server = server.to_string();
    let positions = siblings(path).into_iter().filter_map(|path| match content(&open_regular(&path).ok()?).ok()? {
        Content::Lines(tail) if tail.server == server => Some(tail.position),
        _ => None,
    });
    positions.max_by_key(|position| position.seq).unwrap_or(Position::BEGIN)
}

/// The latest of them.
fn siblings(path: &Path) -> Vec<PathBuf> {
    let name = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let entries = fs::read_dir(directory(path)).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&name))
        .filter_map(|entry| Some((entry.metadata().ok().filter(fs::Metadata::is_file)?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    found.into_iter().rev().take(limits::SIBLINGS_MAX).map(|(_, path)| path).collect()
}

fn content(file: &File) -> io::Result<Content> {
    let octets = file.metadata()?.len();
    let first = read(file, 0, octets.min(limits::LINE_OCTETS_MAX as u64 + 1))?;
    let begins = |with: &[u8]| first.starts_with(with) || with.starts_with(&first);
    let is_blank = first.iter().all(|octet| *octet == 0);
    if octets == 0 {
        return Ok(Content::Nothing(None));
    }
    // Zeros: a file that had grown and was not written when the power failed.
    if !is_blank && begins(FORMER) && !first.starts_with(OURS) && first.contains(&b'\n') {
        return Ok(Content::Former);
    }
    if !is_blank && !begins(OURS) && !begins(FORMER) {
        return Ok(Content::Strange);
    }
    let Some(end) = first.iter().position(|octet| *octet == b'\n') else {
        let text = torn_text(&first);
        return Ok(if is_blank || octets <= limits::LINE_OCTETS_MAX as u64 {
            Content::Nothing(Some(Torn { from: 0, octets, text }))
        } else {
            Content::Strange
        });
    };
    let first = String::from_utf8_lossy(&first[..end]);
    let key = Parts::of(&first).and_then(|parts| parts.key());
    let mut window = TAIL_FIRST;
    loop {
        let from = octets.saturating_sub(window);
        let bytes = read(file, from, octets - from)?;
        match tail(&bytes, from, key) {
            Some(tail) => return Ok(Content::Lines(tail)),
            None => window *= 8,
        }
    }
}

fn read(file: &File, from: u64, octets: u64) -> io::Result<Vec<u8>> {
    struct At<'f>(&'f File, u64);
    impl io::Read for At<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read_at(into, self.1)?;
            self.1 += count as u64;
            Ok(count)
        }
    }
    let mut bytes = Vec::new();
    At(file, from).take(octets).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn torn_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(limits::TORN_OCTETS_MAX)]).into_owned()
}

/// The end of a journal from its last bytes, which begin at `from`. `None` if more of them have to be read.
fn tail(bytes: &[u8], from: u64, key: Option<[u8; 32]>) -> Option<Tail> {
    let is_all = from == 0 || bytes.len() as u64 >= limits::TAIL_OCTETS_MAX;
    let end = bytes.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1);
    let torn = (end < bytes.len()).then(|| Torn {
        from: from + end as u64,
        octets: (bytes.len() - end) as u64,
        text: torn_text(&bytes[end..]),
    });
    // Where the window begins within a line, that is left out.
    let start = if from == 0 { 0 } else { bytes.iter().position(|octet| *octet == b'\n').map_or(end, |end| end + 1) };
    let lines: Vec<_> = bytes.get(start..end)?.split_inclusive(|octet| *octet == b'\n').map(without_end).collect();
    let last = lines.iter().rev().flatten().find_map(|line| {
        let parts = Parts::of(line)?;
        Some((parts.server.to_owned(), parts.before.behind(line)))
    });
    let head = lines.iter().rposition(|line| line.as_deref().is_some_and(|line| signed(line).is_some()));
    if (head.is_none() || last.is_none()) && !is_all {
        return None;
    }
    let (server, position) = last.unwrap_or((String::new(), Position::BEGIN));
    let fault = match head {
        None if from > 0 => Some(format!("no head is within its last {} MiB", limits::TAIL_OCTETS_MAX >> 20)),
        _ => fault(&lines[head.unwrap_or(0)..], head.is_some(), &server, key),
    };
    Some(Tail { server, position, torn, key, fault })
}

fn without_end(line: &[u8]) -> Option<String> {
    std::str::from_utf8(line.strip_suffix(b"\n")?).ok().map(str::to_owned)
}

/// What is wrong with these lines, of which the first may be a head.
fn fault(lines: &[Option<String>], is_head: bool, server: &str, key: Option<[u8; 32]>) -> Option<String> {
    let told = "it was changed after it was written";
    let mut position: Option<Position> = None;
    for line in lines {
        let Some((line, parts)) = line.as_deref().and_then(|line| Some((line, Parts::of(line)?))) else {
            return Some(format!("one of its last lines is none of a journal: {told}"));
        };
        if parts.server != server || position.is_some_and(|position| position != parts.before) {
            return Some(format!("line {} does not follow the line before: {told}", parts.before.seq + 1));
        }
        position = Some(parts.before.behind(line));
    }
    let (message, signature) = lines.first().filter(|_| is_head)?.as_deref().and_then(signed)?;
    let is_right = key.and_then(|key| ParsedPublicKey::new(&ED25519, key).ok());
    let is_right = is_right.is_some_and(|key| key.verify_sig(&message, &signature).is_ok());
    (!is_right).then(|| format!("the signature of its last head is wrong: {told}"))
}
