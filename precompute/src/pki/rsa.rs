//! RSASSA-PSS signatures with parameters that aws-lc-rs does not verify: a salt of another length than the digest,
//! which `openssl ca` writes by default, or a mask by another hash function than the message's.
//!
//! EMSA-PSS-VERIFY of RFC 8017 section 9.1.2, over the public operation of its section 5.2.2. Nothing here is secret,
//! so it need not run in constant time. Keys have the bounds that aws-lc-rs gives them. It does not know what a
//! signature is for.

use aws_lc_rs::digest;
use num_bigint::BigUint;

use super::{
    PssHash, PssParameters,
    elements::{Elements, magnitude},
    tag::{INTEGER, SEQUENCE},
};
use crate::limits;

/// RSAPublicKey, RFC 8017 appendix A.1.1.
#[derive(Debug)]
pub(super) struct RsaPublicKey {
    modulus: BigUint,
    exponent: BigUint,
}

impl RsaPublicKey {
    /// From the content of a subjectPublicKey.
    pub(super) fn from_der(octets: &[u8]) -> Option<Self> {
        let mut fields = Elements::only(octets, SEQUENCE).ok()?;
        let mut number = || magnitude(fields.expect(INTEGER).ok()?).ok().map(BigUint::from_bytes_be);
        let (modulus, exponent) = (number()?, number()?);
        fields.finish().ok()?;
        Some(Self { modulus, exponent })
    }

    /// Bits of the modulus.
    pub(super) fn bits(&self) -> u64 {
        self.modulus.bits()
    }

    /// Whether `signature` is valid for `message`, made with exactly these parameters. A SHA-1 of the message is never
    /// valid.
    pub(super) fn verify_pss(&self, parameters: &PssParameters, message: &[u8], signature: &[u8]) -> bool {
        let sound = limits::RSA_BITS.contains(&self.bits())
            && self.exponent.bit(0)
            && (2..=limits::RSA_EXPONENT_BITS_MAX).contains(&self.exponent.bits());
        if !sound || signature.len() as u64 != self.bits().div_ceil(8) {
            return false;
        }
        let representative = BigUint::from_bytes_be(signature);
        if representative >= self.modulus {
            return false;
        }
        let encoded = representative.modpow(&self.exponent, &self.modulus).to_bytes_be();
        is_encoding(&encoded, self.bits() as usize - 1, parameters, message).unwrap_or(false)
    }
}

/// RFC 8017 section 9.1.2; `encoded` is without leading zeros, of at most `bits` bits. `None` if it is too short for
/// its parts.
fn is_encoding(encoded: &[u8], bits: usize, parameters: &PssParameters, message: &[u8]) -> Option<bool> {
    let length = bits.div_ceil(8);
    let mut padded = vec![0; length.checked_sub(encoded.len())?];
    padded.extend_from_slice(encoded);
    let (&trailer, rest) = padded.split_last()?;
    let hash = algorithm(parameters.hash)?;
    let (masked, mask_seed) = rest.split_at_checked(rest.len().checked_sub(hash.output_len())?)?;
    let padding = masked.len().checked_sub(parameters.salt_length as usize)?.checked_sub(1)?;

    // The bits of the first byte that the number cannot use.
    let unused = 0xff_u8.checked_shl((8 - (8 * length - bits)) as u32).unwrap_or(0);
    let mut block =
        mask(algorithm(parameters.mgf1_hash).unwrap_or(&digest::SHA1_FOR_LEGACY_USE_ONLY), mask_seed, masked.len());
    block.iter_mut().zip(masked).for_each(|(mask, octet)| *mask ^= octet);
    let first = block.first_mut()?;
    *first &= !unused;
    let (zeros, salt) = block.split_at_checked(padding)?;
    let (&one, salt) = salt.split_first()?;

    let mut context = digest::Context::new(hash);
    context.update(&[0; 8]);
    context.update(digest::digest(hash, message).as_ref());
    context.update(salt);
    let framed = trailer == 0xbc && masked.first()? & unused == 0 && one == 1 && zeros.iter().all(|zero| *zero == 0);
    Some(framed && context.finish().as_ref() == mask_seed)
}

/// MGF1, RFC 8017 appendix B.2.1.
fn mask(hash: &'static digest::Algorithm, seed: &[u8], length: usize) -> Vec<u8> {
    let blocks = (0_u32..).flat_map(|counter| {
        let mut context = digest::Context::new(hash);
        context.update(seed);
        context.update(&counter.to_be_bytes());
        context.finish().as_ref().to_vec()
    });
    blocks.take(length).collect()
}

/// `None` for SHA-1, which is refused for messages.
fn algorithm(hash: PssHash) -> Option<&'static digest::Algorithm> {
    match hash {
        PssHash::Sha1 => None,
        PssHash::Sha256 => Some(&digest::SHA256),
        PssHash::Sha384 => Some(&digest::SHA384),
        PssHash::Sha512 => Some(&digest::SHA512),
    }
}

#[cfg(test)]
mod tests;
