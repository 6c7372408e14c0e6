//! Answers of other replicas with the same key: what they look like in Redis, and which of them may be used.
//!
//! Purpose: one signature of a token serves every replica. Invariants:
//!
//! - Nothing of a value counts but its two times and its signature. All else that the signature covers is encoded here anew,
//!   from the present record: an answer about another certificate, of another status, form or signer does not verify.
//! - An answer is used only for a record that this process has never seen in another state, or that is revoked for good. For
//!   any other one an answer from before may say the same, and a hold that came and went voids what was said before.
//! - What may be replaced by now is not used: the next one to sign replaces it.
//!
//! A value is: version (1), what the record says (8 bytes, as in the answer store), when it was signed and nextUpdate (4 bytes each,
//! seconds since 1970), and the packed signature. It does not know Redis, or who waits.

use precompute::{
    feed::redis::{Offer, Stream, Wanted},
    ocsp::{
        Policy,
        profile::{Kept, Statement, Times},
    },
    pki::{Status, UnixTime},
    presign::Form,
    records::StateWord,
};

use super::{sign_request::SignRequest, store::Answer};

/// The version of what follows it in a value.
const VERSION: u8 = 1;
/// Bytes of a value before its signature.
const HEAD: usize = 1 + 8 + 2 * 4;

/// Why an answer of another replica is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// It was right once: its record says something else now, it has expired, or it is due to be replaced.
    Outdated,
    /// No replica with this configuration has made it.
    Refused,
}

/// A value, read. Nothing of it is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Value<'a> {
    said: u64,
    signed_at: UnixTime,
    next_update: UnixTime,
    packed: &'a [u8],
}

impl<'a> Value<'a> {
    /// `None` if it is no value with a signature of `packed_length` bytes.
    fn read(value: &'a [u8], packed_length: usize) -> Option<Self> {
        let (version, rest) = value.split_first()?;
        let (said, rest) = rest.split_first_chunk()?;
        let (signed_at, rest) = rest.split_first_chunk()?;
        let (next_update, packed) = rest.split_first_chunk()?;
        let time = |octets: &[u8; 4]| UnixTime(u32::from_be_bytes(*octets).into());
        let value = Self {
            said: u64::from_be_bytes(*said),
            signed_at: time(signed_at),
            next_update: time(next_update),
            packed,
        };
        (*version == VERSION && packed.len() == packed_length).then_some(value)
    }

    /// `None` for times after 2106.
    fn write(&self) -> Option<Vec<u8>> {
        let mut value = Vec::with_capacity(HEAD + self.packed.len());
        value.push(VERSION);
        value.extend_from_slice(&self.said.to_be_bytes());
        for time in [self.signed_at, self.next_update] {
            value.extend_from_slice(&u32::try_from(time.0).ok()?.to_be_bytes());
        }
        value.extend_from_slice(self.packed);
        Some(value)
    }
}

/// Whether an answer of others that says the same was made for the same state of the record: see the module.
fn is_known_throughout(state: StateWord) -> bool {
    let is_final = |status: Status| !status.may_become(Status::Good);
    state.is_first() || state.status().is_some_and(is_final)
}

impl SignRequest {
    /// Where another replica may have put its answer; `None` if it has to be signed here: its key is cheap, it is for one
    /// client alone, its certificate is not listed, or nobody could say what the record has been.
    pub fn wanted(&self, now: UnixTime) -> Option<Wanted> {
        if !self.signer.is_apart() || self.may_be_signed(now).is_err() {
            return None;
        }
        let [Statement { state: Some(state), .. }] = *self.statements(now).ok()? else { return None };
        let octets = HEAD + self.signer.packing().length();
        is_known_throughout(state).then(|| Some(Wanted { key: self.shared_key()?, octets }))?
    }

    /// What others may use; `None` if this answer is for nobody else.
    pub fn offer(&self, answer: &Answer, signature: &[u8], now: UnixTime) -> Option<Offer> {
        let kept = answer.kept().filter(|_| self.signer.is_apart())?;
        let packed = self.signer.packing().pack(signature)?;
        let Times { signed_at, next_update, .. } = kept.times;
        let value = Value { said: kept.statement.state?.said(), signed_at, next_update, packed: &packed };
        Some(Offer { key: self.shared_key()?, value: value.write()?, lasts: next_update.since(now) })
    }

    /// The answer that somebody has put there, with its signature. `spread`: see [`Times::plan`].
    pub fn adopt(&self, value: &[u8], spread: u32, now: UnixTime) -> Result<(Answer, Vec<u8>), Unfit> {
        let value = Value::read(value, self.signer.packing().length()).ok_or(Unfit::Refused)?;
        let told_until = self.may_be_signed(now).map_err(|_| Unfit::Outdated)?;
        let statements = self.statements(now).map_err(|_| Unfit::Outdated)?;
        let [statement @ Statement { state: Some(state), .. }] = *statements else { return Err(Unfit::Outdated) };
        if state.said() != value.said || !is_known_throughout(state) {
            return Err(Unfit::Outdated);
        }
        let times = self.times_of(&value, spread)?;
        let (issuer, _) = self.only().ok_or(Unfit::Refused)?;
        if !(Kept { statement, times }).serves(&statement, &issuer.policy, told_until, now) || times.refresh_at <= now {
            return Err(Unfit::Outdated);
        }
        let carried = self.carried(&statements).map_err(|_| Unfit::Outdated)?;
        let unsigned = self.unsigned(statements, times, carried);
        let mut signature = Vec::new();
        self.signer.packing().unpack(value.packed, &mut signature);
        let signing = self.signer.signing().ok_or(Unfit::Refused)?;
        if !signing.has_signed(&unsigned.response_data, &signature) {
            return Err(Unfit::Refused);
        }
        let answer = self.complete(&unsigned, &signature, now).ok_or(Unfit::Outdated)?;
        Ok((answer, signature))
    }

    /// Its times, if an answer of this form may have such.
    fn times_of(&self, value: &Value<'_>, spread: u32) -> Result<Times, Unfit> {
        let validity = value.next_update.since(value.signed_at);
        let (issuer, _) = self.only().ok_or(Unfit::Refused)?;
        if validity > issuer.policy.validity || self.signer.not_after() < value.next_update {
            return Err(Unfit::Refused);
        }
        // When it should be replaced is decided here.
        Times::plan(value.signed_at, &Policy { validity, ..issuer.policy }, value.next_update, spread)
            .ok_or(Unfit::Refused)
    }

    fn shared_key(&self) -> Option<String> {
        let (issuer, id) = self.only()?;
        let form = Form::fingerprint_of(issuer, id.hash, &self.signer);
        Some(Stream::shared_key(&form, &id.serial().ok()?))
    }
}

#[cfg(test)]
mod tests;
