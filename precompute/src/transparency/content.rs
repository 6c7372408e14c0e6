//! What stands in a leaf: statements about one certificate, each with the time at which this replica had it.
//!
//! Invariants: a content is read from one form of bytes alone, in which it is written; its statements are in the order of
//! their times. What is in force follows from the statements by [`in_force`], for who keeps and for who verifies.
//!
//! In bytes, numbers big-endian: the version, 1; the count of statements, u16; and of each the time, milliseconds since 1970,
//! u64, and one of:
//!
//! ```text
//! 0                                                  not listed, or no longer
//! 1                                                  good
//! 2 ‖ reason u8 ‖ time u64                           revoked, or on hold; seconds since 1970
//! 3 ‖ hash u8 ‖ form 8 ‖ SHA-256 32 ‖ u64 ‖ u64      an answer: the place of the hash algorithm of its CertID, the beginning of
//!                                                    its form's fingerprint, the hash of its signature, thisUpdate, nextUpdate
//! ```
//!
//! The signature of a response is over everything else in it, so its hash says which response that is.

use crate::{
    feed::{Input, Refusal},
    limits::transparency as limits,
    ocsp::HashAlgorithm,
    pki::{Reason, Status, UnixTime},
};

const VERSION: u8 = 1;

/// A signed answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// In which the CertID names the issuer.
    pub hash: HashAlgorithm,
    /// The first bytes of the fingerprint of its form: one answer of a form replaces another.
    pub form: [u8; 8],
    /// SHA-256 of the bytes of its signature.
    pub signature: [u8; 32],
    /// From when it is,
    pub this_update: UnixTime,
    /// and until when.
    pub next_update: UnixTime,
}

/// One thing that was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// The record; `None` where the certificate is not listed.
    Record(Option<Status>),
    /// An answer that is given from now on.
    Answer(Answer),
}

/// The same with its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statement {
    /// Milliseconds since 1970.
    pub at: u64,
    /// What.
    pub said: Said,
}

/// The statements of one leaf; at least one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Content(pub Vec<Statement>);

impl Content {
    /// As bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&(self.0.len() as u16).to_be_bytes());
        self.0.iter().for_each(|statement| put(&mut bytes, statement));
        bytes
    }

    /// From bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut input = Input::new(bytes);
        match input.u8()? {
            VERSION => {}
            version => return Err(Refusal::UnknownVersion(version)),
        }
        let count = usize::from(input.u16()?);
        if count == 0 || count > limits::CONTENT_STATEMENTS_MAX {
            return Err(Refusal::Absurd("its number of statements"));
        }
        let mut statements: Vec<Statement> = Vec::with_capacity(count.min(bytes.len() / 9));
        for _ in 0..count {
            let statement = read(&mut input)?;
            if statements.last().is_some_and(|last| last.at > statement.at) {
                return Err(Refusal::Absurd("the order of its statements"));
            }
            statements.push(statement);
        }
        input.end()?;
        Ok(Self(statements))
    }

    /// Those up to a time, itself included; milliseconds since 1970.
    pub fn until(&self, at: u64) -> &[Statement] {
        &self.0[..self.0.partition_point(|statement| statement.at <= at)]
    }
}

/// What of these statements is in force at a time, in milliseconds since 1970: the last record, and of the answers after it,
/// since a changed record ends those before, the last one of each form unless it has expired.
pub fn in_force(statements: &[Statement], at: u64) -> Vec<Statement> {
    let is_record = |statement: &Statement| matches!(statement.said, Said::Record(_));
    let begin = statements.iter().rposition(is_record).unwrap_or(0);
    let mut forms: Vec<(HashAlgorithm, [u8; 8])> = Vec::new();
    let mut kept = Vec::new();
    for statement in statements[begin..].iter().rev() {
        if let Said::Answer(answer) = &statement.said {
            let form = (answer.hash, answer.form);
            if forms.contains(&form) {
                continue;
            }
            forms.push(form);
            if answer.next_update.0.saturating_mul(1000) <= at || forms.len() > limits::ANSWERS_MAX {
                continue;
            }
        }
        kept.push(*statement);
    }
    kept.reverse();
    kept
}

fn put(bytes: &mut Vec<u8>, Statement { at, said }: &Statement) {
    bytes.extend_from_slice(&at.to_be_bytes());
    match said {
        Said::Record(None) => bytes.push(0),
        Said::Record(Some(Status::Good)) => bytes.push(1),
        Said::Record(Some(Status::Revoked { time, reason })) => {
            bytes.extend_from_slice(&[2, reason.code()]);
            bytes.extend_from_slice(&time.0.to_be_bytes());
        }
        Said::Answer(Answer { hash, form, signature, this_update, next_update }) => {
            bytes.extend_from_slice(&[3, *hash as u8]);
            bytes.extend_from_slice(form);
            bytes.extend_from_slice(signature);
            bytes.extend_from_slice(&this_update.0.to_be_bytes());
            bytes.extend_from_slice(&next_update.0.to_be_bytes());
        }
    }
}

