//! What is told of a salvage.
//!
//! Invariant: whoever reads it knows of each issuer what was kept, what was not, and what to do. It does not know files.

use std::{fmt, path::PathBuf};

use crate::{issuer_id::IssuerId, state_dir::BOOK};

/// What was recovered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Salvaged {
    /// Where the damaged file is now.
    pub aside: PathBuf,
    /// Revocations in the new book, holds included.
    pub revocations: usize,
    /// Revocations that were read, but whose issuer is unknown.
    pub unassigned: usize,
    /// Records of any kind that were read.
    pub entries: u64,
    /// A lower bound of how many there were; `None` if nothing in the file shows it.
    pub at_least: Option<u64>,
    /// What the new book has of each issuer.
    pub issuers: Vec<OfIssuer>,
}

/// What the new book has of an issuer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfIssuer {
    /// The issuer.
    pub issuer: IssuerId,
    /// Whether it was in order, and is there as it was.
    pub is_whole: bool,
    /// Good records.
    pub good: u64,
    /// Revocations, holds included.
    pub revoked: u64,
    /// Certificates that were pushed as good, and are not in the new book.
    pub withheld: u64,
    /// The file that lists these.
    pub list: Option<PathBuf>,
}

impl fmt::Display for OfIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, is_whole, good, revoked, withheld, list } = self;
        write!(f, "tenant `{}`, issuer {issuer}: ", issuer.tenant())?;
        if *is_whole {
            return write!(f, "in order: all is kept, {good} good and {revoked} revoked, whoever stated it");
        }
        write!(
            f,
            "damaged: {revoked} revocations are kept; one that could not be read counts only where a source still lists it; which certificates are good comes from the sources again"
        )?;
        let Some(list) = list else { return Ok(()) };
        let list = list.display();
        write!(
            f,
            "; {withheld} certificates that were pushed as good are NOT kept, because a revocation of theirs may be what was lost: unless a source lists them they are answered as unlisted; compare {list} with the CA's own records, take out of it whoever is revoked there, and with the service running again run `ostia-precompute add --config FILE --issuer {issuer} --file {list}`"
        )
    }
}

impl Salvaged {
    /// What is still lost, and what that means; `None` if every revocation that was read is in the new book.
    pub fn loss(&self) -> Option<String> {
        let Self { aside, unassigned, .. } = self;
        (*unassigned > 0).then(|| {
            format!(
                "{unassigned} revocations in the damaged book belong to an unknown issuer, and are NOT in the new book: unless a source still lists them, those certificates are no longer answered as revoked; all others were saved; keep {}, and restore the book from a backup, \
                 or have the CA list them again; if an issuer is missing in the configuration, add it, put the file back as {BOOK} and run this again",
                aside.display()
            )
        })
    }
}

impl fmt::Display for Salvaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { aside, revocations, unassigned, entries, at_least, issuers: _ } = self;
        write!(
            f,
            "the damaged book was put aside as {}; {revocations} revocations were read from it; ",
            aside.display()
        )?;
        match at_least {
            Some(at_least) => write!(f, "{entries} of at least {} entries could be read", at_least.max(entries))?,
            None => write!(f, "{entries} entries could be read, of an unknown number")?,
        }
        if *unassigned > 0 {
            write!(f, ", and {unassigned} of them belong to an unknown issuer")?;
        }
        Ok(())
    }
}
