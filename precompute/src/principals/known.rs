//! Everybody who is known, and who of them somebody is.
//!
//! Invariant: a token is compared with those of all, whether one has fitted or not, so that how long it takes says nothing
//! about whom it would have been. Pure: it does not know connections.

use std::sync::Arc;

use super::{
    Principal,
    proof::{Proof, TokenHash},
};
use crate::pki::Certificate;

/// Somebody who is known.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// What proves it.
    pub proof: Proof,
}

/// All who are known, in the order of the file.
#[derive(Clone, Default, Debug)]
pub struct Known(Vec<Entry>);

impl Known {
    /// These.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether somebody is recognised by a certificate.
    pub fn has_certificates(&self) -> bool {
        self.0.iter().any(|entry| matches!(entry.proof, Proof::Certificate(_)))
    }

    /// Whose token it is.
    pub fn of_token(&self, token: &[u8]) -> Option<Arc<Principal>> {
        let given = TokenHash::of(token);
        let mut found = None;
        for Entry { principal, proof } in &self.0 {
            // Never before the last one.
            if let Proof::Token(own) = proof
                && own.is(&given)
            {
                found.get_or_insert(principal);
            }
        }
        found.map(Arc::clone)
    }

    /// Whose certificate it is: the first that it has the mark of. TLS has verified it.
    pub fn of_certificate(&self, certificate: &Certificate) -> Option<Arc<Principal>> {
        let has = |entry: &&Entry| matches!(&entry.proof, Proof::Certificate(mark) if mark.is_of(certificate));
        self.0.iter().find(has).map(|entry| Arc::clone(&entry.principal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principals::Mark;

    #[test]
    fn a_token_is_of_whom_it_was_given_to_and_of_nobody_else() {
        let somebody = |name: &str, token: &str| Entry {
            principal: Arc::new(Principal::administrator(name)),
            proof: Proof::Token(TokenHash::of(token.as_bytes())),
        };
        let by_certificate = Entry {
            principal: Arc::new(Principal::administrator("c")),
            proof: Proof::Certificate(Mark::Dns("c.example".into())),
        };
        let known = Known::new(vec![somebody("a", "token of a"), by_certificate, somebody("b", "token of b")]);
        let name = |token: &str| known.of_token(token.as_bytes()).map(|principal| principal.name.clone());
        assert_eq!(name("token of a").as_deref(), Some("a"));
        assert_eq!(name("token of b").as_deref(), Some("b"));
        for token in ["", "token of c", "token of", "token of a ", &TokenHash::of(b"token of a").to_hex()] {
            assert_eq!(name(token), None, "{token}");
        }
        assert_eq!(known.count(), 3);
        assert!(known.has_certificates() && Known::default().of_token(b"").is_none());
    }

    /// The fastest of many tells the work, however busy the machine is. If the first that fits ended the search, it would
    /// be a thousandth.
    #[test]
    fn whose_token_it_is_shows_in_no_time() {
        let entry = |number: u32| Entry {
            principal: Arc::new(Principal::administrator(number.to_string())),
            proof: Proof::Token(TokenHash::of(&number.to_be_bytes())),
        };
        let known = Known::new((0..1000).map(entry).collect());
        let fastest = |token: u32| {
            let took = |_| {
                let begun = std::time::Instant::now();
                std::hint::black_box(known.of_token(&token.to_be_bytes()));
                begun.elapsed()
            };
            (0..300).map(took).min().unwrap().as_secs_f64()
        };
        let [first, last, nobody] = [0, 999, 1000].map(fastest);
        for (one, other) in [(first, nobody), (last, nobody), (first, last)] {
            assert!((0.5..2.0).contains(&(one / other)), "{first} {last} {nobody}");
        }
    }
}