fn read(input: &mut Input<'_>) -> Result<Statement, Refusal> {
    let at = millis(input)?;
    let said = match input.u8()? {
        0 => Said::Record(None),
        1 => Said::Record(Some(Status::Good)),
        2 => {
            let reason = Reason::from_code(input.u8()?).ok_or(Refusal::Absurd("its reason"))?;
            Said::Record(Some(Status::Revoked { time: time(input)?, reason }))
        }
        3 => {
            let place = usize::from(input.u8()?);
            let hash = *HashAlgorithm::ALL.get(place).ok_or(Refusal::Absurd("its hash algorithm"))?;
            let (form, signature) = (input.array()?, input.array()?);
            let (this_update, next_update) = (time(input)?, time(input)?);
            Said::Answer(Answer { hash, form, signature, this_update, next_update })
        }
        _ => return Err(Refusal::Absurd("a kind of statement")),
    };
    Ok(Statement { at, said })
}

fn time(input: &mut Input<'_>) -> Result<UnixTime, Refusal> {
    Some(UnixTime(input.u64()?)).filter(|time| *time <= UnixTime::MAX).ok_or(Refusal::Absurd("a time"))
}

/// A time in milliseconds since 1970, before the year 10000.
pub(super) fn millis(input: &mut Input<'_>) -> Result<u64, Refusal> {
    Some(input.u64()?).filter(|at| *at / 1000 <= UnixTime::MAX.0).ok_or(Refusal::Absurd("a time"))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn seconds() -> impl Strategy<Value = UnixTime> {
        (0..=UnixTime::MAX.0).prop_map(UnixTime)
    }

    pub(in crate::transparency) fn said() -> impl Strategy<Value = Said> {
        let revoked = (seconds(), select(&Reason::ALL[..])).prop_map(|(time, reason)| Status::Revoked { time, reason });
        let record = prop_oneof![Just(None), Just(Some(Status::Good)), revoked.prop_map(Some)].prop_map(Said::Record);
        let form = (0..3u8).prop_map(|form| [form; 8]);
        let answer = (select(&HashAlgorithm::ALL[..]), form, any::<[u8; 32]>(), seconds(), seconds());
        let answer = answer.prop_map(|(hash, form, signature, this_update, next_update)| {
            Said::Answer(Answer { hash, form, signature, this_update, next_update })
        });
        prop_oneof![record, answer]
    }

    fn content() -> impl Strategy<Value = Content> {
        vec((said(), 0..u64::from(u32::MAX)), 1..20).prop_map(|all| {
            let mut all: Vec<_> = all.into_iter().map(|(said, at)| Statement { at, said }).collect();
            all.sort_by_key(|statement| statement.at);
            Content(all)
        })
    }

    proptest! {
        #[test]
        fn a_content_comes_back_from_its_bytes_and_from_no_part_of_them(content in content()) {
            let bytes = content.write();
            prop_assert_eq!(Content::read(&bytes).unwrap(), content);
            for length in 0..bytes.len() {
                prop_assert!(Content::read(&bytes[..length]).is_err());
            }
            prop_assert!(Content::read(&[&bytes[..], &[0]].concat()).is_err());
            // One form alone: whatever is read is written so.
            for place in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[place] ^= 1;
                if let Ok(read) = Content::read(&changed) {
                    prop_assert_eq!(read.write(), changed);
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            if let Ok(read) = Content::read(&bytes) {
                prop_assert_eq!(read.write(), bytes);
            }
        }

        #[test]
        fn what_is_in_force_is_the_last_record_and_what_was_answered_since(content in content(), at in prop_oneof![0..u64::from(u32::MAX), 0..=UnixTime::MAX.0 * 1000]) {
            let now = in_force(content.until(at), at);
            // By the plainest means: one statement after the other.
            let mut model: Vec<Statement> = Vec::new();
            for statement in content.until(at) {
                match statement.said {
                    Said::Record(_) => model.clear(),
                    Said::Answer(new) => model.retain(|there| match there.said {
                        Said::Answer(old) => (old.hash, old.form) != (new.hash, new.form),
                        Said::Record(_) => true,
                    }),
                }
                model.push(*statement);
            }
            model.retain(|there| !matches!(there.said, Said::Answer(answer) if answer.next_update.0 * 1000 <= at));
            prop_assert_eq!(&now, &model);
            prop_assert_eq!(in_force(&now, at), now);
        }
    }
}
