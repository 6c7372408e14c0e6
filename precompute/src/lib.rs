//! What the CA knows, kept durably and ready to be signed.

pub mod limits;
pub mod pki;
pub mod source;
